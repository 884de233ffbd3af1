"""The numbers that sources give their events: unbroken runs (see the embedded store's `runs`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from caretrail.storage.postgres.connection import Connection

_BEFORE: Final = (
    "SELECT first, last, since, until FROM run WHERE producer = $1 AND first <= $2"
    " ORDER BY first DESC LIMIT 1"
)
_AFTER: Final = "SELECT first, last, since, until FROM run WHERE producer = $1 AND first = $2"
_DELETE: Final = "DELETE FROM run WHERE producer = $1 AND first = $2"
_INSERT: Final = "INSERT INTO run VALUES ($1, $2, $3, $4, $5)"


def add(db: Connection, producer: int, number: int, at: int) -> None:
    """Note that a producer's event of that number was received at the millisecond `at`."""
    first, last, since, until = number, number, at, at
    found = db.fetch(_BEFORE, producer, number)
    before = found[0] if found else None
    if before is not None and before[1] >= number:
        return  # It was there already.
    if before is not None and before[1] == number - 1:
        db.fetch(_DELETE, producer, before[0])
        first, since, until = before[0], min(before[2], since), max(before[3], until)
    found = db.fetch(_AFTER, producer, number + 1)
    if found:
        (after,) = found
        db.fetch(_DELETE, producer, after[0])
        last, since, until = after[1], min(after[2], since), max(after[3], until)
    db.fetch(_INSERT, producer, first, last, since, until)
