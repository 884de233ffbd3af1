"""Searching a log in SQLite: statements over `term` and `event`."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from caretrail.errors import StoreError, TooCostlyError
from caretrail.search import counts
from caretrail.sequencer import DAY_MILLISECONDS, HOUR_MILLISECONDS, bucket_of_key, key_of
from caretrail.storage import searching
from caretrail.storage.contract import Quarantined
from caretrail.storage.searching import TOO_COSTLY, read_issues
from caretrail.storage.sqlite.expression import Expression, Vocabulary, beyond

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from caretrail.search.term import Node
    from caretrail.storage.bodies import Bodies
    from caretrail.storage.contract import Deadline
    from caretrail.storage.searching import Row

COLUMNS: Final = "e.k, e.entry, e.id, e.producer, e.kind, e.form, e.flags, e.irregular, e.body"
_BY_ID: Final = f"SELECT {COLUMNS} FROM event e WHERE e.id = ?"  # noqa: S608
_BY_ENTRY: Final = (
    f"SELECT {COLUMNS} FROM leaf l JOIN event e ON e.k = l.k"  # noqa: S608
    " WHERE l.entry >= ? AND l.entry < ? ORDER BY l.entry "
)
_SCAN_EVENTS: Final = (
    f"SELECT {COLUMNS} FROM event e WHERE e.k BETWEEN ? AND ?"  # noqa: S608
    " AND e.entry >= ? AND e.entry < ? ORDER BY e.k "
)
_SCAN_TERMS: Final = (
    f"SELECT {COLUMNS} FROM term t JOIN event e ON e.k = t.rowid WHERE t.term MATCH ?"  # noqa: S608
    " AND t.rowid BETWEEN ? AND ? AND e.entry >= ? AND e.entry < ? ORDER BY t.rowid "
)
_MATCHES: Final = "SELECT count(*) FROM term WHERE term MATCH ? AND rowid BETWEEN ? AND ?"
_EVENTS: Final = "SELECT count(*) FROM event WHERE k BETWEEN ? AND ?"
_TALLIED: Final = "SELECT coalesce(sum(events), 0) FROM tally WHERE hour >= ? AND hour < ?"
_COUNTED: Final = (
    "SELECT coalesce(sum(events), 0) FROM counter WHERE name = ? AND day >= ? AND day < ?"
)
_STEPS_PER_CHECK: Final = 1_000  # Of SQLite's virtual machine: a small part of a millisecond.


class Searcher(searching.Searcher):
    """Reads of one thread, over a connection of its own."""

    def __init__(self, connection: sqlite3.Connection, bodies: Bodies) -> None:
        super().__init__(bodies)
        self._db = connection
        self._vocabulary = Vocabulary(connection)

    @contextmanager
    def snapshot(self) -> Iterator[int]:
        """Let all reads within see the log at one size, and say which."""
        self._db.execute("BEGIN")
        try:
            yield (self._db.execute("SELECT size FROM head").fetchone() or (0,))[0]
        finally:
            self._db.execute("COMMIT")

    def rows_of(self, start: int, end: int, *, descending: bool) -> Iterable[Row]:
        """Yield the events at those places of the log."""
        direction = "DESC" if descending else "ASC"
        return self._db.execute(_BY_ENTRY + direction, (start, end))

    def rows_by_id(self, event_id: bytes) -> Iterable[Row]:
        """Return the event with that id, if there is one."""
        return self._db.execute(_BY_ID, (event_id,))

    def expression(self, node: Node | None) -> Expression:
        """Return the node in the language of the index."""
        return Expression.of(node, self._vocabulary)

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
        direction = "DESC" if descending else "ASC"
        if expression.text is None:
            return self._db.execute(_SCAN_EVENTS + direction, (low, high, *entries))
        return self._db.execute(_SCAN_TERMS + direction, (expression.text, low, high, *entries))

    def count_erased(self, until: int) -> int:
        """Return how many of the first `until` entries were erased."""
        ask = "SELECT count(*) FROM erased WHERE entry < ?"
        return int(self._db.execute(ask, (until,)).fetchone()[0])

    def received_at(self, entry: int) -> int:
        """Return when an entry was received, in milliseconds since 1970."""
        ask = "SELECT received FROM leaf WHERE entry = ?"
        return int(self._db.execute(ask, (entry,)).fetchone()[0])

    def producers(self) -> Iterable[tuple[int, str, str]]:
        """Return the number, the name and the organisation of each producer."""
        return self._db.execute("SELECT number, name, organisation FROM producer")

    def limited(self, deadline: Deadline) -> AbstractContextManager[None]:
        """Stop what is asked within when the time is up, and raise TooCostlyError."""
        return limited(self._db, deadline)

    def span(self) -> tuple[int, int] | None:
        """Return the first and the last millisecond that events have, or None without any."""
        row = self._db.execute("SELECT min(k), max(k) FROM event").fetchone()
        return None if row[0] is None else (bucket_of_key(row[0]), bucket_of_key(row[1]))

    def quarantined(self, *, after: int, limit: int) -> list[Quarantined]:
        """Return what was refused, from the number after `after` on."""
        ask = (
            "SELECT q.id, p.name, q.received, q.body, q.issues, p.organisation FROM quarantine q"
            " JOIN producer p ON p.number = q.producer WHERE q.id > ? ORDER BY q.id LIMIT ?"
        )
        return [
            Quarantined(number, name, at, self.bodies.unpack(body), read_issues(issues), of)
            for number, name, at, body, issues, of in self._db.execute(ask, (after, limit))
        ]

    def values(self, key: str, *, limit: int, deadline: Deadline) -> list[tuple[str, int]]:
        """Return the commonest terms that begin with `key`, and how many events have each."""
        with self.limited(deadline):
            return self._db.execute(
                "SELECT term, doc FROM vocabulary WHERE term >= ? AND term < ?"
                " ORDER BY doc DESC LIMIT ?",
                (key, beyond(key), limit),
            ).fetchall()

    def count_keys(self, expression: Expression, low: int, high: int) -> int:
        """Return how many events from key `low` to `high` the index has."""
        if expression.text is None:
            return self._summed(_TALLIED, (), _EVENTS, (), HOUR_MILLISECONDS, low, high)
        text = (expression.text,)
        if not expression.counters:
            return self._one(_MATCHES, (*text, low, high))
        return sum(
            self._summed(_COUNTED, (name,), _MATCHES, (_named(name),), DAY_MILLISECONDS, low, high)
            for name in expression.counters
        )

    def _summed(
        self,
        whole: str,
        of_whole: tuple[str, ...],
        each: str,
        of_each: tuple[str, ...],
        unit: int,
        low: int,
        high: int,
    ) -> int:
        """Count by whole hours or days where there are any, and event by event at the ends."""
        first = -(-bucket_of_key(low) // unit)
        last = (bucket_of_key(high) + 1) // unit
        if first >= last:
            return self._one(each, (*of_each, low, high))
        found = self._one(whole, (*of_whole, first, last))
        for start, end in ((low, key_of(first * unit, 0) - 1), (key_of(last * unit, 0), high)):
            if start <= end:
                found += self._one(each, (*of_each, start, end))
        return found

    def _one(self, statement: str, values: tuple[str | int, ...]) -> int:
        return int(self._db.execute(statement, values).fetchone()[0])


def _named(counter: str) -> str:
    """Return the expression of what a counter counts: a term, or what terms begin with."""
    return f'"{counter}" *' if counts.is_prefix(counter) else f'"{counter}"'


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
