"""One log in one folder: a process that writes, and connections that read."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Final

import msgspec

from caretrail.limits import QUARANTINE_BYTES_MAX
from caretrail.sequencer import key_of
from caretrail.storage.contract import Known
from caretrail.storage.sqlite import folder as folders
from caretrail.storage.sqlite import messages as say
from caretrail.storage.sqlite.process import Link
from caretrail.storage.sqlite.proofs import Proofs
from caretrail.storage.sqlite.searching import Searcher
from caretrail.tlog.tree import Tree

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

    from caretrail.search.record import Record
    from caretrail.sequencer import Batch, Pending
    from caretrail.storage.contract import Refused, Sender
    from caretrail.storage.data_keys import Month

_BUSY_SECONDS: Final = 30.0


class SqliteStorage:
    """One log in one folder (see `contract.Storage`); opening it is recovery.

    Reads may come from any thread, and each thread gets its own connection. Writes come from one
    event loop, that in which the first one came.
    """

    _quarantined: int

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
            self._writer = Link(
                folder,
                busy_seconds=busy_seconds,
                data_keys=data_keys,
                keep_open=(self._lock.number,),
            )
        except BaseException:
            self._lock.release()
            raise
        self.found = self._noted(self._writer.state)
        self._readers = threading.local()
        self._opened: list[sqlite3.Connection] = []
        reader = self._connected()
        properties = dict(reader.execute("SELECT name, value FROM property"))
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

    async def tree(self) -> Tree:
        """Return the tree as it is on disk, asked anew: what a restart would find."""
        return self._noted(await self._writer.ask(say.AskState()))

    def _noted(self, state: say.Answer) -> Tree:
        assert isinstance(state, say.State)
        self._quarantined = state.quarantined
        return Tree(state.size, tuple(state.frontier))

    async def commit(self, batch: Batch, *, unless_known: bool = False) -> Tree | Known:
        """Add `batch` whole, or not at all (see `contract.Storage.commit`)."""
        rows = [_row(event, batch.start + n) for n, event in enumerate(batch.events)]
        answer = await self._writer.ask(say.Commit(batch.start, rows, unless_known))
        if isinstance(answer, say.Found):
            return Known(await asyncio.to_thread(self._at, answer.pairs))
        return self._noted(answer)

    def _at(self, pairs: Sequence[tuple[int, int]]) -> dict[int, list[Record]]:
        found: dict[int, list[Record]] = {}
        for value, entry in pairs:
            found.setdefault(value, []).extend(self.searcher().entries(entry, entry + 1))
        return found

    async def quarantine(self, rows: Sequence[Refused], sender: Sender, at: int) -> None:
        """Keep what was refused, with the reasons."""
        refusals = [say.Refusal(body, msgspec.json.encode(issues)) for body, issues in rows]
        self._noted(await self._writer.ask(say.Quarantine(refusals, *sender, at)))

    async def publish(
        self, note: bytes, *, size: int, at: int, cosigned: bool, stays: bool
    ) -> None:
        """Keep a signed checkpoint (see `contract.Storage.publish`)."""
        await self._writer.ask(say.Publish(size, at, cosigned, note, stays))

    async def erase(self, entries: Sequence[int], *, cause: int) -> None:
        """Erase the events of these entries (see `contract.Storage.erase`)."""
        await self._writer.ask(say.Erase(list(entries), cause))

    async def shred(self, month: Month) -> None:
        """Destroy the data key of a month for ever."""
        await self._writer.ask(say.Shred(month.number))

    async def purge(self) -> None:
        """Let nothing of what was erased stay in the files."""
        await self._writer.ask(say.Purge())

    async def rename(self, *, origin: str, keys: str) -> None:
        """Set the log's name and the history of its keys."""
        await self._writer.ask(say.Rename({"origin": origin.encode(), "keys": keys.encode()}))
        self.origin, self.keys = origin, keys

    @property
    def quarantine_full(self) -> bool:
        """Tell whether nothing more is kept of what is refused."""
        return self._quarantined > QUARANTINE_BYTES_MAX

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


def _row(event: Pending, entry: int) -> say.Row:
    record = event.record
    return say.Row(
        key_of(event.bucket, entry),
        entry,
        record.id,
        record.received,
        record.producer,
        record.organisation,
        record.kind,
        record.form,
        int(record.flags),
        event.irregular,
        event.fingerprint,
        event.salt,
        record.body,
        event.number,
    )
