"""Proofs about the tree (RFC 9162, 2.1.3 and 2.1.4): verifiers, and the paths that provers walk.

A proof is a tuple of hashes. Every verifier either returns, or raises VerificationError; nothing
else that a stranger sends can come out of it. Who makes proofs is `prover`.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from caretrail.errors import VerificationError
from caretrail.limits import PROOF_HASHES_MAX, TREE_SIZE_MAX
from caretrail.tlog.tree import EMPTY_ROOT, HASH_BYTES, Tree, append, node_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class Span(NamedTuple):
    """The leaves [start, end) below one node of the tree."""

    start: int
    end: int


class RangeProof(NamedTuple):
    """What the leaves of a contiguous range lack to give the root: hashes on both sides, in order.

    A range of n leaves in a tree of N needs them and at most 2 log2(N) hashes, instead of
    n log2(N) for one inclusion proof a leaf.
    """

    left: tuple[bytes, ...]
    right: tuple[bytes, ...]


def split(size: int) -> int:
    """Return the largest power of two that is smaller than `size` (RFC 9162, 2.1.1)."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_path(*, index: int, size: int) -> list[Span]:
    """Return the nodes whose hashes prove that a leaf is included (RFC 9162, 2.1.3.1)."""
    if not 0 <= index < size <= TREE_SIZE_MAX:
        raise VerificationError(f"index {index} is outside a tree of size {size}")
    path, place, last, level = [], index, size - 1, 0
    while last:
        if place & 1:
            path.append(Span((place - 1) << level, place << level))
        elif place < last:
            path.append(Span((place + 1) << level, min((place + 2) << level, size)))
        place, last, level = place >> 1, last >> 1, level + 1
    return path


def consistency_path(*, old: int, new: int) -> list[Span]:
    """Return the nodes whose hashes prove that a tree was only appended to (RFC 9162, 2.1.4.1).

    Between equal sizes and from the empty tree there is nothing to prove, and the path is empty.
    """
    if not 0 <= old <= new <= TREE_SIZE_MAX:
        raise VerificationError(f"there is no proof from size {old} to size {new}")
    if not old:
        return []
    path, start, end = [], 0, new
    while old != end:
        middle = start + split(end - start)
        if old <= middle:
            path.append(Span(middle, end))
            end = middle
        else:
            path.append(Span(start, middle))
            start = middle
    if start:
        path.append(Span(start, end))
    return path[::-1]


def range_path(*, start: int, end: int, size: int) -> tuple[list[Span], list[Span]]:
    """Return the nodes left and right of the leaves [start, end) that complete the tree."""
    if not 0 <= start < end <= size <= TREE_SIZE_MAX:
        raise VerificationError(f"[{start}, {end}) is no range of a tree of size {size}")
    left: list[Span] = []
    right: list[Span] = []
    waiting = [Span(0, size)]
    while waiting:
        node = waiting.pop()
        if node.end <= start:
            left.append(node)
        elif node.start >= end:
            right.append(node)
        elif not _within(node, start, end):
            middle = node.start + split(node.end - node.start)
            # The left half is taken next, so that both lists are in the order of the log.
            waiting += (Span(middle, node.end), Span(node.start, middle))
    return left, right


def perfect_spans(span: Span) -> Iterator[Span]:
    """Yield the perfect subtrees that a node over `span` is made of, largest first."""
    start, end = span
    while start < end:
        count = 1 << (end - start).bit_length() - 1
        yield Span(start, start + count)
        start += count


def _within(node: Span, start: int, end: int) -> bool:
    return start <= node.start and node.end <= end


def _check_hashes(proof: Sequence[bytes]) -> None:
    """Refuse what no tree can need, before anything is hashed."""
    if len(proof) > PROOF_HASHES_MAX:
        raise VerificationError("the proof has more hashes than any tree needs")
    for one in proof:
        if len(one) != HASH_BYTES:
            raise VerificationError("the proof has a hash of the wrong length")


def root_from_inclusion(leaf: bytes, *, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """Return the root that `proof` implies for the leaf hash `leaf` (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size <= TREE_SIZE_MAX:
        raise VerificationError(f"index {index} is outside a tree of size {size}")
    _check_hashes(proof)
    if len(leaf) != HASH_BYTES:
        raise VerificationError("the leaf hash has the wrong length")
    # The steps of RFC 9162, sorted: up to where the paths to this leaf and to the last one meet, the
    # sibling stands on the side that the index says; above, only left siblings are left over.
    inner = (index ^ (size - 1)).bit_length()
    if len(proof) != inner + (index >> inner).bit_count():
        raise VerificationError("the inclusion proof is too long or too short")
    root, node = leaf, index
    for sibling in proof[:inner]:
        if node & 1:
            root = sha256(b"\x01" + sibling + root).digest()
        else:
            root = sha256(b"\x01" + root + sibling).digest()
        node >>= 1
    for sibling in proof[inner:]:
        root = sha256(b"\x01" + sibling + root).digest()
    return root


def verify_inclusion(
    leaf: bytes, *, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Return only if the leaf hash stands at `index` in the tree of `size` and `root`."""
    if root_from_inclusion(leaf, index=index, size=size, proof=proof) != root:
        raise VerificationError("the inclusion proof leads to another root")


def verify_consistency(
    *, old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Return only if the tree of `new` leaves continues the one of `old` (RFC 9162, 2.1.4.2).

    From the empty tree to a larger one nothing can be proved, so that is refused; a witness treats
    it as a first sight of the log.
    """
    if not 0 <= old <= new <= TREE_SIZE_MAX:
        raise VerificationError(f"there is no proof from size {old} to size {new}")
    _check_hashes(proof)
    _check_hashes((old_root, new_root))
    if old == new:
        # Two equal roots are not enough: the root of an empty tree is known.
        if proof or old_root != new_root or (not old and old_root != EMPTY_ROOT):
            raise VerificationError("two roots of one size differ, or come with a proof")
        return
    if not old:
        raise VerificationError("nothing can be proved from the empty tree")
    if (old_root, new_root) != _roots_from_consistency(old, new, old_root, proof):
        raise VerificationError("the consistency proof leads to other roots")


def _roots_from_consistency(
    old: int, new: int, old_root: bytes, proof: Sequence[bytes]
) -> tuple[bytes, bytes]:
    """Return the two roots that a proof implies, for 0 < old < new."""
    hashes = iter(proof)
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    # Where the old tree is perfect, its root is a node of the new one, and is not sent.
    first = next(hashes, None) if node else old_root
    if first is None:
        raise VerificationError("the consistency proof is too short")
    left = right = first
    for one in hashes:
        if not last:
            raise VerificationError("the consistency proof is too long")
        if node & 1 or node == last:
            left, right = node_hash(one, left), node_hash(one, right)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            right = node_hash(right, one)
        node, last = node >> 1, last >> 1
    if last:
        raise VerificationError("the consistency proof is too short")
    return left, right


def root_from_range(leaves: Iterable[bytes], *, span: Span, size: int, proof: RangeProof) -> bytes:
    """Return the root that the leaf hashes of [span.start, span.end) and `proof` imply.

    The leaves are read once, in order, so that an export of any length can be streamed.
    """
    start, end = span
    if not 0 <= start < end <= size <= TREE_SIZE_MAX:
        raise VerificationError(f"[{start}, {end}) is no range of a tree of size {size}")
    _check_hashes(proof.left)
    _check_hashes(proof.right)
    rest, left, right = iter(leaves), iter(proof.left), iter(proof.right)

    def root_of(node: Span) -> bytes:
        if _within(node, start, end):
            return append(Tree(), _exactly(rest, node.end - node.start))[0].root()
        if node.end <= start or node.start >= end:
            root = next(left if node.end <= start else right, None)
            if root is None:
                raise VerificationError("the range proof is too short")
            return root
        middle = node.start + split(node.end - node.start)
        return node_hash(root_of(Span(node.start, middle)), root_of(Span(middle, node.end)))

    root = root_of(Span(0, size))
    if any(next(more, None) is not None for more in (rest, left, right)):
        raise VerificationError("the range proof has leaves or hashes too many")
    return root


def _exactly(leaves: Iterator[bytes], count: int) -> Iterator[bytes]:
    """Yield the next `count` leaf hashes."""
    for leaf in islice(leaves, count):
        if len(leaf) != HASH_BYTES:
            raise VerificationError("a leaf hash has the wrong length")
        count -= 1
        yield leaf
    if count:
        raise VerificationError("the range has fewer leaves than it says")
