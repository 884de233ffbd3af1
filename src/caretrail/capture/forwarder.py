"""Brings what is in a spool to the repository: in order, again and again until it is there.

At least once: a batch whose answer was lost is sent again with the same bytes, and the numbers in
its events tell the repository that they are the same. Only what is refused for what it is, is laid
aside as a dead letter; everything else waits.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, Final

import httpx

from caretrail.capture import feed
from caretrail.capture.spool_folder import Gap
from caretrail.errors import StoreError, ThrottledError
from caretrail.limits import (
    FORWARD_ENTRIES_MAX,
    FORWARD_RETRY_AFTER_SECONDS_MAX,
    FORWARD_SECONDS_MAX,
    FORWARD_WAIT_SECONDS_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from caretrail.capture.segment import Frame
    from caretrail.capture.spool import Spool

_log: Final = logging.getLogger(__name__)
_WAIT_SECONDS: Final = 0.1
_PROGRESS_SECONDS: Final = 10.0
# Refused for what it is: these will not be answered otherwise tomorrow. Everything else, wrong
# addresses and credentials included, is ours or an operator's to mend, and the events wait for it.
_REFUSED: Final = frozenset([400, 409, 410, 412, 413, 415, 422])
_OUT_OF_REACH: Final = 0


class Forwarder:
    """Sends the events of `spool` to the FHIR base at `base`; `run` ends when it is cancelled.

    It waits `gathering_seconds` for more events, unless there is a batch of them.
    """

    def __init__(
        self,
        spool: Spool,
        base: str,
        *,
        client: httpx.AsyncClient | None = None,
        token: Callable[[], str] = str,
        gathering_seconds: float = 0.0,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._spool, self._base = spool, base.rstrip("/")
        self._client = client or httpx.AsyncClient(timeout=FORWARD_SECONDS_MAX)
        self._token, self._jitter, self._sleep, self._clock = token, jitter, sleep, clock
        self._gathering_seconds = gathering_seconds
        self._told = 0.0
        self.status = 200  # The last answer's; 0 while the repository is out of reach.

    @property
    def is_delivering(self) -> bool:
        """Tell whether the repository, when asked last, dealt with what it was sent."""
        return 200 <= self.status < 300 or self.status in _REFUSED

    async def run(self) -> None:
        """Forward for ever."""
        while True:
            try:
                await self._forward()
            except (StoreError, ThrottledError, OSError):
                # The spool's own disk: nothing was acknowledged, so nothing is lost by waiting.
                _log.exception("the spool cannot be read now")
                await self._spool.rewind()
                await self._sleep(FORWARD_WAIT_SECONDS_MAX)

    async def _forward(self) -> None:
        await self._spool.grown()
        if self._gathering_seconds and self._spool.depth < FORWARD_ENTRIES_MAX:
            await self._sleep(self._gathering_seconds)
        found = await self._spool.batch()
        if found.frames:
            await self._deliver(found.frames)
            await self._acknowledge(found.frames[-1].position)
            self._tell_progress()
        if found.lost:
            now = int(self._clock() * 1000)
            reason = f"{found.lost} events of the spool cannot be read"
            await self._spool.record_gap(Gap(now, now, 0, reason))

    async def _acknowledge(self, position: int) -> None:
        """Note what is delivered. The repository has it: a full disk must not make it go twice."""
        while True:
            try:
                return await self._spool.acknowledge(position)
            except OSError:
                _log.exception("the cursor of the spool cannot be written now")
                await self._sleep(FORWARD_WAIT_SECONDS_MAX)

    async def _deliver(self, frames: Sequence[Frame]) -> None:
        """Return when the repository has taken, or refused for good, each of the frames."""
        wait = _WAIT_SECONDS
        while True:
            response = await self._post(frames)
            status = response.status_code if response is not None else _OUT_OF_REACH
            self._note(status)
            left, asked = frames, 0.0
            if response is not None:
                if status in _REFUSED and len(frames) > 1:
                    # One of them, or all of them together: halves tell which.
                    await self._deliver(frames[: len(frames) // 2])
                    return await self._deliver(frames[len(frames) // 2 :])
                left = await self._judged(frames, response)
                asked = feed.retry_after(response, seconds_max=FORWARD_RETRY_AFTER_SECONDS_MAX)
            if not left:
                return None
            if len(left) < len(frames):
                wait = _WAIT_SECONDS
            frames = left
            await self._sleep(feed.pause(wait, asked=asked, jitter=self._jitter()))
            wait = min(wait * 2, FORWARD_WAIT_SECONDS_MAX)

    async def _post(self, frames: Sequence[Frame]) -> httpx.Response | None:
        url, body = feed.addressed(self._base, [frame.body for frame in frames])
        headers = feed.headers(self._token())
        try:
            return await self._client.post(url, content=body, headers=headers)
        except httpx.HTTPError:
            return None  # Whether it arrived is unknown: the same bytes go once more.

    async def _judged(self, frames: Sequence[Frame], response: httpx.Response) -> Sequence[Frame]:
        """Return the frames to send again; those that are refused for good are laid aside."""
        status = response.status_code
        if status in _REFUSED:
            verdicts = [feed.Verdict(status, feed.outcome_codes(response.content))]
        elif not 200 <= status < 300:
            return frames
        elif len(frames) == 1:
            return []
        else:
            verdicts = feed.verdicts(response, len(frames))
        left = []
        for frame, verdict in zip(frames, verdicts, strict=True):
            if verdict.status in _REFUSED:
                await self._spool.bury(frame, status=verdict.status, codes=verdict.codes)
                _log.error(
                    "the repository refused an event: it is a dead letter",
                    extra={"status": verdict.status, "codes": verdict.codes},
                )
            elif not 200 <= verdict.status < 300:
                left.append(frame)
        return left

    def _note(self, status: int) -> None:
        """Say once that delivering stopped, and once that it goes on."""
        was, now = 200 <= self.status < 300, 200 <= status < 300
        if was and not now:
            _log.warning("the repository takes no events", extra={"status": status})
        elif now and not was:
            _log.info("the repository takes events again", extra={"waiting": self._spool.depth})
        self.status = status

    def _tell_progress(self) -> None:
        now = self._clock()
        if self._spool.depth and now - self._told >= _PROGRESS_SECONDS:
            self._told = now
            _log.info("events wait in the spool", extra={"waiting": self._spool.depth})

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()
