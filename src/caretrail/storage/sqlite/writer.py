"""Writing a log in SQLite. This runs in a process of its own; see `process`."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from caretrail.errors import ConfigurationError, ConflictError, Error, NotFoundError, StoreError
from caretrail.limits import COPIES_COMPARED_MAX, QUARANTINE_BYTES_MAX
from caretrail.search import counts, index
from caretrail.sequencer import (
    DAY_MILLISECONDS,
    HOUR_MILLISECONDS,
    bucket_of_key,
    id_bytes,
    leaf,
    producer_id,
)
from caretrail.storage import messages as say
from caretrail.storage import runs
from caretrail.storage.data_keys import Month
from caretrail.storage.process import serve
from caretrail.storage.rows import keep, record_of
from caretrail.storage.sqlite import erasing
from caretrail.storage.sqlite import folder as folders
from caretrail.storage.sqlite.searching import Searcher
from caretrail.tlog import tree as merkle
from caretrail.tlog.tree import EMPTY_ROOT, Tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# A start recomputes the nodes after the last checkpoint; this bounds how many that can be.
_CHECKPOINT_ENTRIES: Final = 65_536
_EVENT: Final = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_LEAF: Final = "INSERT INTO leaf VALUES (?, ?, ?, ?)"
_FINGERPRINT: Final = "INSERT INTO fingerprint VALUES (?, ?)"
_ERASED: Final = "INSERT INTO erased VALUES (?, ?, ?)"
_TERMS: Final = "INSERT INTO term(rowid, terms) VALUES (?, ?)"
_TALLY: Final = (
    "INSERT INTO tally VALUES (?, ?) ON CONFLICT DO UPDATE SET events = events + excluded.events"
)
_COUNTER: Final = "INSERT INTO counter VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET events = events + excluded.events"
_NODE: Final = "INSERT INTO node VALUES (?, ?, ?)"
_FORGET: Final = """
DELETE FROM signed WHERE NOT stays AND (:cosigned OR NOT cosigned)
"""


class Options(msgspec.Struct, frozen=True):
    """What the writer's process is told; with `data_keys` bodies and salts are encrypted."""

    folder: str
    busy_seconds: float
    data_keys: str = ""


class Writer:
    """The one connection that writes to the log in a folder; opening it is recovery."""

    def __init__(self, options: Options) -> None:
        """Open the log by the options."""
        folder, busy_seconds = Path(options.folder), options.busy_seconds
        self._path = folder / folders.DATABASE
        self._db = folders.open_database(folder, busy_seconds=busy_seconds)
        if options.data_keys:
            folders.name_data_keys(self._db, Path(options.data_keys), folder=folder)
        self._bodies = folders.bodies_of(self._db)
        self._producers: dict[tuple[str, str], int] = {}
        self._identity = folders.identity_of(self._db)
        self._reader = Searcher(self._db, self._bodies)
        counted = "SELECT coalesce(sum(length(body)), 0) FROM quarantine"
        self._quarantined: int = self._db.execute(counted).fetchone()[0]
        self._tree = self._recovered()

    def answer(self, question: say.Question) -> say.Answer:
        """Do what is asked; an error is an answer, too."""
        try:
            match question:
                case say.Commit():
                    known = self._known(question.rows) if question.unless_known else ()
                    if known:
                        return say.Found(known)
                    return self._commit(question)
                case say.Graft(start, rows, gone):
                    return self._commit(say.Commit(start, rows, unless_known=False), gone)
                case say.Quarantine():
                    self._quarantine(question)
                    return self.state()
                case say.Publish():
                    self._publish(question)
                case say.Erase(entries, cause):
                    self._erase(entries, cause)
                case say.Purge():
                    erasing.purge(self._db)
                case say.Shred(number):
                    if self._bodies.keys is None:
                        raise NotFoundError("this log has no data keys")
                    self._bodies.keys.destroy(Month.numbered(number))
                case say.Rename(properties):
                    with self._transaction():
                        change = "INSERT OR REPLACE INTO property VALUES (?, ?)"
                        self._db.executemany(change, properties.items())
                case say.AskState():
                    return self.state()
                case say.Close():
                    self._close()
        except Error as error:
            return say.Failed(type(error).__name__, str(error))
        except sqlite3.Error as error:
            # SQLite's name of the error, such as SQLITE_FULL; its text could quote a value.
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            return say.Failed(StoreError.__name__, f"the store did not do it ({name})")
        return say.Done()

    def state(self) -> say.State:
        """Return the log as it is on disk, asked anew."""
        self._tree = load_tree(self._db)
        return self._state()

    def _state(self) -> say.State:
        return say.State(self._tree.size, list(self._tree.frontier), self._quarantined)

    def _commit(self, batch: say.Commit, gone: Sequence[say.Gone] = ()) -> say.State:
        try:
            self._write(batch, [row.k for row in batch.rows], gone)
        except sqlite3.IntegrityError:
            # A key is taken: there were 2**20 entries in the same millisecond.
            self._write(batch, self._free(batch.rows), gone)
        return self._state()

    def _write(self, batch: say.Commit, keys: Sequence[int], gone: Sequence[say.Gone]) -> None:
        write = self._db.executemany
        records = [record_of(row) for row in batch.rows]
        leaves: list[tuple[int, int | None, int, bytes]] = [
            (row.entry, k, row.received, leaf(record, salt=row.salt, identity=self._identity))
            for k, record, row in zip(keys, records, batch.rows, strict=True)
        ]
        if gone:
            leaves += [(one.entry, None, one.received, merkle.leaf_hash(one.data)) for one in gone]
            leaves.sort()
        tree, nodes = merkle.append(self._tree, [hashed for *_, hashed in leaves])
        kept = [keep(row, self._bodies) for row in batch.rows]
        rows = list(zip(keys, batch.rows, strict=True))
        with self._transaction():
            self._check_start(batch)
            write(
                _EVENT,
                [
                    (k, row.entry, id_bytes(row.id), self._producer(row.producer, row.organisation),
                     row.kind, row.form, row.flags, row.irregular, salt, body)
                    for (k, row), (body, salt) in zip(rows, kept, strict=True)
                ],
            )  # fmt: skip
            write(_LEAF, leaves)
            write(_FINGERPRINT, [(row.fingerprint, row.entry) for row in batch.rows])
            hours = Counter(bucket_of_key(row.k) // HOUR_MILLISECONDS for row in batch.rows)
            write(_TALLY, hours.items())
            found = [index.terms(record) for record in records]
            write(_TERMS, ((k, " ".join(terms)) for k, terms in zip(keys, found, strict=True)))
            write(_COUNTER, _counters(keys, found))
            for row in batch.rows:
                if row.number is not None:
                    producer = self._producer(row.producer, row.organisation)
                    runs.add(self._db, producer, row.number, row.received)
            if gone:
                write(_ERASED, [(one.entry, one.data, one.cause) for one in gone])
                self._note_numbers(gone)
            write(_NODE, nodes)
            root = tree.root()
            self._db.execute("INSERT OR REPLACE INTO head VALUES (1, ?, ?)", (tree.size, root))
            if batch.start // _CHECKPOINT_ENTRIES != tree.size // _CHECKPOINT_ENTRIES:
                self._checkpoint(tree.size, root, at=leaves[-1][2])
        self._tree = tree

    def _note_numbers(self, gone: Sequence[say.Gone]) -> None:
        """Note the numbers of erased events of those sources that have other events here."""
        known = self._db.execute("SELECT number, name, organisation FROM producer")
        producers = {producer_id(name, of): number for number, name, of in known}
        for number, one in say.numbered(gone, producers):
            runs.add(self._db, *number, one.received)

    def _check_start(self, batch: say.Commit) -> None:
        (size,) = self._db.execute("SELECT coalesce(max(size), 0) FROM head").fetchone()
        if not size == self._tree.size == batch.start:
            raise ConflictError("the log has grown since the batch was made")

    def _producer(self, name: str, organisation: str) -> int:
        number = self._producers.get((name, organisation))
        if number is None:
            (number,) = self._db.execute(
                "INSERT INTO producer(name, organisation) VALUES (?, ?)"
                " ON CONFLICT DO UPDATE SET name = excluded.name RETURNING number",
                (name, organisation),
            ).fetchone()
            self._producers[name, organisation] = number
        return number

    def _free(self, rows: Sequence[say.Row]) -> list[int]:
        """Return each key, or the next one that no event has."""
        found: dict[int, None] = {}
        for row in rows:
            k = row.k
            while k in found or self._has(k):
                k += 1
            found[k] = None
        return list(found)

    def _has(self, k: int) -> bool:
        return bool(self._db.execute("SELECT 1 FROM event WHERE k = ?", (k,)).fetchone())

    def _checkpoint(self, size: int, root: bytes, *, at: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?)", (size, root, at))

    def _known(self, rows: Sequence[say.Row]) -> list[tuple[int, int]]:
        ask = "SELECT value, entry FROM fingerprint WHERE value = ? ORDER BY entry DESC LIMIT ?"
        execute = self._db.execute
        values = dict.fromkeys(row.fingerprint for row in rows)
        return [found for one in values for found in execute(ask, (one, COPIES_COMPARED_MAX))]

    def _quarantine(self, refused: say.Quarantine) -> None:
        with self._transaction():
            producer = self._producer(refused.producer, refused.organisation)
            for row in refused.rows:
                kept = self._bodies.pack(row.body)
                self._quarantined += len(kept)
                if self._quarantined > QUARANTINE_BYTES_MAX:
                    continue
                self._db.execute(
                    "INSERT INTO quarantine(received, producer, issues, body) VALUES (?, ?, ?, ?)",
                    (refused.at, producer, row.issues, kept),
                )

    def _publish(self, checkpoint: say.Publish) -> None:
        with self._transaction():
            if not checkpoint.stays:
                # Only what is meant to stay, the latest, and the latest cosigned are kept.
                self._db.execute(_FORGET, {"cosigned": checkpoint.cosigned})
            self._db.execute(
                "INSERT INTO signed(size, at, cosigned, stays, note) VALUES (?, ?, ?, ?, ?)",
                (checkpoint.size, checkpoint.at, checkpoint.cosigned, checkpoint.stays,
                 checkpoint.note),
            )  # fmt: skip

    def _erase(self, entries: Sequence[int], cause: int) -> None:
        with self._transaction():
            for entry in entries:
                erasing.erase(self._db, self._reader, self._identity, entry=entry, cause=cause)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        write = self._db
        write.execute("BEGIN IMMEDIATE")
        try:
            yield
            write.execute("COMMIT")
        except BaseException:
            # What the disk has now is what `state` will say; nothing here is taken for granted.
            self._producers.clear()
            if write.in_transaction:
                write.execute("ROLLBACK")
            raise

    def _close(self) -> None:
        with self._transaction():
            self._checkpoint(self._tree.size, self._tree.root(), at=0)
        self._db.close()

    def _recovered(self) -> Tree:
        """Return the tree, once its right edge and what came after the last checkpoint are checked.

        SQLite has rolled back a commit that was cut off; what is left is whole batches. Hashing
        is bounded by the distance of checkpoints, not by the size of the log.
        """
        broken = ConfigurationError(_BROKEN.format(self._path.parent))
        tree = load_tree(self._db)
        head = self._db.execute("SELECT size, root FROM head").fetchone() or (0, EMPTY_ROOT)
        if (tree.size, tree.root()) != head:
            raise broken
        (checked,) = self._db.execute("SELECT coalesce(max(size), 0) FROM checkpoint").fetchone()
        start = min(checked, tree.size) // merkle.TILE_WIDTH * merkle.TILE_WIDTH
        first = start >> merkle.TILE_HEIGHT
        expected = dict(
            self._db.execute(
                "SELECT place, hash FROM node WHERE level = ? AND place >= ?",
                (merkle.TILE_HEIGHT, first),
            )
        )
        leaves = self._db.execute("SELECT hash FROM leaf WHERE entry >= ? ORDER BY entry", (start,))
        _, nodes = merkle.append(Tree(), (row[0] for row in leaves))
        found = {
            first + node.place: node.hash for node in nodes if node.level == merkle.TILE_HEIGHT
        }
        if found != expected:
            raise broken
        return tree


_BROKEN: Final = (
    "the log in {0} does not fit its own tree: run `caretrail verify {0}` to see what was changed,"
    " and restore a backup into another folder"
)


def _counters(keys: Sequence[int], found: Sequence[set[str]]) -> Iterator[tuple[str, int, int]]:
    days: dict[int, Counter[str]] = defaultdict(Counter)
    for k, terms in zip(keys, found, strict=True):
        days[bucket_of_key(k) // DAY_MILLISECONDS].update(counts.names(terms))
    for day, events in days.items():
        for name, count in events.items():
            yield name, day, count


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


def main() -> None:
    """Be the writer's process."""
    serve(lambda data: Writer(msgspec.json.decode(data, type=Options)))
