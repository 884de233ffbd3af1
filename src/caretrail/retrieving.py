"""Pages of what a search finds, and what is included with them, out of one reader of the store."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from caretrail.errors import TooCostlyError
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
from caretrail.search.matches import visible
from caretrail.search.order import Order
from caretrail.search.plan import Plan, compile_query
from caretrail.search.query import parse as parse_query
from caretrail.search.reference import literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.search.order import Place
    from caretrail.search.query import Query
    from caretrail.search.record import Record
    from caretrail.storage.contract import Reads


class Page(NamedTuple):
    """A page of results; `next`, `previous` and `first` are values of `_page`."""

    records: list[Record]
    total: int | None
    estimated: bool = False
    next: str | None = None
    previous: str | None = None
    first: str | None = None


class SecondsLeft:
    """A deadline on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds left."""
        return self._end - time.monotonic()


def search(reads: Reads, query: Query, key: bytes) -> Page:
    """Return a page of the events that fit; `key` seals its links."""
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


def first_page(reads: Reads, query: Query, *, limit: int) -> list[Record]:
    """Return the first events that fit, as the log is now."""
    with reads.snapshot() as size:
        return reads.page(
            compile_query(query),
            Order.of(query),
            after=None,
            until=size,
            limit=limit,
            deadline=SecondsLeft(SEARCH_SECONDS_MAX),
        )


def listed(
    reads: Reads, *, plan: Plan, order: Order, after: Place | None, until: int
) -> list[Record]:
    """Return some of the events that fit among the first `until`, from a place in the order on."""
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


def included(reads: Reads, query: Query, records: Sequence[Record]) -> list[Record]:
    """Return events that the page's events are about, and events about the page's events."""
    shown = {record.id for record in records}
    found: dict[str, Record] = {}
    if query.include:
        for record in records:
            for event_id in _events_in(record):
                other = reads.read(event_id) if event_id not in shown else None
                if other is not None and visible(other, query):
                    found[other.id] = other
    if query.revinclude and records:
        values = ",".join(f"AuditEvent/{event_id}" for event_id in sorted(shown))
        asked = parse_query([("entity", values)], strict=True, base="")
        about = replace(asked, within=query.within)
        others = first_page(reads, about, limit=INCLUDED_MAX)
        found |= {other.id: other for other in others if other.id not in shown}
    return list(found.values())


def _events_in(record: Record) -> list[str]:
    references = (what.reference for what in Facts(record).entities)
    parts = (literal(reference) for reference in references if reference)
    return [part.id for part in parts if part and part.type == "AuditEvent"]
