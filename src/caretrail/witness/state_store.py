"""What a witness remembers, in SQLite: for each log the last checkpoint that it has cosigned."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caretrail import durable_file
from caretrail.errors import ConfigurationError, StoreError
from caretrail.tlog.witness import State, monitoring_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_VERSION: Final = 1
_BUSY_SECONDS: Final = 5.0
# The path is where auditors find the note (C2SP tlog-witness). A size may be 2^63, which SQLite's integers cannot say: it is text. The time is that of the
# cosignature, in seconds since 1970 UTC.
_TABLES: Final = """
CREATE TABLE identity (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), vkey TEXT NOT NULL) STRICT;
CREATE TABLE log (
  origin TEXT PRIMARY KEY, path TEXT NOT NULL UNIQUE, size TEXT NOT NULL, root BLOB NOT NULL,
  time INTEGER NOT NULL, note BLOB NOT NULL
) STRICT, WITHOUT ROWID;
"""


class Row(NamedTuple):
    """What was cosigned last for a log: its state, when, and the note with the cosignature."""

    state: State
    time: int
    note: bytes


class StateStore:
    """The memory of one witness. One thread uses it; other processes may share the file."""

    def __init__(self, path: Path) -> None:
        """Open the file, which is made on the first call; raises ConfigurationError."""
        self._path = path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(f"the state {path} cannot be opened or made") from error
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        try:
            # FULL: a commit is on the disk before it returns, and so before an answer is sent.
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if not version:
                with self._transaction():
                    self._make()
                durable_file.sync_folder(self._path.parent)
            elif version != _VERSION:
                raise ConfigurationError(
                    f"the state {self._path} is of another version of CareTrail: use that one"
                )
        except (OSError, sqlite3.Error, StoreError) as error:
            raise ConfigurationError(
                f"the state {self._path} is damaged, or cannot be written. Keep the file: without"
                " it the witness would believe whatever it is shown first"
            ) from error

    def _make(self) -> None:
        # Another process may have been quicker.
        if not self._connection.execute("PRAGMA user_version").fetchone()[0]:
            for statement in _TABLES.split(";"):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version = {_VERSION}")

    def vkey(self) -> str | None:
        """Return the verifier key that this witness has had from its first start on."""
        row = self._one("SELECT vkey FROM identity")
        return None if row is None else str(row[0])

    def set_vkey(self, vkey: str) -> None:
        """Remember the verifier key, for good."""
        with self._transaction():
            self._connection.execute("INSERT INTO identity VALUES (1, ?)", (vkey,))

    def get(self, origin: str) -> Row | None:
        """Return the row of a log; None when nothing of it was cosigned."""
        row = self._one("SELECT size, root, time, note FROM log WHERE origin = ?", origin)
        return None if row is None else Row(State(int(row[0]), row[1]), row[2], row[3])

    def note(self, path: str) -> bytes | None:
        """Return the last cosigned note, by its path for auditors."""
        row = self._one("SELECT note FROM log WHERE path = ?", path)
        return None if row is None else bytes(row[0])

    def states(self) -> list[tuple[str, int, int]]:
        """Return the origin, size and time of each log's row."""
        try:
            rows = self._connection.execute("SELECT origin, size, time FROM log ORDER BY origin")
            return [(str(origin), int(size), int(time)) for origin, size, time in rows]
        except sqlite3.Error as error:
            raise StoreError("the witness's state cannot be read") from error

    def latest_time(self) -> int:
        """Return the latest time of any cosignature; 0 before the first."""
        row = self._one("SELECT max(time) FROM log")
        assert row is not None
        return int(row[0] or 0)

    @contextmanager
    def exclusively(self) -> Iterator[StateStore]:
        """Keep all others from writing: what is read in between still holds when it is written.

        On leaving it what was put survives a power cut; after an error nothing was put, or, with
        StoreError, perhaps.
        """
        with self._transaction():
            yield self

    def put(self, origin: str, row: Row) -> None:
        """Put a row in the place of the last one."""
        path = monitoring_path(origin)
        values = (origin, path, str(row.state.size), row.state.root, row.time, row.note)
        self._connection.execute("INSERT OR REPLACE INTO log VALUES (?, ?, ?, ?, ?, ?)", values)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _one(self, statement: str, *values: str) -> tuple[Any, ...] | None:
        try:
            found = self._connection.execute(statement, values).fetchone()
        except sqlite3.Error as error:
            raise StoreError("the witness's state cannot be read") from error
        return None if found is None else tuple(found)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError("the witness's state cannot be written") from error
        finally:
            if self._connection.in_transaction:
                self._connection.rollback()
