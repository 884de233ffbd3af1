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

from caretrail.committer import Commit, Committer, Group, SecondsLeft
from caretrail.errors import TooCostlyError
from caretrail.fhir import intake, profiles, temporal
from caretrail.fhir.intake import Form
from caretrail.limits import (
    EXPORT_PAGE_SECONDS_MAX,
    INCLUDED_MAX,
    SEARCH_COUNT_MAX,
    SEARCH_SECONDS_MAX,
    SMALL_LOG_ENTRIES,
    TOTAL_SECONDS_FREE,
    TOTAL_SECONDS_SMALL_LOG,
)
from caretrail.search import cursor
from caretrail.search.cursor import Cursor
from caretrail.search.elements import Facts
from caretrail.search.order import Order
from caretrail.search.parameters import BY_CODE
from caretrail.search.plan import Plan, compile_query
from caretrail.search.query import Sort
from caretrail.search.query import parse as parse_query
from caretrail.search.record import NO_FLAGS, Flag, Record
from caretrail.search.reference import literal
from caretrail.sequencer import DAY_MILLISECONDS, Pending, prepare
from caretrail.statistics import Stats, statistics
from caretrail.storage.contract import Refused, Sender, Stored
from caretrail.tlog.entry import SALT_BYTES, Kind
from caretrail.tlog.key_history import KeyHistory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from caretrail.fhir.audit_event import AuditEvent
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
_RANDOM_BYTES: Final = 10
_STOCK_BYTES: Final = 16_384


class Submission(NamedTuple):
    """An event to be kept: the bytes as received, what they are, and what they say."""

    body: bytes
    form: int
    event: AuditEvent


class Page(NamedTuple):
    """A page of results; `next`, `previous` and `first` are values of `_page`."""

    records: list[Record]
    total: int | None
    estimated: bool = False
    next: str | None = None
    previous: str | None = None
    first: str | None = None


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
        self._committer = Committer(storage, on_commit=on_commit, copy_window=copy_window)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="reader")

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
        events = [self._prepare(one, sender, is_backfill=is_backfill) for one in submissions]
        size = sum(len(one.body) for one in submissions)
        done: asyncio.Future[list[Stored]] = asyncio.get_running_loop().create_future()
        self._committer.put(Group(events, size, unless, done))
        return await done

    async def record_own(self, event: dict[str, Any]) -> Stored:
        """Keep a fact about the log itself (DESIGN, decision 12), in the same tree."""
        body = msgspec.json.encode(event)
        pending = self._prepare(
            Submission(body, Form.JSON_R4, intake.parse(body).event), OWN, is_backfill=True
        )
        record = pending.record._replace(kind=int(Kind.OWN))
        pending = prepare(record, salt=pending.salt, identity=self._storage.identity)
        done: asyncio.Future[list[Stored]] = asyncio.get_running_loop().create_future()
        self._committer.put(Group([pending], len(body), None, done))
        (stored,) = await done
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
        done: asyncio.Future[list[Stored]] = asyncio.get_running_loop().create_future()
        self._committer.put(Group((), size, None, done, rows, sender, self._now()))
        await done

    def _prepare(self, submission: Submission, sender: Sender, *, is_backfill: bool) -> Pending:
        body, form, event = submission
        received = self._now()
        flags = Flag.CONVERTED if form != Form.JSON_R4 else NO_FLAGS
        if event.meta is not None and event.meta.profile and profiles.unmet(event):
            flags |= Flag.PROFILE_UNMET
        if not is_backfill:
            recorded = temporal.instant(event.recorded).seconds * 1000
            if abs(recorded - received) >= DAY_MILLISECONDS:
                flags |= Flag.CLOCK_SKEW
        noise = self._noise.take(_RANDOM_BYTES + SALT_BYTES)
        record = Record(
            event, event_id(received, noise), -1, received, flags, *sender, body, int(form)
        )
        return prepare(record, salt=noise[_RANDOM_BYTES:], identity=self._storage.identity)

    def _now(self) -> int:
        """Return milliseconds since 1970; a clock that is set back stands still in the log."""
        self._received = max(self._received, int(self._clock() * 1000))
        return self._received

    # What ITI-81, Retrieve ATNA Audit Event, asks for.

    async def read(self, event_id: str) -> Record | None:
        """Return the event with that id."""
        return await self._read(lambda reads: reads.read(event_id))

    async def search(self, query: Query) -> Page:
        """Return a page of the events that fit; raise TooCostlyError or ExpiredError."""
        return await self._read(lambda reads: _search(reads, query, self._storage.page_key))

    async def every(self, query: Query) -> AsyncIterator[Record]:
        """Yield all events that fit, page by page, as the log was at the first."""
        query = replace(query, count=SEARCH_COUNT_MAX, total="none")
        while True:
            page = await self.search(query)
            for record in page.records:
                yield record
            if page.next is None:
                return
            query = replace(query, page=page.next)

    async def included(self, query: Query, records: Sequence[Record]) -> list[Record]:
        """Return the events that `_include` and `_revinclude` add to a page."""
        return await self._read(lambda reads: _included(reads, query, records))

    async def stats(self, query: Query, by: Sequence[str], interval: str | None) -> Stats:
        """Count the events that fit, by values of parameters and by time."""
        deadline = SecondsLeft(SEARCH_SECONDS_MAX)
        return await self._read(lambda reads: statistics(reads, query, by, interval, deadline))

    async def _read(self, ask: Callable[[Reads], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, lambda: ask(self._storage.searcher()))

    # What operations and exports ask for.

    async def look(self, ask: Callable[[Reads], T]) -> T:
        """Return what is asked of the events; the asking runs in a reader's thread."""
        return await self._read(ask)

    async def matching(self, query: Query, *, until: int) -> AsyncIterator[list[int]]:
        """Yield the entries of all events that fit among the first `until`, some at a time.

        They come by `recorded`. Raises TooCostlyError when some take too long to find.
        """
        plan, order = compile_query(query), Order((Sort(BY_CODE["date"], descending=False),))
        after: Place | None = None
        while True:
            ask = partial(_listed, plan=plan, order=order, after=after, until=until)
            found = await self._read(ask)
            if found:
                yield [record.entry for record in found]
            if len(found) < SEARCH_COUNT_MAX:
                return
            after = order.place(found[-1])

    async def quarantined(self, *, after: int, limit: int) -> list[Quarantined]:
        """Return what was refused, from the number after `after` on."""
        return await self._read(lambda reads: reads.quarantined(after=after, limit=limit))

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


def _search(reads: Reads, query: Query, key: bytes) -> Page:
    deadline = SecondsLeft(SEARCH_SECONDS_MAX)
    plan = compile_query(query)
    with reads.snapshot() as size:
        if query.summary == "count":
            return Page([], reads.count(plan, until=size, deadline=deadline))
        if query.page is not None:
            start = cursor.decode(query.page, query, key=key)
        else:
            start = Cursor([], size, None)
        order = Order.of(query)
        if start.backward:
            order = order.turned()
        found = reads.page(
            plan,
            order,
            after=start.place or None,
            until=start.until,
            limit=query.count + 1,
            deadline=deadline,
        )
        more = len(found) > query.count
        records = found[: query.count]
        if query.page is None:
            start = _with_total(reads, query, plan, start, None if more else len(records))
    if start.backward:
        records.reverse()
    return _page(query, records, start, more=more, key=key)


def _listed(
    reads: Reads, *, plan: Plan, order: Order, after: Place | None, until: int
) -> list[Record]:
    return reads.page(
        plan,
        order,
        after=after,
        until=until,
        limit=SEARCH_COUNT_MAX,
        deadline=SecondsLeft(EXPORT_PAGE_SECONDS_MAX),
    )


def _with_total(reads: Reads, query: Query, plan: Plan, start: Cursor, known: int | None) -> Cursor:
    """Count what fits: for as long as it takes if asked for, else only if it takes no time."""
    if known is not None or query.total == "none":
        return Cursor(start.place, start.until, known)
    seconds = TOTAL_SECONDS_SMALL_LOG if start.until <= SMALL_LOG_ENTRIES else TOTAL_SECONDS_FREE
    if query.total == "accurate":
        seconds = SEARCH_SECONDS_MAX
    try:
        total = reads.count(plan, until=start.until, deadline=SecondsLeft(seconds))
    except TooCostlyError:
        if query.total == "accurate":
            raise
        return start
    return Cursor(start.place, start.until, total)


def _page(query: Query, records: list[Record], start: Cursor, *, more: bool, key: bytes) -> Page:
    order = Order.of(query)
    is_first = query.page is None
    has_next = more if not start.backward else True
    has_previous = more if start.backward else not is_first

    def link(record: Record, *, backward: bool) -> str:
        place = order.place(record)
        return Cursor(place, start.until, start.total, start.estimated, backward).encode(
            query, key=key
        )

    return Page(
        records,
        start.total,
        start.estimated,
        next=link(records[-1], backward=False) if records and has_next else None,
        previous=link(records[0], backward=True) if records and has_previous else None,
        first=Cursor([], start.until, start.total, start.estimated).encode(query, key=key),
    )


def _included(reads: Reads, query: Query, records: Sequence[Record]) -> list[Record]:
    """Return events that the page's events are about, and events about the page's events."""
    shown = {record.id for record in records}
    found: dict[str, Record] = {}
    if query.include:
        for record in records:
            for event_id in _events_in(record):
                other = reads.read(event_id) if event_id not in shown else None
                if other is not None:
                    found[other.id] = other
    if query.revinclude and records:
        values = ",".join(f"AuditEvent/{event_id}" for event_id in sorted(shown))
        about = parse_query([("entity", values)], strict=True, base="")
        with reads.snapshot() as size:
            others = reads.page(
                compile_query(about),
                Order.of(about),
                after=None,
                until=size,
                limit=INCLUDED_MAX,
                deadline=SecondsLeft(SEARCH_SECONDS_MAX),
            )
        found |= {other.id: other for other in others if other.id not in shown}
    return list(found.values())


def _events_in(record: Record) -> list[str]:
    references = (what.reference for what in Facts(record).entities)
    parts = (literal(reference) for reference in references if reference)
    return [part.id for part in parts if part and part.type == "AuditEvent"]
