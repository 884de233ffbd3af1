"""The tables of logs in ClickHouse, and how its releases differ.

What a batch brings goes, block by block, to one shard: `event` (bodies), `posting` (for each term
the events that have it, in order of time), `moment` (every event, in order of time), `leaf` and
`node` (the tree). What is small stands on every server, so that no dead shard takes it along:
`commit` says how far the log goes, and nothing beyond its last row is ever looked at. `epoch` says
who wrote: each sequencer has a number, and what an earlier one left without a commit row is void
(see `commits`).

A batch goes into the partition of the month in which its first event was received, so that a table
takes it as one block.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Table(NamedTuple):
    """A table: its columns with their types, and what its rows are sorted by."""

    name: str
    columns: tuple[tuple[str, str], ...]
    order: str
    is_shared: bool = False
    # Of rows with the same order only that with the highest of this column need be kept.
    version: str = ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The types of the columns."""
        return tuple(kind for _, kind in self.columns)

    def insert(self, database: str) -> str:
        """Return the statement that takes a block."""
        names = ", ".join(name for name, _ in self.columns)
        return f"INSERT INTO `{database}`.{self.local} ({names}) FORMAT RowBinary"

    @property
    def local(self) -> str:
        """The name of the table that has rows; of one that is on some shards the view has another."""
        return self.name if self.is_shared else f"{self.name}_local"


def _table(
    name: str, columns: str, order: str, *, is_shared: bool = False, version: str = ""
) -> Table:
    pairs = [one.split() for one in ("log String, " + columns).split(", ")]
    named = tuple((column, kind) for column, kind in pairs)
    return Table(name, named, f"log, {order}", is_shared, version)


# In these a row belongs to an entry, and to the sequencer that wrote it.
_OWN: Final = "month UInt16, epoch UInt32, entry UInt64, "
EVENT: Final = _table(
    "event",
    _OWN + "k UInt64, id FixedString(16), producer UInt64, kind UInt8, form UInt8, flags UInt32,"
    " irregular UInt8, salt String, body String",
    "entry",
)
POSTING: Final = _table("posting", _OWN + "k UInt64, term String", "term, k, entry")
MOMENT: Final = _table("moment", _OWN + "k UInt64, fingerprint UInt64", "fingerprint, entry")
LEAF: Final = _table(
    "leaf",
    _OWN + "received UInt64, hash FixedString(32), producer UInt64, number Int64",
    "entry",
)
NODE: Final = _table(
    "node", _OWN + "level UInt8, place UInt64, hash FixedString(32)", "level, place"
)
DATA: Final = (EVENT, POSTING, MOMENT, LEAF, NODE)

PROPERTY: Final = _table(
    "property", "name String, version UInt64, value String", "name, version", is_shared=True
)
PRODUCER: Final = _table(
    "producer", "number UInt64, name String, organisation String", "number", is_shared=True
)
EPOCH: Final = _table(
    "epoch", "number UInt32, start UInt64, closed UInt8", "number, closed", is_shared=True
)
COMMIT: Final = _table(
    "commit",
    "epoch UInt32, start UInt64, size UInt64, root FixedString(32), first UInt64, last UInt64",
    "size, epoch",
    is_shared=True,
)
ERASED: Final = _table("erased", "entry UInt64, cause UInt64, data String", "entry", is_shared=True)
SIGNED: Final = _table(
    "signed",
    "slot UInt64, size UInt64, at UInt64, cosigned UInt8, note String",
    "slot",
    is_shared=True,
    version="at",
)
# Below it are the latest checkpoint, and the latest cosigned one; from it on those that stay.
STAYING_SLOT: Final = 2
QUARANTINE: Final = _table(
    "quarantine",
    "number UInt64, received UInt64, producer UInt64, issues String, body String",
    "number",
    is_shared=True,
)
SHARED: Final = (PROPERTY, PRODUCER, EPOCH, COMMIT, ERASED, SIGNED, QUARANTINE)
TABLES: Final = (*DATA, *SHARED)

# Replaced parts hold what was erased; they stay this long, in case a server falls.
_OLD_PARTS_SECONDS: Final = 60


class Dialect(NamedTuple):
    """What differs between releases and kinds of servers; everything else is one SQL for all.

    `is_replicated` is False where one process is the whole store, as in tests of today's SQL.
    """

    version: tuple[int, ...]
    is_replicated: bool = True

    @classmethod
    def of(cls, version: str, *, is_replicated: bool = True) -> Dialect:
        """Return the dialect of a server that says its version."""
        return cls(tuple(int(one) for one in version.split(".")[:2]), is_replicated)

    def create(self, table: Table, *, database: str, cluster: str) -> list[str]:
        """Return the statements that make a table on one server."""
        columns = ", ".join(f"{name} {kind}" for name, kind in table.columns)
        by_month = "" if table.is_shared else "PARTITION BY month "
        engine, arguments = "ReplacingMergeTree" if table.version else "MergeTree", []
        if self.is_replicated:
            shard = "all" if table.is_shared else "{shard}"
            path = f"/caretrail/{cluster}/{database}/{shard}/{table.name}"
            engine, arguments = f"Replicated{engine}", [f"'{path}'", "'{shard}-{replica}'"]
        arguments += [table.version] if table.version else []
        engine += f"({', '.join(arguments)})"
        made = [
            f"CREATE TABLE IF NOT EXISTS `{database}`.{table.local} ({columns})"
            f" ENGINE = {engine} {by_month}ORDER BY ({table.order})"
            f" SETTINGS index_granularity = 1024, old_parts_lifetime = {_OLD_PARTS_SECONDS}"
        ]
        if not table.is_shared:
            over = f"Distributed('{cluster}', '{database}', '{table.local}')"
            if not self.is_replicated:
                over = f"Merge('{database}', '^{table.local}$')"
            made.append(
                f"CREATE TABLE IF NOT EXISTS `{database}`.{table.name} ({columns}) ENGINE = {over}"
            )
        return made

    def insert_settings(self, quorum: int, *, timeout_seconds: int) -> dict[str, str]:
        """Return the settings of a statement that takes a block."""
        settings = {"max_insert_block_size": "100000000"}
        if self.is_replicated and quorum > 1:
            settings["insert_quorum"] = str(quorum)
            settings["insert_quorum_timeout"] = str(1000 * timeout_seconds)
            if self.version >= _PARALLEL_QUORUM:
                settings["insert_quorum_parallel"] = "0"
        if self.version >= _ASYNCHRONOUS_INSERTS:
            settings["async_insert"] = "0"
        return settings

    def read_settings(self, *, is_last_word: bool) -> dict[str, str]:
        """Return the settings of a SELECT; the last word has every row that a quorum has."""
        settings: dict[str, str] = {}
        if self.is_replicated:
            settings["fallback_to_stale_replicas_for_distributed_queries"] = "0"
            settings["max_replica_delay_for_distributed_queries"] = str(_DELAY_SECONDS)
            if is_last_word:
                settings["select_sequential_consistency"] = "1"
        return settings


_PARALLEL_QUORUM: Final = (20, 10)
_ASYNCHRONOUS_INSERTS: Final = (21, 11)
# A replica that is further behind answers no search; a quorum of all replicas leaves none behind.
_DELAY_SECONDS: Final = 30
