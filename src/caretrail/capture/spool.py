"""A durable queue between a source and its repository: an event in it survives a crash (AU-5).

Requests that wait at the same time share one write and one fsync. Numbers are given in the order in
which events are written, so a refused event leaves no gap.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.capture.spool_folder import Gap
from caretrail.capture.spool_writer import SpoolWriter
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


class _Kept(NamedTuple):
    """Events that came together, and who waits for the position of the last one, once durable.

    What `may_pass` is let pass where there is an emergency exception; its position is 0.
    """

    events: Sequence[bytes]
    done: asyncio.Future[int]
    may_pass: bool


class _Group(NamedTuple):
    """What is written at once: first the event of a gap, if there is one to tell of."""

    kept: list[_Kept]
    gap: Gap | None
    described: int


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
        self._writer = SpoolWriter(self._append)
        self._waiting: list[_Kept] = []
        self._waiting_bytes = 0
        self._group: _Group | None = None  # What is being written.
        self._is_due = False
        self._watchdog: asyncio.TimerHandle | None = None
        self._reader: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[None] | None = None
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
        await self.begin(events)

    def begin(self, events: Sequence[bytes]) -> asyncio.Future[int]:
        """Take the events; the future ends when they survive a power cut, or as `record` does."""
        return self._take(events, may_pass=True)

    async def keep(self, events: Sequence[bytes]) -> int:
        """Return the position of the last event once all are durable.

        Raises ThrottledError when the spool is full, StoreError when the disk fails or is too slow.
        """
        return await self._take(events, may_pass=False)

    def _take(self, events: Sequence[bytes], *, may_pass: bool) -> asyncio.Future[int]:
        loop = asyncio.get_running_loop()
        new = _Kept(events, loop.create_future(), may_pass)
        if self.size_bytes >= self._bytes_max:
            full = ThrottledError("the spool is full: the repository has to take events first")
            self._fail(new, full)
            return new.done
        self._waiting.append(new)
        self._waiting_bytes += sum(map(len, events))
        if self._group is None and not self._is_due:
            # Whatever else this turn of the loop brings is written with it.
            self._is_due = True
            loop.call_soon(self._write)
        return new.done

    def _fail(self, one: _Kept, error: Exception) -> None:
        """Tell of a failure, unless what cannot be kept may pass."""
        if one.done.done():
            return
        if self._emergency and one.may_pass:
            self._pass()
            one.done.set_result(0)
        else:
            one.done.set_exception(error)
            one.done.exception()  # Whoever waited may have given up.

    def _pass(self) -> None:
        now = int(self._clock() * 1000)
        self.passed_unrecorded += 1
        before = self._gap or Gap(now, now, 0, "the spool had no room (emergency exception)")
        self._gap = Gap(before.since_ms, now, before.exchanges + 1, before.reason)
        self._folder.note_gap(self._gap)

    def _write(self) -> None:
        """Hand all that waits to the writer, as one group."""
        self._is_due = False
        waiting, self._waiting = self._waiting, []
        gap = self._gap
        described = list(self._describe(gap)) if gap is not None else []
        self._group = _Group(waiting, gap, len(described))
        self._watch()
        events = [event for one in waiting for event in one.events]
        self._writer.write([*described, *events], self._written)

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        self._watchdog = loop.call_later(SPOOL_WRITE_SECONDS_MAX, self._give_up)

    def _give_up(self) -> None:
        """Let nobody wait for a disk that is too slow; what was taken may still be written."""
        self.is_failing = True
        assert self._group is not None
        for one in [*self._group.kept, *self._waiting]:
            self._fail(one, StoreError("the spool's disk is too slow"))
        self._watch()

    def _written(self, error: Exception | None) -> None:
        """Hear from the writer what became of the group, and go on with the next."""
        assert self._group is not None
        assert self._watchdog is not None
        self._watchdog.cancel()
        group, self._group = self._group, None
        self._waiting_bytes -= sum(len(event) for one in group.kept for event in one.events)
        if error is None:
            self._settle(group)
        else:
            self._refuse(group, error)
        if self._waiting:
            self._write()
        elif self._ended is not None and not self._is_due:
            self._ended.set_result(None)

    def _refuse(self, group: _Group, error: Exception) -> None:
        self.is_failing = True
        _log.error("events were not spooled", extra={"kind": type(error).__name__})
        for one in group.kept:
            self._fail(one, StoreError("the spool cannot be written"))

    def _append(self, events: list[bytes]) -> None:
        self._folder.append(events, at_ms=int(self._clock() * 1000))

    def _settle(self, group: _Group) -> None:
        if not self.depth:
            self._oldest_ms = int(self._clock() * 1000)
        self.is_failing = False
        position = self.durable + group.described
        if (gap := group.gap) is not None:
            # More may have passed meanwhile: those are the next gap.
            passed = self._gap.exchanges - gap.exchanges if self._gap else 0
            later = int(self._clock() * 1000)
            self._gap = Gap(gap.until_ms, later, passed, gap.reason) if passed else None
            self._folder.note_gap(self._gap)
        for one in group.kept:
            position += len(one.events)
            if not one.done.done():
                one.done.set_result(position)
        self.durable = self._folder.last
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

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

    async def grown(self) -> None:
        """Wait for events that the repository may not have."""
        while not self._folder.unread(self.durable):
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader

    async def batch(self) -> Batch:
        """Wait for events that the repository may not have, and return the next of them."""
        while True:
            await self.grown()
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
        if self._group is not None or self._is_due:
            self._ended = asyncio.get_running_loop().create_future()
            await self._ended
        self._writer.close()
        self._folder.close()


class Confirming:
    """A sink that answers when the repository has the events; until then the spool has them."""

    def __init__(self, spool: Spool, *, seconds: float = CONFIRM_SECONDS_MAX) -> None:
        self._spool, self._seconds = spool, seconds

    async def record(self, events: Sequence[bytes]) -> None:
        """Keep the events in both; after a StoreError the spool may still bring them later."""
        await self._spool.confirmed(await self._spool.keep(events), seconds=self._seconds)
