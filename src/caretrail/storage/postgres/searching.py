"""Searching a log in PostgreSQL: keys out of the index, events by their keys."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from caretrail.errors import StoreError
from caretrail.sequencer import HOUR_MILLISECONDS, bucket_of_key, key_of
from caretrail.storage import searching
from caretrail.storage.contract import Quarantined
from caretrail.storage.postgres.postings import Expression, Postings
from caretrail.storage.searching import read_issues

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from caretrail.search.term import Node
    from caretrail.storage.bodies import Bodies
    from caretrail.storage.contract import Deadline
    from caretrail.storage.postgres.connection import Connection
    from caretrail.storage.searching import Row

COLUMNS: Final = "e.k, e.entry, e.id, e.producer, e.kind, e.form, e.flags, e.irregular, e.body"
_BY_ID: Final = f"SELECT {COLUMNS} FROM leaf l JOIN event e ON e.k = l.k WHERE l.id = $1"  # noqa: S608
_BY_ENTRY: Final = (
    f"SELECT {COLUMNS} FROM leaf l JOIN event e ON e.k = l.k"  # noqa: S608
    " WHERE l.entry >= $1 AND l.entry < $2 ORDER BY l.entry {0} LIMIT $3"
)
_BY_KEYS: Final = (
    f"SELECT {COLUMNS} FROM unnest($1::bigint[]) WITH ORDINALITY t(k, number)"  # noqa: S608
    " JOIN event e ON e.k = t.k WHERE e.entry >= $2 AND e.entry < $3 ORDER BY t.number"
)
_BY_TIME: Final = (
    f"SELECT {COLUMNS} FROM event e WHERE e.k >= $1 AND e.k <= $2"  # noqa: S608
    " AND e.entry >= $3 AND e.entry < $4 ORDER BY e.k {0} LIMIT $5"
)
_EVENTS: Final = "SELECT count(*) FROM event WHERE k >= $1 AND k <= $2"
_FIRST_EVENTS: Final = 32
_EVENTS_MAX: Final = 512


class Searcher(searching.Searcher):
    """Reads of one thread, over a connection of its own."""

    def __init__(self, db: Connection, bodies: Bodies) -> None:
        super().__init__(bodies)
        self._db = db
        self._postings = Postings(db)

    @contextmanager
    def snapshot(self) -> Iterator[int]:
        """Let all reads within see the log at one size, and say which."""
        size = self._db.begin("SELECT size FROM head")
        try:
            yield size or 0
        finally:
            self._db.end()

    def rows_of(self, start: int, end: int, *, descending: bool) -> Iterable[Row]:
        """Yield the events at those places of the log."""
        statement = _BY_ENTRY.format("DESC" if descending else "ASC")
        limit = _FIRST_EVENTS
        while start < end:
            rows = self._db.fetch(statement, start, end, limit)
            yield from rows
            if len(rows) < limit:
                return
            start, end = (start, rows[-1][1]) if descending else (rows[-1][1] + 1, end)
            limit = min(2 * limit, _EVENTS_MAX)

    def rows_by_id(self, event_id: bytes) -> Iterable[Row]:
        """Return the event with that id, if there is one."""
        return self._db.fetch(_BY_ID, event_id)

    def expression(self, node: Node | None) -> Expression:
        """Return the node with the terms that are in the index."""
        return self._postings.expression(node)

    def scan(
        self,
        expression: Expression,
        low: int,
        high: int,
        entries: tuple[int, int],
        *,
        descending: bool,
    ) -> Iterable[Row]:
        """Yield, in order of keys, the events from key `low` to `high` whose entries are in a range."""
        if not expression.wanted:
            return self._all(low, high, entries, descending=descending)
        found = self._postings.scan(expression, low, high, descending=descending)
        return self._events(found, entries)

    def _events(self, found: Iterator[list[int]], entries: tuple[int, int]) -> Iterator[Row]:
        limit = _FIRST_EVENTS
        for keys in found:
            at = 0
            while at < len(keys):
                yield from self._db.fetch(_BY_KEYS, keys[at : at + limit], *entries)
                at, limit = at + limit, min(2 * limit, _EVENTS_MAX)

    def _all(
        self, low: int, high: int, entries: tuple[int, int], *, descending: bool
    ) -> Iterator[Row]:
        statement = _BY_TIME.format("DESC" if descending else "ASC")
        limit = _FIRST_EVENTS
        while low <= high:
            rows = self._db.fetch(statement, low, high, *entries, limit)
            yield from rows
            if len(rows) < limit:
                return
            last = rows[-1][0]
            low, high = (low, last - 1) if descending else (last + 1, high)
            limit = min(2 * limit, _EVENTS_MAX)

    def count_keys(self, expression: Expression, low: int, high: int) -> int:
        """Return how many events from key `low` to `high` the index has."""
        if expression.wanted:
            return self._postings.count(expression, low, high)
        count = self._count_all(low, high)
        if expression.without and count:
            nots = self._postings.count_any(expression.without, low, high)
            return count - nots
        return count

    def _count_all(self, low: int, high: int) -> int:
        """Count by whole hours where there are any, and event by event at the ends."""
        first, last = (
            -(-bucket_of_key(low) // HOUR_MILLISECONDS),
            (bucket_of_key(high) + 1) // HOUR_MILLISECONDS,
        )
        if first >= last:
            return int(self._db.value(_EVENTS, low, high))
        whole = "SELECT coalesce(sum(events), 0)::bigint FROM tally WHERE hour >= $1 AND hour < $2"
        count = int(self._db.value(whole, first, last))
        ends = (
            (low, key_of(first * HOUR_MILLISECONDS, 0) - 1),
            (key_of(last * HOUR_MILLISECONDS, 0), high),
        )
        return count + sum(int(self._db.value(_EVENTS, *one)) for one in ends if one[0] <= one[1])

    def count_erased(self, until: int) -> int:
        """Return how many of the first `until` entries were erased."""
        return int(self._db.value("SELECT count(*) FROM erased WHERE entry < $1", until))

    def received_at(self, entry: int) -> int:
        """Return when an entry was received, in milliseconds since 1970."""
        found = self._db.value("SELECT received FROM leaf WHERE entry = $1", entry)
        if found is None:
            raise StoreError("an entry of the log is missing: run `caretrail verify`")
        return int(found)

    def producers(self) -> Iterable[tuple[int, str, str]]:
        """Return the number, the name and the organisation of each producer."""
        rows: Sequence[Row] = self._db.fetch("SELECT number, name, organisation FROM producer")
        return ((row[0], row[1], row[2]) for row in rows)

    @contextmanager
    def limited(self, deadline: Deadline) -> Iterator[None]:
        """Stop what is asked within when the time is up, and raise TooCostlyError."""
        self._db.deadline = deadline
        try:
            yield
        finally:
            self._db.deadline = None

    def span(self) -> tuple[int, int] | None:
        """Return the first and the last millisecond that events have, or None without any."""
        ((low, high),) = self._db.fetch(
            "SELECT (SELECT k FROM event ORDER BY k LIMIT 1),"
            " (SELECT k FROM event ORDER BY k DESC LIMIT 1)"
        )
        return None if low is None else (bucket_of_key(low), bucket_of_key(high))

    def quarantined(self, *, after: int, limit: int) -> list[Quarantined]:
        """Return what was refused, from the number after `after` on."""
        ask = (
            "SELECT q.id, p.name, q.received, q.body, q.issues, p.organisation FROM quarantine q"
            " JOIN producer p ON p.number = q.producer WHERE q.id > $1 ORDER BY q.id LIMIT $2"
        )
        return [
            Quarantined(number, name, at, self.bodies.unpack(body), read_issues(issues), of)
            for number, name, at, body, issues, of in self._db.fetch(ask, after, limit)
        ]

    def values(self, key: str, *, limit: int, deadline: Deadline) -> list[tuple[str, int]]:
        """Return the commonest terms that begin with `key`, and how many events have each."""
        with self.limited(deadline):
            return self._postings.commonest(key, limit)
