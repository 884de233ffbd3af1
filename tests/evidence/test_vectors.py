"""verify.py agrees with the logs, notes and time stamps of others."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any, Final

import pytest

from caretrail.evidence import verify

MERKLE: Final = Path(__file__).parents[3] / "shared" / "vectors" / "merkle"
pytestmark = pytest.mark.skipif(not MERKLE.exists(), reason="needs ../shared/vectors/merkle")


def _read(name: str) -> Any:
    return json.loads((MERKLE / name).read_text())


def test_inclusion_proofs_are_judged_as_others_judge_them() -> None:
    probes = _read("transparency-dev-merkle/inclusion.json")
    for probe in probes:
        path = [b64decode(one) for one in probe["proof"] or []]
        index, size = probe["leafIdx"], probe["treeSize"]
        # Only what the checks before have let through: an index in the tree, hashes of 32 bytes.
        sound = index < size and all(len(one) == 32 for one in path)
        leaf, root = b64decode(probe["leafHash"]), b64decode(probe["root"])
        fits = sound and verify.root_from_path(leaf, index, size, path) == root
        assert fits != probe["wantErr"], probe["name"]
    assert len(probes) > 40


def test_checkpoints_and_entry_bundles_of_another_log_are_read() -> None:
    log = _read("tessera-testdata-log.json")
    key = verify.key_of(log["vkey"], "")
    for state in log["states"]:
        note = verify.note_of(state["checkpoint"].encode(), "")
        tree = verify.checkpoint_of(note, "")
        assert tree.size == state["size"]
        ((_, _, signature),) = note.signatures
        assert verify.signed_at(key, signature, note, tree) == 0
        leaves = [bytes.fromhex(one) for one in state["tile_hex"]]
        assert verify.merkle(leaves) == tree.root


def test_notes_are_opened_as_go_opens_them() -> None:
    for case in _read("notes/go-note-open.json"):
        try:
            note = verify.note_of(b64decode(case["note_b64"]), "")
        except verify.Finding:
            assert not case["accept"], case["name"]
            continue
        keys = [verify.key_of(vkey, "") for vkey in case["vkeys"]]
        known = {(key.name, key.id): key for key in keys}
        found = {}
        for name, identity, signature in note.signatures:
            if key := known.get((name, identity)):
                found[name] = verify.signed_at(key, signature, note, None)
        accepted = bool(found) and None not in found.values()
        assert accepted == case["accept"], case["name"]
        if accepted:
            assert sorted(found) == sorted(case["verified_names"])


def test_keys_and_checkpoints_are_valid_where_others_say_so() -> None:
    for case in _read("notes/vkeys.json"):
        assert _passes(lambda: verify.key_of(case["vkey"], "")) == case["valid"]  # noqa: B023
    for case in _read("notes/checkpoint-bodies.json"):
        note = verify.Note(case["body"].encode(), [])
        assert _passes(lambda: verify.checkpoint_of(note, "")) == case["valid"]  # noqa: B023
    for case in _read("notes/c2sp-examples.json"):
        note = verify.note_of(case["note"].encode(), "")
        ((_, _, signature),) = note.signatures
        assert verify.signed_at(verify.key_of(case["vkey"], ""), signature, note, None) == 0


def _passes(work: Any) -> bool:
    try:
        work()
    except verify.Finding:
        return False
    return True


def test_time_stamps_of_a_real_authority_are_read() -> None:
    responses = _read("rfc3161/sigstage.json")["responses"]
    digest, time, *_ = verify.stamp_of(b64decode(responses["response-sha256"]))
    assert len(digest) == 32
    assert time.startswith("2025")
    with pytest.raises(ValueError, match="unknown"):
        verify.stamp_of(b64decode(responses["response-sha512"]))
