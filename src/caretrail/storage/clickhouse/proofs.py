"""What proofs are made of: stored hashes, entries as they are in the tree, signed checkpoints."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from caretrail.errors import NotFoundError, VerificationError
from caretrail.sequencer import entry_of
from caretrail.storage.clickhouse.schema import STAYING_SLOT
from caretrail.storage.contract import Gap, Sealed, Signed
from caretrail.tlog.prover import Prover
from caretrail.tlog.tree import TILE_HEIGHT, TILE_WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caretrail.sequencer import Identity
    from caretrail.storage.clickhouse.searching import Searcher
    from caretrail.tlog.tile import Tile

_HASH: Final = ("FixedString(32)",)
LEAVES: Final = (
    "SELECT hash FROM {d}.leaf WHERE log = {log} AND entry >= {start} AND entry < {end} AND {covered}"
    " ORDER BY entry"
)
NODES: Final = (
    "SELECT hash FROM {d}.node WHERE log = {log} AND level = {level} AND place >= {start}"
    " AND place < {end} AND {covered} ORDER BY place"
)
_SALTS: Final = (
    "SELECT entry, id, salt FROM {d}.event WHERE log = {log} AND entry >= {start} AND entry < {end}"
    " AND {covered} ORDER BY entry"
)
_ERASED: Final = "SELECT entry, cause, data FROM {d}.erased WHERE log = {log} AND entry >= {start} AND entry < {end}"
_LATEST: Final = "SELECT note FROM {d}.signed WHERE log = {log} ORDER BY size DESC, at DESC LIMIT 1"
_NOTES: Final = (
    "SELECT slot, size, at, cosigned, note FROM {d}.signed WHERE log = {log} ORDER BY at"
)
# Numbers that follow each other keep their distance from their rank.
_RUNS: Final = (
    "SELECT producer, min(number), max(number), min(received), max(received) FROM"
    " (SELECT producer, number, received, rowNumberInAllBlocks() AS rank FROM"
    " (SELECT producer, number, min(received) AS received FROM {d}.leaf WHERE log = {log}"
    " AND number >= 0 AND entry < {size} AND {covered}"
    " GROUP BY producer, number ORDER BY producer, number))"
    " GROUP BY producer, number - toInt64(rank) ORDER BY producer, min(number)"
)
_SEALED_CHUNK: Final = 1_024


class Proofs:
    """Reads of one thread (see `contract.Proofs`)."""

    def __init__(self, searcher: Searcher, identity: Identity) -> None:
        self._searcher, self._identity = searcher, identity
        self.prover = Prover(self)

    def hashes(self, tile: Tile) -> bytes:
        """Return the hashes of `tile`, one after the other."""
        first = tile.n * TILE_WIDTH
        span = {"start": first, "end": first + tile.width}
        if tile.tier == 0:
            rows = self._searcher.ask(_HASH, LEAVES, **span)
        else:
            rows = self._searcher.ask(_HASH, NODES, level=tile.tier * TILE_HEIGHT, **span)
        if len(rows) != tile.width:
            raise VerificationError("the log has not the hashes of that tile")
        return b"".join(hashed for (hashed,) in rows)

    def sealed(self, start: int, end: int) -> Iterator[Sealed]:
        """Yield the entries at those places, with what they bind where it is still there."""
        end = min(end, self._searcher.size)
        for first in range(start, end, _SEALED_CHUNK):
            yield from self._sealed(first, min(end, first + _SEALED_CHUNK))

    def _sealed(self, start: int, end: int) -> Iterator[Sealed]:
        ask, span = self._searcher.ask, {"start": start, "end": end}
        salts = {
            entry: (event, kept)
            for entry, event, kept in ask(("UInt64", "FixedString(16)", "String"), _SALTS, **span)
        }
        erased = {}
        if len(salts) < end - start:
            rows = ask(("UInt64", "UInt64", "String"), _ERASED, **span)
            erased = {entry: (cause, data) for entry, cause, data in rows}
        records = {record.entry: record for record in self._searcher.entries(start, end)}
        for entry in range(start, end):
            if entry not in salts or entry not in records:
                if entry not in erased:
                    raise VerificationError(
                        "the log has neither the event of an entry nor its trace"
                    )
                cause, data = erased[entry]
                yield Sealed(entry, data, None, None, cause)
                continue
            event, kept = salts[entry]
            salt = self._searcher.bodies.salt(kept, event=event)
            data = entry_of(records[entry], salt=salt, identity=self._identity).encode()
            yield Sealed(entry, data, records[entry], salt, None)

    def sealed_event(self, event_id: str) -> Sealed:
        """Return the entry of one event; raise NotFoundError when it is not there."""
        record = self._searcher.read(event_id)
        if record is None:
            raise NotFoundError("there is no event with this id")
        return next(self.sealed(record.entry, record.entry + 1))

    def checkpoint(self) -> bytes | None:
        """Return the latest signed checkpoint."""
        rows = self._searcher.ask_last_word(("String",), _LATEST)
        return rows[0][0] if rows else None

    def notes(self) -> list[Signed]:
        """Return the signed checkpoints that are kept, in the order in which they came."""
        latest: dict[int, Signed] = {}
        kinds = ("UInt64", "UInt64", "UInt64", "UInt8", "String")
        # Of a slot that is used again the earlier row may not be gone yet.
        for slot, size, at, cosigned, note in self._searcher.ask_last_word(kinds, _NOTES):
            stays = slot >= STAYING_SLOT
            latest[slot] = Signed(note, size, at, bool(cosigned), stays)
        return sorted(latest.values(), key=lambda one: (one.at, one.size))

    def gaps(self) -> list[Gap]:
        """Return what sources numbered and the log never got, source by source."""
        names = {number: (name, of) for number, name, of in self._searcher.producers()}
        kinds = ("UInt64", "Int64", "Int64", "UInt64", "UInt64")
        runs = self._searcher.ask(kinds, _RUNS, size=self._searcher.size)
        return [
            Gap(*names[before[0]], before[2] + 1, after[1] - 1, before[4], after[3])
            for before, after in pairwise(runs)
            if before[0] == after[0]
        ]
