"""The store in SQLite: `clinic.sqlite` in the data folder, one transaction an interaction."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from caretrail.clinic.contract import Hit, Past, Search, Version
from caretrail.clinic.elements import Amount, Ref, Span
from caretrail.clinic.sql import TABLES, Statement
from caretrail.errors import ConfigurationError, StoreError, TooCostlyError
from caretrail.limits import SEARCH_SECONDS_MAX
from caretrail.search.fold import fold
from caretrail.search.reference import literal
from caretrail.search.token import Token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from caretrail.clinic.contract import Session
    from caretrail.clinic.indexing import Row

T = TypeVar("T")

DATABASE: Final = "clinic.sqlite"
FORMAT: Final = b"1"
_READERS: Final = 2
_STEPS_PER_CHECK: Final = 10_000
_KEY_BYTES: Final = 32
_PRAGMAS: Final = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
PRAGMA secure_delete = ON;
"""
# Every version is kept in `version`; `resource` says which is the current one. An index row is one
# element of a current resource; rows of one composite have the same `part`. Times are microseconds.
_TABLES: Final = """
CREATE TABLE property(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE version(seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL,
    number INTEGER NOT NULL, updated INTEGER NOT NULL, method TEXT NOT NULL, body BLOB NOT NULL,
    UNIQUE(kind, id, number));
CREATE TABLE resource(row INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL,
    updated INTEGER NOT NULL, deleted INTEGER NOT NULL, seq INTEGER NOT NULL REFERENCES version,
    UNIQUE(kind, id));
CREATE TABLE token_index(key TEXT NOT NULL, resource INTEGER NOT NULL, part INTEGER NOT NULL,
    system TEXT, code TEXT, folded TEXT, type TEXT);
CREATE INDEX token_code ON token_index(key, code, system, resource);
CREATE INDEX token_folded ON token_index(key, folded, resource) WHERE folded IS NOT NULL;
CREATE TABLE reference_index(key TEXT NOT NULL, resource INTEGER NOT NULL, part INTEGER NOT NULL,
    base TEXT, kind TEXT, name TEXT, version TEXT, text TEXT, system TEXT, identifier TEXT,
    folded TEXT);
CREATE INDEX reference_name ON reference_index(key, name, kind, resource);
CREATE INDEX reference_text ON reference_index(key, text, resource) WHERE text IS NOT NULL;
CREATE INDEX reference_identifier ON reference_index(key, identifier, resource)
    WHERE identifier IS NOT NULL;
CREATE TABLE string_index(key TEXT NOT NULL, resource INTEGER NOT NULL, part INTEGER NOT NULL,
    folded TEXT NOT NULL, text TEXT NOT NULL);
CREATE INDEX string_folded ON string_index(key, folded, resource);
CREATE INDEX string_text ON string_index(key, text, resource);
CREATE TABLE uri_index(key TEXT NOT NULL, resource INTEGER NOT NULL, part INTEGER NOT NULL,
    uri TEXT NOT NULL);
CREATE INDEX uri_uri ON uri_index(key, uri, resource);
CREATE TABLE date_index(key TEXT NOT NULL, resource INTEGER NOT NULL, part INTEGER NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL);
CREATE INDEX date_first ON date_index(key, first, last, resource);
CREATE TABLE amount_index(key TEXT NOT NULL, resource INTEGER NOT NULL, part INTEGER NOT NULL,
    low REAL NOT NULL, high REAL NOT NULL, system TEXT, code TEXT, unit TEXT);
CREATE INDEX amount_low ON amount_index(key, low, high, resource);
CREATE INDEX token_resource ON token_index(resource, key);
CREATE INDEX reference_resource ON reference_index(resource, key);
CREATE INDEX string_resource ON string_index(resource, key);
CREATE INDEX uri_resource ON uri_index(resource, key);
CREATE INDEX date_resource ON date_index(resource, key);
CREATE INDEX amount_resource ON amount_index(resource, key);
"""
_VERSION: Final = "v.kind, v.id, v.number, v.updated, v.method, v.body, r.row"


class SqliteClinic:
    """Resources in one file; one thread writes, a few read beside it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder / DATABASE
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="clinic-writer")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="clinic-reader")
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        try:
            self.key = self._writer.submit(self._prepare).result()
        except BaseException:
            self._end()
            raise

    def _prepare(self) -> bytes:
        """Make the tables of a new store; return the key of its page links."""
        connection = self._connection()
        with _transaction(connection, "BEGIN IMMEDIATE"):
            found = connection.execute(
                "SELECT count(*) FROM sqlite_master WHERE name = 'property'"
            ).fetchone()
            if not found[0]:
                for statement in _TABLES.split(";"):
                    connection.execute(statement)
                rows = [("format", FORMAT), ("key", secrets.token_bytes(_KEY_BYTES))]
                connection.executemany("INSERT INTO property VALUES (?, ?)", rows)
            stored: dict[str, bytes] = dict(connection.execute("SELECT * FROM property"))
        if stored["format"] != FORMAT:
            raise ConfigurationError(f"{self._path} is of another version of CareTrail")
        return stored["key"]

    def _connection(self) -> sqlite3.Connection:
        """Return this thread's own connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, timeout=30
            )
            connection.executescript(_PRAGMAS)
            self._local.connection = connection
            self._open.append(connection)
        return connection

    async def read(self, ask: Callable[[Session], T]) -> T:
        """Return what `ask` finds at one moment."""
        return await self._run(self._readers, ask, "BEGIN")

    async def write(self, change: Callable[[Session], T]) -> T:
        """Return once what `change` has put survives a power cut; nothing of it if it raises."""
        return await self._run(self._writer, change, "BEGIN IMMEDIATE")

    async def _run(self, pool: ThreadPoolExecutor, work: Callable[[Session], T], begin: str) -> T:
        def run() -> T:
            connection = self._connection()
            try:
                with _transaction(connection, begin):
                    return work(SqliteSession(connection))
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT":
                    raise TooCostlyError("this takes too long: narrow the search") from error
                raise StoreError("the clinic's store failed") from error

        return await asyncio.get_running_loop().run_in_executor(pool, run)

    async def close(self) -> None:
        """End what is begun, and close the file."""
        self._end()

    def _end(self) -> None:
        self._writer.shutdown()
        self._readers.shutdown()
        for connection in self._open:
            connection.close()


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    """Keep all that the statements inside change, or nothing."""
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    finally:
        # After an error, also one of the commit; some have ended it already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def _bounded(connection: sqlite3.Connection) -> Iterator[None]:
    """End the statements inside when their time is over."""
    end = time.monotonic() + SEARCH_SECONDS_MAX
    connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS_PER_CHECK)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)


class SqliteSession:
    """One transaction, as `contract.Session` promises."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def current(self, kind: str, name: str) -> Version | None:
        """Return the latest version of a resource."""
        return self._one(
            f"SELECT {_VERSION} FROM resource r JOIN version v ON v.seq = r.seq"
            " WHERE r.kind = ? AND r.id = ?",
            (kind, name),
        )

    def version(self, kind: str, name: str, number: int) -> Version | None:
        """Return one version of a resource."""
        return self._one(
            f"SELECT {_VERSION} FROM version v JOIN resource r ON r.kind = v.kind AND r.id = v.id"
            " WHERE v.kind = ? AND v.id = ? AND v.number = ?",
            (kind, name, number),
        )

    def _one(self, text: str, values: tuple[Any, ...]) -> Version | None:
        found = self._connection.execute(text, values).fetchone()
        return Version(*found) if found else None

    def _all(self, text: str, values: Sequence[Any]) -> list[Any]:
        """Return the rows of a statement that somebody else has thought of, in bounded time."""
        with _bounded(self._connection):
            return self._connection.execute(text, values).fetchall()

    def put(self, version: Version, rows: Sequence[Row]) -> None:
        """Make this the latest version, and these rows all that finds it."""
        execute = self._connection.execute
        seq = execute(
            "INSERT INTO version(kind, id, number, updated, method, body) VALUES (?, ?, ?, ?, ?, ?)",
            version[:6],
        ).lastrowid
        (row,) = execute(
            "INSERT INTO resource(kind, id, updated, deleted, seq) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT(kind, id) DO UPDATE SET updated = excluded.updated,"
            " deleted = excluded.deleted, seq = excluded.seq RETURNING row",
            (version.kind, version.id, version.updated, version.is_deleted, seq),
        ).fetchone()
        for table in sorted(set(TABLES.values())):
            if version.number > 1:
                execute(f"DELETE FROM {table} WHERE resource = ?", (row,))
            values = [
                (one.key, row, one.part, *column)
                for one in rows
                if TABLES[one.kind] == table
                for column in _columns(one.kind, one.element)
            ]
            if values:
                marks = ", ".join("?" * len(values[0]))
                self._connection.executemany(f"INSERT INTO {table} VALUES ({marks})", values)

    def search(self, search: Search) -> list[Hit]:
        """Return the resources that fit."""
        statement = Statement()
        text = statement.page(search)
        found = self._all(text, statement.values)
        return [Hit(Version(*row[:7]), tuple(row[7:])) for row in found]

    def count(self, search: Search) -> int:
        """Return how many fit."""
        statement = Statement()
        text = f"SELECT count(*) FROM resource r WHERE {statement.where(search)}"
        return int(self._all(text, statement.values)[0][0])

    def history(self, past: Past) -> list[tuple[Version, int]]:
        """Return versions, newest first."""
        where, values = _past(past)
        if past.before is not None:
            where, values = f"{where} AND v.seq < ?", [*values, past.before]
        text = (
            f"SELECT {_VERSION}, v.seq FROM version v"
            f" JOIN resource r ON r.kind = v.kind AND r.id = v.id"
            f" WHERE {where} ORDER BY v.seq DESC LIMIT ?"
        )
        found = self._all(text, [*values, past.limit])
        return [(Version(*row[:7]), row[7]) for row in found]

    def history_count(self, past: Past) -> int:
        """Return how many versions there are."""
        where, values = _past(past)
        text = f"SELECT count(*) FROM version v WHERE {where}"
        return int(self._all(text, values)[0][0])

    def referred(self, rows: Sequence[int], key: str, kind: str, limit: int) -> list[Version]:
        """Return the resources to which these refer."""
        conditions = [f"x.resource IN ({_marks(rows)})", "x.base IS NULL", "r.deleted = 0"]
        values: list[Any] = list(rows)
        for column, value in (("x.key", key), ("x.kind", kind)):
            if value:
                conditions.append(f"{column} = ?")
                values.append(value)
        text = (
            f"SELECT DISTINCT {_VERSION} FROM reference_index x"
            " JOIN resource r ON r.kind = x.kind AND r.id = x.name"
            " JOIN version v ON v.seq = r.seq"
            f" WHERE {' AND '.join(conditions)} ORDER BY r.row LIMIT ?"
        )
        return [Version(*row) for row in self._all(text, [*values, limit])]

    def referring(self, rows: Sequence[int], key: str, limit: int) -> list[Version]:
        """Return the resources that refer to these."""
        text = (
            f"SELECT DISTINCT {_VERSION} FROM resource m"
            " JOIN reference_index x ON x.key = ? AND x.name = m.id AND x.kind = m.kind"
            " JOIN resource r ON r.row = x.resource JOIN version v ON v.seq = r.seq"
            f" WHERE m.row IN ({_marks(rows)}) AND x.base IS NULL ORDER BY r.row LIMIT ?"
        )
        return [Version(*row) for row in self._all(text, [key, *rows, limit])]


def _marks(rows: Sequence[int]) -> str:
    return ", ".join("?" * len(rows))


def _past(past: Past) -> tuple[str, list[Any]]:
    conditions = ["v.updated >= ?"]
    found: list[Any] = [past.since]
    for column, name in (("v.kind", past.kind), ("v.id", past.id)):
        if name:
            conditions.append(f"{column} = ?")
            found.append(name)
    return " AND ".join(conditions), found


def _columns(kind: str, element: Any) -> Iterator[tuple[Any, ...]]:
    """Yield what the table of an element's kind has of it."""
    match element:
        case Token(system, code, display, kinds):
            folded = fold(display) if display else None
            yield (system or None, code, folded, None)
            for type_system, type_code in kinds:
                yield (system or None, code, None, f"{type_system}|{type_code}")
        case Ref(text, display, named):
            yield (*_parts(text), *_named(named), fold(display) if display else None)
        case Span(start, end):
            yield (start // 1_000, -(-end // 1_000))
        case Amount():
            yield tuple(element)
        case str():
            yield (element,) if kind == "uri" else (fold(element), element)


def _parts(text: str | None) -> tuple[str | None, ...]:
    parts = literal(text) if text else None
    if parts is None:
        return (None, None, None, None, text)
    return (parts.base, parts.type, parts.id, parts.version, None)


def _named(named: Token | None) -> tuple[str | None, ...]:
    return (named.system or None, named.code) if named is not None else (None, None)
