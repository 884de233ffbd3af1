"""Proof files: one spelling, and everything in them checked against a policy."""

from __future__ import annotations

import json
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from caretrail.errors import VerificationError
from caretrail.limits import PROOF_EXTRA_BYTES_MAX, PROOF_FILE_BYTES_MAX, TREE_SIZE_MAX
from caretrail.tlog.checkpoint import Checkpoint, sign
from caretrail.tlog.cosignature import Cosigner
from caretrail.tlog.keys import Ed25519PrivateKey
from caretrail.tlog.note import NoteSigner, encode_base64
from caretrail.tlog.policy import Accepted, Cosigned, Policy
from caretrail.tlog.proof_file import ProofFile
from caretrail.tlog.tree import leaf_hash

from . import merkle

OWN = Path(__file__).parents[1] / "vectors" / "own" / "tlog-proofs.json"

ORIGIN = "example.org/log"
NOW = 1_700_000_000
LOG = NoteSigner(ORIGIN, Ed25519PrivateKey(b"L" * 32))
WITNESS = Cosigner("witness.example", Ed25519PrivateKey(b"W" * 32))
POLICY = Policy.parse(
    f"log {LOG.key.format()}\nwitness w {WITNESS.key.format()}\nquorum w\n".encode()
)
ENTRIES = [b"entry %d" % n for n in range(11)]
LEAVES = [leaf_hash(one) for one in ENTRIES]
CHECKPOINT = Checkpoint(ORIGIN, 11, merkle.mth(LEAVES))
SIGNED = sign(CHECKPOINT, [LOG])
NOTE = SIGNED.add([WITNESS.cosign(SIGNED.text, time=NOW)])
FILE = ProofFile(6, tuple(merkle.path(6, LEAVES)), NOTE)
TEXT = FILE.format().decode()


def test_a_proof_file_is_written_as_the_specification_says() -> None:
    hashes = "".join(f"{encode_base64(one)}\n" for one in FILE.proof)
    assert f"c2sp.org/tlog-proof@v1\nindex 6\n{hashes}\n{NOTE.format().decode()}" == TEXT
    extra = ProofFile(6, FILE.proof, NOTE, b"more").format().decode()
    assert extra == TEXT.replace("index", "extra bW9yZQ==\nindex", 1)
    assert ProofFile.parse(extra.encode()).extra == b"more"


def test_an_entry_and_its_file_and_a_policy_are_all_that_is_needed() -> None:
    for index, entry in enumerate(ENTRIES):
        made = ProofFile(index, tuple(merkle.path(index, LEAVES)), NOTE)
        accepted = ProofFile.parse(made.format()).verify(entry, POLICY)
        assert accepted == Accepted(CHECKPOINT, (LOG.key,), (Cosigned("w", NOW),))


@given(
    index=st.integers(0, TREE_SIZE_MAX),
    proof=st.lists(st.binary(min_size=32, max_size=32), max_size=63).map(tuple),
    extra=st.binary(max_size=50),
)
def test_parsing_gives_back_what_was_written(index: int, proof: Any, extra: bytes) -> None:
    made = ProofFile(index, proof, NOTE, extra)
    assert ProofFile.parse(made.format()) == made


def test_another_entry_index_or_hash_does_not_hold() -> None:
    hashes = [b"x" * 32, *FILE.proof[1:]]
    for wrong, entry in (
        (FILE, ENTRIES[5]),
        (ProofFile(5, FILE.proof, NOTE), ENTRIES[6]),
        (ProofFile(11, FILE.proof, NOTE), ENTRIES[6]),
        (ProofFile(6, tuple(hashes), NOTE), ENTRIES[6]),
        (ProofFile(6, FILE.proof[:-1], NOTE), ENTRIES[6]),
        (ProofFile(6, (*FILE.proof, hashes[0]), NOTE), ENTRIES[6]),
    ):
        with pytest.raises(VerificationError):
            wrong.verify(entry, POLICY)


def test_what_the_policy_does_not_accept_does_not_hold() -> None:
    unwitnessed = ProofFile(6, FILE.proof, SIGNED)
    with pytest.raises(VerificationError, match="too few"):
        unwitnessed.verify(ENTRIES[6], POLICY)
    with pytest.raises(VerificationError, match="too few"):
        FILE.verify(ENTRIES[6], POLICY, not_after=NOW - 1)
    with pytest.raises(VerificationError):
        FILE.verify(ENTRIES[6], Policy.parse(b"quorum none\n"))


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found(at: int, bit: int) -> None:
    data = bytearray(FILE.format())
    data[at % len(data)] ^= 1 << bit
    with pytest.raises(VerificationError):
        ProofFile.parse(bytes(data)).verify(ENTRIES[6], POLICY)


FIRST = encode_base64(FILE.proof[0])


@pytest.mark.parametrize(
    "text",
    [
        "", "\n\n", "c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v1\n\n", TEXT[1:], TEXT[:-1],
        TEXT.replace("@v1", "@v2"), TEXT.replace("\nindex 6", ""), TEXT.replace("index 6", "index 06"),
        TEXT.replace("index 6", "index +6"), TEXT.replace("index 6", "index  6"),
        TEXT.replace("index 6", "index -6"), TEXT.replace("index 6", f"index {TREE_SIZE_MAX + 1}"),
        TEXT.replace("index 6", "extra \nindex 6"), TEXT.replace("index 6", "extra\nindex 6"),
        TEXT.replace("index 6", "extra bW9yZQ\nindex 6"), TEXT.replace("index 6", "index 6\nextra bQ=="),
        TEXT.replace("index 6", "extra bQ==\nextra bQ==\nindex 6"), TEXT.replace("index 6", "extra bQ=="),
        TEXT.replace(FIRST, FIRST[:-1]), TEXT.replace(FIRST, f"{FIRST} "), TEXT.replace(FIRST, "AAAA"),
        TEXT.replace(FIRST, f"\n{FIRST}"), TEXT.replace("\n\n", "\n", 1), TEXT.replace("\n", "\r\n"),
        "\ufeff" + TEXT, TEXT.replace(FIRST, f"{FIRST}\n" * 63 + FIRST), TEXT.replace("index", "ind\u00e9x"),
    ],
)  # fmt: skip
def test_a_malformed_proof_file_is_refused(text: str) -> None:
    with pytest.raises(VerificationError):
        ProofFile.parse(text.encode())


def test_bytes_and_extra_data_are_bounded() -> None:
    assert ProofFile.parse(ProofFile(0, (), NOTE, b"x" * PROOF_EXTRA_BYTES_MAX).format())
    with pytest.raises(VerificationError, match="extra data"):
        ProofFile.parse(ProofFile(0, (), NOTE, b"x" * (PROOF_EXTRA_BYTES_MAX + 1)).format())
    with pytest.raises(VerificationError, match="too long"):
        ProofFile.parse(b"x" * (PROOF_FILE_BYTES_MAX + 1))
    with pytest.raises(VerificationError, match="malformed"):
        ProofFile.parse(TEXT.replace("index", "\udcff").encode(errors="surrogateescape"))


# Files of our own, for whoever has no others


def _by_hand(policy: str, entry: bytes, text: str) -> dict[str, int]:
    """Verify a proof file by the words of the specifications, and with nothing of `caretrail`."""
    head, _, note = text.partition("\n\n")
    lines = [line for line in head.split("\n") if not line.startswith("extra ")]
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    body, _, signatures = note.rpartition("\n\n")
    body += "\n"
    size, root = body.split("\n")[1:3]
    leaf = sha256(b"\0" + entry).digest()
    path = [b64decode(line) for line in lines[2:]]
    assert merkle.root_from_path(leaf, int(lines[1][6:]), int(size), path) == b64decode(root)
    keys = {row[-1].split("+", 2)[0]: row[-1] for row in map(str.split, policy.splitlines()[:4])}
    times = {}
    for line in signatures.splitlines():
        _, name, data = line.split(" ")
        signature, key = b64decode(data), b64decode(keys[name].split("+", 2)[2])
        assert signature[:4] == sha256(name.encode() + b"\n" + key).digest()[:4]
        message = body.encode()
        if key[0] == 4:
            times[name[-1]] = int.from_bytes(signature[4:12])
            message = f"cosignature/v1\ntime {times[name[-1]]}\n".encode() + message
        Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature[-64:], message)
    return times


def test_own_proof_files_hold_by_our_code_and_by_hand() -> None:
    own = json.loads(OWN.read_text(encoding="utf-8"))
    policy = Policy.parse(own["policy"].encode())
    assert len(own["proofs"]) == 3
    for entry, text in zip(own["entries"], own["proofs"], strict=True):
        accepted = ProofFile.parse(text.encode()).verify(entry.encode(), policy)
        assert dict(accepted.witnesses) == own["times"]
        assert _by_hand(own["policy"], entry.encode(), text) == own["times"]
