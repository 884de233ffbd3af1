"""ASGI middleware: every exchange with a FHIR server leaves its events (ASGI 3.0).

It belongs outside of everything else that answers, so that refusals are recorded like the rest. In
`block` mode no byte of an answer leaves before its events are kept; if they cannot be, 503 leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from caretrail import clock
from caretrail.capture import recorder as recording
from caretrail.capture.exports import ExportAddresses
from caretrail.capture.forwarding import raw_path
from caretrail.capture.token_endpoints import TokenEndpoints, client_of
from caretrail.errors import Issue
from caretrail.fhir.operation_outcome import outcome_bytes
from caretrail.limits import CAPTURE_BODY_BYTES_MAX
from caretrail.patterns.authorization import ENDPOINTS
from caretrail.patterns.credential import opaque
from caretrail.patterns.exchange import (
    NOBODY,
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    Exchange,
    Identity,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from caretrail.capture.recorder import Recorder
    from caretrail.patterns.exchange import Failure

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_NOTES: Final = "caretrail.capture"
_REQUEST_ID: Final = b"x-request-id"
_READ: Final = {
    name.encode(): name
    for name in (
        *REQUEST_HEADERS,
        *RESPONSE_HEADERS,
        "content-encoding",
        "traceparent",
        "x-request-id",
    )
}
_UNRECORDED: Final = outcome_bytes(
    [
        Issue(
            "no-store",
            "access-unrecorded: the request cannot be recorded now, so no data are given",
        )
    ]
)


class Notes:
    """What the application knows better than its traffic shows; see `about`."""

    __slots__ = ("failure", "identity", "patients")

    def __init__(self) -> None:
        self.patients: list[str] = []
        self.identity: Identity | None = None
        self.failure: Failure = ""


def about(scope: Scope, *patients: str, identity: Identity | None = None) -> None:
    """Say of a request that is audited about which patients it is (`Patient/1`), and who asked.

    Without the middleware it does nothing.
    """
    notes = scope.get(_NOTES)
    if notes is not None:
        notes.patients += patients
        notes.identity = identity or notes.identity


def failed(scope: Scope, failure: Failure) -> None:
    """Say of a request that is audited that the answer is not the server's: it gave none."""
    notes = scope.get(_NOTES)
    if notes is not None:
        notes.failure = failure


def bearer(scope: Scope) -> Identity:
    """Return what may be said without reading a token: the end of the one that was presented.

    Nobody has checked the token here, so nothing in it is believed. Pass `identify` a function
    that reads what the application's own authentication has left in the scope.
    """
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return Identity(credential=opaque(value[7:].strip().decode("latin-1")))
    return NOBODY


class AuditMiddleware:
    """Wraps an ASGI application whose FHIR base is at `base`, with its authorization server.

    Other paths are not touched. `identify` is called when the answer begins, and so sees what inner
    middleware found out. `endpoints` says where tokens are given out.
    """

    def __init__(
        self,
        app: App,
        recorder: Recorder,
        *,
        base: str = "",
        identify: Callable[[Scope], Identity] = bearer,
        block: bool = True,
        endpoints: TokenEndpoints | None = None,
    ) -> None:
        self.endpoints = endpoints or TokenEndpoints()
        self.app, self.recorder, self.block = app, recorder, block
        self.base, self.identify = base.rstrip("/"), identify
        self.exports = ExportAddresses()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, and record it if it is one to the FHIR server."""
        if scope["type"] != "http" or scope["method"] == "OPTIONS":
            await self.app(scope, receive, send)  # A preflight (CORS) touches no data.
            return
        path = raw_path(scope).decode("latin-1")
        if not self.covers(scope["method"], path):
            await self.app(scope, receive, send)
            return
        known = self.endpoints.interaction(scope["method"], path)
        if not known:
            known = self.exports.interaction(scope["method"], path)
            path = path.removeprefix(self.base).lstrip("/")
        await _Call(self, scope, receive, send, path=path, known=known).run()

    def serves(self, method: str, path: str) -> bool:
        """Tell whether an address is of the FHIR server, one of an export, or one that was named."""
        return (
            path == self.base
            or path.startswith(f"{self.base}/")
            or bool(self.exports.interaction(method, path))
            or self.endpoints.is_named(method, path)
        )

    def covers(self, method: str, path: str) -> bool:
        """Tell whether a request is recorded: it is served, or gets tokens somewhere."""
        return self.serves(method, path) or bool(self.endpoints.interaction(method, path))


class _Call:
    """One request on its way through."""

    def __init__(
        self,
        owner: AuditMiddleware,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        path: str,
        known: str,
    ) -> None:
        self._owner, self._receive, self._send = owner, receive, send
        self._path, self._known = path, known
        self._asked_headers = _texts(scope["headers"])
        received = self._asked_headers.get("x-request-id")
        self._request_id = recording.request_id(received)
        # An inner application may copy the scope; what it notes is shared all the same.
        self._notes = Notes()
        self._scope = {**scope, _NOTES: self._notes}
        if received != self._request_id:
            others = [row for row in scope["headers"] if row[0] != _REQUEST_ID]
            self._scope["headers"] = [*others, (_REQUEST_ID, self._request_id.encode())]
        self._asked: list[bytes] = []
        self._asked_bytes = 0
        self._start: Message | None = None  # Held back until there is an event.
        self._status = 0
        self._answer_headers: dict[str, str] = {}
        self._answer: list[bytes] = []
        self._answer_bytes = 0
        self._is_examined = self._is_recorded = self._is_refused = self._is_gone = False

    async def run(self) -> None:
        """Serve the request, and record how it ends whichever way it ends."""
        try:
            await self._owner.app(self._scope, self._observe, self._answered)
        except asyncio.CancelledError:
            await asyncio.shield(self._finish("cancelled"))
            raise
        except TimeoutError:
            await self._finish("timeout")
            raise
        except Exception:
            # Whoever stands outside will answer so, unless an answer is on its way.
            if self._start is not None or not self._status:
                self._status = 500
            await self._finish()
            raise
        await self._finish("cancelled" if self._is_gone and not self._status else "")

    async def _observe(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._is_gone = True
        elif self._asked_bytes <= CAPTURE_BODY_BYTES_MAX and (body := message.get("body", b"")):
            self._asked_bytes += len(body)
            self._asked.append(body)
        return message

    async def _answered(self, message: Message) -> None:
        if self._is_refused:
            return
        kind = message["type"]
        if kind == "http.response.start":
            await self._begin(message)
        elif kind == "http.response.body":
            await self._go_on(message)
        else:
            await self._record_first()
            await self._send_on(message)

    async def _begin(self, message: Message) -> None:
        headers = list(message.get("headers", ()))
        self._status, self._answer_headers = message["status"], _texts(headers)
        if "x-request-id" not in self._answer_headers:
            headers.append((_REQUEST_ID, self._request_id.encode()))
        kind = self._answer_headers.get("content-type", "")
        self._is_examined = recording.is_examined(kind)
        self._start = {**message, "headers": headers}
        if not self._owner.block:
            await self._flush()

    async def _go_on(self, message: Message) -> None:
        body, is_last = message.get("body", b""), not message.get("more_body", False)
        if self._is_examined and self._answer_bytes <= CAPTURE_BODY_BYTES_MAX:
            self._answer.append(body)
            self._answer_bytes += len(body)
            is_held = self._owner.block and not self._is_recorded
            # A short answer waits to be understood; one that is too long for that is not kept back.
            if is_held and not is_last and self._answer_bytes <= CAPTURE_BODY_BYTES_MAX:
                return
            if is_held:
                await self._record_first(is_whole=is_last)
                if not self._is_refused:
                    await self._flush(self._answer, is_last=is_last)
                return
        else:
            await self._record_first()
        await self._send_on(message)

    async def _send_on(self, message: Message) -> None:
        if not self._is_refused:
            await self._flush()
            await self._send(message)

    async def _flush(self, chunks: list[bytes] | None = None, *, is_last: bool = False) -> None:
        if self._start is not None:
            start, self._start = self._start, None
            await self._send(start)
        if chunks is not None:
            body = b"".join(chunks)
            await self._send({"type": "http.response.body", "body": body, "more_body": not is_last})

    async def _record_first(self, *, is_whole: bool = True) -> None:
        """In block mode: record before anything leaves, or have 503 leave."""
        if self._is_recorded or not self._owner.block:
            return
        self._is_recorded = True
        exchange = self._exchange("", is_whole=is_whole)
        try:
            keeping = self._owner.recorder.begin(exchange)
            # Whoever goes away now leaves a record all the same, and one only.
            await asyncio.shield(keeping)
        except asyncio.CancelledError:
            await asyncio.wait([keeping])
            if keeping.exception() is not None:
                self._owner.recorder.lost += 1
                recording.log.exception("the events of an exchange were not recorded")
            raise
        except Exception:
            # Whatever the sink met: what is not recorded is not given.
            recording.log.exception("an answer was withheld, as it could not be recorded")
            await self._refuse()

    async def _refuse(self) -> None:
        self._is_refused = True
        headers = [
            (b"content-type", b"application/fhir+json"),
            (b"content-length", b"%d" % len(_UNRECORDED)),
            (_REQUEST_ID, self._request_id.encode()),
        ]
        await self._send({"type": "http.response.start", "status": 503, "headers": headers})
        await self._send({"type": "http.response.body", "body": _UNRECORDED})

    async def _finish(self, failure: Failure = "") -> None:
        """Record what was not recorded on the way: failures, and everything without `block`."""
        if not self._is_recorded:
            self._is_recorded = True
            is_whole = self._answer_bytes <= CAPTURE_BODY_BYTES_MAX
            exchange = self._exchange(failure, is_whole=is_whole)
            await self._owner.recorder.try_to_record(exchange)

    def _exchange(self, failure: Failure, *, is_whole: bool) -> Exchange:
        owner, scope = self._owner, self._scope
        exchange = Exchange(
            method=scope["method"],
            path=self._path,
            query=scope["query_string"].decode("latin-1"),
            request=recording.message(
                self._asked_headers,
                self._asked,
                REQUEST_HEADERS,
                is_whole=self._asked_bytes <= CAPTURE_BODY_BYTES_MAX,
            ),
            response=recording.message(
                self._answer_headers, self._answer, RESPONSE_HEADERS, is_whole=is_whole
            ),
            status=self._status,
            failure=failure or self._notes.failure,
            end=clock.instant(),
            server=owner.recorder.server,
            site=owner.recorder.site,
            address=(scope.get("client") or ("",))[0],
            identity=self._identity(),
            request_id=self._request_id,
            trace_id=recording.trace_id(self._asked_headers.get("traceparent")),
            patients=tuple(self._notes.patients),
            interaction=self._known,
        )
        owner.exports.learn(exchange)
        owner.endpoints.learn(exchange)
        return exchange

    def _identity(self) -> Identity:
        if self._notes.identity is not None:
            return self._notes.identity
        if self._known in ENDPOINTS:
            return client_of(self._scope["headers"])
        try:
            return self._owner.identify(self._scope)
        except Exception:
            # An event without a name is better than none; the log says why it has none.
            recording.log.exception("the one who asked could not be identified")
            return NOBODY


def _texts(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers that are looked at; ASGI has their names in lower case."""
    return {_READ[name]: value.decode("latin-1") for name, value in headers if name in _READ}
