"""A sink that sends events to an Audit Record Repository over HTTP (ITI-20, ATX: FHIR Feed)."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

import httpx
import msgspec

from caretrail.errors import StoreError, UnprocessableError
from caretrail.limits import (
    BUNDLE_ENTRIES_MAX,
    SEND_ATTEMPTS_MAX,
    SEND_SECONDS_MAX,
    SEND_WAIT_SECONDS_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

_HEADERS: Final = {"content-type": "application/fhir+json", "prefer": "return=minimal"}
# "Send it again later", in the words of a repository or of what stands before it.
_AGAIN: Final = frozenset([408, 425, 429, 500, 502, 503, 504])
_WAIT_SECONDS: Final = 0.1


class HttpSink:
    """Sends events to the FHIR base at `base`: on return the repository has answered for each.

    It tries again while the repository is out of reach or asks for it, and raises StoreError when
    that was in vain, UnprocessableError when an event is refused. An event that arrived and is sent
    again is the same one to CareTrail, as its bytes are and it carries the X-Request-Id.
    """

    def __init__(
        self,
        base: str,
        *,
        client: httpx.AsyncClient | None = None,
        token: str | None = None,
        attempts: int = SEND_ATTEMPTS_MAX,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._base = base.rstrip("/")
        self._client = client or httpx.AsyncClient(timeout=SEND_SECONDS_MAX)
        self._headers = {**_HEADERS, **({"authorization": f"Bearer {token}"} if token else {})}
        self._attempts, self._jitter, self._sleep = attempts, jitter, sleep

    async def record(self, events: Sequence[bytes]) -> None:
        """Send the events, one alone or several as batches."""
        for at in range(0, len(events), BUNDLE_ENTRIES_MAX):
            await self._send(list(events[at : at + BUNDLE_ENTRIES_MAX]))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _send(self, events: list[bytes]) -> None:
        wait, asked = _WAIT_SECONDS, 0.0
        for attempt in range(self._attempts):
            if attempt:
                # Between half and the whole of it, so that many senders do not come back at once.
                await self._sleep(max(asked, wait * (0.5 + self._jitter() / 2)))
                wait = min(wait * 2, SEND_WAIT_SECONDS_MAX)
            try:
                response = await self._post(events)
            except httpx.TransportError:
                continue
            events = self._left(events, response)
            if not events:
                return
            asked = _retry_after(response)
        raise StoreError(f"{len(events)} events did not reach the repository")

    async def _post(self, events: list[bytes]) -> httpx.Response:
        if len(events) == 1:
            url, body = f"{self._base}/AuditEvent", events[0]
        else:
            url, body = self._base, _bundle(events)
        return await self._client.post(url, content=body, headers=self._headers)

    def _left(self, events: list[bytes], response: httpx.Response) -> list[bytes]:
        """Return the events to send again, or raise UnprocessableError for one that never will."""
        status = response.status_code
        if status in _AGAIN:
            return events
        if not 200 <= status < 300:
            raise UnprocessableError(f"the repository answered {status} to audit events")
        if len(events) == 1:
            return []
        left = []
        for event, code in zip(events, _statuses(response, len(events)), strict=True):
            if int(code[:3]) in _AGAIN:
                left.append(event)
            elif code[:1] != "2":
                raise UnprocessableError(f"the repository answered {code[:3]} to an audit event")
        return left


def _bundle(events: list[bytes]) -> bytes:
    """Return a batch, put together of the events' own bytes: they are evidence."""
    request = b',"request":{"method":"POST","url":"AuditEvent"}}'
    entries = b",".join(b'{"resource":' + event + request for event in events)
    return b'{"resourceType":"Bundle","type":"batch","entry":[' + entries + b"]}"


class _Answer(msgspec.Struct):
    status: str


class _Entry(msgspec.Struct):
    response: _Answer


class _Answers(msgspec.Struct):
    entry: list[_Entry]


def _statuses(response: httpx.Response, count: int) -> list[str]:
    """Return the status of each entry; an answer that does not say them all says none."""
    try:
        answers = msgspec.json.decode(response.content, type=_Answers)
    except msgspec.MsgspecError:
        return ["500"] * count
    statuses = [entry.response.status for entry in answers.entry]
    is_told = len(statuses) == count and all(status[:3].isdigit() for status in statuses)
    return statuses if is_told else ["500"] * count


def _retry_after(response: httpx.Response) -> float:
    """Return what the repository asks for in seconds, as far as we follow it (RFC 9110, 10.2.3)."""
    text = response.headers.get("retry-after", "")
    return min(float(text), SEND_WAIT_SECONDS_MAX) if text.isdigit() else 0.0
