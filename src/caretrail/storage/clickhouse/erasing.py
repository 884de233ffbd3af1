"""Erasing content: body, salt and every posting go, the leaf and its entry stay.

Servers rewrite the parts that hold it (ALTER ... DELETE), each by itself and after the statement has
returned, so whoever erases waits until all of them have. What they replaced stays in their folders a
while longer: waiting for that is `purge`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from caretrail.errors import ConflictError, StoreError
from caretrail.sequencer import entry_of
from caretrail.storage.clickhouse.schema import EVENT, MOMENT, POSTING, TABLES
from caretrail.storage.clickhouse.servers import literal, numbers
from caretrail.tlog.entry import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caretrail.sequencer import Identity
    from caretrail.storage.clickhouse.schema import Table
    from caretrail.storage.clickhouse.searching import Searcher
    from caretrail.storage.clickhouse.servers import Servers, Shard

_DELETE: Final = "ALTER TABLE {d}.{table} DELETE WHERE log = {log} AND entry IN ({entries})"
_MONTHS: Final = (
    "SELECT DISTINCT toUInt16(partition) FROM system.parts"
    " WHERE database = {of} AND table = {table} AND active"
)
_UNDONE: Final = (
    "SELECT toUInt64(count()) FROM system.mutations WHERE database = {of} AND NOT is_done"
)
_REPLACED: Final = "SELECT table, name FROM system.parts WHERE database = {of} AND NOT active AND table IN ({tables})"
_SALT: Final = "SELECT id, salt FROM {d}.event WHERE log = {log} AND entry = {entry} AND {covered}"
_KNOWN: Final = "SELECT entry FROM {d}.erased WHERE log = {log} AND entry IN {entries}"
_WAIT_SECONDS: Final = 600.0
_STEP_SECONDS: Final = 0.2


def traces(
    searcher: Searcher, identity: Identity, entries: Sequence[int]
) -> list[tuple[int, bytes]]:
    """Return what stays of events that were not erased before: the entry's number and its bytes."""
    listed = numbers(entries)
    known = {entry for (entry,) in searcher.ask_last_word(("UInt64",), _KNOWN, entries=listed)}
    return [(entry, _trace(searcher, identity, entry)) for entry in entries if entry not in known]


def _trace(searcher: Searcher, identity: Identity, entry: int) -> bytes:
    found = list(searcher.entries(entry, entry + 1))
    if not found:
        raise ConflictError("the log does not have that entry")
    if found[0].kind == Kind.OWN:
        raise ConflictError("an event of the log's own is never erased")
    event, kept = searcher.ask(("FixedString(16)", "String"), _SALT, entry=entry)[0]
    salt = searcher.bodies.salt(kept, event=event)
    return entry_of(found[0], salt=salt, identity=identity).encode()


def delete(
    servers: Servers, entries: Sequence[int], *, pad: Callable[[Shard, Table, int], None]
) -> None:
    """Delete the rows of these entries on every server; raises StoreError when one cannot say so.

    A server does not rewrite the part of a month that a quorum took last before there is another
    one: `pad` has a shard take a row of that month that belongs to no log.
    """
    listed = numbers(entries)
    for shard in servers.shards:
        for table in (EVENT, POSTING, MOMENT):
            servers.command(shard.hosts[0], _DELETE, table=table.local, entries=listed)
            asked = {"of": literal(servers.database), "table": literal(table.local)}
            for (month,) in servers.ask_one(shard.hosts[0], ("UInt16",), _MONTHS, **asked):
                pad(shard, table, month)
    of = literal(servers.database)
    _wait(lambda: _asked_of_all(servers, ("UInt64",), _UNDONE, of=of) == {(0,)})


def purge(servers: Servers) -> None:
    """Wait until no server has the parts that it has replaced so far."""
    of = literal(servers.database)
    tables = ", ".join(literal(table.local) for table in TABLES)
    kinds = ("String", "String")
    replaced = _asked_of_all(servers, kinds, _REPLACED, of=of, tables=tables)
    _wait(lambda: not replaced & _asked_of_all(servers, kinds, _REPLACED, of=of, tables=tables))


def _asked_of_all(
    servers: Servers, kinds: Sequence[str], statement: str, **values: Any
) -> set[tuple[object, ...]]:
    """Return what the servers say, all of them: one that does not answer may still have content."""
    if servers.silent:
        raise StoreError("a server of the store was down at the start: start it, and erase again")
    return {
        row for host in servers.hosts for row in servers.ask_one(host, kinds, statement, **values)
    }


def _wait(done: Callable[[], bool]) -> None:
    end = time.monotonic() + _WAIT_SECONDS
    while not done():
        if time.monotonic() > end:
            raise StoreError("a server of the store has not erased it yet: do it again")
        time.sleep(_STEP_SECONDS)
