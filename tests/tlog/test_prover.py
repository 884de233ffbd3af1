"""The prover: from tiles alone it makes the proofs that the definitions make."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail.errors import VerificationError
from caretrail.tlog.proof import (
    Span,
    consistency_path,
    inclusion_path,
    perfect_spans,
    root_from_range,
    verify_consistency,
    verify_inclusion,
)
from caretrail.tlog.prover import Prover
from caretrail.tlog.tile import Tile, width_of
from caretrail.tlog.tree import EMPTY_ROOT, HASH_BYTES, Tree, append, perfect_roots

from . import merkle

if TYPE_CHECKING:
    from collections.abc import Iterable

SMALL = [sha256(bytes([n % 256, n // 256])).digest() for n in range(700)]
LARGE = [n.to_bytes(HASH_BYTES) for n in range(70_000)]


class Folder:
    """Tiles of a tree, and a list of those that were asked for."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.asked: list[Tile] = []
        _, nodes = append(Tree(), leaves)
        self.rows = {0: b"".join(leaves)}
        for tier in (1, 2):
            self.rows[tier] = b"".join(one.hash for one in nodes if one.level == 8 * tier)

    def hashes(self, tile: Tile) -> bytes:
        self.asked.append(tile)
        start = tile.n * 256 * HASH_BYTES
        return self.rows[tile.tier][start : start + tile.width * HASH_BYTES]


@pytest.fixture(scope="module")
def small() -> Prover:
    return Prover(Folder(SMALL))


@pytest.fixture(scope="module")
def large() -> Prover:
    return Prover(Folder(LARGE), tiles=4)


@given(size=st.integers(1, len(SMALL)), data=st.data())
def test_proofs_are_those_of_the_definitions(small: Prover, size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    assert list(small.inclusion(index=index, size=size)) == merkle.path(index, SMALL[:size])
    assert list(small.consistency(old=index + 1, new=size)) == merkle.proof(index + 1, SMALL[:size])
    end = data.draw(st.integers(index + 1, size))
    made = small.range(start=index, end=end, size=size)
    assert (list(made.left), list(made.right)) == merkle.outside(index, end, SMALL[:size])
    assert small.root(size) == merkle.mth(SMALL[:size])


@pytest.mark.parametrize("size", [1, 255, 256, 257, 65_535, 65_536, 65_537, 69_999, 70_000])
def test_proofs_across_three_tiers_are_verified(large: Prover, size: int) -> None:
    root = append(Tree(), LARGE[:size])[0].root()
    assert large.root(size) == root
    for index in {0, size // 3, size - 1, max(0, size - 257)}:
        proof = large.inclusion(index=index, size=size)
        verify_inclusion(LARGE[index], index=index, size=size, proof=proof, root=root)
        old = index + 1
        verify_consistency(
            old=old,
            new=size,
            old_root=large.root(old),
            new_root=root,
            proof=large.consistency(old=old, new=size),
        )
        span = Span(index // 2, old)
        made = large.range(start=span.start, end=span.end, size=size)
        leaves = LARGE[span.start : span.end]
        assert root_from_range(leaves, span=span, size=size, proof=made) == root


def test_nothing_is_proved_about_the_empty_tree(small: Prover) -> None:
    assert small.root(0) == EMPTY_ROOT
    assert small.consistency(old=0, new=9) == ()
    assert small.consistency(old=9, new=9) == ()
    with pytest.raises(VerificationError):
        small.inclusion(index=0, size=0)


def tiles_of(path: Iterable[Span], *, size: int) -> set[Tile]:
    """Return the tiles that have the perfect subtrees of these spans (C2SP tlog-tiles)."""
    found = set()
    for span in path:
        for start, end in perfect_spans(span):
            tier = ((end - start).bit_length() - 1) // 8
            n = start // 256 ** (tier + 1)
            found.add(Tile(tier, n, width_of(tier=tier, n=n, size=size)))
    return found


def test_only_the_tiles_that_are_needed_are_read_and_each_once() -> None:
    size = 69_999
    for path, prove in (
        (inclusion_path(index=300, size=size), lambda it: it.inclusion(index=300, size=size)),
        (inclusion_path(index=69_998, size=size), lambda it: it.inclusion(index=69_998, size=size)),
        (consistency_path(old=65_537, new=size), lambda it: it.consistency(old=65_537, new=size)),
        ([Span(0, size)], lambda it: it.root(size)),
    ):
        folder = Folder(LARGE[:size])
        prove(Prover(folder))
        assert set(folder.asked) == tiles_of(path, size=size)
        assert len(folder.asked) == len(set(folder.asked)), "a tile is read once"


def test_memory_is_bounded() -> None:
    folder = Folder(LARGE)
    prover = Prover(folder, tiles=2)
    for _ in range(2):
        for index in (0, 256, 512, 768):
            prover.inclusion(index=index, size=65_536)
    assert folder.asked.count(Tile(0, 0)) == 2


def test_a_source_with_missing_hashes_is_noticed() -> None:
    folder = Folder(SMALL)
    folder.rows[1] = folder.rows[1][:HASH_BYTES]
    with pytest.raises(VerificationError, match="has not the hashes"):
        Prover(folder).inclusion(index=0, size=len(SMALL))


@pytest.mark.parametrize("width", [1, 2, 3, 7, 128, 255, 256])
def test_the_roots_in_a_tile_are_those_of_its_perfect_subtrees(width: int) -> None:
    levels = perfect_roots(b"".join(SMALL[:width]))
    assert len(levels) == width.bit_length()
    for level, row in enumerate(levels):
        roots = [row[at : at + HASH_BYTES] for at in range(0, len(row), HASH_BYTES)]
        assert roots == [
            merkle.mth(SMALL[n << level : (n + 1) << level]) for n in range(width >> level)
        ]
