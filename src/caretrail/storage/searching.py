"""Searching a log whose index keeps terms by key: what is the same for every backend that has one.

A backend scans its rows in order of keys and counts by its index. What order events of one
millisecond have, where pages begin, and when each event has to be compared, is decided here.
"""

from __future__ import annotations

import heapq
import uuid
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from caretrail import originals
from caretrail.errors import Issue, TooCostlyError
from caretrail.fhir import intake, temporal
from caretrail.search.matches import matches
from caretrail.search.order import Order
from caretrail.search.ranges import EVERYTHING, Range, Ranges, intersection
from caretrail.search.record import Flag, Record
from caretrail.sequencer import BUCKET_MAX, ENTRY_MASK, bucket_of, bucket_of_key, key_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from caretrail.search.order import Place
    from caretrail.search.plan import Plan
    from caretrail.search.term import Node
    from caretrail.storage.bodies import Bodies
    from caretrail.storage.contract import Deadline

# Events of one millisecond are put in exact order as long as there are no more than these.
_GROUP_MAX: Final = 10_000
_RECORDS_PER_CHECK: Final = 64
# Fewer entries than these are read and put in order rather than looked up in the index.
_FEW_ENTRIES: Final = 512
TOO_COSTLY: Final = (
    "the search took longer than it may: give a date range, or fewer or more exact values"
)
read_issues: Final = msgspec.json.Decoder(list[Issue]).decode

# An event as a backend has it: k, entry, id (16 bytes), number of the producer, kind, form, flags,
# whether its key does not say all of its instant, body as it is kept.
Row = Sequence[Any]


class Expression(Protocol):
    """A plan's node as a backend looks for it.

    With `nothing` no event can fit. With `unknown` the index cannot be asked: all events may fit,
    and each has to be compared.
    """

    @property
    def nothing(self) -> bool:
        """Tell whether no event can fit."""

    @property
    def unknown(self) -> bool:
        """Tell whether each event has to be compared."""


class Searcher(ABC):
    """Reads of one thread (see `contract.Reads`), over rows that a backend gives."""

    bodies: Bodies

    def __init__(self, bodies: Bodies) -> None:
        self.bodies = bodies
        self._producers: dict[int, tuple[str, str]] = {}

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[int]:
        """Let all reads within see the log at one size, and say which."""

    @abstractmethod
    def rows_of(self, start: int, end: int, *, descending: bool) -> Iterable[Row]:
        """Yield the events at those places of the log."""

    @abstractmethod
    def rows_by_id(self, event_id: bytes) -> Iterable[Row]:
        """Return the event with that id, if there is one."""

    @abstractmethod
    def expression(self, node: Node | None) -> Any:
        """Return what `scan` and `count_keys` are to look for, an Expression of the backend's own."""

    @abstractmethod
    def scan(
        self, expression: Any, low: int, high: int, entries: tuple[int, int], *, descending: bool
    ) -> Iterable[Row]:
        """Yield, in order of keys, the events from key `low` to `high` whose entries are in a range."""

    @abstractmethod
    def count_keys(self, expression: Any, low: int, high: int) -> int:
        """Return how many events from key `low` to `high` the index has."""

    @abstractmethod
    def count_erased(self, until: int) -> int:
        """Return how many of the first `until` entries were erased."""

    @abstractmethod
    def received_at(self, entry: int) -> int:
        """Return when an entry was received, in milliseconds since 1970."""

    @abstractmethod
    def producers(self) -> Iterable[tuple[int, str, str]]:
        """Return the number, the name and the organisation of each producer."""

    @abstractmethod
    def limited(self, deadline: Deadline) -> AbstractContextManager[None]:
        """Stop what is asked within when the time is up, and raise TooCostlyError."""

    def entries(self, start: int, end: int, *, descending: bool = False) -> Iterator[Record]:
        """Yield the events at those places of the log."""
        return map(self.record, self.rows_of(start, end, descending=descending))

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
        with self.limited(deadline):
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
            return until - self.count_erased(until)
        with self.limited(deadline):
            expression = self.expression(plan.node)
            if _is_counted(plan, expression):
                return sum(self._counted(expression, one) for one in plan.recorded)
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
        with self.limited(deadline):
            expression = self.expression(plan.node)
            if not _is_counted(plan, expression):
                order = Order.of(plan.query)
                found = self._fitting(plan, order, after=None, until=until, deadline=deadline)
                return _distributed(found, bounds)
            return [
                sum(
                    self._counted(expression, one) for one in intersection(plan.recorded, (bucket,))
                )
                for bucket in map(Range, bounds, bounds[1:])
            ]

    def _counted(self, expression: Expression, one: Range) -> int:
        low, high = keys(one)
        if expression.nothing or low > high:
            return 0
        return self.count_keys(expression, low, high)

    def _candidates(
        self, plan: Plan, order: Order, *, after: Place | None, until: int
    ) -> Iterator[Record]:
        first, end = self._entries_of(plan, until)
        if plan.ids is not None:
            listed = (self.read(one) for one in sorted(plan.ids))
            return _sorted((one for one in listed if one and one.entry < until), order, after)
        if end - first <= _FEW_ENTRIES:
            return _sorted(self.entries(first, end), order, after)
        expression = self.expression(plan.node)
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
            if self.received_at(middle) < milliseconds:
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
        found = map(self.record, self.rows_by_id(key))
        return next((record for record in found if record.id == event_id), None)

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
        spans = _spans(ranges)
        for low, high in reversed(spans) if descending else spans:
            rows = self.scan(expression, low, high, entries, descending=descending)
            if not is_date:
                yield from map(self.record, rows)
                continue
            found = ((bucket_of_key(row[0]), bool(row[7]), self.record(row)) for row in rows)
            for record in _exactly(found, order):
                if after is None or order.compare(order.place(record), after) > 0:
                    yield record

    def record(self, row: Row) -> Record:
        """Return the event of a row."""
        _, entry, identity, number, kind, written, flags, _, kept = row
        form = intake.Form(written)
        producer = self._producers.get(number)
        if producer is None:
            self._producers.update(
                (number, (name, organisation)) for number, name, organisation in self.producers()
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


def received(identity: bytes) -> int:
    """Return the milliseconds since 1970 in an id (RFC 9562, UUIDv7)."""
    return int.from_bytes(identity[:6])


def keys(one: Range) -> tuple[int, int]:
    """Return the lowest and the highest key of a range of milliseconds."""
    low = 0 if one.start is None else min(max(one.start, 0), BUCKET_MAX)
    high = BUCKET_MAX if one.end is None else min(max(one.end - 1, 0), BUCKET_MAX)
    return key_of(low, 0), key_of(high, ENTRY_MASK)


def _spans(ranges: Ranges) -> list[tuple[int, int]]:
    """Return the keys of ranges; those that share the first or the last key are one."""
    found: list[tuple[int, int]] = []
    for low, high in map(keys, ranges):
        if found and low <= found[-1][1]:
            low, high = found[-1][0], max(high, found.pop()[1])
        found.append((low, high))
    return found


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
