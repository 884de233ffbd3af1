"""How every server of ours listens, runs and stops: uvicorn with one set of options."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from caretrail.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

_BACKLOG: Final = 1_024
_STOP_SECONDS: Final = 20
# Events are structures without cycles: looking for garbage cycles among them finds nothing.
_GARBAGE_THRESHOLD: Final = 50_000


def settle() -> None:
    """Leave what was made at the start out of the search for garbage: call it before serving."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD, 20, 100)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one. Raises ConfigurationError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"{host} port {port} cannot be listened on ({error.strerror}): choose another --port"
        ) from error
    listener.listen(_BACKLOG)
    return listener


def address_of(listener: socket.socket) -> str:
    """Return the base URL of what listens here."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server(
    application: Any, *, connections_max: int | None = None, dates: bool = True
) -> uvicorn.Server:
    """Return a server of an ASGI application, to be served on a socket in a loop of uvloop.

    On SIGTERM or SIGINT it finishes what was begun, for some seconds, and then returns. Without
    `dates` the application says the Date header itself.
    """
    return _Server(
        uvicorn.Config(
            application,
            interface="asgi3",
            loop="uvloop",
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # Links follow --public-url; nobody's header is believed.
            date_header=dates,
            backlog=_BACKLOG,
            limit_concurrency=connections_max,
            timeout_graceful_shutdown=_STOP_SECONDS,
            ws="none",
        )
    )


class _Server(uvicorn.Server):
    """Stops on a signal like any other, but leaves the rest of the process to end by itself."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield
