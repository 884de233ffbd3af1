"""Checkpoints: one spelling, and a signature under the name of the origin."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail.errors import VerificationError
from caretrail.limits import TREE_SIZE_MAX
from caretrail.tlog.checkpoint import Checkpoint, SignedCheckpoint, sign
from caretrail.tlog.cosignature import Cosigner, verifier
from caretrail.tlog.keys import Ed25519PrivateKey, MLDSA44PrivateKey
from caretrail.tlog.note import Note, NoteSigner, VerifierKey
from caretrail.tlog.tree import Tree, append

MERKLE = Path(__file__).parents[3] / "shared" / "vectors" / "merkle"
BODIES = MERKLE / "notes" / "checkpoint-bodies.json"
ABSENT = [pytest.param(None, marks=pytest.mark.skip(reason="needs ../shared/vectors/merkle"))]

ORIGIN = "example.org/log"
LOG = NoteSigner(ORIGIN, Ed25519PrivateKey(b"1" * 32))
STRANGER = NoteSigner("example.org/other", Ed25519PrivateKey(b"2" * 32))
CHECKPOINT = Checkpoint(ORIGIN, 7, b"r" * 32)
TEXT = "example.org/log\n7\ncnJycnJycnJycnJycnJycnJycnJycnJycnJycnJycnI=\n"


@pytest.mark.parametrize("row", json.loads(BODIES.read_text()) if BODIES.exists() else ABSENT)
def test_bodies_are_judged_as_others_judge(row: Any) -> None:
    if row["valid"]:
        assert Checkpoint.parse(row["body"]).format() == row["body"]
    else:
        with pytest.raises(VerificationError):
            Checkpoint.parse(row["body"])


@pytest.mark.skipif(not MERKLE.exists(), reason="needs ../shared/vectors/merkle")
def test_the_checkpoints_of_another_implementations_log_are_opened() -> None:
    log = json.loads((MERKLE / "tessera-testdata-log.json").read_text())
    known = [verifier(VerifierKey.parse(log["vkey"]))]
    for state in log["states"]:
        opened = SignedCheckpoint.open(Note.parse(state["checkpoint"].encode()), known)
        leaves = [bytes.fromhex(one) for one in state["tile_hex"]]
        root = append(Tree(), leaves)[0].root()
        assert opened.checkpoint == Checkpoint("example.com/log/testdata", state["size"], root)


@pytest.mark.skipif(not MERKLE.exists(), reason="needs ../shared/vectors/merkle")
def test_the_checkpoints_of_a_public_log_are_judged_as_its_users_judge() -> None:
    rows = json.loads((MERKLE / "rekor-inclusion.json").read_text())
    judged = 0
    for row in rows:
        for key in row.get("log_keys", ()):
            if key["details"] != "PKIX_ED25519" or key["logId"] != row["logId_b64"]:
                continue
            public = b64decode(key["spki_b64"])[-32:]
            known = [verifier(VerifierKey(key["baseUrl"], 1, public))]
            data = row["inclusionProof"]["checkpoint"]["envelope"].encode()
            try:
                opened = SignedCheckpoint.open(Note.parse(data), known)
            except VerificationError:
                assert not row["expect_valid"]
            else:
                assert row["expect_valid"]
                assert opened.checkpoint.root == b64decode(row["inclusionProof"]["rootHash"])
            judged += 1
    assert judged >= 5


def test_a_checkpoint_is_written_as_the_specification_says() -> None:
    assert CHECKPOINT.format() == TEXT
    assert Checkpoint.parse(TEXT) == CHECKPOINT


@given(
    origin=st.text(st.characters(exclude_characters="\n"), min_size=1),
    size=st.integers(0, TREE_SIZE_MAX),
    root=st.binary(min_size=32, max_size=32),
    extensions=st.lists(st.text(st.characters(exclude_characters="\n"), min_size=1), max_size=3),
)
def test_parsing_gives_back_what_was_written(
    origin: str, size: int, root: bytes, extensions: list[str]
) -> None:
    made = Checkpoint(origin, size, root, tuple(extensions))
    assert Checkpoint.parse(made.format()) == made


@given(text=st.text(st.sampled_from("example.org/log\n7c=nJyI01+- ٧"), max_size=40))
def test_what_can_be_parsed_has_no_other_spelling(text: str) -> None:
    for one in (text, TEXT + text, text + TEXT, TEXT.replace("7", text)):
        try:
            parsed = Checkpoint.parse(one)
        except VerificationError:
            continue
        assert parsed.format() == one


@pytest.mark.parametrize("size", ["", "+7", "07", "-7", "7.0", "7 ", " 7", "٧", "0x7", "1e3", "1_0",
                                  str(TREE_SIZE_MAX + 1), "9" * 5_000])  # fmt: skip
def test_a_size_has_one_spelling_and_a_bound(size: str) -> None:
    with pytest.raises(VerificationError):
        Checkpoint.parse(TEXT.replace("7", size))


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", "\n\n\n", TEXT[:-1], TEXT + "\n", "\n" + TEXT, TEXT + "extension",
        TEXT + "\nextension\n", TEXT.replace("=", ""), TEXT.replace("nI=", "nJ="),
        TEXT.replace("nI=", "n"), TEXT.replace("cnJy", "cn-_"), TEXT.replace("\n", "\r\n"),
        TEXT.replace("example.org/log", ""), TEXT.replace("cnJ", "cn\u00e9"), TEXT.replace("=", "=="),
    ],
)  # fmt: skip
def test_a_malformed_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(VerificationError):
        Checkpoint.parse(text)


def test_a_log_signs_and_everybody_with_its_key_can_check() -> None:
    note = sign(CHECKPOINT, [LOG])
    opened = SignedCheckpoint.open(Note.parse(note.format()), [verifier(LOG.key)])
    assert opened == SignedCheckpoint(CHECKPOINT, note, note.signatures)


def test_a_log_may_sign_with_a_second_key_against_quantum_computers() -> None:
    second = Cosigner(ORIGIN, MLDSA44PrivateKey(b"3" * 32))
    note = sign(CHECKPOINT, [LOG]).add([second.cosign(TEXT, time=1_700_000_000)])
    note = Note.parse(note.format())
    for keys in ([LOG.key], [second.key], [LOG.key, second.key]):
        opened = SignedCheckpoint.open(note, [verifier(key) for key in keys])
        assert len(opened.verified) == len(keys)


def test_a_checkpoint_signed_only_by_others_is_refused() -> None:
    witnessed = Note(TEXT, (STRANGER.sign(TEXT),))
    with pytest.raises(VerificationError, match="origin"):
        SignedCheckpoint.open(witnessed, [verifier(STRANGER.key), verifier(LOG.key)])
    both = witnessed.add([LOG.sign(TEXT)])
    known = [verifier(STRANGER.key), verifier(LOG.key)]
    assert len(SignedCheckpoint.open(both, known).verified) == 2


def test_a_log_signs_only_under_its_origin_and_only_what_can_be_written() -> None:
    for signers in ([], [STRANGER], [LOG, STRANGER]):
        with pytest.raises(VerificationError, match="origin"):
            sign(CHECKPOINT, signers)
    for wrong in (
        CHECKPOINT._replace(size=-1),
        CHECKPOINT._replace(size=TREE_SIZE_MAX + 1),
        CHECKPOINT._replace(root=b"r"),
        CHECKPOINT._replace(extensions=("",)),
        CHECKPOINT._replace(extensions=("one\ntwo",)),
    ):
        with pytest.raises(VerificationError):
            sign(wrong, [LOG])
