"""A sink that sends events to an Audit Record Repository over HTTP (ITI-20, ATX: FHIR Feed)."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

import httpx

from caretrail.capture import feed
from caretrail.errors import StoreError, UnprocessableError
from caretrail.limits import (
    BUNDLE_ENTRIES_MAX,
    SEND_ATTEMPTS_MAX,
    SEND_SECONDS_MAX,
    SEND_WAIT_SECONDS_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

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
        self._headers = feed.headers(token)
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
                await self._sleep(feed.pause(wait, asked=asked, jitter=self._jitter()))
                wait = min(wait * 2, SEND_WAIT_SECONDS_MAX)
            try:
                response = await self._post(events)
            except httpx.TransportError:
                continue
            events = self._left(events, response)
            if not events:
                return
            asked = feed.retry_after(response, seconds_max=SEND_WAIT_SECONDS_MAX)
        raise StoreError(f"{len(events)} events did not reach the repository")

    async def _post(self, events: list[bytes]) -> httpx.Response:
        url, body = feed.addressed(self._base, events)
        return await self._client.post(url, content=body, headers=self._headers)

    def _left(self, events: list[bytes], response: httpx.Response) -> list[bytes]:
        """Return the events to send again, or raise UnprocessableError for one that never will."""
        status = response.status_code
        if status in feed.AGAIN:
            return events
        if not 200 <= status < 300:
            raise UnprocessableError(f"the repository answered {status} to audit events")
        if len(events) == 1:
            return []
        left = []
        for event, verdict in zip(events, feed.verdicts(response, len(events)), strict=True):
            if verdict.status in feed.AGAIN:
                left.append(event)
            elif not 200 <= verdict.status < 300:
                raise UnprocessableError(
                    f"the repository answered {verdict.status} to an audit event"
                )
        return left
