"""Connections to PostgreSQL that block who asks: the waiting is done by one event loop in a thread.

Whoever reads may be in a thread or in an event loop of its own; neither can run a second one.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import asyncpg

from caretrail.errors import ConfigurationError, StoreError, TooCostlyError
from caretrail.storage.searching import TOO_COSTLY

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from caretrail.storage.contract import Deadline

T = TypeVar("T")
SCHEMA: Final = "caretrail"
_CONNECT_SECONDS: Final = 20.0
# Of a statement that nobody set a limit to: longer than any of ours takes.
_STATEMENT_SECONDS: Final = 3_600.0
_ALWAYS: Final = {"search_path": SCHEMA, "jit": "off", "timezone": "UTC"}
# Postings say which few events are meant: whole tables are never read to find them.
READING: Final = {
    "default_transaction_read_only": "on",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
_LOST: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    OSError,
)


class UnansweredError(StoreError):
    """The database did not do what it was asked, or nobody knows."""


class _Loop:
    """The event loop of all connections of this process; its thread ends with the process."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, name="postgres", daemon=True).start()


_lock: Final = threading.Lock()
_loops: Final[list[_Loop]] = []


def run(work: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns; it runs in the loop of all connections."""
    with _lock:
        if not _loops:
            _loops.append(_Loop())
    return asyncio.run_coroutine_threadsafe(work, _loops[0].loop).result()


class Connection:
    """One connection. Its errors are ours: StoreError, TooCostlyError when the time is up."""

    def __init__(self, url: str, settings: dict[str, str]) -> None:
        """Connect; raises ConfigurationError when nobody answers there."""
        self._url, self._settings = url, _ALWAYS | settings
        self.deadline: Deadline | None = None
        self.raw = self._connected()

    def _connected(self) -> asyncpg.Connection:
        connecting = asyncpg.connect(
            self._url,
            timeout=_CONNECT_SECONDS,
            command_timeout=_STATEMENT_SECONDS,
            server_settings=self._settings | {"application_name": "caretrail"},
        )
        try:
            return run(connecting)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
            # The text of the client's error could quote the URL.
            where = urlsplit(self._url)
            raise ConfigurationError(
                f"PostgreSQL at {where.hostname or 'the local socket'} does not let us in"
                f" ({said(error)}): see that it runs, and what --store says of user and database"
            ) from error

    @property
    def is_lost(self) -> bool:
        """Tell whether the server has gone, or has ended the connection."""
        return bool(self.raw.is_closed())

    def fetch(self, statement: str, *values: Any) -> Sequence[asyncpg.Record]:
        """Return the rows of a statement."""
        if self.raw.is_closed():
            self._again()
        return self.run(self.raw.fetch(statement, *values, timeout=self._seconds()))

    def value(self, statement: str, *values: Any) -> Any:
        """Return the first column of the first row, None without any."""
        rows = self.fetch(statement, *values)
        return rows[0][0] if rows else None

    def script(self, statements: str) -> None:
        """Run statements one after the other."""
        if self.raw.is_closed():
            self._again()
        self.run(self.raw.execute(statements))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine over this connection returns."""
        try:
            return run(work)
        except TimeoutError as error:
            raise TooCostlyError(TOO_COSTLY) from error
        except asyncpg.InternalClientError as error:
            # The client no longer knows what it is at: this connection is good for nothing.
            self.raw.terminate()
            raise UnansweredError(f"the store did not do it ({said(error)})") from error
        except (asyncpg.PostgresError, *_LOST) as error:
            raise UnansweredError(f"the store did not do it ({said(error)})") from error

    def begin(self, ask: str) -> Any:
        """Let all that is read until `end` see one moment; return the value of a first statement."""
        if self.raw.is_closed():
            self._again()
        return self.run(_begun(self.raw, ask))

    def end(self) -> None:
        """Let go of the moment that `begin` has held."""
        if not self.raw.is_closed():
            self.run(self.raw.execute("ROLLBACK"))

    def _again(self) -> None:
        try:
            self.raw = self._connected()
        except ConfigurationError as error:
            raise UnansweredError("the store does not answer") from error

    def _seconds(self) -> float | None:
        if self.deadline is None:
            return None
        left = self.deadline.remaining()
        if left <= 0:
            raise TooCostlyError(TOO_COSTLY)
        return left

    def close(self) -> None:
        """Let go of the connection."""
        self.raw.terminate() if self.raw.is_closed() else run(_closed(self.raw))


async def _begun(connection: asyncpg.Connection, ask: str) -> Any:
    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    return await connection.fetchval(ask)


async def _closed(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=5)
    except (TimeoutError, *_LOST):
        connection.terminate()


def said(error: BaseException) -> str:
    """Return the name of an error (SQLSTATE): its text could quote a value."""
    code = getattr(error, "sqlstate", None)
    name = type(error).__name__
    return f"{name}, {code}" if code else name
