"""A database that has a log: its tables made and brought up to date, one writer at a time."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from caretrail.errors import ConfigurationError, InUseError, StoreError
from caretrail.sequencer import Identity
from caretrail.storage import bodies
from caretrail.storage.bodies import Bodies
from caretrail.storage.data_keys import DataKeys
from caretrail.storage.postgres.connection import SCHEMA, Connection
from caretrail.storage.postgres.schema import GRANTS, MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

# Advisory locks are numbers of a database: this one is "caretrail" in ASCII, as far as it fits.
_LOCK: Final = int.from_bytes(b"caretrai")
# The server notices that a client was killed when it next reads from it.
_LOCK_SECONDS: Final = 10.0
_LOCK_STEP_SECONDS: Final = 0.05
WRITER: Final = "caretrail_writer"


def lock(db: Connection) -> None:
    """Let this connection be the log's only writer; the lock ends with it, however that ends.

    Raises InUseError when somebody else writes.
    """
    end = time.monotonic() + _LOCK_SECONDS
    while not db.value("SELECT pg_try_advisory_lock($1)", _LOCK):
        if time.monotonic() > end:
            raise InUseError(
                "another caretrail process writes to this database: stop it, or name another"
                " database in --store"
            )
        time.sleep(_LOCK_STEP_SECONDS)


def lay_out(db: Connection, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Make the tables, or take the steps that are missing; raises ConfigurationError."""
    if db.value("SHOW server_encoding") != "UTF8":
        raise ConfigurationError("the database in --store has to be one with encoding UTF8")
    found = version(db)
    if found > len(migrations):
        raise ConfigurationError(_NEWER.format(found, len(migrations)))
    try:
        for number, step in enumerate(migrations[found:], found + 1):
            first = f"CREATE SCHEMA {SCHEMA}; {_MIGRATION}" if number == 1 else ""
            filled = _FILL.format(**_new()) if number == 1 else ""
            noted = f"INSERT INTO migration VALUES ({number}, now());"  # noqa: S608  (a number of ours)
            db.script(f"BEGIN; {first}{step}{filled}{noted} COMMIT")
    except StoreError as error:
        if not db.is_lost:
            db.script("ROLLBACK")
        raise ConfigurationError(
            f"the tables of the log could not be made: {error}. Open it once as the owner of the"
            " database (docs/how-to/run-on-postgresql.md)"
        ) from error
    has_writer = db.value("SELECT 1 FROM pg_roles WHERE rolname = $1", WRITER)
    if found < len(migrations) and has_writer:
        db.script(GRANTS.format(role=WRITER))


_NEWER: Final = (
    "the database has storage format {0} and this version knows {1}: use the version of caretrail"
    " that wrote it"
)
_MIGRATION: Final = "CREATE TABLE migration(number int PRIMARY KEY, at timestamptz NOT NULL);"
_FILL: Final = """
INSERT INTO property VALUES ('log', '{log}'), ('origin', '{origin}'), ('keys', ''),
    ('tag-key', '{tag_key}'), ('page-key', '{page_key}');
INSERT INTO dictionary VALUES ({number}, '{dictionary}');
"""


def _new() -> dict[str, object]:
    """Return what a new log begins with: its id is in every leaf, its keys make tags and seal links."""
    log = secrets.token_bytes(16)
    number = bodies.DICTIONARY
    return {
        "log": f"\\x{log.hex()}",
        "origin": f"\\x{(b'caretrail/' + log.hex().encode()).hex()}",
        "tag_key": f"\\x{secrets.token_hex(32)}",
        "page_key": f"\\x{secrets.token_hex(32)}",
        "number": number,
        "dictionary": f"\\x{bodies.shipped(number).hex()}",
    }


def version(db: Connection) -> int:
    """Return how many steps the database has taken, 0 where there is no log."""
    if db.value("SELECT to_regclass('caretrail.migration')") is None:
        return 0
    return int(db.value("SELECT coalesce(max(number), 0) FROM migration"))


def check_readable(db: Connection) -> None:
    """Refuse a database that has no log, or one of another version."""
    found = version(db)
    if not found:
        raise ConfigurationError("there is no log in this database: name the one given to --store")
    if found != len(MIGRATIONS):
        raise ConfigurationError(_NEWER.format(found, len(MIGRATIONS)))


def properties(db: Connection) -> dict[str, bytes]:
    """Return the properties of the log, by name."""
    return {row[0]: row[1] for row in db.fetch("SELECT name, value FROM property")}


def identity_of(db: Connection) -> Identity:
    """Return the log's id, and the key that its tags are made with."""
    found = properties(db)
    return Identity(found["log"], found["tag-key"])


def bodies_of(db: Connection) -> Bodies:
    """Return what unpacks the bodies of a log, with the data keys that it names."""
    dictionaries = {row[0]: row[1] for row in db.fetch("SELECT number, data FROM dictionary")}
    named = properties(db).get("data-keys")
    return Bodies(dictionaries, DataKeys(Path(named.decode())) if named else None)


def name_data_keys(db: Connection, path: Path, *, data: Path) -> None:
    """Let the log name the file of its data keys, so that everybody who reads it finds them."""
    DataKeys(path, data=data)
    db.fetch(
        "INSERT INTO property VALUES ('data-keys', $1)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        str(path.resolve()).encode(),
    )
