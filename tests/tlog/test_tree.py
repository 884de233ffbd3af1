"""The Merkle tree: the well-known vectors, the definition itself, and growing in any portions."""

from __future__ import annotations

import json
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caretrail.errors import VerificationError
from caretrail.tlog.tree import (
    EMPTY_ROOT,
    HASH_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    Node,
    Tree,
    append,
    leaf_hash,
    node_hash,
    rebuild,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

VECTORS = Path(__file__).parents[1] / "vectors"
SHARED = Path(__file__).parents[3] / "shared" / "vectors" / "merkle" / "rfc6962-reference-tree.json"
LARGEST = 3 * TILE_WIDTH**2 + 2 * TILE_WIDTH + 5
LEAVES = [leaf_hash(b"%d" % number) for number in range(1_200)]


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


def _definition(leaves: Sequence[bytes]) -> bytes:
    """Return MTH(D[n]) as RFC 6962, 2.1 writes it down."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    children = _definition(leaves[:split]) + _definition(leaves[split:])
    return sha256(b"\x01" + children).digest()


def _edge(leaves: Sequence[bytes], nodes: Sequence[Node]) -> list[list[bytes]]:
    """Return the hashes at the right edge, tier by tier, out of all that was ever kept."""
    size, tiers = len(leaves), []
    for level in range(0, max(size.bit_length(), 1), TILE_HEIGHT):
        kept = list(leaves) if not level else [one.hash for one in nodes if one.level == level]
        assert len(kept) == size >> level
        tiers.append(kept[len(kept) // TILE_WIDTH * TILE_WIDTH :])
    return tiers


def _check_roots(vectors: Any) -> None:
    leaves = [leaf_hash(bytes.fromhex(text)) for text in vectors["leaf_inputs_hex"]]
    roots = vectors["root_by_size"]
    assert len(roots) == len(leaves) + 1 == 9
    for size, root in enumerate(roots):
        tree, _ = append(Tree(), leaves[:size])
        assert tree.size == size
        assert tree.root().hex() == root
        assert _definition(leaves[:size]).hex() == root


def test_the_well_known_leaves_have_their_well_known_roots() -> None:
    _check_roots(_read(VECTORS / "own" / "rfc6962-roots.json"))


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/vectors/merkle")
def test_every_hash_of_the_reference_tree_is_ours() -> None:
    vectors = _read(SHARED)
    _check_roots(vectors)
    levels = [[bytes.fromhex(text) for text in vectors["leaf_hashes"]]]
    assert [leaf_hash(bytes.fromhex(text)) for text in vectors["leaf_inputs_hex"]] == levels[0]
    for name in ("level1", "level2"):
        row = levels[-1]
        levels.append([node_hash(*row[at : at + 2]) for at in range(0, len(row), 2)])
        assert [one.hex() for one in levels[-1]] == vectors[name]
    leaf, node = (case["hash"] for case in vectors["hasher_cases"])
    assert leaf_hash(b"L123456").hex() == leaf
    assert node_hash(b"N123", b"N456").hex() == node


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert Tree().root() == EMPTY_ROOT == sha256(b"").digest()
    assert append(Tree(), []) == (Tree(), [])
    assert rebuild(0, []) == rebuild(0, [[]]) == Tree()


def test_every_size_has_the_root_of_the_definition() -> None:
    tree = Tree()
    for size, leaf in enumerate(LEAVES[:600], 1):
        tree, _ = append(tree, [leaf])
        assert len(tree.frontier) == size.bit_count()
        assert tree.root() == _definition(LEAVES[:size])


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, len(LEAVES)), max_size=8))
def test_leaves_in_any_portions_give_the_same_tree_and_nodes(cuts: list[int]) -> None:
    whole, every = append(Tree(), LEAVES)
    tree, nodes = Tree(), []
    for start, end in pairwise([0, *sorted(cuts), len(LEAVES)]):
        tree, new = append(tree, iter(LEAVES[start:end]))
        nodes += new
        assert tree.root() == _definition(LEAVES[:end])
    assert tree == whole
    assert nodes == every


def test_a_full_tile_leaves_the_root_over_its_hashes() -> None:
    _, nodes = append(Tree(), LEAVES)
    assert [(one.level, one.place) for one in nodes] == [(8, place) for place in range(4)]
    for one in nodes:
        assert one.hash == _definition(LEAVES[one.place << 8 : (one.place + 1) << 8])
    assert all(len(one.hash) == HASH_BYTES for one in nodes)


@given(size=st.integers(0, len(LEAVES)))
def test_a_tree_is_rebuilt_from_its_right_edge(size: int) -> None:
    tree, nodes = append(Tree(), LEAVES[:size])
    assert rebuild(size, _edge(LEAVES[:size], nodes)) == tree


@pytest.fixture(scope="module")
def large() -> tuple[list[bytes], Tree, list[Node]]:
    leaves = [number.to_bytes(HASH_BYTES) for number in range(LARGEST)]
    return leaves, *append(Tree(), leaves)


def test_a_tree_of_three_tiers_is_rebuilt_from_its_right_edge(large: Any) -> None:
    leaves, tree, nodes = large
    tiers = _edge(leaves, nodes)
    assert [len(row) for row in tiers] == [5, 2, 3]
    assert rebuild(LARGEST, tiers) == tree
    assert tree.root() == _definition(leaves)
    assert {one.level for one in nodes} == {8, 16}


def test_missing_hashes_are_noticed(large: Any) -> None:
    leaves, _, nodes = large
    tiers = _edge(leaves, nodes)
    for tier in range(3):
        for row in (tiers[tier][1:], [], [*tiers[tier], b"x" * HASH_BYTES]):
            wrong = [*tiers[:tier], row, *tiers[tier + 1 :]]
            with pytest.raises(VerificationError, match="missing"):
                rebuild(LARGEST, wrong)
    with pytest.raises(VerificationError, match="missing"):
        rebuild(LARGEST - 1, tiers)
    with pytest.raises(VerificationError, match="missing"):
        rebuild(1, [[]])


def test_a_changed_hash_changes_the_root(large: Any) -> None:
    leaves, tree, nodes = large
    tiers = _edge(leaves, nodes)
    for tier in range(3):
        changed = [list(row) for row in tiers]
        changed[tier][0] = b"x" * HASH_BYTES
        assert rebuild(LARGEST, changed).root() != tree.root()
