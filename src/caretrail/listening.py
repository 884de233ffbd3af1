"""Listening and stopping: what the repository and the gateway share as processes."""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import uvicorn

from caretrail.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

BACKLOG: Final = 1_024
STOP_SECONDS: Final = 20


class Server(uvicorn.Server):
    """Stops on a signal like any other, but leaves the rest of the process to end by itself."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT, without raising them again in the end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens, or raise ConfigurationError."""
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
    listener.listen(BACKLOG)
    return listener


def address_of(listener: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
