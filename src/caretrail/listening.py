"""How every server of ours listens, runs and stops: uvicorn with one set of options."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from caretrail.errors import ConfigurationError
from caretrail.tls import TlsProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    # Is told of a handshake that came to nothing: the client's address, and OpenSSL's reason.
    OnRefused = Callable[[str, str], Coroutine[Any, Any, None]]

_log: Final = logging.getLogger(__name__)
_BACKLOG: Final = 1_024
_STOP_SECONDS: Final = 20
_ACCEPT_AGAIN_SECONDS: Final = 0.5
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


def address_of(listener: socket.socket, *, scheme: str = "http") -> str:
    """Return the base URL of what listens here."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def server(
    application: Any,
    *,
    connections_max: int | None = None,
    dates: bool = True,
    joins_writes: bool = False,
    context: ssl.SSLContext | None = None,
    on_refused: OnRefused | None = None,
) -> uvicorn.Server:
    """Return a server of an ASGI application, to be served on a socket in a loop of uvloop.

    On SIGTERM or SIGINT it finishes what was begun, for some seconds, and then returns. Without
    `dates` the application says the Date header itself. With `joins_writes` what is written in one
    turn of the loop leaves in one system call, as head and body of an answer. With a `context` it
    speaks TLS, which joins what is written itself; `on_refused` is told of handshakes that fail.
    """
    options = uvicorn.Config(
        application,
        interface="asgi3",
        loop="uvloop",
        http=_protocol(context is not None, joins_writes),
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
    if context is None:
        return _Server(options)
    return _TlsServer(options, context, on_refused)


def _protocol(is_secure: bool, joins_writes: bool) -> Any:
    if is_secure:
        return TlsProtocol
    return _JoiningProtocol if joins_writes else "httptools"


class _Server(uvicorn.Server):
    """Stops on a signal like any other, but leaves the rest of the process to end by itself."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


class _TlsServer(_Server):
    """Accepts connections itself: of a handshake that the loop's own server begins nobody hears."""

    def __init__(
        self, options: uvicorn.Config, context: ssl.SSLContext, on_refused: OnRefused | None
    ) -> None:
        super().__init__(options)
        self._context, self._on_refused = context, on_refused
        self._tasks: set[asyncio.Task[None]] = set()
        self._telling: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept on the sockets from now on."""
        self.servers = []
        for one in sockets or ():
            one.setblocking(False)
            _begin(self._accept(one), self._tasks)
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, and finish what was begun."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await super().shutdown(sockets)
        await asyncio.gather(*self._telling)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError as error:  # Of files there are only so many; some will be closed.
                _log.warning("no connection is accepted", extra={"error": error.strerror})
                await asyncio.sleep(_ACCEPT_AGAIN_SECONDS)
            else:
                _begin(self._secure(connection, str(address[0])), self._tasks)

    async def _secure(self, connection: socket.socket, address: str) -> None:
        """Shake hands; the protocol goes on from there."""
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(self._protocol, connection, ssl=self._context)
        except ssl.SSLError as error:
            # OpenSSL's words for it: nothing that the client sent is in them.
            reason = getattr(error, "verify_message", "") or error.reason or "unknown"
            if self._on_refused is not None:
                _begin(self._on_refused(address, reason), self._telling)
        except OSError:
            pass  # The client has gone, or said nothing for too long.

    def _protocol(self) -> asyncio.Protocol:
        return TlsProtocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


def _begin(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


class _JoiningProtocol(HttpToolsProtocol):
    """Uvicorn's, on a transport that joins writes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # As uvicorn has it.
        super().connection_made(cast("asyncio.Transport", _Joining(transport)))


class _Joining:
    """A transport that writes once in a turn of the loop; for all else it is the one inside."""

    def __init__(self, inner: asyncio.Transport) -> None:
        self._inner, self._loop = inner, asyncio.get_running_loop()
        self._held: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)

    def _flush(self) -> None:
        held, self._held = self._held, []
        if held and not self._inner.is_closing():
            self._inner.write(held[0] if len(held) == 1 else b"".join(held))

    def close(self) -> None:
        self._flush()
        self._inner.close()
