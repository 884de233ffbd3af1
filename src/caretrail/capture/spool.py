"""A durable queue between a source and its repository: an event in it survives a crash (AU-5).

Requests that wait at the same time share one write and one fsync. Numbers are given in the order in
which events are written, so a refused event leaves no gap.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from caretrail.capture.spool_folder import Gap
from caretrail.errors import StoreError, ThrottledError
from caretrail.limits import (
    CONFIRM_SECONDS_MAX,
    FORWARD_BYTES_MAX,
    FORWARD_ENTRIES_MAX,
    SPOOL_BYTES_DEFAULT,
    SPOOL_RESERVE_SHARE,
    SPOOL_WRITE_SECONDS_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caretrail.capture.segment import Frame
    from caretrail.capture.spool_folder import Batch, SpoolFolder

_log: Final = logging.getLogger(__name__)


class Spool:
    """A sink that keeps events in a folder until a forwarder has brought them to the repository.

    With `emergency` what cannot be kept is let pass, counted, and recorded as a gap as soon as
    there is room; `describe` makes the event of a gap. Without it the sink raises.
    """

    def __init__(
        self,
        folder: SpoolFolder,
        *,
        describe: Callable[[Gap], Sequence[bytes]],
        bytes_max: int = SPOOL_BYTES_DEFAULT,
        emergency: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._describe, self._clock = folder, describe, clock
        self._bytes_max, self._emergency = bytes_max, emergency
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._waiting: list[tuple[Sequence[bytes], asyncio.Future[int]]] = []
        self._waiting_bytes = 0
        self._work: asyncio.Task[None] | None = None
        self._grown = asyncio.Condition()
        self._shrunk = asyncio.Condition()
        self._gap = folder.noted_gap()
        self._oldest_ms = 0
        self.durable = folder.last
        self.is_failing = False
        self.passed_unrecorded = 0

    @property
    def acknowledged(self) -> int:
        """Return the position up to which the repository has everything."""
        return self._folder.acknowledged

    @property
    def depth(self) -> int:
        """Return how many events the repository does not have yet."""
        return self.durable - self.acknowledged

    @property
    def letters(self) -> int:
        """Return how many events the repository has refused for good."""
        return self._folder.letters

    @property
    def size_bytes(self) -> int:
        """Return what is on disk and what waits for it."""
        return self._folder.size_bytes + self._waiting_bytes

    @property
    def lag_seconds(self) -> float:
        """Return how long the oldest event has been waiting for the repository."""
        return max(self._clock() - self._oldest_ms / 1000, 0) if self.depth else 0.0

    @property
    def admits(self) -> bool:
        """Tell whether the events of new exchanges will find room, or may go without."""
        room = self._bytes_max * (1 - SPOOL_RESERVE_SHARE)
        return self._emergency or (self.size_bytes < room and not self.is_failing)

    async def record(self, events: Sequence[bytes]) -> None:
        """Keep the events; on return they survive a power cut. See `keep`."""
        try:
            await self.keep(events)
        except (StoreError, ThrottledError):
            if not self._emergency:
                raise
            self._pass()

    async def keep(self, events: Sequence[bytes]) -> int:
        """Return the position of the last event once all are durable.

        Raises ThrottledError when the spool is full, StoreError when the disk fails or is too slow.
        """
        if self.size_bytes >= self._bytes_max:
            raise ThrottledError("the spool is full: the repository has to take events first")
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((events, done))
        self._waiting_bytes += sum(map(len, events))
        if self._work is None:
            self._work = asyncio.create_task(self._write())
        try:
            async with asyncio.timeout(SPOOL_WRITE_SECONDS_MAX):
                return await asyncio.shield(done)
        except TimeoutError as error:
            self.is_failing = True
            raise StoreError("the spool's disk is too slow") from error

    def _pass(self) -> None:
        now = int(self._clock() * 1000)
        self.passed_unrecorded += 1
        before = self._gap or Gap(now, now, 0, "the spool had no room (emergency exception)")
        self._gap = Gap(before.since_ms, now, before.exchanges + 1, before.reason)
        self._folder.note_gap(self._gap)

    async def _write(self) -> None:
        """Write all that waits, group by group, until nothing does."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                events = [event for own, _ in group for event in own]
                gap = self._gap
                described = list(self._describe(gap)) if gap is not None else []
                try:
                    await loop.run_in_executor(self._writer, self._append, [*described, *events])
                except Exception as error:
                    self._refuse(group, error)
                else:
                    self._settle(group, gap, len(described))
                    async with self._grown:
                        self._grown.notify_all()
                finally:
                    self._waiting_bytes -= sum(map(len, events))
        finally:
            self._work = None

    def _append(self, events: list[bytes]) -> None:
        self._folder.append(events, at_ms=int(self._clock() * 1000))

    def _refuse(
        self, group: list[tuple[Sequence[bytes], asyncio.Future[int]]], error: Exception
    ) -> None:
        self.is_failing = True
        _log.error("events were not spooled", extra={"kind": type(error).__name__})
        for _, done in group:
            if not done.cancelled():
                done.set_exception(StoreError("the spool cannot be written"))
                done.exception()  # Whoever waited may have given up; it is logged above.

    def _settle(
        self, group: list[tuple[Sequence[bytes], asyncio.Future[int]]], gap: Gap | None, before: int
    ) -> None:
        if not self.depth:
            self._oldest_ms = int(self._clock() * 1000)
        self.is_failing = False
        position = self.durable + before
        if gap is not None:
            # More may have passed meanwhile: those are the next gap.
            passed = self._gap.exchanges - gap.exchanges if self._gap else 0
            later = int(self._clock() * 1000)
            self._gap = Gap(gap.until_ms, later, passed, gap.reason) if passed else None
            self._folder.note_gap(self._gap)
        for events, done in group:
            position += len(events)
            if not done.cancelled():
                done.set_result(position)
        self.durable = self._folder.last

    async def record_gap(self, gap: Gap) -> None:
        """Record that something is missing; it is kept in mind until there is room."""
        before = self._gap
        since = min(before.since_ms, gap.since_ms) if before else gap.since_ms
        exchanges = gap.exchanges + (before.exchanges if before else 0)
        self._gap = Gap(since, gap.until_ms, exchanges, gap.reason)
        self._folder.note_gap(self._gap)
        await self.keep([])

    async def probe(self) -> None:
        """Find out whether a disk that failed is writable again, so that exchanges are let in."""
        if self.is_failing or (self._gap is not None and self.size_bytes < self._bytes_max):
            await self.keep([])

    async def batch(self) -> Batch:
        """Wait for events that the repository may not have, and return the next of them."""
        while True:
            async with self._grown:
                await self._grown.wait_for(lambda: self._unread)
            found = await asyncio.to_thread(
                self._folder.read,
                self.durable,
                entries_max=FORWARD_ENTRIES_MAX,
                bytes_max=FORWARD_BYTES_MAX,
            )
            if found.frames:
                self._oldest_ms = found.frames[0].at_ms
            if found.frames or found.lost:
                return found

    @property
    def _unread(self) -> bool:
        return self._folder.unread(self.durable)

    async def rewind(self) -> None:
        """Let `batch` begin again with the first event that the repository may not have."""
        await asyncio.to_thread(self._folder.rewind)

    async def acknowledge(self, position: int) -> None:
        """Note that the repository has all events up to `position`, and free their room."""
        await asyncio.to_thread(self._folder.acknowledge, position)
        async with self._shrunk:
            self._shrunk.notify_all()

    async def bury(self, frame: Frame, *, status: int, codes: list[str]) -> None:
        """Keep an event that the repository refuses for good, with the codes of why."""
        await asyncio.to_thread(self._folder.bury, frame, status=status, codes=codes)

    async def confirmed(self, position: int, *, seconds: float = CONFIRM_SECONDS_MAX) -> None:
        """Return when the repository has the event at `position`; raises StoreError after a time."""
        try:
            async with asyncio.timeout(seconds), self._shrunk:
                await self._shrunk.wait_for(lambda: self.acknowledged >= position)
        except TimeoutError as error:
            raise StoreError("the repository has not confirmed the events in time") from error

    async def close(self) -> None:
        """Finish what is being written, and note that the stop was an orderly one."""
        while self._work is not None:
            await asyncio.wait([self._work])
        self._writer.shutdown()
        self._folder.close()


class Confirming:
    """A sink that answers when the repository has the events; until then the spool has them."""

    def __init__(self, spool: Spool, *, seconds: float = CONFIRM_SECONDS_MAX) -> None:
        self._spool, self._seconds = spool, seconds

    async def record(self, events: Sequence[bytes]) -> None:
        """Keep the events in both; after a StoreError the spool may still bring them later."""
        await self._spool.confirmed(await self._spool.keep(events), seconds=self._seconds)
