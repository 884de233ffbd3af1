"""The prover: proofs out of the hashes that a store or a folder of tiles keeps.

Only the hashes of tiles are kept (every eighth level); those between are computed from them, and
remembered while they are in use.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol

from caretrail.errors import VerificationError
from caretrail.limits import PROVER_TILES_MAX
from caretrail.tlog.proof import (
    RangeProof,
    Span,
    consistency_path,
    inclusion_path,
    perfect_spans,
    range_path,
)
from caretrail.tlog.tile import Tile, width_of
from caretrail.tlog.tree import (
    EMPTY_ROOT,
    HASH_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    node_hash,
    perfect_roots,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

_WITHIN_TILE: Final = TILE_WIDTH - 1
# A level is 8 * tier + height.
_TIER_SHIFT: Final = 3
_HEIGHT_MASK: Final = TILE_HEIGHT - 1


class Tiles(Protocol):
    """Where hashes come from: a store, a folder, a log's address."""

    def hashes(self, tile: Tile) -> bytes:
        """Return the hashes of `tile`, one after the other.

        The prover asks only for tiles of a tree that the source has. What it gives for one tile
        never changes. Raises VerificationError when a hash is missing.
        """
        ...


class Prover:
    """Makes proofs for any tree that its source has; of use for as long as the source is.

    Memory is bounded by `tiles`, of 16 KiB each. A proof is not checked here: with wrong hashes
    in the source it leads to a wrong root, and no verifier accepts it.
    """

    def __init__(self, source: Tiles, *, tiles: int = PROVER_TILES_MAX) -> None:
        def rows(tier: int, n: int, width: int) -> list[bytes]:
            hashes = source.hashes(Tile(tier, n, width))
            if len(hashes) != width * HASH_BYTES:
                raise VerificationError(
                    "the source has not the hashes of a tile that it should have"
                )
            return perfect_roots(hashes)

        self._rows = lru_cache(maxsize=tiles)(rows)

    def root(self, size: int) -> bytes:
        """Return the root of the tree of the first `size` leaves."""
        return self._edge(0, size, size) if size else EMPTY_ROOT

    def inclusion(self, *, index: int, size: int) -> tuple[bytes, ...]:
        """Prove that a leaf stands at `index` in the tree of `size` (RFC 9162, 2.1.3.1)."""
        return self._hashes(inclusion_path(index=index, size=size), size)

    def consistency(self, *, old: int, new: int) -> tuple[bytes, ...]:
        """Prove that the tree of `new` leaves continues that of `old` (RFC 9162, 2.1.4.1).

        From size 0 there is nothing to prove; the proof is empty, as a witness expects it.
        """
        return self._hashes(consistency_path(old=old, new=new), new)

    def range(self, *, start: int, end: int, size: int) -> RangeProof:
        """Prove that the leaves [start, end) stand there, all of them, in the tree of `size`."""
        left, right = range_path(start=start, end=end, size=size)
        return RangeProof(self._hashes(left, size), self._hashes(right, size))

    def _hashes(self, path: Iterable[Span], size: int) -> tuple[bytes, ...]:
        # This runs for each hash of each proof: neighbours in a path are mostly of one tile, and
        # all nodes but those at the right edge are perfect.
        hashes, rows, held = [], [b""], (-1, -1)
        for start, end in path:
            count = end - start
            if count & (count - 1):
                hashes.append(self._edge(start, end, size))
                continue
            level = count.bit_length() - 1
            tier, height = level >> _TIER_SHIFT, level & _HEIGHT_MASK
            n = start >> (level - height + TILE_HEIGHT)
            if held != (tier, n):
                held, rows = (tier, n), self._tile(tier, n, size)
            at = ((start >> level) & (_WITHIN_TILE >> height)) * HASH_BYTES
            hashes.append(rows[height][at : at + HASH_BYTES])
        return tuple(hashes)

    def _edge(self, start: int, end: int, size: int) -> bytes:
        """Return the hash of a node that is not perfect, from the perfect subtrees in it."""
        *rest, root = self._hashes(perfect_spans(Span(start, end)), size)
        for left in reversed(rest):
            root = node_hash(left, root)
        return root

    def _tile(self, tier: int, n: int, size: int) -> list[bytes]:
        return self._rows(tier, n, width_of(tier=tier, n=n, size=size))
