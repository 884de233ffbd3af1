"""One feed: it follows the log from its cursor, and hands on what fits its filter.

In order and at least once: the cursor moves after the receiver has taken a batch, and a batch whose
fate is unknown goes again. Nothing is kept in memory but the batch under way, so an outage of days
costs nothing but time; the log itself is the queue.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from caretrail.capture.feed import pause
from caretrail.errors import ConfigurationError, Error
from caretrail.feeding import cursor as cursors
from caretrail.feeding.contract import Item, LaterError, Refused, RefusedError
from caretrail.feeding.cursor import Cursor
from caretrail.limits import (
    FEED_BYTES_MAX,
    FEED_ENTRIES_MAX,
    FEED_REFUSED_NAMED_MAX,
    FEED_REPORT_SECONDS,
    FEED_WAIT_SECONDS_MAX,
)
from caretrail.originals import served
from caretrail.patterns import own
from caretrail.search.matches import matches
from caretrail.tlog.entry import Kind as EntryKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from caretrail.feeding.contract import Receiver
    from caretrail.repository import Repository
    from caretrail.search.query import Query
    from caretrail.search.record import Record
    from caretrail.storage.contract import Reads

_log: Final = logging.getLogger(__name__)
_WAIT_SECONDS: Final = 0.1
# A cursor that only passed over events of others is written now and then.
_PASSED_OVER_MAX: Final = 10_000
_UNREADABLE: Final = "a file that the feed needs cannot be used"
_UNWRITABLE: Final = "it cannot be told in this format"


class Telling(NamedTuple):
    """Which events a feed is of, and what it makes of one (as it is served, in R4 JSON)."""

    query: Query
    write: Callable[[bytes, Record], bytes]
    own_events: bool = True

    def item(self, record: Record) -> Item | Refused | None:
        """Return what goes out for an event, None where it is not of this feed."""
        is_own = record.kind == EntryKind.OWN
        if (is_own and not self.own_events) or not matches(record, self.query):
            return None
        item = Item(record.entry, record.id, record.event.recorded, record.received, b"", is_own)
        body = served(record.body, record.form, event_id=record.id, received_ms=record.received)
        try:
            return item._replace(body=self.write(body, record))
        except Exception:  # Whatever one event does to a format, the others must not wait for it.
            _log.exception("an event was not written for a feed", extra={"entry": record.entry})
            return Refused(item, _UNWRITABLE)


class _Portion(NamedTuple):
    items: list[Item]
    refused: list[Refused]
    end: int
    size: int


class Feed:
    """A feed of a log; `run` ends when it is cancelled.

    `turn` is shared by all feeds: one of them reads the log at a time. `kind` is for people.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        repository: Repository,
        telling: Telling,
        receiver: Receiver,
        path: Path,
        *,
        turn: asyncio.Semaphore,
        begins_now: bool = False,
        batch: int = FEED_ENTRIES_MAX,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Go on where the file at `path` says; raise ConfigurationError when it is damaged."""
        self.name, self.kind = name, kind
        self._repository, self._telling, self._receiver = repository, telling, receiver
        self._path, self._turn, self._batch = path, turn, batch
        self._jitter, self._sleep = jitter, sleep
        found = cursors.load(path)
        size = repository.size
        if found is None:
            found = Cursor(size if begins_now else 0)
            cursors.save(path, found)
        # A log that was restored from a copy may be shorter; what it gets from then on is new.
        self.cursor = msgspec.structs.replace(found, next=min(found.next, size))
        self._kept = self.cursor
        self._grown = asyncio.Event()
        self._oldest: int | None = None
        self._failures = 0
        self.trouble = ""
        self._due = time.monotonic() + FEED_REPORT_SECONDS

    def wake(self) -> None:
        """Say that the log has grown."""
        self._grown.set()

    async def run(self) -> None:
        """Hand on for ever."""
        while True:
            try:
                at_end = await self._next()
                self._went_well()
                if at_end:
                    await self._wait()
            except Exception as error:
                await self._failed(error)

    async def close(self) -> None:
        """Keep where it is, tell the log what went out, and let go of the receiver."""
        try:
            await self._keep()
            await self._report()
        except Error as error:
            _log.error("a feed's place was not kept", extra={"feed": self.name, "why": str(error)})
        await self._receiver.close()

    @property
    def waiting(self) -> int:
        """Return how many entries it has not looked at, or not handed on."""
        return max(self._repository.size - self.cursor.next, 0)

    def lag_seconds(self, now: float) -> float:
        """Return how long the oldest event that waits for the receiver has waited."""
        return max(now - self._oldest / 1000, 0.0) if self._oldest is not None else 0.0

    def health(self) -> dict[str, Any]:
        """Return what a person wants to know of it."""
        return {
            "status": self.trouble or "ok",
            "kind": self.kind,
            "next_entry": self.cursor.next,
            "waiting": self.waiting,
            "lag_seconds": round(self.lag_seconds(time.time()), 1),
            "delivered": self.cursor.delivered,
            "refused": self.cursor.refusals,
            "refused_entries": [entry for entry, _ in self.cursor.refused],
        }

    async def _next(self) -> bool:
        """Hand on a portion; tell whether that was the end of the log."""
        self._grown.clear()
        portion = await self._read()
        if portion.items:
            self._oldest = portion.items[0].received
        refused = [*portion.refused, *await self._deliver(portion.items)]
        delivered = len(portion.items) + len(portion.refused) - len(refused)
        # What the log says of itself, such as this very thing, is no news of an export.
        untold = sum(one.is_own for one in portion.items)
        self.cursor = Cursor(
            portion.end,
            self.cursor.delivered + delivered,
            self.cursor.refusals + len(refused),
            (*self.cursor.refused, *((one.item.entry, one.why) for one in refused))[
                -FEED_REFUSED_NAMED_MAX:
            ],
            self.cursor.reported + untold,
        )
        self._oldest = None
        if delivered or refused or portion.end - self._kept.next > _PASSED_OVER_MAX:
            await self._keep()
        for one in refused:
            facts = {"feed": self.name, "entry": one.item.entry, "why": one.why}
            _log.error("the receiver of a feed refused an event", extra=facts)
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + FEED_REPORT_SECONDS
            await self._report()
        return portion.end >= portion.size

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(max(self._due - time.monotonic(), 0.0)):
                await self._grown.wait()
        except TimeoutError:
            pass  # An hour has gone by: it is told what went out.

    async def _read(self) -> _Portion:
        start = self.cursor.next
        async with self._turn:
            return await self._repository.look(lambda reads: self._portion(reads, start))

    def _portion(self, reads: Reads, start: int) -> _Portion:
        """Read some entries, and write what fits; this runs in a reader's thread."""
        with reads.snapshot() as size:
            end = min(start + self._batch, size)
            records = list(reads.entries(start, end)) if end > start else []
        items: list[Item] = []
        refused: list[Refused] = []
        total = 0
        for record in records:
            found = self._telling.item(record)
            if isinstance(found, Refused):
                refused.append(found)
            elif found is not None:
                total += len(found.body)
                if total > FEED_BYTES_MAX and items:
                    return _Portion(items, refused, record.entry, size)
                items.append(found)
        return _Portion(items, refused, max(end, start), size)

    async def _deliver(self, items: Sequence[Item]) -> Sequence[Refused]:
        """Return what the receiver refuses for good; it has all others."""
        if not items:
            return ()
        try:
            return await self._receiver.send(items)
        except RefusedError as error:
            if len(items) == 1:
                return (Refused(items[0], str(error)),)
        # One of them, or all of them together: halves tell which.
        half = len(items) // 2
        return (*await self._deliver(items[:half]), *await self._deliver(items[half:]))

    async def _keep(self) -> None:
        if self.cursor != self._kept:
            cursor = self.cursor
            await asyncio.to_thread(cursors.save, self._path, cursor)
            self._kept = cursor

    async def _report(self) -> None:
        """Let the log say what has left it: once an hour and at the end (DESIGN, decision 12)."""
        events = self.cursor.delivered - self.cursor.reported
        if events > 0:
            said = own.handed_on(
                self._repository.speaking(),
                feed=self.name,
                kind=self.kind,
                events=events,
                until=self.cursor.next,
            )
            await self._repository.record_own(said)
            self.cursor = msgspec.structs.replace(self.cursor, reported=self.cursor.delivered)
            await self._keep()

    def _went_well(self) -> None:
        if self.trouble:
            _log.info("a feed goes on", extra={"feed": self.name, "waiting": self.waiting})
        self.trouble, self._failures = "", 0

    async def _failed(self, error: Exception) -> None:
        """Say it once, and wait: longer each time, or as long as the receiver asks for."""
        told = str(error) if isinstance(error, Error) else f"a fault: {type(error).__name__}"
        why = told
        if isinstance(error, ConfigurationError):
            told = _UNREADABLE  # Everybody reads health; where our files are is in the log alone.
        if not isinstance(error, Error):
            _log.exception("a feed met a fault", extra={"feed": self.name})
        elif told != self.trouble:
            _log.warning("a feed waits", extra={"feed": self.name, "why": why})
        self.trouble = told
        asked = error.seconds if isinstance(error, LaterError) else 0.0
        wait = min(_WAIT_SECONDS * 2.0 ** min(self._failures, 20), FEED_WAIT_SECONDS_MAX)
        self._failures += 1
        await self._sleep(pause(wait, asked=asked, jitter=self._jitter()))
