"""The gateway: an audited proxy for a FHIR server, and addresses that tell how it is.

What it cannot record it does not let through: a request is turned away before the server sees it
when its events would find no room.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from caretrail.capture import middleware
from caretrail.capture.forwarding import raw_path
from caretrail.capture.proxy import CLOSE, BrokenOffError, answer, respond
from caretrail.errors import RETRY_AFTER_SECONDS, Issue
from caretrail.limits import UPSTREAM_CONNECT_SECONDS
from caretrail.patterns.credential import token_of
from caretrail.patterns.exchange import Identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from caretrail.capture.forwarder import Forwarder
    from caretrail.capture.forwarding import Base
    from caretrail.capture.middleware import AuditMiddleware, Message, Receive, Scope, Send
    from caretrail.capture.proxy import Proxy
    from caretrail.capture.spool import Spool

# No address of FHIR begins so (R4, http, and RFC 8615), and what is below it never leaves here.
OWN: Final = "/caretrail-gateway"
_PROBE_SECONDS: Final = 2.0
_RETRY: Final = (b"retry-after", b"%d" % RETRY_AFTER_SECONDS)
_UNRECORDED: Final = Issue(
    "no-store", "access-unrecorded: nothing can be recorded now, so nothing is passed on"
)
_OUTSIDE: Final = Issue("not-found", "this gateway serves the FHIR base alone")
_BROKEN: Final = Issue("incomplete", "the FHIR server broke its answer off")


class Gateway:
    """An ASGI application: `audited` is the proxy with the audit around it.

    With `confirming` (on-failure `block`) requests are let in only while the repository takes
    events. `passed` are path prefixes outside of the FHIR base that go through without a record,
    but for the token endpoints among them.
    """

    def __init__(
        self,
        audited: AuditMiddleware,
        proxy: Proxy,
        *,
        upstream: Base,
        public: Base,
        spool: Spool,
        forwarder: Forwarder,
        confirming: bool,
        passed: tuple[str, ...] = (),
    ) -> None:
        self._audited, self._proxy = audited, proxy
        self._upstream, self._public, self._passed = upstream, public, passed
        self._spool, self._forwarder, self._confirming = spool, forwarder, confirming
        self._probed = (0.0, False)
        self.turned_away = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        path = raw_path(scope).decode("latin-1")
        if path.startswith(OWN):
            await self._own(path.removeprefix(OWN), send)
        elif self._audited.serves(scope["method"], path):
            await self._audit(scope, receive, send)
        elif any(path == one or path.startswith(f"{one}/") for one in self._passed):
            if self._audited.covers(scope["method"], path):
                await self._audit(scope, receive, send)
            else:
                await self._guard(self._proxy, scope, receive, send)
        else:
            await answer(send, 404, _OUTSIDE, CLOSE)

    async def _audit(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.admits:
            self.turned_away += 1
            await answer(send, 503, _UNRECORDED, CLOSE, _RETRY)
            return
        await self._guard(self._audited, scope, receive, send)

    @property
    def admits(self) -> bool:
        """Tell whether an exchange that begins now will be recorded."""
        return self._spool.admits and (self._forwarder.is_delivering or not self._confirming)

    async def _guard(
        self, inner: middleware.App, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Tell the client of an answer that was broken off, as long as nothing of it has left."""
        has_begun = False

        async def sending(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await inner(scope, receive, sending)
        except BrokenOffError:
            if has_begun:
                raise  # The server closes the connection, which tells the client.
            await answer(send, 502, _BROKEN)

    async def _own(self, path: str, send: Send) -> None:
        if path == "/health/live":
            await _tell(send, 200, {"status": "live"})
        elif path == "/health/ready":
            facts = self.facts()
            facts["upstream"] = "up" if await self._is_up() else "down"
            is_ready = self.admits and facts["upstream"] == "up"
            await _tell(send, 200 if is_ready else 503, {"ready": is_ready, **facts})
        elif path == "/metrics":
            await _tell_text(send, self._metrics())
        else:
            await answer(send, 404, _OUTSIDE)

    def facts(self) -> dict[str, Any]:
        """Return how the way to the repository is, in numbers."""
        spool = self._spool
        return {
            "admits": self.admits,
            "repository": "delivering" if self._forwarder.is_delivering else "failing",
            "repository_status": self._forwarder.status,
            "spool_events": spool.depth,
            "spool_bytes": spool.size_bytes,
            "spool_lag_seconds": round(spool.lag_seconds, 3),
            "spool_failing": spool.is_failing,
            "dead_letters": spool.letters,
            "turned_away": self.turned_away,
            "passed_unrecorded": spool.passed_unrecorded,
            "unrecorded": self._audited.recorder.lost,
        }

    def _metrics(self) -> str:
        """Return the numbers in Prometheus' text format."""
        rows = []
        for name, value in self.facts().items():
            if isinstance(value, int | float):
                full = f"caretrail_gateway_{name}"
                rows.append(f"# TYPE {full} gauge\n{full} {float(value):g}\n")
        return "".join(rows)

    async def _is_up(self) -> bool:
        """Tell whether the server takes connections; it is asked no oftener than every 2 s."""
        at, was_up = self._probed
        if time.monotonic() - at < _PROBE_SECONDS:
            return was_up
        parts = urlsplit(self._upstream.origin)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            async with asyncio.timeout(UPSTREAM_CONNECT_SECONDS):
                _, writer = await asyncio.open_connection(parts.hostname, port)
            writer.close()
            is_up = True
        except (OSError, TimeoutError):
            is_up = False
        self._probed = (time.monotonic(), is_up)
        return is_up


def believing() -> Callable[[Scope], None]:
    """Return what notes who asked: by the claims of a token that the server has accepted.

    Only for a server that checks every token's signature: nobody checks it here.
    """

    def note(scope: Scope) -> None:
        claims = _claims(scope)
        if claims is not None:
            middleware.about(scope, identity=Identity(credential=token_of(claims)))

    return note


def _claims(scope: Scope) -> dict[str, Any] | None:
    """Return the claims of the bearer token, or None where it is no JWT (RFC 7519)."""
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            parts = value[7:].strip().split(b".")
            if len(parts) == 3:
                try:
                    text = base64.urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4))
                    return msgspec.json.decode(text, type=dict[str, Any])
                except (binascii.Error, ValueError):
                    return None
    return None


async def _tell(send: Send, status: int, facts: dict[str, Any]) -> None:
    await respond(send, status, b"application/json", msgspec.json.encode(facts))


async def _tell_text(send: Send, text: str) -> None:
    await respond(send, 200, b"text/plain; version=0.0.4", text.encode())
