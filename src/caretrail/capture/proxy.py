"""A reverse proxy for one FHIR server, as an ASGI application: bodies stream in both directions.

It asks this one origin and no other, whatever a request says, and never follows a redirect.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from typing import TYPE_CHECKING, Final

import httpx

from caretrail.capture.forwarding import (
    check_request,
    has_body,
    raw_path,
    request_headers,
    response_headers,
)
from caretrail.capture.middleware import failed
from caretrail.capture.rewriting import Rewriter, inflating
from caretrail.capture.upstream import Upstream
from caretrail.errors import InvalidError, Issue
from caretrail.fhir.operation_outcome import outcome_bytes
from caretrail.limits import (
    UPSTREAM_CONNECT_SECONDS,
    UPSTREAM_SECONDS_DEFAULT,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from caretrail.capture.forwarding import Base, Header
    from caretrail.capture.middleware import Message, Receive, Scope, Send
    from caretrail.patterns.exchange import Failure

_log: Final = logging.getLogger(__name__)
CLOSE: Final = (b"connection", b"close")
_REWRITTEN: Final = ("json", "xml")
# Of these a second try cannot do anything twice (RFC 9110, 9.2.2), and they have no body here.
_REPEATABLE: Final = frozenset(["GET", "HEAD", "OPTIONS"])
_TIMEOUT: Final = Issue("timeout", "the FHIR server behind this gateway did not answer in time")
_UNREACHABLE: Final = Issue("transient", "the FHIR server behind this gateway cannot be reached")


class _GoneError(Exception):
    """The client went away while it was sending."""


class Proxy:
    """Passes requests on to `upstream`; `public` is the base that clients know it by.

    Where the two differ, links in answers are rewritten. `on_accepted` is told of each request
    that the server did not turn away for its credentials.
    """

    def __init__(
        self,
        upstream: Base,
        public: Base,
        *,
        connections: httpx.AsyncBaseTransport | None = None,
        seconds: float = UPSTREAM_SECONDS_DEFAULT,
        on_accepted: Callable[[Scope], None] = lambda _: None,
    ) -> None:
        self._upstream, self._public = upstream, public
        self._paths = public.path.encode(), upstream.path.encode()
        self._connections = connections or Upstream(upstream.origin)
        self._on_accepted = on_accepted
        self._origin = httpx.URL(upstream.origin)
        self._links = (upstream.url, public.url) if upstream.url != public.url else None
        self._timeout = httpx.Timeout(
            seconds, connect=min(UPSTREAM_CONNECT_SECONDS, seconds)
        ).as_dict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            check_request(scope)
        except InvalidError as error:
            await answer(send, 400, error.issues()[0], CLOSE)
            return
        await _Call(self, scope, receive, send).run()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connections.aclose()

    def request(self, scope: Scope, stream: httpx.AsyncByteStream) -> httpx.Request:
        """Return the request to the server; its target is the client's, byte by byte."""
        raw = raw_path(scope)
        # The gateway's own path takes the place of the server's, and a `*` or nothing is the root.
        path = raw if raw.startswith(b"/") else b"/"
        own, base = self._paths
        if path == own or path.startswith(own + b"/"):
            path = base + path[len(own) :] or b"/"
        query = scope["query_string"]
        return httpx.Request(
            scope["method"],
            self._origin,
            headers=request_headers(
                scope, self._upstream, self._public, is_rewritten=self._links is not None
            ),
            stream=stream,
            extensions={
                "target": path + b"?" + query if query else path,
                "timeout": self._timeout,
            },
        )

    async def ask(self, request: httpx.Request, *, is_repeatable: bool) -> httpx.Response:
        """Return the server's answer; its body is yet to come."""
        try:
            return await self._connections.handle_async_request(request)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            # The server closed an idle connection at the moment in which we took it.
            if not is_repeatable:
                raise
            return await self._connections.handle_async_request(request)

    def accepted(self, scope: Scope, status: int) -> None:
        """Tell whoever wants to know that the server took the credentials."""
        if status not in (401, 403):
            self._on_accepted(scope)

    def head(
        self, response: httpx.Response, method: str
    ) -> tuple[list[Header], Rewriter | None, Callable[[bytes], bytes]]:
        """Return the headers of the answer, and what its body goes through."""
        kind = response.headers.get("content-type", "")
        links, unpack = self._links, None
        if (
            links is not None
            and any(word in kind for word in _REWRITTEN)
            and response.status_code not in (204, 206, 304)
        ):
            unpack = inflating(response.headers.get("content-encoding", "").strip().lower())
        headers = response_headers(
            response.headers.raw,
            status=response.status_code,
            links=links,
            is_rewritten=unpack is not None,
        )
        if links is None or unpack is None or method == "HEAD":
            return headers, None, bytes
        return headers, Rewriter(*links), unpack


class _Call(httpx.AsyncByteStream):
    """One request on its way; as a stream it is the body that the client sends."""

    def __init__(self, owner: Proxy, scope: Scope, receive: Receive, send: Send) -> None:
        self._owner, self._scope, self._receive, self._send = owner, scope, receive, send
        self._is_started = self._is_gone = False
        self._watcher: asyncio.Task[None] | None = None
        self._task = asyncio.current_task()
        self._has_body = has_body(scope["headers"])

    async def run(self) -> None:
        """Ask the server and pass its answer on, unless one of the three goes away."""
        try:
            if not self._has_body:
                async for _ in self:
                    pass
            await self._pass_on()
        except _GoneError:
            pass
        except asyncio.CancelledError:
            if not self._is_gone or self._task is None or self._task.uncancel():
                raise
        except httpx.TimeoutException:
            await self._fail("timeout", 504, _TIMEOUT)
        except (httpx.TransportError, zlib.error):
            await self._fail("unreachable", 502, _UNREACHABLE)
        finally:
            self._stop_watching()

    def _stop_watching(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._is_gone = True
                raise _GoneError
            if body := message.get("body", b""):
                yield body
            if not message.get("more_body", False):
                break
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """Cancel the request when the client goes away."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._is_gone = True
        if self._task is not None:
            self._task.cancel()

    async def _pass_on(self) -> None:
        owner, scope = self._owner, self._scope
        stream: httpx.AsyncByteStream = self if self._has_body else httpx.ByteStream(b"")
        is_repeatable = not self._has_body and scope["method"] in _REPEATABLE
        response = await owner.ask(owner.request(scope, stream), is_repeatable=is_repeatable)
        try:
            owner.accepted(scope, response.status_code)
            headers, rewriter, unpack = owner.head(response, scope["method"])
            start = {"type": "http.response.start", "status": response.status_code}
            await self._send({**start, "headers": headers})
            self._is_started = True
            await self._body(response, rewriter, unpack)
        finally:
            await response.aclose()

    async def _body(
        self, response: httpx.Response, rewriter: Rewriter | None, unpack: Callable[[bytes], bytes]
    ) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        async for piece in response.stream:
            passed = rewriter.feed(unpack(piece)) if rewriter else piece
            if passed:
                await self._send(_piece(passed, more=True))
        # The server is done; that the client hangs up after the last piece is the ordinary end.
        self._stop_watching()
        await self._send(_piece(rewriter.finish() if rewriter else b"", more=False))

    async def _fail(self, failure: Failure, status: int, issue: Issue) -> None:
        """Answer for the server; an answer that has begun can only be broken off."""
        _log.warning("the FHIR server failed", extra={"failure": failure})
        failed(self._scope, failure)
        if self._is_started:
            raise BrokenOffError from None
        await answer(self._send, status, issue)


class BrokenOffError(Exception):
    """The server's answer ended in its middle."""


async def answer(send: Send, status: int, issue: Issue, *more: Header) -> None:
    """Send an answer of the gateway's own, as an OperationOutcome."""
    await respond(send, status, b"application/fhir+json", outcome_bytes([issue]), *more)


async def respond(send: Send, status: int, kind: bytes, body: bytes, *more: Header) -> None:
    """Send an answer that no cache keeps; `more` are headers beyond those that say so."""
    headers = [
        (b"content-type", kind),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _piece(body: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
