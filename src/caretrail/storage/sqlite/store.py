"""Writing and reading a log in SQLite."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from caretrail.errors import ConfigurationError, ConflictError, StoreError
from caretrail.limits import QUARANTINE_BYTES_MAX
from caretrail.sequencer import Identity, key_of
from caretrail.storage.bodies import Bodies
from caretrail.storage.sqlite import folder as folders
from caretrail.storage.sqlite.schema import INSERT, WRITING
from caretrail.storage.sqlite.searching import Searcher
from caretrail.tlog import tree as merkle
from caretrail.tlog.tree import EMPTY_ROOT, Tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from caretrail.search.record import Record
    from caretrail.sequencer import Batch
    from caretrail.storage.contract import Refused, Sender

_HOUR_MILLISECONDS: Final = 3_600_000
# A start recomputes the nodes after the last checkpoint; this bounds how many that can be.
_CHECKPOINT_ENTRIES: Final = 65_536
_FIXED_BYTES: Final = 32 + 16 + 32  # leaf hash, id and salt
_EVENT, _NODE, _HEAD = 0, 1, 2
_NO_FIELDS: Final = (0,) * 6
_encode: Final = msgspec.json.encode


class SqliteStorage:
    """One log in one folder (see `contract.Storage`); opening it is recovery.

    One thread commits; reads may come from any thread, and each thread gets its own connection.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = folders.FolderLock(folder)
        self._path = folder / folders.DATABASE
        try:
            self._writer = folders.open_database(folder)
            properties = dict(self._writer.execute("SELECT name, value FROM property"))
            self.identity = Identity(properties["log"], properties["tag-key"])
            self.page_key: bytes = properties["page-key"]
            self._dictionaries = dict(self._writer.execute("SELECT number, data FROM dictionary"))
            self._bodies = Bodies(self._dictionaries)
            self._writer.executescript(WRITING)
            self._producers = {
                (name, organisation): number
                for number, name, organisation in self._writer.execute("SELECT * FROM producer")
            }
            self._readers = threading.local()
            counted = "SELECT coalesce(sum(length(body)), 0) FROM quarantine"
            self._quarantined: int = self._writer.execute(counted).fetchone()[0]
            self._opened: list[sqlite3.Connection] = []
            self._recover()
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Write a last checkpoint and let go of the folder."""
        tree = self.tree()
        with self._transaction():
            self._checkpoint(tree, at=0)
        for connection in (*self._opened, self._writer):
            connection.close()
        self._lock.release()

    # Writing

    def commit(self, batch: Batch) -> None:
        """Add `batch` whole, or not at all (see `contract.Storage.commit`)."""
        try:
            self._write(batch)
        except sqlite3.IntegrityError as error:
            if batch.start != self.tree().size:
                raise ConflictError("the log has grown since the batch was made") from error
            self._commit_elsewhere(batch)
        except sqlite3.Error as error:
            raise StoreError("the store did not take the batch") from error

    def _commit_elsewhere(self, batch: Batch) -> None:
        """Commit a batch with a key that is taken: 2**20 entries later in the same millisecond."""
        try:
            self._write(batch, free_keys=True)
        except sqlite3.Error as error:
            raise StoreError("the store did not take the batch") from error

    def _write(self, batch: Batch, *, free_keys: bool = False) -> None:
        keys = [key_of(event.bucket, batch.start + n) for n, event in enumerate(batch.events)]
        if free_keys:
            keys = self._free(keys)
        rows: list[tuple[object, ...]] = []
        data: list[bytes] = []
        at = 1
        bodies = self._bodies.pack_all([event.record.body for event in batch.events])
        for n, (k, event, body) in enumerate(zip(keys, batch.events, bodies, strict=True)):
            record = event.record
            data += (event.leaf, bytes.fromhex(record.id.replace("-", "")), event.salt, body)
            producer = self._producer(record.producer, record.organisation)
            hour = event.bucket // _HOUR_MILLISECONDS
            about = (producer, record.form, record.flags, event.irregular, event.fingerprint, hour)
            rows.append((_EVENT, k, batch.start + n, *about, at, len(body), event.terms))
            at += _FIXED_BYTES + len(body)
        for node in batch.nodes:
            data.append(node.hash)
            rows.append((_NODE, node.level, node.place, *_NO_FIELDS, at))
            at += len(node.hash)
        size = batch.tree.size
        is_checkpoint = batch.start // _CHECKPOINT_ENTRIES != size // _CHECKPOINT_ENTRIES
        data.append(batch.tree.root())
        received = batch.events[-1].record.received
        rows.append((_HEAD, batch.start, size, received, is_checkpoint, *_NO_FIELDS[2:], at))
        # One statement, so one transaction of its own; and the lock is given up once.
        self._writer.execute(INSERT, (_encode(rows).decode(), b"".join(data)))

    def _producer(self, name: str, organisation: str) -> int:
        number: int | None = self._producers.get((name, organisation))
        if number is None:
            (number,) = self._writer.execute(
                "INSERT INTO producer(name, organisation) VALUES (?, ?)"
                " ON CONFLICT DO UPDATE SET name = excluded.name RETURNING number",
                (name, organisation),
            ).fetchone()
            self._producers[name, organisation] = number
        return number

    def _free(self, keys: list[int]) -> list[int]:
        """Return each key, or the next one that no event has."""
        found: dict[int, None] = {}
        for k in keys:
            while k in found or self._has(k):
                k += 1
            found[k] = None
        return list(found)

    def _has(self, k: int) -> bool:
        return bool(self._writer.execute("SELECT 1 FROM event WHERE k = ?", (k,)).fetchone())

    def _checkpoint(self, tree: Tree, *, at: int) -> None:
        self._writer.execute(
            "INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?)", (tree.size, tree.root(), at)
        )

    def quarantine(self, rows: Sequence[Refused], sender: Sender, at: int) -> None:
        """Keep what was refused, with the reasons."""
        try:
            with self._transaction():
                producer = self._producer(sender.producer, sender.organisation)
                for body, issues in rows:
                    kept = self._bodies.pack(body)
                    self._quarantined += len(kept)
                    if self.quarantine_full:
                        continue
                    self._writer.execute(
                        "INSERT INTO quarantine(received, producer, issues, body) VALUES (?, ?, ?, ?)",
                        (at, producer, _encode(issues), kept),
                    )
        except sqlite3.Error as error:
            raise StoreError("the store did not take what was refused") from error

    @property
    def quarantine_full(self) -> bool:
        """Tell whether nothing more is kept of what is refused."""
        return self._quarantined > QUARANTINE_BYTES_MAX

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        write = self._writer
        write.execute("BEGIN IMMEDIATE")
        try:
            yield
            write.execute("COMMIT")
        except BaseException:
            # What the disk has now is what `tree` will say; nothing here is taken for granted.
            self._producers.clear()
            if write.in_transaction:
                write.execute("ROLLBACK")
            raise

    # Opening

    def tree(self) -> Tree:
        """Return the tree as it is on disk, asked anew: what a restart would find."""
        return load_tree(self._writer)

    def _recover(self) -> None:
        """Check the right edge of the tree, and what came after the last checkpoint.

        SQLite has rolled back a commit that was cut off; what is left is whole batches. Hashing
        is bounded by the distance of checkpoints, not by the size of the log.
        """
        tree = self.tree()
        size, root = self._writer.execute("SELECT size, root FROM head").fetchone() or (
            0,
            EMPTY_ROOT,
        )
        if (tree.size, tree.root()) != (size, root):
            raise ConfigurationError(_BROKEN.format(self._path.parent))
        (checked,) = self._writer.execute(
            "SELECT coalesce(max(size), 0) FROM checkpoint"
        ).fetchone()
        start = min(checked, size) // merkle.TILE_WIDTH * merkle.TILE_WIDTH
        expected = dict(
            self._writer.execute(
                "SELECT place, hash FROM node WHERE level = ? AND place >= ?",
                (merkle.TILE_HEIGHT, start >> merkle.TILE_HEIGHT),
            )
        )
        leaves = self._writer.execute(
            "SELECT hash FROM leaf WHERE entry >= ? ORDER BY entry", (start,)
        )
        _, nodes = merkle.append(Tree(), (row[0] for row in leaves))
        first = start >> merkle.TILE_HEIGHT
        found = {
            first + node.place: node.hash for node in nodes if node.level == merkle.TILE_HEIGHT
        }
        if found != expected:
            raise ConfigurationError(_BROKEN.format(self._path.parent))

    # Reading

    def searcher(self) -> Searcher:
        """Return what reads for the calling thread."""
        searcher: Searcher | None = getattr(self._readers, "searcher", None)
        if searcher is None:
            connection = folders.connect(self._path, mode="ro")
            connection.execute("PRAGMA mmap_size = 4294967296")
            self._opened.append(connection)
            searcher = self._readers.searcher = Searcher(connection, Bodies(self._dictionaries))
        return searcher

    def same(self, fingerprints: Sequence[int]) -> dict[int, list[Record]]:
        """Return the events that have one of the fingerprints."""
        found: dict[int, list[Record]] = {}
        pairs = self._writer.execute(
            "SELECT f.value, f.entry FROM json_each(?) j JOIN fingerprint f ON f.value = j.value",
            (_encode(list(fingerprints)).decode(),),
        ).fetchall()
        for value, entry in pairs:
            found.setdefault(value, []).extend(self.searcher().entries(entry, entry + 1))
        return found


_BROKEN: Final = (
    "the log in {0} does not fit its own tree: run `caretrail verify {0}` to see what was changed,"
    " and restore a backup into another folder"
)


def load_tree(connection: sqlite3.Connection) -> Tree:
    """Return the tree from the hashes at its right edge (RFC 9162, 2.1)."""
    (size,) = connection.execute("SELECT coalesce(max(entry), -1) + 1 FROM leaf").fetchone()
    tiers: list[list[bytes]] = []
    level = 0
    while size >> level:
        first = size >> level >> merkle.TILE_HEIGHT << merkle.TILE_HEIGHT
        query = (
            "SELECT hash FROM leaf WHERE entry >= ? ORDER BY entry"
            if level == 0
            else "SELECT hash FROM node WHERE place >= ? AND level = ? ORDER BY place"
        )
        values = (first,) if level == 0 else (first, level)
        tiers.append([row[0] for row in connection.execute(query, values)])
        level += merkle.TILE_HEIGHT
    return merkle.rebuild(size, tiers)
