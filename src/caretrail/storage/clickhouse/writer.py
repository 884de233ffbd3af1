"""Writing a log in ClickHouse. This runs in a process of its own; see `process`.

A batch is sent as one block a table to one shard, then its commit row to all servers. Until that row
is in, and was read back, and the lease was still ours after it, the batch is not there. An error on the
way is no rejection: the same blocks are sent again, and when that does not help, a new epoch begins
for which all that may have been left is void.
"""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail.errors import ConfigurationError, ConflictError, Error, NotFoundError, StoreError
from caretrail.limits import COPIES_COMPARED_MAX, QUARANTINE_BYTES_MAX
from caretrail.sequencer import leaf
from caretrail.storage import messages as say
from caretrail.storage.clickhouse import blocks, commits, erasing, row_binary
from caretrail.storage.clickhouse import properties as of_log
from caretrail.storage.clickhouse.address import Address
from caretrail.storage.clickhouse.commits import Cuts, Epoch, Head
from caretrail.storage.clickhouse.lease import Lease
from caretrail.storage.clickhouse.proofs import LEAVES, NODES
from caretrail.storage.clickhouse.schema import (
    COMMIT,
    EPOCH,
    ERASED,
    PRODUCER,
    PROPERTY,
    QUARANTINE,
    SIGNED,
    STAYING_SLOT,
    TABLES,
)
from caretrail.storage.clickhouse.searching import Place, Searcher
from caretrail.storage.clickhouse.servers import Http, ServerError, Servers, literal, numbers
from caretrail.storage.data_keys import DataKeys, Month
from caretrail.storage.linked import MOVED
from caretrail.storage.process import serve
from caretrail.storage.rows import keep, record_of
from caretrail.tlog import tree as merkle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from caretrail.storage.clickhouse.schema import Table
    from caretrail.storage.clickhouse.servers import Shard
    from caretrail.tlog.tree import Tree

# How long a block is sent again, and how long a server waits for its neighbours to have it.
_SEND_SECONDS: Final = 15.0
_QUORUM_SECONDS: Final = 5
_STEP_SECONDS: Final = 0.05
_EPOCH_SHIFT: Final = 32
# Of ClickHouse's codes of errors: a block that is sent again is no better then.
_HOPELESS: Final = frozenset([33, 47, 60, 62, 81, 241, 497, 516])
_KNOWN: Final = (
    "SELECT fingerprint, entry FROM {d}.moment WHERE log = {log} AND fingerprint IN {values}"
    " AND entry < {size} AND {covered} ORDER BY fingerprint, entry DESC LIMIT {most} BY fingerprint"
)
_TABLES: Final = "SELECT name FROM system.tables WHERE database = {of}"
_READ_BACK: Final = (
    "SELECT root FROM {d}.commit WHERE log = {log} AND size = {size} AND epoch = {epoch}"
)


class Options(msgspec.Struct, frozen=True):
    """What the writer's process is told; with `data_keys` bodies and salts are encrypted."""

    url: str
    data_keys: str = ""


class Writer:
    """The one sequencer of a log; opening it is recovery."""

    def __init__(self, options: Options) -> None:
        """Open the log by the options."""
        address = Address.parse(options.url)
        self._servers = Servers(address, Http(address))
        self._pool = ThreadPoolExecutor(2 * len(address.hosts) + len(TABLES))
        self._turn = count()
        self._epoch = 0
        self._clean = True
        self._suspect: set[str] = set()
        try:
            self._lease = Lease(address)
            try:
                self._open(options)
            except BaseException:
                self._lease.release()
                raise
        except BaseException:
            self._pool.shutdown()
            self._servers.engine.close()
            raise

    def _open(self, options: Options) -> None:
        self._create_tables()
        self._properties = self._opened(options.data_keys)
        self._bodies = self._properties.bodies()
        self._identity = self._properties.identity()
        self._recover()
        rows = self._servers.ask(("UInt64", "UInt64"), _QUARANTINE_STATE, is_last_word=True)
        self._quarantine_number, self._quarantined = rows[0]

    def _create_tables(self) -> None:
        servers = self._servers
        answering = [host for host in servers.hosts if host not in servers.silent]
        lacking = [host for host in answering if not self._has_tables(host)]
        if lacking and servers.silent:
            raise ConfigurationError(
                f"tables are made when all servers of --store answer: {servers.silent[0]} does not"
            )
        for host in lacking:
            servers.command(host, "CREATE DATABASE IF NOT EXISTS {d}")
            for table in TABLES:
                for statement in servers.dialect.create(
                    table, database=servers.database, cluster=servers.cluster
                ):
                    servers.engine.run(host, statement, settings={})

    def _has_tables(self, host: str) -> bool:
        of = literal(self._servers.database)
        rows = self._servers.ask_one(host, ("String",), _TABLES, of=of)
        return {table.local for table in TABLES} <= {name.decode() for (name,) in rows}

    def _opened(self, data_keys: str) -> of_log.Properties:
        found = of_log.Properties.read(self._servers)
        if MOVED in found:
            raise ConfigurationError(f"the log was moved to {found[MOVED].decode()}: open it there")
        changes = {} if found else dict(of_log.of_new_log())
        if data_keys:
            DataKeys(Path(data_keys))
            changes[of_log.DATA_KEYS] = str(Path(data_keys).resolve()).encode()
        if changes:
            self._set(changes, version=found.version + 1)
            found = of_log.Properties.read(self._servers)
        return found

    def _set(self, properties: Mapping[str, bytes], *, version: int) -> None:
        self._share(PROPERTY, [(name, version, value) for name, value in properties.items()])

    def answer(self, question: say.Question) -> say.Answer:
        """Do what is asked; an error is an answer, too."""
        try:
            match question:
                case say.Commit():
                    known = self._known(question.rows) if question.unless_known else []
                    return say.Found(known) if known else self._commit(question)
                case say.Graft():
                    raise ConfigurationError("a log cannot be moved to ClickHouse in this version")
                case say.Quarantine():
                    self._quarantine(question)
                    return self._state()
                case say.Publish():
                    slot = STAYING_SLOT + question.at if question.stays else int(question.cosigned)
                    row = (slot, question.size, question.at, question.cosigned, question.note)
                    self._share(SIGNED, [row])
                case say.Erase(entries, cause):
                    self._erase(entries, cause)
                case say.Purge():
                    erasing.purge(self._servers)
                case say.Shred(number):
                    if self._bodies.keys is None:
                        raise NotFoundError("this log has no data keys")
                    self._bodies.keys.destroy(Month.numbered(number))
                case say.Rename(properties):
                    self._properties.version += 1
                    self._set(properties, version=self._properties.version)
                case say.AskState():
                    return self.state()
                case say.Close():
                    self._close()
        except Error as error:
            return say.Failed(type(error).__name__, str(error))
        return say.Done()

    def state(self) -> say.State:
        """Return the log as a restart would find it."""
        if not self._clean:
            self._recover()
        return self._state()

    def _state(self) -> say.State:
        return say.State(self._tree.size, list(self._tree.frontier), self._quarantined)

    def _recover(self) -> None:
        """Begin an epoch where the log ends; raises ConfigurationError when the tree does not fit."""
        self._lease.renew()
        self._clean = False
        epochs = commits.epochs(self._servers)
        head = commits.head(self._servers, Cuts.of(epochs))
        number = max((one.number for one in epochs), default=0) + 1
        number = max(number, self._epoch + 1)
        self._share(EPOCH, [(number, head.size, 0)])
        self._epoch = number
        cuts = Cuts.of([*epochs, Epoch(number, head.size, closed=False)])
        self._lease.prove()
        place = Place(self._servers, size=head.size, cuts=cuts)
        self._reader = Searcher(place, self._bodies)
        self._place = place
        self._tree = load_tree(self._reader, head)
        self._producers = {(name, of): key for key, name, of in self._reader.producers()}
        self._next_producer = count(number << _EPOCH_SHIFT)
        self._clean = True

    def _known(self, rows: Sequence[say.Row]) -> list[tuple[int, int]]:
        values = numbers(row.fingerprint for row in rows)
        asked = {"values": values, "size": self._place.size, "most": COPIES_COMPARED_MAX}
        return [(value, entry) for value, entry in self._reader.ask(_PAIR, _KNOWN, **asked)]

    def _commit(self, batch: say.Commit) -> say.State:
        if not self._clean:
            raise StoreError("the log has to be asked for its state first")
        if not batch.start == self._tree.size:
            raise ConflictError("the log has grown since the batch was made")
        records = [record_of(row) for row in batch.rows]
        leaves = [
            leaf(record, salt=row.salt, identity=self._identity)
            for record, row in zip(records, batch.rows, strict=True)
        ]
        tree, nodes = merkle.append(self._tree, leaves)
        kept = [keep(row, self._bodies) for row in batch.rows]
        rows = blocks.Rows(batch.rows, records, leaves, nodes, kept)
        made = blocks.make(rows, log=self._servers.log, epoch=self._epoch, producer=self._producer)
        self._clean = False
        self._send(made, self._next_shard())
        times = batch.rows[0].received, batch.rows[-1].received
        root = tree.root()
        self._share(COMMIT, [(self._epoch, batch.start, tree.size, root, *times)])
        asked = {"size": tree.size, "epoch": self._epoch}
        if self._servers.ask(("FixedString(32)",), _READ_BACK, is_last_word=True, **asked) != [
            (root,)
        ]:
            raise StoreError("the store does not have what it took: send the event again")
        self._lease.prove()
        self._tree, self._place.size, self._clean = tree, tree.size, True
        return self._state()

    def _producer(self, name: str, organisation: str) -> int:
        number = self._producers.get((name, organisation))
        if number is None:
            number = next(self._next_producer)
            self._share(PRODUCER, [(number, name, organisation)])
            self._producers[name, organisation] = number
        return number

    def _next_shard(self) -> Shard:
        """Return the shard for a batch: each in turn, but for those that failed the last time."""
        shards = self._servers.shards
        if self._suspect >= {one.name for one in shards}:
            self._suspect.clear()
        trusted = [one for one in shards if one.name not in self._suspect]
        return trusted[next(self._turn) % len(trusted)]

    def _send(self, made: Sequence[tuple[Table, bytes]], shard: Shard) -> None:
        """Send every block to a shard, and wait until all of its servers have it."""
        sent = [
            self._pool.submit(self._deliver, table, block, shard.hosts, shard.replicas)
            for table, block in made
        ]
        failed = [error for one in sent if (error := one.exception()) is not None]
        if failed:
            self._suspect.add(shard.name)
            raise failed[0]

    def _share(self, table: Table, rows: Sequence[Sequence[Any]]) -> None:
        """Send rows of this log to a table that all servers share."""
        whole = [(self._servers.log, *row) for row in rows]
        block = row_binary.encode(table.kinds, whole)
        self._deliver(table, block, self._servers.hosts, self._servers.quorum_of_all)

    def _deliver(self, table: Table, block: bytes, hosts: Sequence[str], quorum: int) -> None:
        """Send one block until it is in; raises ServerError when the time is up."""
        end = time.monotonic() + _SEND_SECONDS
        for n in count():
            host = hosts[n % len(hosts)]
            try:
                self._servers.insert(host, table, block, quorum=quorum, seconds=_QUORUM_SECONDS)
            except ServerError as error:
                if error.code in _HOPELESS or time.monotonic() > end:
                    raise
                time.sleep(_STEP_SECONDS)
            else:
                return

    def _quarantine(self, refused: say.Quarantine) -> None:
        producer = self._producer(refused.producer, refused.organisation)
        rows = []
        for row in refused.rows:
            kept = self._bodies.pack(row.body)
            self._quarantined += len(kept)
            if self._quarantined <= QUARANTINE_BYTES_MAX:
                self._quarantine_number += 1
                rows.append((self._quarantine_number, refused.at, producer, row.issues, kept))
        if rows:
            self._share(QUARANTINE, rows)

    def _erase(self, entries: Sequence[int], cause: int) -> None:
        found = erasing.traces(self._reader, self._identity, entries)
        if found:
            self._share(ERASED, [(entry, cause, data) for entry, data in found])
        if entries:
            erasing.delete(self._servers, entries, pad=self._pad)

    def _pad(self, shard: Shard, table: Table, month: int) -> None:
        # Other logs pad as well, and the same block would be taken once.
        number = secrets.randbits(63)
        block = blocks.padding(table, month=month, epoch=self._epoch, number=number)
        self._deliver(table, block, shard.hosts, shard.replicas)

    def _close(self) -> None:
        """End the epoch with a word when nothing was left, and give the log away."""
        try:
            if self._clean:
                self._share(EPOCH, [(self._epoch, self._tree.size, 1)])
        finally:
            self._lease.release()
            self._pool.shutdown()
            self._servers.engine.close()


_PAIR: Final = ("UInt64", "UInt64")
_QUARANTINE_STATE: Final = (
    "SELECT max(number), toUInt64(sum(length(body))) FROM {d}.quarantine WHERE log = {log}"
)


def load_tree(reader: Searcher, head: Head) -> Tree:
    """Return the tree from the hashes at its right edge (RFC 9162, 2.1)."""
    tiers: list[list[bytes]] = []
    level = 0
    while head.size >> level:
        end = head.size >> level
        span = {"start": end >> merkle.TILE_HEIGHT << merkle.TILE_HEIGHT, "end": end}
        rows = (
            reader.ask(("FixedString(32)",), NODES, level=level, **span)
            if level
            else reader.ask(("FixedString(32)",), LEAVES, **span)
        )
        tiers.append([hashed for (hashed,) in rows])
        level += merkle.TILE_HEIGHT
    try:
        tree = merkle.rebuild(head.size, tiers)
    except Error as error:
        raise ConfigurationError(_BROKEN) from error
    if tree.root() != head.root:
        raise ConfigurationError(_BROKEN)
    return tree


_BROKEN: Final = (
    "the log does not fit its own tree: run `caretrail verify` with its URL to see what was changed"
)


def main() -> None:
    """Be the writer's process."""
    serve(lambda data: Writer(msgspec.json.decode(data, type=Options)))
