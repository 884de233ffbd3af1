"""One log in one database: a process that writes, and connections that read."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from caretrail.errors import ConfigurationError, StoreError
from caretrail.storage.linked import MOVED, Linked
from caretrail.storage.postgres import layout
from caretrail.storage.postgres.connection import READING, Connection
from caretrail.storage.postgres.proofs import Proofs
from caretrail.storage.postgres.searching import Searcher
from caretrail.storage.postgres.writer import Options
from caretrail.storage.process import Link

if TYPE_CHECKING:
    from caretrail.storage.contract import LogPlace

_WRITER: Final = "caretrail.storage.postgres.writer"


class PostgresStorage(Linked):
    """One log in one database (see `contract.Storage`); opening it is recovery.

    Reads may come from any thread, and each thread gets its own connection. Writes come from one
    event loop, that in which the first one came.
    """

    def __init__(self, place: LogPlace) -> None:
        """Open the log at a URL, which is made where there is none."""
        self._url = place.url
        options = Options(place.url, str(place.data), str(place.data_keys or ""))
        super().__init__(Link(_WRITER, options, name=str(place.data)))
        self._readers = threading.local()
        self._opened: list[Connection] = []
        reader = self.proofs().db
        properties = layout.properties(reader)
        if MOVED in properties:
            self._letting_go()
            moved = properties[MOVED].decode()
            raise ConfigurationError(f"this log was moved to {moved}: open it there")
        self.page_key = properties["page-key"]
        self.origin = properties["origin"].decode()
        self.keys = properties["keys"].decode()
        last = "SELECT coalesce(max(received), 0)::bigint FROM leaf WHERE entry = $1"
        self.received = int(reader.value(last, self.found.size - 1))

    def _letting_go(self) -> None:
        for connection in self._opened:
            connection.close()
        self._writer.end()

    async def close(self) -> None:
        """Let go of the log; the writer ends what it is at."""
        for connection in self._opened:
            connection.close()
        await self._writer.close()

    def _connected(self) -> Connection:
        try:
            return Connection(self._url, READING)
        except ConfigurationError as error:
            # It let us in before: whoever asks may ask again.
            raise StoreError(str(error)) from error

    def searcher(self) -> Searcher:
        """Return what reads for the calling thread."""
        if not hasattr(self._readers, "searcher"):
            connection = self._connected()
            self._opened.append(connection)
            self.identity = layout.identity_of(connection)
            searcher = Searcher(connection, layout.bodies_of(connection))
            self._readers.proofs = Proofs(connection, searcher, self.identity)
            self._readers.searcher = searcher
        found: Searcher = self._readers.searcher
        return found

    def proofs(self) -> Proofs:
        """Return what reads the tree for the calling thread."""
        self.searcher()
        found: Proofs = self._readers.proofs
        return found
