"""From an observed exchange to events that a sink has kept: what all adapters share."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import zlib
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from caretrail.limits import CAPTURE_BODY_BYTES_MAX, REQUEST_ID_CHARACTERS_MAX
from caretrail.patterns.exchange import Message
from caretrail.patterns.observation import Machine, reference
from caretrail.patterns.recording import Policy, record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from caretrail.patterns.exchange import Exchange

log: Final = logging.getLogger("caretrail.capture")
_EXAMINED: Final = ("json", "xml")
_REQUEST_ID: Final = re.compile(rf"[!-~]{{1,{REQUEST_ID_CHARACTERS_MAX}}}")
# W3C Trace Context, 3.2: version, trace-id, parent-id, flags; an id of zeros is none.
_TRACE_PARENT: Final = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")
_INFLATED: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # The window bits that zlib wants.


class Sink(Protocol):
    """Where events go: a repository, a spool, a test's list."""

    async def record(self, events: Sequence[bytes]) -> None:
        """Keep the events of one exchange, all of them.

        On return they survive a crash of this process. After an error it is unknown which do; the
        sink has then tried what it could.
        """


@runtime_checkable
class PromptSink(Protocol):
    """A sink that takes events at once, and tells later that they are kept."""

    def begin(self, events: Sequence[bytes]) -> asyncio.Future[Any]:
        """Take the events; the future ends as `record` does.

        Whoever stops waiting changes nothing: the events are taken.
        """


class Recorder:
    """Makes the events of exchanges by one policy, which may be replaced, and has them kept.

    `server` is the FHIR server, or on the client side the application that records.
    """

    def __init__(
        self, sink: Sink, *, server: Machine, policy: Policy | None = None, site: str | None = None
    ) -> None:
        self.sink, self.server, self.site = sink, server, site
        self.policy = policy or Policy()
        self._prompt = sink if isinstance(sink, PromptSink) else None
        self.lost = 0

    def begin(self, exchange: Exchange) -> asyncio.Future[Any]:
        """Take an exchange; the future ends when its events are kept, or with the sink's error."""
        made = record(exchange, self.policy)
        if self._prompt is not None and made:
            return self._prompt.begin(made)
        return asyncio.ensure_future(self.keep(made))

    async def record(self, exchange: Exchange) -> None:
        """Return when the events of `exchange` are kept; raise what the sink raises."""
        await self.keep(record(exchange, self.policy))

    async def keep(self, events: Sequence[bytes]) -> None:
        """Return when these events are kept; raise what the sink raises."""
        if events:
            await self.sink.record(events)

    async def try_to_record(self, exchange: Exchange) -> None:
        """Record where nobody can be told of a failure: it is logged and counted in `lost`."""
        try:
            await self.record(exchange)
        except Exception:
            self.lost += 1
            log.exception("the events of an exchange were not recorded")


def fhir_server(base: str, device: str = "") -> Machine:
    """Return the FHIR server at the address `base`; `device` is a reference such as Device/1."""
    base = base.rstrip("/")
    who = reference(device) if device else {"identifier": {"value": base}}
    return Machine(who=who, address=base, address_type="5")


def is_examined(kind: str) -> bool:
    """Tell whether an answer of this media type can hold what is looked for.

    Of others no byte is kept, or kept waiting.
    """
    return any(word in kind for word in _EXAMINED)


def request_id(received: str | None) -> str:
    """Return the X-Request-Id that was received, or a new one where there is none fit for use."""
    if received is not None and _REQUEST_ID.fullmatch(received):
        return received
    # A UUID of version 4 (RFC 9562, 5.4).
    text = os.urandom(16).hex()
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


def trace_id(received: str | None) -> str | None:
    """Return the trace-id of a `traceparent`, where it has one (W3C Trace Context, 3.2)."""
    found = _TRACE_PARENT.fullmatch(received) if received else None
    return found[1] if found else None


def message(
    headers: Mapping[str, str],
    chunks: Iterable[bytes],
    shown: Sequence[str],
    *,
    is_whole: bool = True,
) -> Message:
    """Return one half of an exchange: only the headers of interest, and the body inflated."""
    body = b"".join(chunks)
    coding = headers.get("content-encoding", "").lower()
    if body and coding and coding != "identity":
        body, is_inflated = _inflated(body, coding)
        is_whole = is_whole and is_inflated
    kept = {name: headers[name] for name in shown if name in headers}
    return Message(headers=kept, body=body, is_whole=is_whole)


def _inflated(body: bytes, coding: str) -> tuple[bytes, bool]:
    """Return what the body holds, up to our bound, and whether that is all."""
    if coding not in _INFLATED:
        return b"", False
    inflater = zlib.decompressobj(_INFLATED[coding])
    try:
        plain = inflater.decompress(body, CAPTURE_BODY_BYTES_MAX)
    except zlib.error:
        return b"", False
    return plain, inflater.eof
