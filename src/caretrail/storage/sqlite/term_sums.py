"""The sum over SQLite's full-text index (`weights`), and the pairs one by one if it differs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from caretrail.errors import Error
from caretrail.search import index
from caretrail.storage.weights import HALF_BITS, PRIME

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable

    from caretrail.storage.searching import Searcher
    from caretrail.storage.weights import Weights

_DOCUMENTS_AT_ONCE: Final = 250_000
# After this time of reading somebody who is patient lets others write their journal back.
_READING_SECONDS: Final = 0.5
_SETUP: Final = (
    "CREATE VIRTUAL TABLE temp.pair USING fts5vocab(main, term, 'instance')",
    "CREATE TABLE temp.weight(k INTEGER PRIMARY KEY, low INTEGER NOT NULL, high INTEGER NOT NULL)",
)
# Of an event that came after those that are looked at there is no weight, and nothing to find.
_SUMS: Final = """
SELECT p.term, sum(w.low), sum(w.high), sum(CASE WHEN w.k IS NULL THEN
    coalesce((SELECT e.entry FROM event e WHERE e.k = p.doc), -1) < :size ELSE 0 END)
FROM temp.pair p LEFT JOIN temp.weight w ON w.k = p.doc
WHERE p.term > :after GROUP BY p.term ORDER BY p.term
"""


def prepare(db: sqlite3.Connection) -> None:
    """Make what the comparison needs, in the connection's own temporary database."""
    for statement in _SETUP:  # Not as a script: that would end the transaction.
        db.execute(statement)


def note(db: sqlite3.Connection, weights: Weights, keys: Iterable[int]) -> None:
    """Let these events take part in the sum of the index."""
    rows = ((k, *weights.halves(k)) for k in keys)
    db.executemany("INSERT OR IGNORE INTO temp.weight VALUES (?, ?, ?)", rows)


def stored(
    db: sqlite3.Connection, weights: Weights, size: int, rest: Callable[[], None]
) -> int | None:
    """Return the sum over the index, None when it has pairs of events that are not there.

    Events at entry `size` and later do not count. Between two terms `rest` is called now and then,
    and may end the transaction.
    """
    total, after, more = 0, "", True
    while more:
        more = False
        end = time.monotonic() + _READING_SECONDS
        for term, low, high, strange in db.execute(_SUMS, {"size": size, "after": after}):
            if strange:
                return None
            if low is not None:
                total += weights[term] * (low + (high << HALF_BITS))
            after = term
            if time.monotonic() > end:
                more = True
                break
        total %= PRIME
        if more:
            rest()
    return total


def find(
    db: sqlite3.Connection, reader: Searcher, size: int, add: Callable[[int | None, str], None]
) -> None:
    """Name the events whose terms in the index are not theirs, some at a time."""
    known = {k for (k,) in db.execute("SELECT k FROM event")}
    if any(k not in known for (k,) in db.execute("SELECT doc FROM temp.pair")):
        add(None, "the index has terms of an event that is not there")
    for first in range(0, size, _DOCUMENTS_AT_ONCE):
        _find_among(db, reader, range(first, min(size, first + _DOCUMENTS_AT_ONCE)), add)


def _find_among(
    db: sqlite3.Connection,
    reader: Searcher,
    entries: Iterable[int],
    add: Callable[[int | None, str], None],
) -> None:
    wanted: dict[int, tuple[int, set[str]]] = {}
    for entry in entries:
        row = db.execute("SELECT k FROM leaf WHERE entry = ?", (entry,)).fetchone()
        if row is None or row[0] is None:
            continue
        try:
            (record,) = reader.entries(entry, entry + 1)
        except (Error, ValueError, TypeError):
            continue  # The entry itself has been named.
        wanted[row[0]] = (entry, index.terms(record))
    extra: set[int] = set()
    for term, k in db.execute("SELECT term, doc FROM temp.pair"):
        if k in wanted:
            if term in wanted[k][1]:
                wanted[k][1].discard(term)
            else:
                extra.add(wanted[k][0])
    for entry in sorted(extra):
        add(entry, "the index has a term that is not the event's")
    for entry in sorted(entry for entry, missing in wanted.values() if missing):
        add(entry, "a term of the event is missing in the index")
