"""What is checked of a log in PostgreSQL (see `entry_check.Source`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from caretrail.storage.postgres import layout
from caretrail.storage.postgres.connection import UnansweredError
from caretrail.storage.postgres.searching import COLUMNS, Searcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from caretrail.storage.postgres.connection import Connection

_ROWS: Final = (
    f"SELECT l.entry, l.k, l.received, l.hash, l.id, e.salt, {COLUMNS} FROM leaf l"  # noqa: S608
    " LEFT JOIN event e ON e.k = l.k AND e.entry = l.entry"
    " WHERE l.entry >= $1 AND l.entry < $2 ORDER BY l.entry"
)
_ABSENT: Final = """
SELECT p.entry FROM unnest($1::bigint[], $2::bigint[]) p(value, entry) WHERE NOT EXISTS
    (SELECT 1 FROM fingerprint f WHERE f.value = p.value AND f.entry = p.entry) ORDER BY p.entry
"""


class Source:
    """The entries of a log over one connection."""

    # What the database does not answer is no finding about an entry.
    damage: tuple[type[Exception], ...] = (UnansweredError,)

    def __init__(self, db: Connection) -> None:
        self._db = db
        self.identity = layout.identity_of(db)
        self.reader = Searcher(db, layout.bodies_of(db))

    def rows(self, start: int, end: int) -> Iterator[Sequence[Any]]:
        """Return what there is of entries (see `entry_check.Source.rows`)."""
        for entry, k, received, leaf, named, salt, *row in self._db.fetch(_ROWS, start, end):
            if named != row[2]:
                salt = None  # By its id the event is not found.
            yield (entry, k, received, leaf, salt, *row)

    def erased(self, entry: int) -> tuple[bytes, int] | None:
        """Return what is left of an erased entry, and which entry says why."""
        rows = self._db.fetch("SELECT data, cause FROM erased WHERE entry = $1", entry)
        return (rows[0][0], rows[0][1]) if rows else None

    def without_fingerprint(self, pairs: Sequence[tuple[int, int]]) -> Iterable[int]:
        """Return the entries of those pairs that are not there."""
        values, entries = [value for value, _ in pairs], [entry for _, entry in pairs]
        return [row[0] for row in self._db.fetch(_ABSENT, values, entries)]
