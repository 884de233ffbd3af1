"""Writing a log in PostgreSQL. This runs in a process of its own; see `process`.

The connection that commits is the one that has the log's lock. When it is lost nobody knows what
became of a commit: the next question is asked over a new one, which takes the lock first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import msgspec

from caretrail.errors import ConfigurationError, ConflictError, Error, NotFoundError, StoreError
from caretrail.limits import COPIES_COMPARED_MAX, QUARANTINE_BYTES_MAX
from caretrail.search import index
from caretrail.sequencer import HOUR_MILLISECONDS, bucket_of_key, id_bytes, leaf, producer_id
from caretrail.storage import messages as say
from caretrail.storage.data_keys import Month
from caretrail.storage.postgres import erasing, layout, runs
from caretrail.storage.postgres.connection import Connection
from caretrail.storage.postgres.postings import packed
from caretrail.storage.postgres.schema import month_of
from caretrail.storage.postgres.searching import Searcher
from caretrail.storage.process import serve
from caretrail.storage.rows import keep, record_of
from caretrail.tlog import tree as merkle
from caretrail.tlog.tree import EMPTY_ROOT, Tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from caretrail.search.record import Record
    from caretrail.storage.bodies import Bodies

_WRITING: Final = {"synchronous_commit": "on", "enable_seqscan": "off"}
_TALLY: Final = (
    "INSERT INTO tally SELECT * FROM unnest($1::int[], $2::bigint[])"
    " ON CONFLICT (hour) DO UPDATE SET events = tally.events + excluded.events"
)
_HEAD: Final = (
    "INSERT INTO head VALUES (1, $1, $2)"
    " ON CONFLICT (one) DO UPDATE SET size = excluded.size, root = excluded.root"
)
_PRODUCER: Final = (
    "INSERT INTO producer(name, organisation) VALUES ($1, $2)"
    " ON CONFLICT (name, organisation) DO UPDATE SET name = excluded.name RETURNING number"
)
_KNOWN: Final = """SELECT f.value, f.entry FROM unnest($1::int8[]) AS wanted(value),
LATERAL (SELECT value, entry FROM fingerprint WHERE value = wanted.value
    ORDER BY entry DESC LIMIT $2) f"""
_QUARANTINE: Final = (
    "INSERT INTO quarantine(received, producer, issues, body) VALUES ($1, $2, $3, $4)"
)
_SIGNED: Final = "INSERT INTO signed(size, at, cosigned, stays, note) VALUES ($1, $2, $3, $4, $5)"
_FORGET: Final = "DELETE FROM signed WHERE NOT stays AND ($1 OR NOT cosigned)"
_PROPERTY: Final = (
    "INSERT INTO property VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
Rows = dict[str, "list[tuple[Any, ...]]"]


class Options(msgspec.Struct, frozen=True):
    """What the writer's process is told; with `data_keys` bodies and salts are encrypted."""

    url: str
    data: str
    data_keys: str = ""


class Writer:
    """The one connection that writes to the log in a database; opening it is recovery."""

    def __init__(self, options: Options) -> None:
        """Open the log by the options."""
        self._options = options
        self._open()

    def _open(self) -> None:
        options = self._options
        self._db = Connection(options.url, _WRITING)
        try:
            layout.lock(self._db)
            layout.lay_out(self._db)
            if options.data_keys:
                keys = Path(options.data_keys)
                layout.name_data_keys(self._db, keys, data=Path(options.data))
            self._bodies: Bodies = layout.bodies_of(self._db)
            self._identity = layout.identity_of(self._db)
            self._producers: dict[tuple[str, str], int] = {}
            self._months: set[int] = set()
            self._reader = Searcher(self._db, self._bodies)
            counted = "SELECT coalesce(sum(length(body)), 0)::bigint FROM quarantine"
            self._quarantined = int(self._db.value(counted))
            self._tree = self._recovered()
        except BaseException:
            self._db.close()
            raise

    def answer(self, question: say.Question) -> say.Answer:
        """Do what is asked; an error is an answer, too."""
        try:
            if self._db.is_lost and not isinstance(question, say.Close):
                self._again()
            return self._answered(question)
        except Error as error:
            return say.Failed(type(error).__name__, str(error))

    def _again(self) -> None:
        try:
            self._open()
        except ConfigurationError as error:
            # It could be opened before: whoever sends an event may send it again.
            raise StoreError(str(error)) from error

    def _answered(self, question: say.Question) -> say.Answer:
        match question:
            case say.Commit():
                known = self._known(question.rows) if question.unless_known else ()
                return say.Found(known) if known else self._commit(question)
            case say.Graft(start, rows, gone):
                return self._commit(say.Commit(start, rows, unless_known=False), gone)
            case say.Quarantine():
                self._quarantine(question)
                return self._state()
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
                    for one in properties.items():
                        self._db.fetch(_PROPERTY, *one)
            case say.AskState():
                return self.state()
            case say.Close():
                self._db.close()
        return say.Done()

    def state(self) -> say.State:
        """Return the log as it is in the database, asked anew."""
        self._tree = load_tree(self._db)
        return self._state()

    def _state(self) -> say.State:
        return say.State(self._tree.size, list(self._tree.frontier), self._quarantined)

    def _commit(self, batch: say.Commit, gone: Sequence[say.Gone] = ()) -> say.State:
        if batch.start != self._tree.size:
            raise ConflictError(_GROWN)
        self._prepare(batch)
        records = [record_of(row) for row in batch.rows]
        leaves = [
            leaf(record, salt=row.salt, identity=self._identity)
            for record, row in zip(records, batch.rows, strict=True)
        ]
        hashes = leaves
        if gone:
            placed = {row.entry: one for row, one in zip(batch.rows, leaves, strict=True)}
            placed |= {one.entry: merkle.leaf_hash(one.data) for one in gone}
            hashes = [placed[entry] for entry in sorted(placed)]
        tree, nodes = merkle.append(self._tree, hashes)
        keys = [row.k for row in batch.rows]
        try:
            self._write(batch, tree, self._rows(batch, keys, records, leaves, nodes), gone)
        except StoreError as error:
            if not isinstance(error.__cause__, asyncpg.UniqueViolationError):
                raise
            # A key is taken: there were 2**20 entries in the same millisecond.
            keys = self._free(batch.rows)
            self._prepare(batch)
            self._write(batch, tree, self._rows(batch, keys, records, leaves, nodes), gone)
        self._tree = tree
        return self._state()

    def _prepare(self, batch: say.Commit) -> None:
        """Make what has to be there before: producers' numbers, and the months of the events."""
        for row in batch.rows:
            self._producer(row.producer, row.organisation)
            month = month_of(row.k)
            if month is not None and month not in self._months:
                first = Month.numbered(month)
                self._db.fetch("SELECT make_month(make_date($1, $2, 1))", first.year, first.month)
                self._months.add(month)

    def _rows(
        self,
        batch: say.Commit,
        keys: Sequence[int],
        records: Sequence[Record],
        leaves: Sequence[bytes],
        nodes: Iterable[tuple[Any, ...]],
    ) -> Rows:
        """Return what a commit adds to each table, in the order of its columns."""
        rows: Rows = {"event": [], "leaf": [], "fingerprint": [], "posting": []}
        terms: defaultdict[str, list[int]] = defaultdict(list)
        for k, row, record, one in zip(keys, batch.rows, records, leaves, strict=True):
            event_id, number = id_bytes(row.id), self._producers[row.producer, row.organisation]
            body, salt = keep(row, self._bodies)
            rows["event"].append(
                (k, row.entry, event_id, number, row.kind, row.form, row.flags, row.irregular,
                 salt, body)
            )  # fmt: skip
            rows["leaf"].append((row.entry, k, event_id, row.received, one))
            rows["fingerprint"].append((row.fingerprint, row.entry))
            for term in index.terms(record):
                terms[term].append(k)
        # In the order of the index, neighbours are written while their page is at hand.
        for term in sorted(terms):
            found = terms[term]
            if len(found) > 1:
                found.sort()
            rows["posting"] += ((term, *row) for row in packed(found))
        rows["node"] = [tuple(node) for node in nodes]
        return rows

    def _write(self, batch: say.Commit, tree: Tree, rows: Rows, gone: Sequence[say.Gone]) -> None:
        hours = Counter(bucket_of_key(row.k) // HOUR_MILLISECONDS for row in batch.rows)
        rows["leaf"] += [
            (one.entry, None, None, one.received, merkle.leaf_hash(one.data)) for one in gone
        ]
        rows["erased"] = [(one.entry, one.data, one.cause) for one in gone]
        with self._transaction():
            for number, one in say.numbered(gone, self._known_producers() if gone else {}):
                runs.add(self._db, *number, one.received)
            for row in batch.rows:
                if row.number is not None:
                    producer = self._producers[row.producer, row.organisation]
                    runs.add(self._db, producer, row.number, row.received)
            self._db.run(self._added(batch.start, tree, rows, hours))

    async def _added(self, start: int, tree: Tree, rows: Rows, hours: Counter[int]) -> None:
        raw = self._db.raw
        # The lock keeps other writers away; that the log has not grown is asked all the same.
        if (await raw.fetchval("SELECT size FROM head") or 0) != start:
            raise ConflictError(_GROWN)
        for table, added in rows.items():
            if added:
                await raw.copy_records_to_table(table, records=added)
        await raw.execute(_TALLY, list(hours), list(hours.values()))
        await raw.execute(_HEAD, tree.size, tree.root())

    def _known_producers(self) -> dict[bytes, int]:
        rows = self._db.fetch("SELECT number, name, organisation FROM producer")
        return {producer_id(name, of): number for number, name, of in rows}

    def _producer(self, name: str, organisation: str) -> int:
        number = self._producers.get((name, organisation))
        if number is None:
            number = int(self._db.value(_PRODUCER, name, organisation))
            self._producers[name, organisation] = number
        return number

    def _free(self, rows: Sequence[say.Row]) -> list[int]:
        """Return each key, or the next one that no event has."""
        found: dict[int, None] = {}
        for row in rows:
            k = row.k
            while k in found or self._db.value("SELECT 1 FROM event WHERE k = $1", k):
                k += 1
            found[k] = None
        return list(found)

    def _known(self, rows: Sequence[say.Row]) -> list[tuple[int, int]]:
        values = list(dict.fromkeys(row.fingerprint for row in rows))
        found = self._db.fetch(_KNOWN, values, COPIES_COMPARED_MAX)
        return [(value, entry) for value, entry in found]

    def _quarantine(self, refused: say.Quarantine) -> None:
        producer, added = self._producer(refused.producer, refused.organisation), 0
        with self._transaction():
            for row in refused.rows:
                kept = self._bodies.pack(row.body)
                added += len(kept)
                if self._quarantined + added <= QUARANTINE_BYTES_MAX:
                    self._db.fetch(_QUARANTINE, refused.at, producer, row.issues, kept)
        self._quarantined += added

    def _publish(self, checkpoint: say.Publish) -> None:
        with self._transaction():
            if not checkpoint.stays:
                # Only what is meant to stay, the latest, and the latest cosigned are kept.
                self._db.fetch(_FORGET, checkpoint.cosigned)
            self._db.fetch(
                _SIGNED, checkpoint.size, checkpoint.at, checkpoint.cosigned, checkpoint.stays,
                checkpoint.note,
            )  # fmt: skip

    def _erase(self, entries: Sequence[int], cause: int) -> None:
        with self._transaction():
            erasing.begin(self._db)
            for entry in entries:
                erasing.erase(self._db, self._reader, self._identity, entry=entry, cause=cause)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.fetch("BEGIN")
        try:
            yield
            self._db.fetch("COMMIT")
        except BaseException:
            # What the database has now is what `state` will say; nothing is taken for granted.
            self._producers.clear()
            if not self._db.is_lost:
                with suppress(StoreError):
                    self._db.fetch("ROLLBACK")
            raise

    def _recovered(self) -> Tree:
        """Return the tree, once its right edge is the one that the last commit has stated.

        PostgreSQL has rolled back a commit that was cut off; what is left is whole batches.
        """
        tree = load_tree(self._db)
        rows = self._db.fetch("SELECT size, root FROM head")
        head = tuple(rows[0]) if rows else (0, EMPTY_ROOT)
        if (tree.size, tree.root()) != head:
            raise ConfigurationError(
                "the log in this database does not fit its own tree: run `caretrail verify` with its"
                " URL to see what was changed, and restore a backup into another database"
            )
        return tree


_GROWN: Final = "the log has grown since the batch was made"


def load_tree(db: Connection) -> Tree:
    """Return the tree from the hashes at its right edge (RFC 9162, 2.1)."""
    size = int(db.value("SELECT coalesce(max(entry), -1) + 1 FROM leaf"))
    tiers: list[list[bytes]] = []
    level = 0
    while size >> level:
        first = size >> level >> merkle.TILE_HEIGHT << merkle.TILE_HEIGHT
        if level == 0:
            rows = db.fetch("SELECT hash FROM leaf WHERE entry >= $1 ORDER BY entry", first)
        else:
            ask = "SELECT hash FROM node WHERE place >= $1 AND level = $2 ORDER BY place"
            rows = db.fetch(ask, first, level)
        tiers.append([row[0] for row in rows])
        level += merkle.TILE_HEIGHT
    return merkle.rebuild(size, tiers)


def main() -> None:
    """Be the writer's process."""
    serve(lambda data: Writer(msgspec.json.decode(data, type=Options)))
