"""Proofs: others' probes, the recursive definitions of RFC 9162, and everything that is refused."""

from __future__ import annotations

import json
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail.errors import VerificationError
from caretrail.limits import TREE_SIZE_MAX
from caretrail.tlog.proof import (
    RangeProof,
    Span,
    consistency_path,
    inclusion_path,
    range_path,
    root_from_inclusion,
    root_from_range,
    verify_consistency,
    verify_inclusion,
)
from caretrail.tlog.tree import EMPTY_ROOT, leaf_hash

from . import merkle

MERKLE = Path(__file__).parents[3] / "shared" / "vectors" / "merkle"
OWN = Path(__file__).parents[1] / "vectors" / "own" / "merkle-proofs.json"
ABSENT = [pytest.param(None, marks=pytest.mark.skip(reason="needs ../shared/vectors/merkle"))]

LEAVES = [sha256(bytes([number])).digest() for number in range(70)]
X = b"x" * 32


def probes(name: str) -> list[Any]:
    file = MERKLE / "transparency-dev-merkle" / f"{name}.json"
    if not file.exists():
        return ABSENT
    return [pytest.param(row, id=row["name"]) for row in json.loads(file.read_text())]


def hashes(texts: list[str] | None) -> tuple[bytes, ...]:
    return tuple(b64decode(text) for text in texts or ())


def holds(check: Any, *arguments: Any, **named: Any) -> bool:
    try:
        check(*arguments, **named)
    except VerificationError:
        return False
    return True


# Others' probes


@pytest.mark.parametrize("probe", probes("inclusion"))
def test_inclusion_is_judged_as_others_judge(probe: Any) -> None:
    assert (
        holds(
            verify_inclusion,
            b64decode(probe["leafHash"]),
            index=probe["leafIdx"],
            size=probe["treeSize"],
            proof=hashes(probe["proof"]),
            root=b64decode(probe["root"]),
        )
        is not probe["wantErr"]
    )


@pytest.mark.parametrize("probe", probes("consistency"))
def test_consistency_is_judged_as_others_judge(probe: Any) -> None:
    assert (
        holds(
            verify_consistency,
            old=probe["size1"],
            new=probe["size2"],
            old_root=b64decode(probe["root1"]),
            new_root=b64decode(probe["root2"]),
            proof=hashes(probe["proof"]),
        )
        is not probe["wantErr"]
    )


@pytest.mark.skipif(not MERKLE.exists(), reason="needs ../shared/vectors/merkle")
def test_the_paths_of_a_public_log_lead_to_its_roots() -> None:
    rows = json.loads((MERKLE / "rekor-inclusion.json").read_text())
    assert len(rows) == 9
    for row in rows:
        proof = row["inclusionProof"]
        verify_inclusion(
            leaf_hash(b64decode(row["leaf_b64"])),
            index=int(proof["logIndex"]),
            size=int(proof["treeSize"]),
            proof=hashes(proof["hashes"]),
            root=b64decode(proof["rootHash"]),
        )


def test_own_probes_are_judged_as_they_say() -> None:
    rows = json.loads(OWN.read_text())
    assert len(rows["inclusion"]) > 10
    for row in rows["inclusion"]:
        proof = [bytes.fromhex(one) for one in row["proof"]]
        leaf, root = bytes.fromhex(row["leaf"]), bytes.fromhex(row["root"])
        verify_inclusion(leaf, index=row["index"], size=row["size"], proof=proof, root=root)
        assert merkle.root_from_path(leaf, row["index"], row["size"], proof) == root
    for row in rows["consistency"]:
        verify_consistency(
            old=row["old"],
            new=row["new"],
            old_root=bytes.fromhex(row["old_root"]),
            new_root=bytes.fromhex(row["new_root"]),
            proof=[bytes.fromhex(one) for one in row["proof"]],
        )


# The definitions


def test_every_inclusion_in_every_small_tree_is_proved() -> None:
    for size in range(1, len(LEAVES) + 1):
        tree = LEAVES[:size]
        root = merkle.mth(tree)
        for index, leaf in enumerate(tree):
            proof = merkle.path(index, tree)
            verify_inclusion(leaf, index=index, size=size, proof=proof, root=root)
            spans = inclusion_path(index=index, size=size)
            assert [merkle.mth(LEAVES[start:end]) for start, end in spans] == proof


def test_every_consistency_of_every_small_tree_is_proved() -> None:
    for new in range(1, len(LEAVES) + 1):
        for old in range(1, new + 1):
            proof = merkle.proof(old, LEAVES[:new])
            roots = merkle.mth(LEAVES[:old]), merkle.mth(LEAVES[:new])
            verify_consistency(old=old, new=new, old_root=roots[0], new_root=roots[1], proof=proof)
            spans = consistency_path(old=old, new=new)
            assert [merkle.mth(LEAVES[start:end]) for start, end in spans] == proof


def test_every_range_of_every_small_tree_is_proved() -> None:
    for size in range(1, 34):
        root = merkle.mth(LEAVES[:size])
        for start in range(size):
            for end in range(start + 1, size + 1):
                left, right = merkle.outside(start, end, LEAVES[:size])
                given = RangeProof(tuple(left), tuple(right))
                leaves = iter(LEAVES[start:end])
                assert (
                    root_from_range(leaves, span=Span(start, end), size=size, proof=given) == root
                )
                paths = range_path(start=start, end=end, size=size)
                assert [[merkle.mth(LEAVES[a:b]) for a, b in path] for path in paths] == [
                    left,
                    right,
                ]


@given(
    index=st.integers(0, 40),
    size=st.integers(0, 40),
    proof=st.lists(st.sampled_from(LEAVES), max_size=8),
)
def test_an_inclusion_proof_means_what_the_steps_of_the_rfc_compute(
    index: int, size: int, proof: list[bytes]
) -> None:
    expected = merkle.root_from_path(X, index, size, proof)
    try:
        root = root_from_inclusion(X, index=index, size=size, proof=proof)
    except VerificationError:
        assert expected is None
    else:
        assert root == expected


# What is refused


def test_an_inclusion_proof_with_any_change_is_refused() -> None:
    tree = LEAVES[:13]
    root = merkle.mth(tree)
    for index, leaf in enumerate(tree):
        good = merkle.path(index, tree)
        bad: list[list[bytes]] = [[*good, X], [X, *good], good[:-1], good[1:], [*good, root]]
        bad += [[*good[:at], X, *good[at + 1 :]] for at in range(len(good))]
        bad += [[*good[:at], good[at][:31], *good[at + 1 :]] for at in range(len(good))]
        for proof in bad:
            assert not holds(
                verify_inclusion, leaf, index=index, size=13, proof=proof, root=root
            ), (index, proof)
        for other in (*range(-1, 15), 2**63, 2**64 - 1):
            given = {"index": other, "size": 13, "proof": good, "root": root}
            assert holds(verify_inclusion, leaf, **given) is (other == index)
        assert not holds(verify_inclusion, X, index=index, size=13, proof=good, root=root)
        assert not holds(verify_inclusion, leaf[:31], index=index, size=13, proof=good, root=root)
        assert not holds(verify_inclusion, leaf, index=index, size=13, proof=good, root=EMPTY_ROOT)


def test_a_consistency_proof_with_any_change_is_refused() -> None:
    for old, new in ((1, 2), (4, 8), (3, 7), (6, 8), (8, 9), (7, 13), (12, 13)):
        roots = {"old_root": merkle.mth(LEAVES[:old]), "new_root": merkle.mth(LEAVES[:new])}
        good = merkle.proof(old, LEAVES[:new])
        assert holds(verify_consistency, old=old, new=new, **roots, proof=good)
        bad: list[list[bytes]] = [[], [*good, X], [X, *good], good[:-1], good[1:], [X] * 64]
        bad += [[*good[:at], X, *good[at + 1 :]] for at in range(len(good))]
        bad += [[*good[:at], b"", *good[at + 1 :]] for at in range(len(good))]
        bad.append([roots["old_root"], *good])
        for proof in bad:
            assert not holds(verify_consistency, old=old, new=new, **roots, proof=proof)
        for name in roots:
            for root in (X, b"", roots[name] + b"x", roots[name][:-1]):
                wrong = {**roots, name: root}
                assert not holds(verify_consistency, old=old, new=new, **wrong, proof=good)
        swapped = {"old_root": roots["new_root"], "new_root": roots["old_root"]}
        assert not holds(verify_consistency, old=old, new=new, **swapped, proof=good)
        assert not holds(verify_consistency, old=new, new=old, **roots, proof=good)


def test_trees_of_one_size_are_consistent_only_without_a_proof_and_with_one_root() -> None:
    root = merkle.mth(LEAVES[:5])
    given = {"old": 5, "new": 5, "old_root": root}
    assert holds(verify_consistency, **given, new_root=root, proof=())
    assert not holds(verify_consistency, **given, new_root=root, proof=(root,))
    assert not holds(verify_consistency, **given, new_root=X, proof=())


def test_the_empty_tree_is_consistent_with_itself_alone() -> None:
    given = {"old": 0, "proof": ()}
    assert holds(verify_consistency, **given, new=0, old_root=EMPTY_ROOT, new_root=EMPTY_ROOT)
    assert not holds(verify_consistency, **given, new=0, old_root=X, new_root=X)
    assert not holds(verify_consistency, **given, new=1, old_root=EMPTY_ROOT, new_root=X)
    assert consistency_path(old=0, new=7) == []


def test_sizes_reach_to_the_limit_and_no_further() -> None:
    most = TREE_SIZE_MAX
    spans = inclusion_path(index=most - 1, size=most)
    assert len(spans) == 63
    # The last leaf: all siblings are left ones.
    root = LEAVES[0]
    for one in LEAVES[1:64]:
        root = sha256(b"\1" + one + root).digest()
    proof = LEAVES[1:64]
    verify_inclusion(LEAVES[0], index=most - 1, size=most, proof=proof, root=root)
    assert not holds(verify_inclusion, LEAVES[0], index=most - 2, size=most, proof=proof, root=root)
    with pytest.raises(VerificationError, match="outside"):
        root_from_inclusion(LEAVES[0], index=most, size=most + 1, proof=proof)
    with pytest.raises(VerificationError, match="more hashes"):
        root_from_inclusion(LEAVES[0], index=0, size=most, proof=LEAVES[:64])
    with pytest.raises(VerificationError, match="size"):
        verify_consistency(old=1, new=most + 1, old_root=X, new_root=X, proof=())
    # 63 hashes, the bound of C2SP, are enough for every tree of half the largest size.
    assert len(consistency_path(old=most // 2 - 1, new=most // 2)) == 63
    for path in (
        lambda: inclusion_path(index=0, size=most + 1),
        lambda: inclusion_path(index=-1, size=3),
        lambda: consistency_path(old=1, new=most + 1),
        lambda: consistency_path(old=4, new=3),
        lambda: range_path(start=0, end=1, size=most + 1),
        lambda: range_path(start=2, end=2, size=3),
    ):
        with pytest.raises(VerificationError):
            path()


def test_a_range_proof_with_any_change_is_refused() -> None:
    size, span = 23, Span(5, 14)
    root = merkle.mth(LEAVES[:size])
    left, right = (tuple(side) for side in merkle.outside(*span, LEAVES[:size]))
    leaves = LEAVES[5:14]

    def accepts(leaves: list[bytes], span: Span, left: Any, right: Any) -> bool:
        try:
            proof = RangeProof(tuple(left), tuple(right))
            return root_from_range(leaves, span=span, size=size, proof=proof) == root
        except VerificationError:
            return False

    assert accepts(leaves, span, left, right)
    for wrong in (leaves[1:], leaves[:-1], [*leaves, X], [X, *leaves[1:]], leaves[::-1], []):
        assert not accepts(wrong, span, left, right)
    assert not accepts([leaves[0][:5], *leaves[1:]], span, left, right)
    for other in (Span(4, 13), Span(6, 15), Span(5, 13), Span(6, 14), Span(5, 24), Span(9, 9)):
        assert not accepts(leaves, other, left, right)
    for short in (left[1:], left[:-1], (*left, X), (X, *left[1:]), (b"", *left[1:]), (X,) * 64):
        assert not accepts(leaves, span, short, right)
    for short in (right[1:], right[:-1], (*right, X), (X, *right[1:]), right[::-1]):
        assert not accepts(leaves, span, left, short)
    assert not accepts(leaves, span, right, left)


def test_one_leaf_left_out_of_an_export_is_found() -> None:
    """A range proves that nothing in between is missing, which proofs of single leaves cannot."""
    size, root = 40, merkle.mth(LEAVES[:40])
    left, right = merkle.outside(8, 31, LEAVES[:size])
    proof = RangeProof(tuple(left), tuple(right))
    for gone in range(8, 31):
        kept = [LEAVES[at] for at in range(8, 31) if at != gone]
        with pytest.raises(VerificationError, match="fewer leaves"):
            root_from_range(kept, span=Span(8, 31), size=size, proof=proof)
        filled = [*kept[: gone - 8], X, *kept[gone - 8 :]]
        assert root_from_range(filled, span=Span(8, 31), size=size, proof=proof) != root
