"""One log in one folder: a process that writes, and connections that read."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from caretrail.errors import ConfigurationError
from caretrail.storage.linked import MOVED, Linked
from caretrail.storage.process import Link
from caretrail.storage.sqlite import folder as folders
from caretrail.storage.sqlite.proofs import Proofs
from caretrail.storage.sqlite.searching import Searcher
from caretrail.storage.sqlite.writer import Options

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

_WRITER: Final = "caretrail.storage.sqlite.writer"
_BUSY_SECONDS: Final = 30.0


class SqliteStorage(Linked):
    """One log in one folder (see `contract.Storage`); opening it is recovery.

    Reads may come from any thread, and each thread gets its own connection. Writes come from one
    event loop, that in which the first one came.
    """

    def __init__(
        self,
        folder: Path,
        *,
        data_keys: Path | None = None,
        busy_seconds: float = _BUSY_SECONDS,
    ) -> None:
        """Open the log in a folder, which is made where there is none.

        With `data_keys`, the file of them, bodies and salts are encrypted from now on.
        """
        self._lock = folders.FolderLock(folder)
        self._path = folder / folders.DATABASE
        try:
            options = Options(str(folder), busy_seconds, str(data_keys or ""))
            writer = Link(_WRITER, options, name=str(folder), keep_open=(self._lock.number,))
        except BaseException:
            self._lock.release()
            raise
        super().__init__(writer)
        self._readers = threading.local()
        self._opened: list[sqlite3.Connection] = []
        reader = self._connected()
        properties = dict(reader.execute("SELECT name, value FROM property"))
        if MOVED in properties:
            reader.close()
            self._writer.end()
            self._lock.release()
            raise ConfigurationError(
                f"the log in {folder} was moved to {properties[MOVED].decode()}: open it there"
            )
        self.identity = folders.identity_of(reader)
        self.page_key: bytes = properties["page-key"]
        self.origin = properties["origin"].decode()
        self.keys = properties["keys"].decode()
        last = "SELECT coalesce(max(received), 0) FROM leaf WHERE entry = ?"
        self.received: int = reader.execute(last, (self.found.size - 1,)).fetchone()[0]

    async def close(self) -> None:
        """Write a last checkpoint and let go of the folder."""
        try:
            for connection in self._opened:
                connection.close()
            await self._writer.close()
        finally:
            self._lock.release()

    def searcher(self) -> Searcher:
        """Return what reads for the calling thread."""
        if not hasattr(self._readers, "searcher"):
            connection = self._connected()
            connection.execute("PRAGMA mmap_size = 4294967296")
            searcher = Searcher(connection, folders.bodies_of(connection))
            self._readers.searcher = searcher
            self._readers.proofs = Proofs(connection, searcher, self.identity)
        found: Searcher = self._readers.searcher
        return found

    def proofs(self) -> Proofs:
        """Return what reads the tree for the calling thread."""
        self.searcher()
        found: Proofs = self._readers.proofs
        return found

    def _connected(self) -> sqlite3.Connection:
        connection = folders.connect(self._path, mode="ro")
        self._opened.append(connection)
        return connection
