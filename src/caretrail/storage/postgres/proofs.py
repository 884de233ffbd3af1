"""What proofs are made of: stored hashes, entries as they are in the tree, signed checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caretrail.errors import NotFoundError, VerificationError
from caretrail.sequencer import entry_of
from caretrail.storage.contract import Gap, Sealed, Signed
from caretrail.storage.postgres.searching import COLUMNS
from caretrail.tlog.prover import Prover
from caretrail.tlog.tree import TILE_HEIGHT, TILE_WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caretrail.sequencer import Identity
    from caretrail.storage.postgres.connection import Connection
    from caretrail.storage.postgres.searching import Searcher
    from caretrail.tlog.tile import Tile

_LEAVES: Final = "SELECT hash FROM leaf WHERE entry >= $1 AND entry < $2 ORDER BY entry"
_NODES: Final = (
    "SELECT hash FROM node WHERE level = $1 AND place >= $2 AND place < $3 ORDER BY place"
)
_ENTRIES: Final = (
    f"SELECT l.entry, x.data, x.cause, e.salt, {COLUMNS} FROM leaf l"  # noqa: S608
    " LEFT JOIN event e ON e.k = l.k LEFT JOIN erased x ON x.entry = l.entry"
    " WHERE l.entry >= $1 AND l.entry < $2 ORDER BY l.entry"
)
_GAPS: Final = (
    "SELECT p.name, p.organisation, r.first, r.last, r.since, r.until FROM run r"
    " JOIN producer p ON p.number = r.producer ORDER BY r.producer, r.first"
)
_PORTION: Final = 256


class Proofs:
    """Reads of one thread (see `contract.Proofs`)."""

    def __init__(self, db: Connection, searcher: Searcher, identity: Identity) -> None:
        self.db = db
        self._searcher = searcher
        self._identity = identity
        self.prover = Prover(self)

    def hashes(self, tile: Tile) -> bytes:
        """Return the hashes of `tile`, one after the other."""
        first = tile.n * TILE_WIDTH
        span = (first, first + tile.width)
        if tile.tier == 0:
            rows = self.db.fetch(_LEAVES, *span)
        else:
            rows = self.db.fetch(_NODES, tile.tier * TILE_HEIGHT, *span)
        if len(rows) != tile.width:
            raise VerificationError("the log has not the hashes of that tile")
        return b"".join(row[0] for row in rows)

    def sealed(self, start: int, end: int) -> Iterator[Sealed]:
        """Yield the entries at those places, with what they bind where it is still there."""
        for first in range(start, end, _PORTION):
            for entry, left, cause, kept, *row in self.db.fetch(
                _ENTRIES, first, min(end, first + _PORTION)
            ):
                if kept is None:
                    yield Sealed(entry, left, None, None, cause)
                    continue
                record = self._searcher.record(row)
                salt = self._searcher.bodies.salt(kept, event=row[2])
                data = entry_of(record, salt=salt, identity=self._identity).encode()
                yield Sealed(entry, data, record, salt, None)

    def sealed_event(self, event_id: str) -> Sealed:
        """Return the entry of one event; raise NotFoundError when it is not there."""
        record = self._searcher.read(event_id)
        if record is None:
            raise NotFoundError("there is no event with this id")
        return next(self.sealed(record.entry, record.entry + 1))

    def checkpoint(self) -> bytes | None:
        """Return the latest signed checkpoint."""
        ask = "SELECT note FROM signed ORDER BY size DESC, at DESC LIMIT 1"
        found: bytes | None = self.db.value(ask)
        return found

    def notes(self) -> list[Signed]:
        """Return the signed checkpoints that are kept, in the order in which they came."""
        ask = "SELECT note, size, at, cosigned, stays FROM signed ORDER BY number"
        return [Signed(*row) for row in self.db.fetch(ask)]

    def gaps(self) -> list[Gap]:
        """Return what sources numbered and the log never got, source by source."""
        found: list[Gap] = []
        before: tuple[str, str, int, int] | None = None
        for name, organisation, first, last, since, until in self.db.fetch(_GAPS):
            if before is not None and before[:2] == (name, organisation):
                found.append(Gap(name, organisation, before[2] + 1, first - 1, before[3], since))
            before = (name, organisation, last, until)
        return found
