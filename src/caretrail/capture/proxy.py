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
    request_head,
    response_headers,
)
from caretrail.capture.middleware import failed
from caretrail.capture.rewriting import Rewriter, inflating
from caretrail.capture.upstream import Upstream
from caretrail.errors import InvalidError, Issue
from caretrail.fhir.operation_outcome import outcome_bytes
from caretrail.limits import CLIENT_UNWATCHED_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from caretrail.capture.forwarding import Base, Header
    from caretrail.capture.middleware import Message, Receive, Scope, Send
    from caretrail.capture.upstream import Answer
    from caretrail.patterns.exchange import Failure

_log: Final = logging.getLogger(__name__)
CLOSE: Final = (b"connection", b"close")
_REWRITTEN: Final = ("json", "xml")
# Of these a second try cannot do anything twice (RFC 9110, 9.2.2), and they have no body here.
_REPEATABLE: Final = frozenset(["GET", "HEAD", "OPTIONS"])
# A part of a body, or none: links in it stay as they are.
_UNCHANGED: Final = (204, 206, 304)
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
        connections: Upstream | None = None,
        on_accepted: Callable[[Scope], None] | None = None,
    ) -> None:
        self._upstream, self._public = upstream, public
        self._paths = public.path.encode(), upstream.path.encode()
        self._connections = connections or Upstream(upstream.origin)
        self.on_accepted = on_accepted
        self._links = (upstream.url, public.url) if upstream.url != public.url else None

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

    def head(self, scope: Scope) -> bytes:
        """Return the head of the request to the server; its target is the client's, byte by byte."""
        raw = raw_path(scope)
        # The gateway's own path takes the place of the server's, and a `*` or nothing is the root.
        path = raw if raw.startswith(b"/") else b"/"
        own, base = self._paths
        if path == own or path.startswith(own + b"/"):
            path = base + path[len(own) :] or b"/"
        query = scope["query_string"]
        return request_head(
            scope,
            path + b"?" + query if query else path,
            self._upstream,
            self._public,
            is_rewritten=self._links is not None,
        )

    async def ask(
        self, scope: Scope, body: AsyncIterator[bytes] | None, *, is_chunked: bool
    ) -> Answer:
        """Return the server's answer; its body may be yet to come."""
        method, head = scope["method"], self.head(scope)
        try:
            return await self._connections.ask(method, head, body, is_chunked=is_chunked)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            # The server closed an idle connection at the moment in which we took it.
            if body is not None or method not in _REPEATABLE:
                raise
            return await self._connections.ask(method, head)

    def answered(
        self, found: Answer, method: str
    ) -> tuple[list[Header], Rewriter | None, Callable[[bytes], bytes]]:
        """Return the headers of the answer, and what its body goes through."""
        links, unpack = self._links, None
        if links is not None and found.status not in _UNCHANGED:
            kind = coding = ""
            for name, value in found.headers:
                if name == b"content-type":
                    kind = value.decode("latin-1")
                elif name == b"content-encoding":
                    coding = value.decode("latin-1").strip().lower()
            if any(word in kind for word in _REWRITTEN):
                unpack = inflating(coding)
        headers = response_headers(
            found.headers, status=found.status, links=links, is_rewritten=unpack is not None
        )
        if links is None or unpack is None or method == "HEAD":
            return headers, None, bytes
        return headers, Rewriter(*links), unpack


class _Call:
    """One request on its way."""

    def __init__(self, owner: Proxy, scope: Scope, receive: Receive, send: Send) -> None:
        self._owner, self._scope, self._receive, self._send = owner, scope, receive, send
        self._is_started = self._is_gone = False
        self._watcher: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._task = asyncio.current_task()

    async def run(self) -> None:
        """Ask the server and pass its answer on, unless one of the three goes away."""
        try:
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

    def _expect(self) -> None:
        """Watch the client when the answer takes its time; most are here before that."""
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(CLIENT_UNWATCHED_SECONDS, self._begin_watching)

    def _begin_watching(self) -> None:
        self._watcher = asyncio.create_task(self._watch())

    def _stop_watching(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    async def _sent(self) -> AsyncIterator[bytes]:
        """Yield the body that the client sends."""
        is_last = False
        while not is_last:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._is_gone = True
                raise _GoneError
            if body := message.get("body", b""):
                yield body
            is_last = not message.get("more_body", False)
        self._expect()

    async def _watch(self) -> None:
        """Cancel the request when the client goes away."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._is_gone = True
        if self._task is not None:
            self._task.cancel()

    async def _pass_on(self) -> None:
        owner, scope = self._owner, self._scope
        body, is_chunked = None, False
        if has_body(scope["headers"]):
            body = self._sent()
            is_chunked = any(name == b"transfer-encoding" for name, _ in scope["headers"])
        else:
            self._expect()
        found = await owner.ask(scope, body, is_chunked=is_chunked)
        try:
            if owner.on_accepted is not None and found.status not in (401, 403):
                owner.on_accepted(scope)
            headers, rewriter, unpack = owner.answered(found, scope["method"])
            if found.is_whole:
                await self._hand_over(found, headers, rewriter, unpack)
            else:
                await self._begin(found, headers)
                await self._stream(found, rewriter, unpack)
        finally:
            found.close()

    async def _begin(self, found: Answer, headers: list[Header]) -> None:
        start = {"type": "http.response.start", "status": found.status, "headers": headers}
        await self._send(start)
        self._is_started = True

    async def _hand_over(
        self,
        found: Answer,
        headers: list[Header],
        rewriter: Rewriter | None,
        unpack: Callable[[bytes], bytes],
    ) -> None:
        """Pass on an answer that is here as a whole, and so has a length."""
        body = found.taken()
        found.close()
        self._stop_watching()
        if rewriter is not None:
            body = rewriter.feed(unpack(body)) + rewriter.finish()
        has_length = any(name == b"content-length" for name, _ in headers)
        if not has_length and self._scope["method"] != "HEAD" and found.status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(body)))
        await self._begin(found, headers)
        await self._send(_piece(body, more=False))

    async def _stream(
        self, found: Answer, rewriter: Rewriter | None, unpack: Callable[[bytes], bytes]
    ) -> None:
        async for piece in found:
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
