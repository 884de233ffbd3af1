"""The authorization server's own database, and the one way to change it.

What an act changes takes effect only after its events are durable in the log: the transaction is
held open meanwhile. After a crash in between the log says more than happened, never less.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, TypeVar

from caretrail.errors import ConfigurationError, ThrottledError

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")
Record = Callable[[dict[str, Any]], Awaitable[object]]

FILE_NAME: Final = "authorization.sqlite"
_FORMAT: Final = 1
_BUSY_MILLISECONDS: Final = 30_000
# Acts come one after the other, a few milliseconds each; whoever is behind so many comes again.
_WAITING_MAX: Final = 64

TABLES: Final = """\
CREATE TABLE person (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, display TEXT NOT NULL, password TEXT,
    totp TEXT, totp_step INTEGER NOT NULL DEFAULT 0, roles TEXT NOT NULL,
    organisation TEXT NOT NULL DEFAULT '', fhir_user TEXT NOT NULL DEFAULT '',
    patient TEXT NOT NULL DEFAULT '', active INTEGER NOT NULL DEFAULT 1,
    failures INTEGER NOT NULL DEFAULT 0, locked_until INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE invitation (
    hash BLOB PRIMARY KEY, person TEXT, expires INTEGER NOT NULL) STRICT;
CREATE TABLE client (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, method TEXT NOT NULL, secret BLOB, jwks TEXT,
    redirect_uris TEXT NOT NULL, logout_uris TEXT NOT NULL, grants TEXT NOT NULL,
    scope TEXT NOT NULL, roles TEXT NOT NULL, organisation TEXT NOT NULL DEFAULT '',
    active INTEGER NOT NULL DEFAULT 1) STRICT;
CREATE TABLE session (
    hash BLOB PRIMARY KEY, csrf TEXT NOT NULL, person TEXT, level TEXT NOT NULL,
    begun INTEGER NOT NULL, seen INTEGER NOT NULL, secret TEXT NOT NULL DEFAULT '',
    request TEXT NOT NULL DEFAULT '') STRICT;
CREATE TABLE request (
    id TEXT PRIMARY KEY, session BLOB NOT NULL, query TEXT NOT NULL, expires INTEGER NOT NULL
    ) STRICT;
CREATE TABLE launch (
    hash BLOB PRIMARY KEY, client TEXT NOT NULL, patient TEXT NOT NULL, expires INTEGER NOT NULL
    ) STRICT;
CREATE TABLE consent (
    id TEXT PRIMARY KEY, client TEXT NOT NULL, person TEXT NOT NULL, session BLOB,
    scope TEXT NOT NULL, patient TEXT NOT NULL DEFAULT '', given INTEGER NOT NULL,
    signed_in INTEGER NOT NULL, nonce TEXT NOT NULL DEFAULT '', revoked INTEGER NOT NULL DEFAULT 0
    ) STRICT;
CREATE TABLE code (
    hash BLOB PRIMARY KEY, consent TEXT NOT NULL, redirect_uri TEXT NOT NULL,
    challenge TEXT NOT NULL, expires INTEGER NOT NULL, used INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE refresh (
    hash BLOB PRIMARY KEY, consent TEXT NOT NULL, issued INTEGER NOT NULL,
    expires INTEGER NOT NULL, used INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE access (
    jti TEXT PRIMARY KEY, consent TEXT, client TEXT NOT NULL, claims TEXT NOT NULL,
    expires INTEGER NOT NULL, revoked INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE assertion (
    client TEXT NOT NULL, jti TEXT NOT NULL, expires INTEGER NOT NULL,
    PRIMARY KEY (client, jti)) STRICT;
CREATE TABLE override (
    person TEXT PRIMARY KEY, patient TEXT NOT NULL, reason TEXT NOT NULL,
    expires INTEGER NOT NULL) STRICT;
CREATE TABLE change (
    number INTEGER PRIMARY KEY AUTOINCREMENT, asked TEXT NOT NULL, made INTEGER NOT NULL,
    answer TEXT) STRICT;
"""
# What is past its time is forgotten; a used code or refresh token stays as long, so that its
# second use is known for what it is.
_EXPIRING: Final = ("invitation", "request", "launch", "code", "refresh", "access", "assertion")


def hashed(secret: str) -> bytes:
    """Return what is kept of a random secret: with 256 bits in it nobody can try them all."""
    return sha256(secret.encode()).digest()


class Act:
    """What happens in one transaction, in the store's thread, at one time.

    `now` is in seconds since 1970, `milliseconds` is the same more exactly.
    """

    def __init__(self, database: sqlite3.Connection, now: float) -> None:
        self.database = database
        self.now, self.milliseconds = int(now), int(now * 1000)
        self.events: list[dict[str, Any]] = []
        self.effects: list[Callable[[], None]] = []

    def note(self, event: dict[str, Any]) -> None:
        """Let the log say this before what the act changes takes effect."""
        self.events.append(event)

    def then(self, effect: Callable[[], None]) -> None:
        """Let this take effect with the act, outside of the database."""
        self.effects.append(effect)

    def one(self, statement: str, *values: object) -> sqlite3.Row | None:
        """Return the first row, or None."""
        row: sqlite3.Row | None = self.database.execute(statement, values).fetchone()
        return row

    def every(self, statement: str, *values: object) -> list[sqlite3.Row]:
        """Return all rows."""
        return self.database.execute(statement, values).fetchall()

    def do(self, statement: str, *values: object) -> int:
        """Change rows, and return how many."""
        return self.database.execute(statement, values).rowcount


class Store:
    """The database `authorization.sqlite` in a data folder; acts run in it one after the other."""

    def __init__(
        self, folder: Path, *, record: Record, clock: Callable[[], float] = time.time
    ) -> None:
        """Open the database, and make it where there is none; raises ConfigurationError."""
        self._record, self._clock = record, clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="authorization")
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._database = connect(folder)

    async def run(self, work: Callable[[Act], T]) -> T:
        """Do `work` in a transaction; on return it has taken effect and its events are durable.

        After an error nothing of it has. Raises ThrottledError when too many wait.
        """
        if self._waiting >= _WAITING_MAX:
            raise ThrottledError("the authorization server is busy: try again")
        self._waiting += 1
        try:
            async with self._lock:
                return await self._run(work)
        finally:
            self._waiting -= 1

    async def _run(self, work: Callable[[Act], T]) -> T:
        loop, act = asyncio.get_running_loop(), Act(self._database, self._clock())

        def begin() -> T:
            self._database.execute("BEGIN IMMEDIATE")
            result = work(act)
            if not act.events:
                self._take_effect(act)
            return result

        try:
            result = await loop.run_in_executor(self._thread, begin)
            if act.events:
                for event in act.events:
                    await self._record(event)
                await loop.run_in_executor(self._thread, self._take_effect, act)
        except BaseException:
            # A thread that still works is waited for: there is one.
            await asyncio.shield(loop.run_in_executor(self._thread, self._roll_back))
            raise
        return result

    def _take_effect(self, act: Act) -> None:
        for effect in act.effects:
            effect()
        self._database.execute("COMMIT")

    def _roll_back(self) -> None:
        if self._database.in_transaction:
            self._database.execute("ROLLBACK")

    async def changes(self) -> int:
        """Return a number that is another after another process has changed the database."""

        def ask() -> int:
            return int(self._database.execute("PRAGMA data_version").fetchone()[0])

        async with self._lock:
            return await asyncio.get_running_loop().run_in_executor(self._thread, ask)

    async def close(self) -> None:
        """Let go of the database, after what is under way."""
        async with self._lock:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._database.close)
        self._thread.shutdown()


def forget(act: Act) -> None:
    """Delete what is past its time."""
    for table in _EXPIRING:
        act.do(f"DELETE FROM {table} WHERE expires < ?", act.now)  # noqa: S608  (our own names)


def connect(folder: Path) -> sqlite3.Connection:
    """Return a connection to the database of a folder, which is made where there is none.

    Raises ConfigurationError when others may read the file, or it is no such database.
    """
    path = folder / FILE_NAME
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        mode = os.fstat(number).st_mode
        os.close(number)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be opened ({error.strerror})") from error
    if mode & 0o077:
        raise ConfigurationError(f"others may read {path}: chmod 600 it")
    # One thread at a time, as `Store` sees to it.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    try:
        connection.executescript(
            f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}; PRAGMA journal_mode = WAL;"
            " PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;"
        )
        _lay_out(connection)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise ConfigurationError(
            f"{path} is not what this version can read: restore it from your copy"
        ) from error
    except ConfigurationError:
        connection.close()
        raise
    return connection


def _lay_out(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found == 0:
        for statement in TABLES.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {_FORMAT}")
    connection.execute("COMMIT")
    if found not in (0, _FORMAT):
        raise ConfigurationError(f"{FILE_NAME} is of another version of caretrail: use that one")
