"""What is checked of a log in SQLite (see `entry_check.Source`)."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Final

from caretrail.storage.sqlite import folder as folders
from caretrail.storage.sqlite.searching import COLUMNS, Searcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ROWS: Final = (
    f"SELECT l.entry, l.k, l.received, l.hash, e.salt, {COLUMNS} FROM leaf l"  # noqa: S608
    " LEFT JOIN event e ON e.k = l.k AND e.entry = l.entry"
    " WHERE l.entry >= ? AND l.entry < ? ORDER BY l.entry"
)
_ERASED: Final = "SELECT data, cause FROM erased WHERE entry = ?"
_FINGERPRINT: Final = "SELECT 1 FROM fingerprint WHERE value = ? AND entry = ?"


class Source:
    """The entries of a log over one connection."""

    damage: tuple[type[Exception], ...] = (sqlite3.Error,)

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.identity = folders.identity_of(db)
        self.reader = Searcher(db, folders.bodies_of(db))

    def rows(self, start: int, end: int) -> Iterable[Sequence[Any]]:
        """Return what there is of entries (see `entry_check.Source.rows`)."""
        return self._db.execute(_ROWS, (start, end))

    def erased(self, entry: int) -> tuple[bytes, int] | None:
        """Return what is left of an erased entry, and which entry says why."""
        row: tuple[bytes, int] | None = self._db.execute(_ERASED, (entry,)).fetchone()
        return row

    def without_fingerprint(self, pairs: Sequence[tuple[int, int]]) -> Iterable[int]:
        """Return the entries of those pairs that are not there."""
        execute = self._db.execute
        return [pair[1] for pair in pairs if execute(_FINGERPRINT, pair).fetchone() is None]
