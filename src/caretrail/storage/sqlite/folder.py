"""The data folder: one process at a time, and a database that opens as it was left."""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import time
from pathlib import Path
from typing import Final

from caretrail import durable_file
from caretrail.errors import ConfigurationError, InUseError, StoreError
from caretrail.sequencer import Identity
from caretrail.storage import bodies
from caretrail.storage.bodies import Bodies
from caretrail.storage.data_keys import DataKeys
from caretrail.storage.sqlite.schema import FORMAT, PRAGMAS, TABLES

DATABASE: Final = "log.sqlite"
_LOCK: Final = "lock"
_READ_BUSY_SECONDS: Final = 30.0
# A process that was killed leaves its writer a moment to end its last commit.
_LOCK_SECONDS: Final = 3.0
_LOCK_STEP_SECONDS: Final = 0.02


class FolderLock:
    """The operating system's lock on a data folder: it ends with the process, however that ends."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.number = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        end = time.monotonic() + _LOCK_SECONDS
        while not self._taken():
            if time.monotonic() > end:
                os.close(self.number)
                raise InUseError(
                    f"another caretrail process works on {folder}: stop it, or choose another"
                    " --data"
                )
            time.sleep(_LOCK_STEP_SECONDS)

    def _taken(self) -> bool:
        try:
            fcntl.flock(self.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def release(self) -> None:
        """Let another process have the folder, once whoever else holds the descriptor has gone."""
        os.close(self.number)


def open_database(folder: Path, *, busy_seconds: float) -> sqlite3.Connection:
    """Open the log in `folder` for writing, and create it when there is none."""
    path = folder / DATABASE
    is_new = not path.exists()
    if is_new:
        _create(path)
    try:
        return _checked(connect(path, busy_seconds=busy_seconds), PRAGMAS)
    except sqlite3.DatabaseError as error:
        raise ConfigurationError(
            f"{path} is not a log that this version can read: restore it or choose another --data"
        ) from error


def connect(
    path: Path, *, mode: str = "rw", busy_seconds: float = _READ_BUSY_SECONDS
) -> sqlite3.Connection:
    """Return a connection that runs just the statements it is given."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, timeout=busy_seconds
    )
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def open_for_reading(folder: Path) -> sqlite3.Connection:
    """Open the log in `folder` to read it, also where nothing can be written.

    Raises ConfigurationError when there is no log that this version can read.
    """
    path = folder / DATABASE
    if not path.exists():
        raise ConfigurationError(f"there is no log in {folder}: name the folder given to --data")
    try:
        return _checked(connect(path, mode="ro"))
    except sqlite3.DatabaseError:
        # A copy on a medium that cannot be written to: SQLite must not look for its journal there.
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        try:
            return _checked(sqlite3.connect(uri, uri=True, isolation_level=None))
        except sqlite3.DatabaseError as error:
            raise ConfigurationError(f"{path} is not a log that this version can read") from error


def _checked(connection: sqlite3.Connection, settings: str = "") -> sqlite3.Connection:
    """Return the connection, so set; close it, and raise, where the database is of another format."""
    try:
        connection.executescript(settings)
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found != FORMAT:
            raise ConfigurationError(
                f"the data folder has storage format {found} and this version reads {FORMAT}:"
                " use the version of caretrail that wrote it"
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: Path) -> None:
    """Make the database aside and move it into place: it is there whole, or not at all."""
    aside = path.with_suffix(".new")
    aside.unlink(missing_ok=True)
    os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    connection = sqlite3.connect(aside, isolation_level=None)
    try:
        connection.executescript("PRAGMA page_size = 8192; PRAGMA journal_mode = OFF;" + TABLES)
        log = secrets.token_bytes(16)
        connection.executemany(
            "INSERT INTO property VALUES (?, ?)",
            (
                # The log's id is in every leaf; the keys make its tags and seal its page links.
                ("log", log),
                # Its name in checkpoints changes when it is recovered from a backup.
                ("origin", b"caretrail/" + log.hex().encode()),
                ("keys", b""),
                ("tag-key", secrets.token_bytes(32)),
                ("page-key", secrets.token_bytes(32)),
            ),
        )
        number = bodies.DICTIONARY
        connection.execute("INSERT INTO dictionary VALUES (?, ?)", (number, bodies.shipped(number)))
        connection.execute(f"PRAGMA user_version = {FORMAT}")
    except sqlite3.Error as error:
        raise StoreError(f"the log could not be created in {path.parent}") from error
    finally:
        connection.close()
    durable_file.sync_file(aside)
    aside.rename(path)
    durable_file.sync_folder(path.parent)


def identity_of(connection: sqlite3.Connection) -> Identity:
    """Return the log's id, and the key that its tags are made with."""
    properties = dict(connection.execute("SELECT name, value FROM property"))
    return Identity(properties["log"], properties["tag-key"])


def bodies_of(connection: sqlite3.Connection) -> Bodies:
    """Return what unpacks the bodies of a log, with the data keys that it names."""
    dictionaries = dict(connection.execute("SELECT number, data FROM dictionary"))
    named = connection.execute("SELECT value FROM property WHERE name = 'data-keys'").fetchone()
    return Bodies(dictionaries, DataKeys(Path(named[0].decode())) if named else None)


def name_data_keys(connection: sqlite3.Connection, path: Path, *, folder: Path) -> None:
    """Let the log name the file of its data keys, so that everybody who reads it finds them."""
    DataKeys(path, data=folder)
    connection.execute(
        "INSERT OR REPLACE INTO property VALUES ('data-keys', ?)", (str(path.resolve()).encode(),)
    )
