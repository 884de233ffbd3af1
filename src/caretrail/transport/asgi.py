"""ASGI to our Request and back; what is here runs for every request, so it is little."""

from __future__ import annotations

import asyncio
import gzip
import os
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from caretrail.api.http import DisconnectedError, Request
from caretrail.api.router import ROUTES, Router
from caretrail.errors import InvalidError, MediaTypeError, StoreError, TooLargeError
from caretrail.transport.inflate import Inflater

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.api.http import Header, Response
    from caretrail.api.router import Route
    from caretrail.api.service import Service

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# A smaller answer is as quickly sent as it is compressed.
_GZIP_BYTES_MIN: Final = 1024
# A larger one would keep other requests waiting while it is compressed.
_GZIP_BYTES_INLINE: Final = 256 * 1024
_GZIP_LEVEL: Final = 1
_PIECE_BYTES: Final = 256 * 1024  # Of a file; a connection that is slow holds one piece.
# Answers are about patients and differ by who asks: nobody keeps them, nobody guesses their type.
_SECURITY: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
# Tiles are the same for everybody, for ever.
_LASTING: Final = ((b"cache-control", b"public, max-age=31536000, immutable"), _SECURITY[1])
_GZIPPED: Final = ((b"content-encoding", b"gzip"), (b"vary", b"accept-encoding"))
_CLOSE: Final = (b"connection", b"close")


class Application:
    """The ASGI application of the FHIR, health and metrics addresses.

    `on_request` is told of each request what was asked, the status, and the seconds it took.
    """

    def __init__(
        self,
        service: Service,
        *,
        routes: Sequence[Route] = ROUTES,
        on_request: Callable[[str, int, float], None] = lambda *_: None,
    ) -> None:
        self._router = Router(service, routes)
        self._on_request = on_request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the start and the stop of the server."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()
        headers = _headers(scope["headers"])
        query = scope["query_string"].decode("latin-1")
        client, extensions = scope.get("client"), scope.get("extensions")
        request = Request(
            scope["method"],
            scope["path"],
            query,
            headers,
            peer=client[0] if client else "",
            certificate=_certificate(extensions) if extensions else "",
        )
        body = _Body(receive, headers)
        try:
            what, response = await self._router.answer(request, scope["scheme"], body.read)
        except DisconnectedError:
            return
        await _send(response, request, body, send)
        self._on_request(what, response.status, time.perf_counter() - begun)


async def _live(receive: Receive, send: Send) -> None:
    """Answer the server's start and stop; whoever wires the application opens and closes."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _certificate(extensions: Mapping[str, Any]) -> str:
    """Return the client's certificate in PEM, as ASGI's extension for TLS has it."""
    chain = extensions.get("tls", {}).get("client_cert_chain", ())
    return str(chain[0]) if chain else ""


def _headers(rows: list[Header]) -> Mapping[bytes, bytes]:
    """Return the headers by name; those that are sent twice are one list (RFC 9110, 5.3)."""
    headers: dict[bytes, bytes] = dict(rows)
    if len(headers) < len(rows):
        headers = {}
        for name, value in rows:
            headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


class _Body:
    """The body of one request, which is read only if its route takes one."""

    __slots__ = ("_headers", "_receive", "is_pending")

    def __init__(self, receive: Receive, headers: Mapping[bytes, bytes]) -> None:
        self._receive = receive
        self._headers = headers
        # What stays unread would be taken for the next request's beginning.
        self.is_pending = (
            headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
        )

    async def read(self, bytes_max: int) -> bytes:
        """Return the whole body, inflated, or raise TooLargeError as soon as it is too large."""
        length = self._headers.get(b"content-length")
        if length is not None:
            _check_length(length, bytes_max)
        encoding = self._headers.get(b"content-encoding")
        if encoding is not None and encoding.lower() != b"identity":
            return await self._read_inflated(encoding, bytes_max)
        message = await self._next()
        if not self.is_pending:
            return bytes(message.get("body", b""))
        return await self._read_pieces(message, bytes_max)

    async def _read_pieces(self, message: Message, bytes_max: int) -> bytes:
        pieces, size = [], 0
        while True:
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > bytes_max:
                raise TooLargeError(f"the body may have {bytes_max} bytes")
            if not self.is_pending:
                return b"".join(pieces)
            message = await self._next()

    async def _read_inflated(self, encoding: bytes, bytes_max: int) -> bytes:
        if encoding.lower() not in (b"gzip", b"x-gzip"):
            raise MediaTypeError("the Content-Encoding must be gzip or none")
        inflater, size = Inflater(bytes_max), 0
        while self.is_pending:
            data = (await self._next()).get("body", b"")
            size += len(data)
            if size > bytes_max:
                raise TooLargeError(f"the body may have {bytes_max} bytes")
            inflater.feed(data)
        return inflater.finish()

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise DisconnectedError
        self.is_pending = message.get("more_body", False)
        return message


def _check_length(length: bytes, bytes_max: int) -> None:
    if not length.isdigit():
        raise InvalidError("the Content-Length is not a number")
    if len(length) > 18 or int(length) > bytes_max:
        raise TooLargeError(f"the body may have {bytes_max} bytes")


async def _send(response: Response, request: Request, body: _Body, send: Send) -> None:
    if response.file is not None:
        with response.file as file:
            await _send_file(file, response, request, send)
        return
    content = response.body
    headers = [*(_LASTING if response.lasting else _SECURITY), *response.headers]
    if content:
        headers.append((b"content-type", response.media))
        # The answer to a create is read by a program on a short way, once an event.
        if (
            response.status == 200
            and len(content) > _GZIP_BYTES_MIN
            and _takes_gzip(request.headers.get(b"accept-encoding", b""))
        ):
            content = await _compressed(content)
            headers += _GZIPPED
    if response.status != 304:
        headers.append((b"content-length", b"%d" % len(content)))
    if body.is_pending:
        headers.append(_CLOSE)
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else content})


async def _send_file(file: BinaryIO, response: Response, request: Request, send: Send) -> None:
    """Send a file that does not change, and never hold more of it than a piece."""
    left = os.fstat(file.fileno()).st_size
    headers = [*_SECURITY, *response.headers, (b"content-type", response.media)]
    headers.append((b"content-length", b"%d" % left))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if request.method == "HEAD" or not left:
        await send({"type": "http.response.body", "body": b""})
        return
    while left:
        piece = await asyncio.to_thread(file.read, _PIECE_BYTES)
        if not piece:
            raise StoreError("a file became shorter while it was sent")
        left -= len(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": left > 0})


async def _compressed(content: bytes) -> bytes:
    if len(content) > _GZIP_BYTES_INLINE:
        return await asyncio.to_thread(gzip.compress, content, _GZIP_LEVEL)
    return gzip.compress(content, _GZIP_LEVEL)


def _takes_gzip(accepted: bytes) -> bool:
    for item in accepted.lower().split(b","):
        coding, _, quality = item.partition(b";")
        if coding.strip() == b"gzip":
            return quality.replace(b" ", b"").rstrip(b".0") != b"q="
    return False
