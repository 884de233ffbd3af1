"""The Merkle tree of RFC 6962, section 2.1, and RFC 9162, section 2.1: hashes and appending."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HASH_BYTES: Final = 32
# A tile holds 256 hashes (C2SP tlog-tiles), so the roots of subtrees 8 levels apart are kept.
TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
EMPTY_ROOT: Final = sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """Return SHA-256(0x00 || entry) (RFC 9162, 2.1.1)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 || left || right) (RFC 9162, 2.1.1)."""
    return sha256(b"\x01" + left + right).digest()


class Node(NamedTuple):
    """The root of the perfect subtree over leaves [place << level, (place + 1) << level)."""

    level: int
    place: int
    hash: bytes


class Tree(NamedTuple):
    """A tree as its size and its frontier: the roots of its perfect subtrees, largest first."""

    size: int = 0
    frontier: tuple[bytes, ...] = ()

    def root(self) -> bytes:
        """Return the tree's root hash (RFC 9162, 2.1.1)."""
        if not self.frontier:
            return EMPTY_ROOT
        *rest, root = self.frontier
        for left in reversed(rest):
            root = node_hash(left, root)
        return root


def append(tree: Tree, leaves: Iterable[bytes]) -> tuple[Tree, list[Node]]:
    """Add leaf hashes; return the new tree and the tile roots that became complete.

    The stack of perfect subtrees follows the one bits of the size: a leaf at index n closes one
    subtree for every trailing one bit of n.
    """
    size, stack, nodes = tree.size, list(tree.frontier), []
    for leaf in leaves:
        level, place, root = 0, size, leaf
        while place & 1:
            root = node_hash(stack.pop(), root)
            level, place = level + 1, place >> 1
            if not level % TILE_HEIGHT:
                nodes.append(Node(level, place, root))
        stack.append(root)
        size += 1
    return Tree(size, tuple(stack)), nodes


def perfect_roots(hashes: bytes) -> list[bytes]:
    """Return the roots of the perfect subtrees over a row of hashes, level by level.

    `hashes` are those of a tile, one after the other, and so is every level of the result. Level 0
    is the row itself; at level *l* stands one root for every whole group of 2^*l* hashes.
    """
    levels = [hashes]
    while len(row := levels[-1]) >= 2 * HASH_BYTES:
        pairs = range(0, len(row) - HASH_BYTES, 2 * HASH_BYTES)
        levels.append(
            b"".join([sha256(b"\x01" + row[at : at + 2 * HASH_BYTES]).digest() for at in pairs])
        )
    return levels


def rebuild(size: int, tile_roots: Sequence[Sequence[bytes]]) -> Tree:
    """Return the tree of `size` from the hashes at its right edge.

    `tile_roots[i]` are the hashes at level 8 * i that no kept hash above covers, in order: at
    level 0 the last `size % 256` leaf hashes, at level 8 the last `(size >> 8) % 256`, and so on.
    """
    frontier: list[bytes] = []
    for tier in range(len(tile_roots) - 1, -1, -1):
        row = tile_roots[tier]
        if len(row) != (size >> (TILE_HEIGHT * tier)) % TILE_WIDTH:
            raise VerificationError("hashes are missing at the right edge of the tree")
        edge, _ = append(Tree(), row)
        frontier += edge.frontier
    return Tree(size, tuple(frontier))
