"""Connections to the one server behind a gateway: HTTP/1.1, kept alive, with bodies that stream.

Our own and not httpx's, whose pool looks at each of its connections for each request. Parsing is
llhttp's, strictly. Trailers of an answer end here (RFC 9110, 6.5.1).
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import httptools
import httpx

from caretrail.limits import (
    UPSTREAM_BUFFER_BYTES,
    UPSTREAM_CONNECTIONS_MAX,
    UPSTREAM_HEAD_BYTES_MAX,
    UPSTREAM_IDLE_SECONDS,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from caretrail.capture.forwarding import Header

_SWITCHING: Final = 101


class Upstream(httpx.AsyncBaseTransport):
    """A transport that asks `origin`, whatever the URL of a request is."""

    def __init__(self, origin: str, *, connections_max: int = UPSTREAM_CONNECTIONS_MAX) -> None:
        parts = urlsplit(origin)
        self._secure = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._secure else 80)
        self._idle: list[_Connection] = []
        self._free = asyncio.Semaphore(connections_max)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the answer once its head is here; whoever has it closes it."""
        await self._free.acquire()
        connection = None
        try:
            connection = await self._connection(request.extensions["timeout"])
            await connection.ask(request)
            return await connection.answer(self)
        except BaseException:
            if connection is not None:
                connection.abort()
            # What else is idle was left as long, and is as likely to be closed.
            while self._idle:
                self._idle.pop().abort()
            self._free.release()
            raise

    async def _connection(self, timeout: dict[str, float]) -> _Connection:
        oldest = time.monotonic() - UPSTREAM_IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and connection.idle_since > oldest:
                return connection
            connection.abort()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout["connect"]):
                _, made = await loop.create_connection(
                    _Connection, self._host, self._port, ssl=self._secure
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        except OSError as error:
            raise httpx.ConnectError("no connection") from error
        return made

    def release(self, connection: _Connection) -> None:
        """Take a connection back whose answer is read, or let go of it."""
        self._free.release()
        if connection.is_reusable:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.abort()

    async def aclose(self) -> None:
        """Close what is idle; the others end with their answers."""
        while self._idle:
            self._idle.pop().abort()


class _Connection(asyncio.Protocol):
    """One connection, with one request on its way at a time."""

    def __init__(self) -> None:
        self.is_open = False
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._begin("GET", {})

    def _begin(self, method: str, timeout: dict[str, float]) -> None:
        # A parser for each answer: what it knows of one must not be applied to the next.
        self._parser: Any = httptools.HttpResponseParser(self)
        self._method, self._timeout = method, timeout
        self._headers: list[Header] = []
        self._status = 0
        self._head_bytes = 0
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._is_delimited = self._has_head = self._is_done = self._is_asked = False
        self._keeps_alive = False
        self._error: httpx.TransportError | None = None

    @property
    def is_reusable(self) -> bool:
        """Tell whether the next request may use this connection (RFC 9112, 9.3)."""
        return self.is_open and self._is_done and self._keeps_alive and self._error is None

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are such by what they do, not by their class.
        self._transport, self.is_open = cast("asyncio.Transport", transport), True

    def data_received(self, data: bytes) -> None:
        if not self._is_asked or self._is_done:
            self._fail("the server sent what nobody asked for")
            return
        if not self._has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # After the head of an answer to HEAD the parser may expect a body: that is not wrong.
            if not self._is_done:
                self._fail("the answer is no HTTP/1.1")
        if not self._has_head and self._head_bytes > UPSTREAM_HEAD_BYTES_MAX:
            self._fail("the head of the answer is too large")
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._has_head and not self._is_delimited and exc is None:
            self._is_done = True  # The end of the connection is the end of the body.
        elif not self._is_done and self._error is None:
            self._error = httpx.RemoteProtocolError("the connection ended before the answer")
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._wake()

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._has_head:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != _SWITCHING:
            return  # Something is to come, which the gateway has told the client itself.
        self._status, self._has_head = status, True
        self._is_delimited = any(
            name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self._headers
        ) or status in (204, 304)
        self._keeps_alive = self._parser.should_keep_alive() and self._is_delimited
        if self._method == "HEAD":
            self._is_done = True

    def on_body(self, body: bytes) -> None:
        if self._is_done:
            return
        self._pieces.append(body)
        self._buffered += len(body)
        if self._buffered > UPSTREAM_BUFFER_BYTES and self._transport is not None:
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._has_head:
            self._is_done = True
        else:
            self._headers.clear()  # Those of an interim answer.

    # What a request does.

    async def ask(self, request: httpx.Request) -> None:
        """Send a request, at the pace at which the server takes it."""
        assert self._transport is not None
        self._begin(request.method, request.extensions["timeout"])
        self._is_asked = True
        head = [b"%b %b HTTP/1.1\r\n" % (request.method.encode(), request.extensions["target"])]
        head += [b"%b: %b\r\n" % row for row in request.headers.raw]
        self._transport.write(b"".join([*head, b"\r\n"]))
        is_chunked = "transfer-encoding" in request.headers
        assert isinstance(request.stream, httpx.AsyncByteStream)
        async for piece in request.stream:
            if not self.is_open:
                return  # The server may have answered without hearing all of it.
            if piece:
                self._transport.write(
                    b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece
                )
            await self._drained()
        if is_chunked:
            self._transport.write(b"0\r\n\r\n")

    async def _drained(self) -> None:
        if self._writable is not None:
            try:
                async with asyncio.timeout(self._timeout["write"]):
                    await asyncio.shield(self._writable)
            except TimeoutError as error:
                raise httpx.WriteTimeout("the server takes nothing more") from error

    async def answer(self, owner: Upstream) -> httpx.Response:
        """Return the answer when its head has come."""
        while not self._has_head:
            await self._next()
        return httpx.Response(self._status, headers=self._headers, stream=_Body(self, owner))

    async def piece(self) -> bytes:
        """Return the next piece of the body, or b"" at its end."""
        while not self._pieces:
            if self._is_done:
                return b""
            await self._next()
        data = b"".join(self._pieces)
        self._pieces.clear()
        if self._buffered > UPSTREAM_BUFFER_BYTES and self._transport is not None and self.is_open:
            self._transport.resume_reading()
        self._buffered = 0
        return data

    async def _next(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._timeout["read"]):
                await self._waiter
        except TimeoutError as error:
            raise httpx.ReadTimeout("the server is silent") from error
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, why: str) -> None:
        self._error = httpx.RemoteProtocolError(why)
        self.abort()

    def abort(self) -> None:
        """End the connection, whatever is under way."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()


class _Body(httpx.AsyncByteStream):
    """The body of an answer, which holds its connection until it is closed."""

    def __init__(self, connection: _Connection, owner: Upstream) -> None:
        self._connection, self._owner, self._is_closed = connection, owner, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self._connection.piece():
            yield data

    async def aclose(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._owner.release(self._connection)
