"""The numbers that sources give their events, in SQLite: unbroken runs, and the gaps between them.

A source that numbers its events lets the log say what it never received. Numbers may come late or
out of order; a run grows at either end, and two that meet become one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

# A table of the embedded store; whoever verifies a log makes it anew in memory, to be compared with.
RUN: Final = """
CREATE TABLE run(producer INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    since INTEGER NOT NULL, until INTEGER NOT NULL, PRIMARY KEY(producer, first)) WITHOUT ROWID;
"""
_BEFORE: Final = (
    "SELECT first, last, since, until FROM run WHERE producer = ? AND first <= ?"
    " ORDER BY first DESC LIMIT 1"
)
_AFTER: Final = "SELECT first, last, since, until FROM run WHERE producer = ? AND first = ?"
_DELETE: Final = "DELETE FROM run WHERE producer = ? AND first = ?"
_INSERT: Final = "INSERT INTO run VALUES (?, ?, ?, ?, ?)"


def add(db: sqlite3.Connection, producer: int, number: int, at: int) -> None:
    """Note that a producer's event of that number was received at the millisecond `at`."""
    first, last, since, until = number, number, at, at
    before = db.execute(_BEFORE, (producer, number)).fetchone()
    if before is not None and before[1] >= number:
        return  # It was there already.
    if before is not None and before[1] == number - 1:
        db.execute(_DELETE, (producer, before[0]))
        first, since, until = before[0], min(before[2], since), max(before[3], until)
    after = db.execute(_AFTER, (producer, number + 1)).fetchone()
    if after is not None:
        db.execute(_DELETE, (producer, after[0]))
        last, since, until = after[1], min(after[2], since), max(after[3], until)
    db.execute(_INSERT, (producer, first, last, since, until))
