"""The tree by the recursive definitions of RFC 9162, section 2.1, written down as they stand there.

Slow, and independent of everything in `caretrail`: the tests compare with it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def half(size: int) -> int:
    """Return the largest power of two smaller than `size`."""
    k = 1
    while 2 * k < size:
        k *= 2
    return k


def mth(leaves: Sequence[bytes]) -> bytes:
    """Return the Merkle Tree Hash of leaf hashes (2.1.1)."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = half(len(leaves))
    return sha256(b"\1" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Return PATH(m, D[n]) (2.1.3.1)."""
    if len(leaves) == 1:
        return []
    k = half(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def proof(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Return PROOF(m, D[n]) (2.1.4.1)."""
    return _subproof(m, leaves, known=True)


def _subproof(m: int, leaves: Sequence[bytes], *, known: bool) -> list[bytes]:
    if m == len(leaves):
        return [] if known else [mth(leaves)]
    k = half(len(leaves))
    if m <= k:
        return [*_subproof(m, leaves[:k], known=known), mth(leaves[k:])]
    return [*_subproof(m - k, leaves[k:], known=False), mth(leaves[:k])]


def outside(
    start: int, end: int, leaves: Sequence[bytes], first: int = 0
) -> tuple[list[bytes], list[bytes]]:
    """Return the hashes of the largest nodes left and right of [start, end), from the left."""
    if first + len(leaves) <= start:
        return [mth(leaves)], []
    if first >= end:
        return [], [mth(leaves)]
    if start <= first and first + len(leaves) <= end:
        return [], []
    k = half(len(leaves))
    left, right = outside(start, end, leaves[:k], first)
    more_left, more_right = outside(start, end, leaves[k:], first + k)
    return left + more_left, right + more_right


def root_from_path(leaf: bytes, m: int, size: int, hashes: Sequence[bytes]) -> bytes | None:
    """Return what the steps of 2.1.3.2 compute; None where they fail."""
    if m >= size:
        return None
    fn, sn, r = m, size - 1, leaf
    for p in hashes:
        if sn == 0:
            return None
        if fn % 2 or fn == sn:
            r = sha256(b"\1" + p + r).digest()
            while fn % 2 == 0 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = sha256(b"\1" + r + p).digest()
        fn, sn = fn >> 1, sn >> 1
    return r if sn == 0 else None
