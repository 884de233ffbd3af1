"""Searching a log in SQLite: a plan becomes statements over `term` and `event`."""

from __future__ import annotations

import heapq
import sqlite3
import uuid
from bisect import bisect_right
from contextlib import contextmanager
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail import originals
from caretrail.errors import Issue, StoreError, TooCostlyError
from caretrail.fhir import intake, temporal
from caretrail.search.matches import matches
from caretrail.search.order import Order
from caretrail.search.ranges import EVERYTHING, Range, intersection
from caretrail.search.record import Flag, Record
from caretrail.sequencer import (
    BUCKET_MAX,
    ENTRY_MASK,
    HOUR_MILLISECONDS,
    bucket_of,
    bucket_of_key,
    key_of,
)
from caretrail.storage.contract import Quarantined
from caretrail.storage.sqlite.expression import Expression, Vocabulary, beyond

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from caretrail.search.order import Place
    from caretrail.search.plan import Plan
    from caretrail.storage.bodies import Bodies
    from caretrail.storage.contract import Deadline

COLUMNS: Final = "e.k, e.entry, e.id, e.producer, e.kind, e.form, e.flags, e.irregular, e.body"
_SCAN_EVENTS: Final = (
    f"SELECT {COLUMNS} FROM event e WHERE e.k BETWEEN ? AND ?"  # noqa: S608
    " AND e.entry >= ? AND e.entry < ? ORDER BY e.k "
)
_SCAN_TERMS: Final = (
    f"SELECT {COLUMNS} FROM term t JOIN event e ON e.k = t.rowid WHERE t.term MATCH ?"  # noqa: S608
    " AND t.rowid BETWEEN ? AND ? AND e.entry >= ? AND e.entry < ? ORDER BY t.rowid "
)
# Events of one millisecond are put in exact order as long as there are no more than these.
_GROUP_MAX: Final = 10_000
_STEPS_PER_CHECK: Final = 1_000  # Of SQLite's virtual machine: a small part of a millisecond.
_RECORDS_PER_CHECK: Final = 64
# Fewer entries than these are read and put in order rather than looked up in the index.
_FEW_ENTRIES: Final = 512


class Searcher:
    """Reads of one thread, over a connection of its own."""

    def __init__(self, connection: sqlite3.Connection, bodies: Bodies) -> None:
        self._db = connection
        self.bodies = bodies
        self._producers: dict[int, tuple[str, str]] = {}
        self._vocabulary = Vocabulary(connection)

    def rows(self, statement: str, values: Sequence[Any]) -> Iterator[Record]:
        """Yield the events of a statement whose columns are `{}`."""
        for row in self._db.execute(statement.format(COLUMNS), values):
            yield self.record(row)

    def entries(self, start: int, end: int, *, descending: bool = False) -> Iterator[Record]:
        """Yield the events at those places of the log."""
        direction = "DESC" if descending else "ASC"
        return self.rows(
            f"SELECT {{}} FROM leaf l JOIN event e ON e.k = l.k WHERE l.entry >= ? AND l.entry < ? ORDER BY l.entry {direction}",  # noqa: S608
            (start, end),
        )

    @contextmanager
    def snapshot(self) -> Iterator[int]:
        """Let all reads within see the log at one size, and say which."""
        self._db.execute("BEGIN")
        try:
            yield (self._db.execute("SELECT size FROM head").fetchone() or (0,))[0]
        finally:
            self._db.execute("COMMIT")

    def page(
        self,
        plan: Plan,
        order: Order,
        *,
        after: Place | None,
        until: int,
        limit: int,
        deadline: Deadline,
    ) -> list[Record]:
        """Return the next `limit` events that fit (see `contract.Reads.page`)."""
        if plan.empty:
            return []
        with limited(self._db, deadline):
            found = self._fitting(plan, order, after=after, until=until, deadline=deadline)
            if order.natural == "date" or (order.natural == "entry" and plan.node is None):
                return list(islice(found, limit))
            rest = (
                one for one in found if after is None or order.compare(order.place(one), after) > 0
            )
            return heapq.nsmallest(limit, rest, key=order.key())

    def count(self, plan: Plan, *, until: int, deadline: Deadline) -> int:
        """Return how many events fit (see `contract.Reads.count`)."""
        if plan.empty:
            return 0
        if plan.recorded == EVERYTHING and plan.node is None and _is_by_index(plan):
            erased = "SELECT count(*) FROM erased WHERE entry < ?"
            return until - int(self._db.execute(erased, (until,)).fetchone()[0])
        with limited(self._db, deadline):
            expression = Expression.of(plan.node, self._vocabulary)
            if _is_counted(plan, expression):
                return sum(self._count(expression, one) for one in plan.recorded)
            order = Order.of(plan.query)
            found = self._fitting(plan, order, after=None, until=until, deadline=deadline)
            return sum(1 for _ in found)

    def _fitting(
        self, plan: Plan, order: Order, *, after: Place | None, until: int, deadline: Deadline
    ) -> Iterator[Record]:
        for n, record in enumerate(self._candidates(plan, order, after=after, until=until)):
            if not n % _RECORDS_PER_CHECK and deadline.remaining() <= 0:
                raise TooCostlyError(TOO_COSTLY)
            if matches(record, plan.query):
                yield record

    def histogram(
        self, plan: Plan, bounds: Sequence[int], *, until: int, deadline: Deadline
    ) -> list[int]:
        """Count the events between each two neighbours of `bounds` (milliseconds since 1970)."""
        with limited(self._db, deadline):
            expression = Expression.of(plan.node, self._vocabulary)
            if not _is_counted(plan, expression):
                order = Order.of(plan.query)
                found = self._fitting(plan, order, after=None, until=until, deadline=deadline)
                return _distributed(found, bounds)
            return [
                sum(self._count(expression, one) for one in intersection(plan.recorded, (bucket,)))
                for bucket in map(Range, bounds, bounds[1:])
            ]

    def span(self) -> tuple[int, int] | None:
        """Return the first and the last millisecond that events have, or None without any."""
        row = self._db.execute("SELECT min(k), max(k) FROM event").fetchone()
        return None if row[0] is None else (bucket_of_key(row[0]), bucket_of_key(row[1]))

    def quarantined(self, *, after: int, limit: int) -> list[Quarantined]:
        """Return what was refused, from the number after `after` on."""
        ask = (
            "SELECT q.id, p.name, q.received, q.body, q.issues FROM quarantine q"
            " JOIN producer p ON p.number = q.producer WHERE q.id > ? ORDER BY q.id LIMIT ?"
        )
        return [
            Quarantined(number, name, at, self.bodies.unpack(body), _issues.decode(issues))
            for number, name, at, body, issues in self._db.execute(ask, (after, limit))
        ]

    def values(self, key: str, *, limit: int, deadline: Deadline) -> list[tuple[str, int]]:
        """Return the commonest terms that begin with `key`, and how many events have each."""
        with limited(self._db, deadline):
            return self._db.execute(
                "SELECT term, doc FROM vocabulary WHERE term >= ? AND term < ?"
                " ORDER BY doc DESC LIMIT ?",
                (key, beyond(key), limit),
            ).fetchall()

    def _count(self, expression: Expression, one: Range) -> int:
        low, high = keys(one)
        if expression.nothing or low > high:
            return 0
        if expression.text is None:
            return self._count_all(low, high)
        statement = "SELECT count(*) FROM term WHERE term MATCH ? AND rowid BETWEEN ? AND ?"
        count: int = self._db.execute(statement, (expression.text, low, high)).fetchone()[0]
        return count

    def _count_all(self, low: int, high: int) -> int:
        """Count by whole hours where there are any, and event by event at the ends."""
        first, last = (
            -(-bucket_of_key(low) // HOUR_MILLISECONDS),
            (bucket_of_key(high) + 1) // HOUR_MILLISECONDS,
        )
        if first >= last:
            return self._count_events(low, high)
        whole = "SELECT coalesce(sum(events), 0) FROM tally WHERE hour >= ? AND hour < ?"
        count: int = self._db.execute(whole, (first, last)).fetchone()[0]
        head = self._count_events(low, key_of(first * HOUR_MILLISECONDS, 0) - 1)
        return head + count + self._count_events(key_of(last * HOUR_MILLISECONDS, 0), high)

    def _count_events(self, low: int, high: int) -> int:
        if low > high:
            return 0
        statement = "SELECT count(*) FROM event WHERE k BETWEEN ? AND ?"
        count: int = self._db.execute(statement, (low, high)).fetchone()[0]
        return count

    def _candidates(
        self, plan: Plan, order: Order, *, after: Place | None, until: int
    ) -> Iterator[Record]:
        first, end = self._entries_of(plan, until)
        if plan.ids is not None:
            listed = (self.read(one) for one in sorted(plan.ids))
            return _sorted((one for one in listed if one and one.entry < until), order, after)
        if end - first <= _FEW_ENTRIES:
            return _sorted(self.entries(first, end), order, after)
        expression = Expression.of(plan.node, self._vocabulary)
        if expression.nothing:
            return iter(())
        if order.natural == "entry" and plan.node is None:
            if after is not None:
                first, end = (
                    (first, min(end, after[-1])) if order.descending else (after[-1] + 1, end)
                )
            return self.entries(first, end, descending=order.descending)
        return self._by_time(plan, expression, order, after=after, entries=(first, end))

    def _entries_of(self, plan: Plan, until: int) -> tuple[int, int]:
        """Return the entries that a plan's ranges of receipt leave."""
        first, end = 0, until
        if plan.entries != EVERYTHING:
            first = max(first, plan.entries[0].start or 0)
            end = min(end, until if plan.entries[-1].end is None else plan.entries[-1].end)
        if plan.received != EVERYTHING:
            low, high = plan.received[0].start, plan.received[-1].end
            first = max(first, self._received_since(low, until) if low is not None else 0)
            end = min(end, self._received_since(high, until) if high is not None else until)
        return first, end

    def _received_since(self, milliseconds: int, until: int) -> int:
        """Return the first entry received at that time or later; times never fall."""
        low, high = 0, until
        while low < high:
            middle = (low + high) // 2
            (at,) = self._db.execute(
                "SELECT received FROM leaf WHERE entry = ?", (middle,)
            ).fetchone()
            if at < milliseconds:
                low = middle + 1
            else:
                high = middle
        return low

    def read(self, event_id: str) -> Record | None:
        """Return the event with that id."""
        try:
            key = uuid.UUID(event_id).bytes
        except ValueError:
            return None
        return next((row for row in self.rows(BY_ID, (key,)) if row.id == event_id), None)

    def _by_time(
        self,
        plan: Plan,
        expression: Expression,
        order: Order,
        *,
        after: Place | None,
        entries: tuple[int, int],
    ) -> Iterator[Record]:
        is_date = order.natural == "date"
        descending = order.descending or not is_date
        ranges = plan.recorded
        if after is not None and is_date:
            bucket, _ = bucket_of(*after[0])
            rest = Range(None, bucket + 1) if descending else Range(bucket, None)
            ranges = intersection(ranges, (rest,))
        for one in reversed(ranges) if descending else ranges:
            found = self._scan(expression, one, entries, descending=descending)
            if not is_date:
                yield from (record for _, _, record in found)
                continue
            for record in _exactly(found, order):
                if after is None or order.compare(order.place(record), after) > 0:
                    yield record

    def _scan(
        self, expression: Expression, one: Range, entries: tuple[int, int], *, descending: bool
    ) -> Iterator[tuple[int, int, Record]]:
        """Yield bucket, whether it does not say all of the instant, and event, in order of keys."""
        direction = "DESC" if descending else "ASC"
        if expression.text is None:
            statement = _SCAN_EVENTS + direction
            rows = self._db.execute(statement, (*keys(one), *entries))
        else:
            statement = _SCAN_TERMS + direction
            rows = self._db.execute(statement, (expression.text, *keys(one), *entries))
        for row in rows:
            yield bucket_of_key(row[0]), row[7], self.record(row)

    def record(self, row: Sequence[Any]) -> Record:
        """Return the event of a row of COLUMNS."""
        _, entry, identity, number, kind, written, flags, _, kept = row
        form = intake.Form(written)
        producer = self._producers.get(number)
        if producer is None:
            self._producers.update(
                (number, (name, organisation))
                for number, name, organisation in self._db.execute("SELECT * FROM producer")
            )
            producer = self._producers[number]
        body = self.bodies.unpack(kept, event=identity)
        return Record(
            originals.event_of(body, form, received_ms=received(identity)),
            str(uuid.UUID(bytes=identity)),
            entry,
            received(identity),
            Flag(flags),
            *producer,
            body,
            form,
            kind,
        )


_issues: Final = msgspec.json.Decoder(list[Issue])
BY_ID: Final = "SELECT {} FROM event e WHERE e.id = ?"
TOO_COSTLY: Final = (
    "the search took longer than it may: give a date range, or fewer or more exact values"
)


@contextmanager
def limited(connection: sqlite3.Connection, deadline: Deadline) -> Iterator[None]:
    """Stop the statements of a connection when the time is up, and say so."""
    connection.set_progress_handler(lambda: deadline.remaining() <= 0, _STEPS_PER_CHECK)
    try:
        yield
    except sqlite3.OperationalError as error:
        if deadline.remaining() > 0:
            raise StoreError("the store did not answer a search") from error
        raise TooCostlyError(TOO_COSTLY) from error
    finally:
        connection.set_progress_handler(None, 0)


def received(identity: bytes) -> int:
    """Return the milliseconds since 1970 in an id (RFC 9562, UUIDv7)."""
    return int.from_bytes(identity[:6])


def keys(one: Range) -> tuple[int, int]:
    """Return the lowest and the highest key of a range of milliseconds."""
    low = 0 if one.start is None else min(max(one.start, 0), BUCKET_MAX)
    high = BUCKET_MAX if one.end is None else min(max(one.end - 1, 0), BUCKET_MAX)
    return key_of(low, 0), key_of(high, ENTRY_MASK)


def _is_by_index(plan: Plan) -> bool:
    """Tell whether counting terms and keys is counting what fits.

    It is not where ranges end at keys that do not tell instants apart, or speak of receipt.
    """
    ends = (end for one in plan.recorded for end in one if end is not None)
    inside = all(0 < end <= BUCKET_MAX for end in ends)
    by_time = plan.received == plan.entries == EVERYTHING and plan.ids is None
    return plan.exact and inside and by_time


def _is_counted(plan: Plan, expression: Expression) -> bool:
    """Tell whether the index can count; it has no word for "all but these"."""
    return _is_by_index(plan) and not expression.unknown


def _distributed(found: Iterable[Record], bounds: Sequence[int]) -> list[int]:
    counts = [0] * (len(bounds) - 1)
    for record in found:
        # As its key has it, so that comparing and counting by the index say the same.
        bucket, _ = bucket_of(*temporal.exact_key(record.event.recorded))
        at = bisect_right(bounds, bucket) - 1
        if 0 <= at < len(counts):
            counts[at] += 1
    return counts


def _sorted(found: Iterable[Record], order: Order, after: Place | None) -> Iterator[Record]:
    for record in sorted(found, key=order.key()):
        if after is None or order.compare(order.place(record), after) > 0:
            yield record


def _exactly(found: Iterator[tuple[int, int, Record]], order: Order) -> Iterator[Record]:
    """Put events of one millisecond into the order of their exact instants."""
    for _, group in groupby(found, key=lambda row: row[0]):
        rows = list(islice(group, _GROUP_MAX))
        if len(rows) > 1 and any(irregular for _, irregular, _ in rows):
            yield from sorted((record for _, _, record in rows), key=order.key())
        else:
            yield from (record for _, _, record in rows)
        if len(rows) == _GROUP_MAX:
            yield from (record for _, _, record in group)
