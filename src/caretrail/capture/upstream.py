"""Connections to the one server behind a gateway: HTTP/1.1, kept alive, with bodies that stream.

Our own and not httpx's, whose pool looks at each of its connections for each request; the errors are
httpx's. Parsing is llhttp's, strictly. Trailers of an answer end here (RFC 9110, 6.5.1).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import httptools
import httpx

from caretrail.limits import (
    UPSTREAM_BUFFER_BYTES,
    UPSTREAM_CONNECT_SECONDS,
    UPSTREAM_CONNECTIONS_MAX,
    UPSTREAM_HEAD_BYTES_MAX,
    UPSTREAM_IDLE_SECONDS,
    UPSTREAM_SECONDS_DEFAULT,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from caretrail.capture.forwarding import Header

_SWITCHING: Final = 101
# Time-outs are looked for by one timer, so often while they last; each request has none of its own.
_TICKS: Final = 8


class Upstream:
    """Asks the server at `origin`; it may be silent for `seconds`.

    With https its certificate is checked by `tls`, or by what the machine trusts.
    """

    def __init__(
        self,
        origin: str,
        *,
        seconds: float = UPSTREAM_SECONDS_DEFAULT,
        connections_max: int = UPSTREAM_CONNECTIONS_MAX,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(origin)
        is_secure = parts.scheme == "https"
        self._secure = (tls or ssl.create_default_context()) if is_secure else None
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._secure else 80)
        self._seconds, self._connect_seconds = seconds, min(UPSTREAM_CONNECT_SECONDS, seconds)
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._free = asyncio.Semaphore(connections_max)
        self._timer: asyncio.TimerHandle | None = None

    async def ask(
        self,
        method: str,
        head: bytes,
        body: AsyncIterator[bytes] | None = None,
        *,
        is_chunked: bool = False,
    ) -> Answer:
        """Return the answer once its head is here; whoever has it closes it.

        `head` is all of the request before its body. Raises httpx's TransportErrors.
        """
        await self._free.acquire()
        connection = None
        try:
            connection = await self._connection()
            self._busy.add(connection)
            if self._timer is None:
                self._wait(asyncio.get_running_loop())
            connection.begin(method, head)
            if body is not None:
                await connection.send(body, is_chunked=is_chunked)
            await connection.heard()
        except BaseException:
            if connection is not None:
                self._busy.discard(connection)
                connection.abort()
            # What else is idle was left as long, and is as likely to be closed.
            while self._idle:
                self._idle.pop().abort()
            self._free.release()
            raise
        return Answer(connection, self)

    async def _connection(self) -> _Connection:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - UPSTREAM_IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and connection.idle_since > oldest:
                return connection
            connection.abort()
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, made = await loop.create_connection(
                    lambda: _Connection(loop, self._seconds),
                    self._host,
                    self._port,
                    ssl=self._secure,
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        except OSError as error:
            raise httpx.ConnectError("no connection") from error
        return made

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self._seconds / _TICKS, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """End what waits for longer than it may."""
        self._timer = None
        for connection in tuple(self._busy):
            connection.expire(loop.time())
        if self._busy:
            self._wait(loop)

    def release(self, connection: _Connection) -> None:
        """Take a connection back whose answer is read, or let go of it."""
        self._free.release()
        self._busy.discard(connection)
        if connection.is_reusable:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            connection.abort()

    async def aclose(self) -> None:
        """Close what is idle; the others end with their answers."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._idle:
            self._idle.pop().abort()


class Answer:
    """An answer whose head has come; it holds its connection until it is closed.

    The names of `headers` are in lower case.
    """

    __slots__ = ("_connection", "_is_closed", "_owner", "headers", "status")

    def __init__(self, connection: _Connection, owner: Upstream) -> None:
        self._connection, self._owner, self._is_closed = connection, owner, False
        self.status, self.headers = connection.status, connection.headers

    @property
    def is_whole(self) -> bool:
        """Tell whether the whole body is here already."""
        return self._connection.is_done

    def taken(self) -> bytes:
        """Return what is here of the body."""
        return self._connection.taken()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raises httpx's TransportErrors."""
        while data := await self._connection.piece():
            yield data

    def close(self) -> None:
        """Give the connection back, or end it where there is more to come."""
        if not self._is_closed:
            self._is_closed = True
            self._owner.release(self._connection)


class _Connection(asyncio.Protocol):
    """One connection, with one request on its way at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop, self._seconds = loop, seconds
        self.is_open = False
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._is_asked = False
        self._reset("GET")

    def _reset(self, method: str) -> None:
        # A parser for each answer: what it knows of one must not be applied to the next.
        self._parser: Any = httptools.HttpResponseParser(self)
        self._method = method
        self.headers: list[Header] = []
        self.status = 0
        self._head_bytes = 0
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._length = -1
        self._deadline = 0.0
        self.is_done = self._has_head = self._keeps_alive = self._is_delimited = False
        self._error: httpx.TransportError | None = None

    @property
    def is_reusable(self) -> bool:
        """Tell whether the next request may use this connection (RFC 9112, 9.3)."""
        return self.is_open and self.is_done and self._keeps_alive and self._error is None

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are such by what they do, not by their class.
        self._transport, self.is_open = cast("asyncio.Transport", transport), True

    def data_received(self, data: bytes) -> None:
        if not self._is_asked or self.is_done:
            self._fail("the server sent what nobody asked for")
            return
        if not self._has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # After the head of an answer to HEAD the parser may expect a body: that is not wrong.
            if not self.is_done:
                self._fail("the answer is no HTTP/1.1")
        if not self._has_head and self._head_bytes > UPSTREAM_HEAD_BYTES_MAX:
            self._fail("the head of the answer is too large")
        # A short answer is waited for as a whole, as then it is passed on as a whole.
        is_short = 0 <= self._length <= UPSTREAM_BUFFER_BYTES
        if self.is_done or not is_short or self._error is not None:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._has_head and not self._is_delimited and exc is None:
            self.is_done = True  # The end of the connection is the end of the body.
        elif not self.is_done and self._error is None:
            self._error = httpx.RemoteProtocolError("the connection ended before the answer")
        self.resume_writing()
        self._wake()

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:
            name = name.lower()
            self.headers.append((name, value))
            if name == b"content-length" and value.isdigit():
                self._length = int(value)

    def on_headers_complete(self) -> None:
        if self._has_head:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != _SWITCHING:
            return  # Something is to come, which the gateway has told the client itself.
        self.status, self._has_head = status, True
        self._is_delimited = any(
            name in (b"content-length", b"transfer-encoding") for name, _ in self.headers
        ) or status in (204, 304)
        self._keeps_alive = self._parser.should_keep_alive() and self._is_delimited
        if self._method == "HEAD":
            self.is_done = True

    def on_body(self, body: bytes) -> None:
        if self.is_done:
            return
        self._pieces.append(body)
        self._buffered += len(body)
        if self._buffered > UPSTREAM_BUFFER_BYTES and self._transport is not None:
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._has_head:
            self.is_done = True
        else:
            self.headers, self._length = [], -1  # Those were of an interim answer.

    # What a request does.

    def begin(self, method: str, head: bytes) -> None:
        """Send all of a request but its body."""
        assert self._transport is not None
        self._reset(method)
        self._is_asked = True
        self._transport.write(head)

    async def send(self, body: AsyncIterator[bytes], *, is_chunked: bool) -> None:
        """Send the body of a request, at the pace at which the server takes it."""
        assert self._transport is not None
        async for piece in body:
            if not self.is_open:
                return  # The server may have answered without hearing all of it.
            if piece:
                self._transport.write(
                    b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece
                )
            if self._writable is not None:
                self._deadline = self._loop.time() + self._seconds
                await self._writable
                if isinstance(self._error, httpx.TimeoutException):
                    raise self._error
        if is_chunked and self.is_open:
            self._transport.write(b"0\r\n\r\n")

    async def heard(self) -> None:
        """Return when the head of the answer has come."""
        while not self._has_head:
            await self._next()

    async def piece(self) -> bytes:
        """Return the next piece of the body, or b"" at its end."""
        while not self._pieces:
            if self.is_done:
                return b""
            await self._next()
        return self.taken()

    def taken(self) -> bytes:
        """Return what has come of the body and was not taken yet."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        if self._buffered > UPSTREAM_BUFFER_BYTES and self._transport is not None and self.is_open:
            self._transport.resume_reading()
        self._buffered = 0
        return data

    async def _next(self) -> None:
        if self._error is not None:
            raise self._error
        self._deadline = self._loop.time() + self._seconds
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def expire(self, now: float) -> None:
        """Give up what waits past its deadline."""
        if now < self._deadline:
            return
        if self._writable is not None:
            self._error = httpx.WriteTimeout("the server takes nothing more")
        elif self._waiter is not None:
            self._error = httpx.ReadTimeout("the server is silent")
        else:
            return
        self.abort()
        self.resume_writing()
        self._wake()

    def _fail(self, why: str) -> None:
        self._error = httpx.RemoteProtocolError(why)
        self.abort()

    def abort(self) -> None:
        """End the connection, whatever is under way."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()
