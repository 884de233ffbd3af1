"""A batch as blocks: the bytes that each table takes.

They are made once and kept until they are in, so that what is sent again is the same to the byte:
ClickHouse takes a block once by its content.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.search import index
from caretrail.sequencer import id_bytes
from caretrail.storage.clickhouse import row_binary
from caretrail.storage.clickhouse.schema import EVENT, LEAF, MOMENT, NODE, POSTING
from caretrail.storage.data_keys import Month

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caretrail.search.record import Record
    from caretrail.storage.clickhouse.schema import Table
    from caretrail.storage.messages import Row
    from caretrail.tlog.tree import Node

_ENTRY_AND_KEY: Final = struct.Struct("<QQ")
_TERMS_REMEMBERED: Final = 50_000
NO_NUMBER: Final = -1


class Rows(NamedTuple):
    """The events of a batch, with all that was computed of them, in the order of the log."""

    rows: Sequence[Row]
    records: Sequence[Record]
    leaves: Sequence[bytes]
    nodes: Sequence[Node]
    # Body and salt as they are kept.
    kept: Sequence[tuple[bytes, bytes]]


def make(
    batch: Rows, *, log: str, epoch: int, producer: Callable[[str, str], int]
) -> list[tuple[Table, bytes]]:
    """Return the block of each table; a table that gets no row gets no block."""
    first = batch.rows[0]
    own = (log, Month.of(first.received).number, epoch)
    numbers = [producer(row.producer, row.organisation) for row in batch.rows]
    events = [
        (*own, row.entry, row.k, id_bytes(row.id), number, row.kind, row.form, row.flags,
         row.irregular, salt, body)
        for row, number, (body, salt) in zip(batch.rows, numbers, batch.kept, strict=True)
    ]  # fmt: skip
    moments = [(*own, row.entry, row.k, row.fingerprint) for row in batch.rows]
    leaves = [
        (
            *own,
            row.entry,
            row.received,
            leaf,
            number,
            NO_NUMBER if row.number is None else row.number,
        )
        for row, leaf, number in zip(batch.rows, batch.leaves, numbers, strict=True)
    ]
    # A node belongs to the entry that completed it.
    nodes = [
        (*own, ((node.place + 1) << node.level) - 1, node.level, node.place, node.hash)
        for node in batch.nodes
    ]
    blocks = [
        (table, row_binary.encode(table.kinds, rows))
        for table, rows in ((EVENT, events), (MOMENT, moments), (LEAF, leaves), (NODE, nodes))
        if rows
    ]
    return [(POSTING, _postings(batch, row_binary.encode(POSTING.kinds[:3], [own]))), *blocks]


def _postings(batch: Rows, own: bytes) -> bytes:
    """Return the block of postings, put together without a tuple for each: they are most of it."""
    parts = []
    for row, record in zip(batch.rows, batch.records, strict=True):
        head = own + _ENTRY_AND_KEY.pack(row.entry, row.k)
        parts += [head + _term(term) for term in index.terms(record)]
    return b"".join(parts)


def padding(table: Table, *, month: int, epoch: int, number: int) -> bytes:
    """Return a block of one row that belongs to no log, another one for each number."""
    told = {"month": month, "epoch": epoch, "entry": number}
    row = [told.get(name, b"" if "String" in kind else 0) for name, kind in table.columns]
    return row_binary.encode(table.kinds, [row])


_term: Final = lru_cache(_TERMS_REMEMBERED)(row_binary.text)
