"""The repository: append, read and search one log. Here are the clock and the threads.

An event that is appended joins the open batch; its future resolves after the commit, so that an
answer means: durable, sequenced and searchable (DESIGN, decision 2).
"""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec

from caretrail import originals, retrieving
from caretrail.committer import Commit, Committer, Group
from caretrail.fhir import intake, profiles, temporal
from caretrail.fhir.intake import Form
from caretrail.limits import (
    EVENT_BYTES_REMEMBERED,
    FACET_EVENTS_MAX,
    SEARCH_COUNT_MAX,
    SEARCH_SECONDS_MAX,
)
from caretrail.patterns.own import Log
from caretrail.retrieving import Page, SecondsLeft
from caretrail.search.order import Order
from caretrail.search.parameters import BY_CODE
from caretrail.search.plan import compile_query
from caretrail.search.query import Sort, parse
from caretrail.search.record import NO_FLAGS, Flag, Record
from caretrail.search.sender import of_producer
from caretrail.sequencer import DAY_MILLISECONDS, Pending, prepare
from caretrail.statistics import Stats, statistics
from caretrail.storage.contract import Refused, Sender, Stored
from caretrail.tlog.entry import SALT_BYTES, Kind
from caretrail.tlog.key_history import KeyHistory
from caretrail.turns import TURN_EVENTS, Turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from caretrail.fhir.audit_event import AuditEvent
    from caretrail.patterns.codes import Code
    from caretrail.search.order import Place
    from caretrail.search.query import Query
    from caretrail.sequencer import Identity
    from caretrail.storage.contract import Proofs, Quarantined, Reads, Storage
    from caretrail.storage.data_keys import Month
    from caretrail.tlog.tree import Tree

__all__ = ["Page", "Refused", "Repository", "Sender", "Stats", "Stored", "Submission"]

T = TypeVar("T")

_READERS: Final = 2
# Who sends what the log says of itself; no credential has this name.
OWN: Final = Sender("caretrail:log")
_SENT_BY_ITSELF: Final = of_producer(OWN.producer)
_RANDOM_BYTES: Final = 10
_STOCK_BYTES: Final = 16_384


class Submission(NamedTuple):
    """An event to be kept: the bytes as received, what they are, and what they say.

    `flags` are what was noticed about it before it came here. Without an `event` it is a syslog
    frame or an audit message of DICOM, which is read here: it may need the time of its receipt.
    """

    body: bytes
    form: int
    event: AuditEvent | None
    flags: Flag = NO_FLAGS


class Repository:
    """One log."""

    def __init__(
        self,
        storage: Storage,
        *,
        clock: Callable[[], float] = time.time,
        on_commit: Callable[[Commit], None] = lambda _: None,
        copy_window: int = 0,
    ) -> None:
        """Open for events; copies are recognised for `copy_window` milliseconds, 0 for ever."""
        self._storage = storage
        self._clock = clock
        # Also after a restart with another clock the times of receipt never fall.
        self._received = storage.received
        self._noise = _Noise()
        self.turns = Turns()
        self._order = asyncio.Lock()
        self._committer = Committer(storage, on_commit=on_commit, copy_window=copy_window)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="reader")

    def speaking(self) -> Log:
        """Return the log as the one that says something now."""
        return Log(self.origin, temporal.format_instant(int(self._clock() * 1000)))

    async def close(self) -> None:
        """Commit what waits, and let go of the store."""
        await self._committer.close()
        self._readers.shutdown()
        await self._storage.close()

    # What ITI-20, Record Audit Event, asks for.

    async def append(
        self,
        submissions: Sequence[Submission],
        *,
        sender: Sender,
        unless: Query | None = None,
        is_backfill: bool = False,
    ) -> list[Stored]:
        """Keep the events, all in one transaction; return once they are durable and searchable.

        With `unless`, nothing is kept when one event fits that query: the answer is that event.
        A backfill brings old events on purpose, so their age is not taken for a wrong clock.
        Raises ThrottledError, StoreError or PreconditionError; after the first two the sender
        sends the same bytes again.
        """
        return await self._append(submissions, sender, unless=unless, is_backfill=is_backfill)

    async def record_own(self, event: dict[str, Any], *, organisation: str = "") -> Stored:
        """Keep a fact about the log itself (DESIGN, decision 12), in the same tree.

        One that concerns an organisation's own people is filed under it.
        """
        return await self.record_own_bytes(msgspec.json.encode(event), organisation=organisation)

    async def record_own_bytes(self, body: bytes, *, organisation: str = "") -> Stored:
        """Keep such a fact that is JSON already."""
        submission = Submission(body, Form.JSON_R4, intake.parse(body).event)
        sender = OWN._replace(organisation=organisation)
        (stored,) = await self._append([submission], sender, is_backfill=True, kind=Kind.OWN)
        return stored

    async def erase(self, entries: Sequence[int], *, cause: int) -> None:
        """Erase the contents of entries; the event at entry `cause` says why."""
        await self._storage.erase(entries, cause=cause)

    async def shred(self, month: Month) -> None:
        """Destroy the data key of a month for ever."""
        await self._storage.shred(month)

    async def purge(self) -> None:
        """Let nothing of what was erased stay in the store's files."""
        await self._storage.purge()

    async def quarantine(self, rows: Sequence[Refused], *, sender: Sender) -> None:
        """Keep what was refused, for its sender to mend."""
        size = sum(len(row.body) for row in rows)
        now = self._now()
        await self._put(lambda done: Group((), size, None, done, rows, sender, now))

    async def _append(
        self,
        submissions: Sequence[Submission],
        sender: Sender,
        *,
        unless: Query | None = None,
        is_backfill: bool,
        kind: int = Kind.EVENT,
    ) -> list[Stored]:
        size = sum(len(one.body) for one in submissions)
        events: list[Pending] = []
        await self.turns.take()
        # Who begins first is put first, so that the times of receipt rise with the entries.
        async with self._order:
            for number, one in enumerate(submissions, 1):
                events.append(self._prepare(one, sender, is_backfill=is_backfill, kind=kind))
                if number % TURN_EVENTS == 0:
                    await self.turns.take()
            done = self._put(lambda done: Group(events, size, unless, done))
        return await done

    def _put(
        self, make: Callable[[asyncio.Future[list[Stored]]], Group]
    ) -> asyncio.Future[list[Stored]]:
        """Add a group to the open batch; return what will become of it once it is on the disk."""
        done: asyncio.Future[list[Stored]] = asyncio.get_running_loop().create_future()
        self._committer.put(make(done))
        return done

    def _prepare(
        self, submission: Submission, sender: Sender, *, is_backfill: bool, kind: int
    ) -> Pending:
        body, form, event, flags = submission
        received = self._now()
        if event is None:
            event, noticed = originals.of(body, Form(form), received_ms=received)
            flags |= noticed
        if form != Form.JSON_R4:
            flags |= Flag.CONVERTED
        if event.meta is not None and event.meta.profile:
            # Of larger events no part is remembered.
            is_small = len(body) <= EVENT_BYTES_REMEMBERED
            if profiles.unmet(event, remember=is_small):
                flags |= Flag.PROFILE_UNMET
        if not is_backfill:
            recorded = temporal.instant(event.recorded).seconds * 1000
            if abs(recorded - received) >= DAY_MILLISECONDS:
                flags |= Flag.CLOCK_SKEW
        noise = self._noise.take(_RANDOM_BYTES + SALT_BYTES)
        record = Record(
            event,
            event_id(received, noise),
            -1,
            received,
            flags,
            *sender,
            body,
            int(form),
            int(kind),
        )
        return prepare(record, salt=noise[_RANDOM_BYTES:])

    def _now(self) -> int:
        """Return milliseconds since 1970; a clock that is set back stands still in the log."""
        self._received = max(self._received, int(self._clock() * 1000))
        return self._received

    # What ITI-81, Retrieve ATNA Audit Event, asks for.

    async def read(self, event_id: str) -> Record | None:
        """Return the event with that id."""
        return await self.look(lambda reads: reads.read(event_id))

    async def search(self, query: Query) -> Page:
        """Return a page of the events that fit; raise TooCostlyError or ExpiredError."""
        return await self.look(
            lambda reads: retrieving.search(reads, query, self._storage.page_key)
        )

    async def every(self, query: Query) -> AsyncIterator[Record]:
        """Yield all events that fit, page by page, as the log was at the first."""
        query = replace(query, count=SEARCH_COUNT_MAX, total="none", summary=None, page=None)
        while True:
            page = await self.search(query)
            for record in page.records:
                yield record
            if page.next is None:
                return
            query = replace(query, page=page.next)

    async def own_facts(
        self, subtype: Code, *, newest_first: bool = False
    ) -> AsyncIterator[Record]:
        """Yield the log's own events of a subtype, by their receipt.

        Anybody may send events that look like them; however many those are, they cost nothing.
        Raises TooCostlyError.
        """
        order = "-_lastUpdated" if newest_first else "_lastUpdated"
        query = parse([("subtype", subtype.code), ("_sort", order)], strict=True, base="")
        async for record in self.every(
            replace(query, within=(_SENT_BY_ITSELF,), binding=OWN.producer)
        ):
            # What is the log's own its entry says, whatever a sender is called.
            if record.kind == Kind.OWN:
                yield record

    async def included(self, query: Query, records: Sequence[Record]) -> list[Record]:
        """Return the events that `_include` and `_revinclude` add to a page."""
        return await self.look(lambda reads: retrieving.included(reads, query, records))

    async def stats(
        self,
        query: Query,
        by: Sequence[str],
        interval: str | None,
        *,
        newest: int = FACET_EVENTS_MAX,
    ) -> Stats:
        """Count the events that fit, by values of parameters (of the `newest`) and by time."""
        deadline = SecondsLeft(SEARCH_SECONDS_MAX)
        return await self.look(
            lambda reads: statistics(reads, query, by, interval, deadline, newest=newest)
        )

    # What operations and exports ask for.

    async def look(self, ask: Callable[[Reads], T]) -> T:
        """Return what is asked of the events; the asking runs in a reader's thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, lambda: ask(self._storage.searcher()))

    async def matching(self, query: Query, *, until: int) -> AsyncIterator[list[int]]:
        """Yield the entries of all events that fit among the first `until`, some at a time.

        They come by `recorded`. Raises TooCostlyError when some take too long to find.
        """
        plan, order = compile_query(query), Order((Sort(BY_CODE["date"], descending=False),))
        after: Place | None = None
        while True:
            ask = partial(retrieving.listed, plan=plan, order=order, after=after, until=until)
            found = await self.look(ask)
            if found:
                yield [record.entry for record in found]
            if len(found) < SEARCH_COUNT_MAX:
                return
            after = order.place(found[-1])

    async def quarantined(self, *, after: int, limit: int) -> list[Quarantined]:
        """Return what was refused, from the number after `after` on."""
        return await self.look(lambda reads: reads.quarantined(after=after, limit=limit))

    @property
    def identity(self) -> Identity:
        """Return the log's id, and the key that its tags are made with."""
        return self._storage.identity

    @property
    def keys(self) -> KeyHistory:
        """Return the keys that sign for the log, over its life."""
        return KeyHistory.parse(self._storage.keys)

    @property
    def origin(self) -> str:
        """Return the log's name in its checkpoints."""
        return self._storage.origin

    async def prove(self, ask: Callable[[Proofs], T]) -> T:
        """Return what is asked of the tree and its entries; the asking runs in a reader's thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, lambda: ask(self._storage.proofs()))

    @property
    def tree(self) -> Tree | None:
        """Return the tree as it is on disk, None while that is not known."""
        return self._committer.tree

    @property
    def waiting(self) -> int:
        """Return how many events wait for the disk."""
        return self._committer.waiting

    @property
    def size(self) -> int:
        """Return how many entries the log has."""
        return self._committer.size

    def health(self) -> dict[str, Any]:
        """Return the state of each part, and whether posts are taken."""
        behind = int(self._clock() * 1000) < self._received - 1000
        return {
            "accepting": not self._committer.failed,
            "store": {"status": "failed" if self._committer.failed else "ok"},
            "queue": {"status": "ok", "waiting": self.waiting},
            "quarantine": {"status": "full" if self._storage.quarantine_full else "ok"},
            "clock": {"status": "set back" if behind else "ok"},
            "integrity": {"status": "ok", "size": self._committer.size},
        }


class _Noise:
    """Random bytes from the operating system, asked for in stock: each asking costs a hand-over."""

    def __init__(self) -> None:
        self._stock, self._at = b"", 0

    def take(self, count: int) -> bytes:
        """Return bytes that nobody else gets."""
        if self._at + count > len(self._stock):
            self._stock, self._at = os.urandom(_STOCK_BYTES), 0
        self._at += count
        return self._stock[self._at - count : self._at]


def event_id(received: int, noise: bytes) -> str:
    """Return a UUIDv7 (RFC 9562, 5.7): milliseconds since 1970, then randomness."""
    digits = f"{received:012x}{noise[:10].hex()}"
    variant = "89ab"[noise[2] & 3]
    return f"{digits[:8]}-{digits[8:12]}-7{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"
