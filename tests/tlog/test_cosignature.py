"""Cosignatures: the messages of the specification, and times that are signed, too."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from caretrail.errors import VerificationError
from caretrail.tlog.checkpoint import Checkpoint
from caretrail.tlog.cosignature import (
    Cosigner,
    ed25519_message,
    mldsa44_message,
    time_of,
    verifier,
)
from caretrail.tlog.keys import Ed25519PrivateKey, MLDSA44PrivateKey
from caretrail.tlog.note import Note, NoteSigner, VerifierKey, verified

NOW = 1_679_315_147
CHECKPOINT = Checkpoint("example.com/behind-the-sofa", 20_852_163, b"h" * 32)
TEXT = CHECKPOINT.format()
COSIGNERS = [
    Cosigner("witness.example.com/w1", Ed25519PrivateKey(b"w" * 32)),
    Cosigner("witness.example.com/w1", MLDSA44PrivateKey(b"w" * 32)),
]


def test_the_ed25519_message_is_that_of_the_specification() -> None:
    assert ed25519_message(TEXT, NOW) == f"cosignature/v1\ntime 1679315147\n{TEXT}".encode()


def test_the_mldsa44_message_is_that_of_the_specification() -> None:
    assert mldsa44_message(TEXT, NOW, cosigner="w1") == (
        b"subtree/v1\n\0" + b"\x02w1" + NOW.to_bytes(8) + b"\x1bexample.com/behind-the-sofa"
        + bytes(8) + (20_852_163).to_bytes(8) + b"h" * 32
    )  # fmt: skip
    extended = CHECKPOINT._replace(extensions=("more",)).format()
    assert mldsa44_message(extended, NOW, cosigner="w1") == mldsa44_message(
        TEXT, NOW, cosigner="w1"
    )


@pytest.mark.parametrize("cosigner", COSIGNERS)
def test_a_cosignature_holds_for_its_text_and_its_time(cosigner: Cosigner) -> None:
    made = cosigner.cosign(TEXT, time=NOW)
    check = verifier(cosigner.key)
    assert time_of(made) == NOW
    assert verified(Note.parse(Note(TEXT, (made,)).format()), [check]) == (made,)
    later = struct.pack(">Q", NOW + 1) + made.signature[8:]
    other = CHECKPOINT._replace(size=1).format()
    for text, signature in (
        (other, made.signature),
        (TEXT, later),
        (TEXT, made.signature[:-1]),
        (TEXT, made.signature[:7]),
        (TEXT, b""),
        (TEXT, struct.pack(">Q", 2**63) + made.signature[8:]),
    ):
        assert not check.verify(text, signature)


def test_the_bytes_of_an_ed25519_cosignature_are_those_of_the_specification() -> None:
    key = Ed25519PrivateKey(b"w" * 32)
    made = COSIGNERS[0].cosign(TEXT, time=NOW)
    assert made.signature == NOW.to_bytes(8) + key.sign(ed25519_message(TEXT, NOW))
    assert COSIGNERS[0].key == VerifierKey("witness.example.com/w1", 4, key.public.encoded)


def test_a_cosignature_at_no_time_is_verified_but_never_made() -> None:
    private = MLDSA44PrivateKey(b"w" * 32)
    message = mldsa44_message(TEXT, 0, cosigner="witness.example.com/w1")
    assert verifier(COSIGNERS[1].key).verify(TEXT, bytes(8) + private.sign(message))
    for time in (0, -1, 2**63):
        with pytest.raises(VerificationError, match="time"):
            COSIGNERS[1].cosign(TEXT, time=time)


@pytest.mark.parametrize("cosigner", COSIGNERS)
def test_only_checkpoints_are_cosigned(cosigner: Cosigner) -> None:
    for text in ("", "some text\n", TEXT + "\n"):
        with pytest.raises(VerificationError):
            cosigner.cosign(text, time=NOW)


def test_one_type_of_signature_is_none_of_another() -> None:
    """The same key as a log's, as a witness's: neither signature passes for the other."""
    private = Ed25519PrivateKey(b"w" * 32)
    log, witness = NoteSigner("w", private), Cosigner("w", private)
    plain, cosigned = log.sign(TEXT), witness.cosign(TEXT, time=NOW)
    assert plain.key_id != cosigned.key_id
    assert not verifier(witness.key).verify(TEXT, plain.signature)
    assert not verifier(log.key).verify(TEXT, cosigned.signature)


def test_an_mldsa44_cosignature_binds_the_name_of_the_cosigner() -> None:
    other = VerifierKey("another", 6, COSIGNERS[1].key.public)
    made = COSIGNERS[1].cosign(TEXT, time=NOW)
    assert verifier(COSIGNERS[1].key).verify(TEXT, made.signature)
    assert not verifier(other).verify(TEXT, made.signature)


def test_names_that_the_message_cannot_hold_are_refused() -> None:
    long = Cosigner("w" * 256, MLDSA44PrivateKey(b"w" * 32))
    with pytest.raises(VerificationError, match="255"):
        long.cosign(TEXT, time=NOW)
    with pytest.raises(VerificationError, match="255"):
        COSIGNERS[1].cosign(Checkpoint("ä" * 128, 1, b"h" * 32).format(), time=NOW)
    with pytest.raises(VerificationError, match="name of a key"):
        Cosigner("a b", Ed25519PrivateKey(b"w" * 32))


@pytest.mark.parametrize("kind", [0, 2, 3, 5, 7, 0xFF])
def test_signature_types_that_are_not_known_here_are_refused(kind: int) -> None:
    with pytest.raises(VerificationError, match="signature type"):
        verifier(VerifierKey("x", kind, Ed25519PrivateKey(b"w" * 32).public.encoded))


@pytest.mark.parametrize("kind", [1, 4, 6])
def test_keys_that_cannot_be_trusted_are_refused_when_they_are_configured(kind: int) -> None:
    wrong: Any
    for wrong in (bytes(32), b"\1" + bytes(31), b"\xff" * 32, b"", b"\2" * 31):
        with pytest.raises(VerificationError):
            verifier(VerifierKey("x", kind, wrong))
