"""Tiles and entry bundles: which there are, where they lie, how they are written (C2SP tlog-tiles).

All but the checkpoint never change once they exist, so they can be served from a folder, an object
store or a cache.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.errors import VerificationError
from caretrail.limits import LOG_ENTRY_BYTES_MAX, TREE_SIZE_MAX
from caretrail.tlog.tree import HASH_BYTES, TILE_HEIGHT, TILE_WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# `x001/x234/067.p/112`: groups of three digits, the width only of what is not full.
_PATH: Final = re.compile(
    r"tile/(?P<tier>entries|[0-9]{1,2})/(?P<n>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[0-9]{1,3}))?",
    re.ASCII,
)
_LENGTH: Final = struct.Struct(">H")


class Tile(NamedTuple):
    """The first `width` hashes of tile `n` at level `tier` of tlog-tiles; tier 0 holds leaf hashes.

    Hash *i* is the root over leaves [(256 n + i) 256^tier, (256 n + i + 1) 256^tier).
    """

    tier: int
    n: int
    width: int = TILE_WIDTH

    def path(self) -> str:
        """Return the only path of this tile, below the log's prefix."""
        return f"tile/{self.tier}/{_place(self.n, self.width)}"

    def within(self, size: int) -> bool:
        """Tell whether all hashes of this tile belong to a tree of `size`."""
        return _end(self.tier, self.n, self.width) <= size


class Bundle(NamedTuple):
    """The first `width` entries of bundle `n`, those of the level 0 tile of the same number."""

    n: int
    width: int = TILE_WIDTH

    def path(self) -> str:
        """Return the only path of this bundle, below the log's prefix."""
        return f"tile/entries/{_place(self.n, self.width)}"

    def within(self, size: int) -> bool:
        """Tell whether all entries of this bundle belong to a tree of `size`."""
        return _end(0, self.n, self.width) <= size


def _end(tier: int, n: int, width: int) -> int:
    """Return the size of the smallest tree that has the hashes."""
    return (n * TILE_WIDTH + width) << (TILE_HEIGHT * tier)


def _place(n: int, width: int) -> str:
    groups = [f"{n % 1000:03}"]
    while n := n // 1000:
        groups.append(f"x{n % 1000:03}")
    partial = f".p/{width}" if width < TILE_WIDTH else ""
    return "/".join(reversed(groups)) + partial


def parse(path: str) -> Tile | Bundle:
    """Return what a path names; only the one spelling that `path()` gives is accepted."""
    if not (found := _PATH.fullmatch(path)):
        raise VerificationError("the path names no tile")
    n = int(found["n"].replace("x", "").replace("/", ""))
    width = int(found["width"] or TILE_WIDTH)
    tier = 0 if found["tier"] == "entries" else int(found["tier"])
    named = Bundle(n, width) if found["tier"] == "entries" else Tile(tier, n, width)
    if width == 0 or not named.within(TREE_SIZE_MAX) or named.path() != path:
        raise VerificationError("the path names no tile in its only valid form")
    return named


def tiles(size: int, *, since: int = 0) -> Iterator[Tile]:
    """Yield the tiles of a tree of `size` that the tree of `since` leaves has not, tier by tier.

    The last one of a tier may be partial. No tile is empty.
    """
    assert 0 <= since <= size <= TREE_SIZE_MAX
    tier, before, now = 0, since, size
    # What did not grow in one tier did not grow above.
    while before != now:
        for n in range(before // TILE_WIDTH, -(-now // TILE_WIDTH)):
            yield Tile(tier, n, width_of(tier=tier, n=n, size=size))
        tier, before, now = tier + 1, before // TILE_WIDTH, now // TILE_WIDTH


def bundles(size: int, *, since: int = 0) -> Iterator[Bundle]:
    """Yield the entry bundles of a tree of `size` that the tree of `since` leaves has not."""
    for tile in tiles(size, since=since):
        if tile.tier:
            return
        yield Bundle(tile.n, tile.width)


def width_of(*, tier: int, n: int, size: int) -> int:
    """Return how many hashes tile `n` has at `tier` in a tree of `size`, at most 256."""
    return min(TILE_WIDTH, (size >> (TILE_HEIGHT * tier)) - n * TILE_WIDTH)


def encode_entries(entries: Sequence[bytes]) -> bytes:
    """Return a bundle's content: each entry after its length in two bytes."""
    assert 0 < len(entries) <= TILE_WIDTH
    assert all(len(entry) <= LOG_ENTRY_BYTES_MAX for entry in entries)
    return b"".join([_LENGTH.pack(len(entry)) + entry for entry in entries])


def decode_entries(data: bytes, *, width: int) -> list[bytes]:
    """Return the `width` entries of a bundle; a byte too many or too few is refused."""
    entries, at = [], 0
    while at < len(data):
        start = at + _LENGTH.size
        if start > len(data):
            raise VerificationError("the entry bundle is cut off")
        at = start + _LENGTH.unpack_from(data, at)[0]
        entries.append(data[start:at])
    if at != len(data) or len(entries) != width:
        raise VerificationError("the entry bundle has not the entries that it should have")
    return entries


def decode_hashes(data: bytes, *, width: int) -> list[bytes]:
    """Return the `width` hashes of a tile's content."""
    if len(data) != width * HASH_BYTES:
        raise VerificationError("the tile has not the hashes that it should have")
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]
