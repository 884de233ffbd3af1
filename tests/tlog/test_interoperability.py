"""Somebody else's verifier, that of the Sigstore client, accepts our proofs and checkpoints."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore._internal.rekor.checkpoint import verify_checkpoint
from sigstore._internal.trust import Keyring, RekorKeyring
from sigstore.errors import VerificationError
from sigstore.models import TransparencyLogEntry
from sigstore_models.common.v1 import PublicKey, PublicKeyDetails
from sigstore_models.rekor.v1 import TransparencyLogEntry as Inner

from caretrail.tlog.checkpoint import Checkpoint, sign
from caretrail.tlog.cosignature import Cosigner
from caretrail.tlog.keys import Ed25519PrivateKey, MLDSA44PrivateKey
from caretrail.tlog.note import NoteSigner
from caretrail.tlog.prover import Prover
from caretrail.tlog.tree import leaf_hash

from .test_prover import Folder

ORIGIN = "log.example.org/caretrail"
LOG = NoteSigner(ORIGIN, Ed25519PrivateKey(b"L" * 32))
SECOND = Cosigner(ORIGIN, MLDSA44PrivateKey(b"L" * 32))
WITNESS = Cosigner("witness.example", Ed25519PrivateKey(b"W" * 32))
ENTRIES = [b"caretrail example %d" % n for n in range(1_000)]
LEAVES = [leaf_hash(one) for one in ENTRIES]


def base64(data: bytes) -> str:
    return b64encode(data).decode()


def keyring(key: bytes) -> RekorKeyring:
    encoded = Ed25519PublicKey.from_public_bytes(key).public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    known = PublicKey(raw_bytes=base64(encoded), key_details=PublicKeyDetails.PKIX_ED25519)
    return RekorKeyring(Keyring([known]))


def theirs(*, index: int, size: int, **changed: Any) -> TransparencyLogEntry:
    """Return our proof of one entry as the Sigstore client reads it."""
    prover = Prover(Folder(LEAVES))
    root = prover.root(size)
    note = sign(Checkpoint(ORIGIN, size, root), [LOG])
    note = note.add([one.cosign(note.text, time=1_700_000_000) for one in (SECOND, WITNESS)])
    named = f"{ORIGIN}\n".encode() + b"\1" + LOG.key.public
    proof = {
        "logIndex": str(index),
        "treeSize": str(size),
        "rootHash": base64(root),
        "hashes": [base64(one) for one in prover.inclusion(index=index, size=size)],
        "checkpoint": {"envelope": note.format().decode()},
    }
    entry = {
        "logIndex": str(index),
        "logId": {"keyId": base64(sha256(named).digest())},
        "kindVersion": {"kind": "caretrail", "version": "1"},
        "inclusionProof": proof | changed,
        "canonicalizedBody": base64(ENTRIES[index]),
    }
    return TransparencyLogEntry(Inner.model_validate(entry))


@pytest.mark.parametrize("size", [1, 2, 7, 256, 257, 999, 1_000])
def test_the_sigstore_client_accepts_our_proofs_and_checkpoints(size: int) -> None:
    for index in {0, size // 2, size - 1}:
        entry = theirs(index=index, size=size)
        verify_merkle_inclusion(entry)
        verify_checkpoint(keyring(LOG.key.public), entry)


def test_the_sigstore_client_refuses_what_we_refuse() -> None:
    entry = theirs(index=3, size=7)
    with pytest.raises(VerificationError):
        verify_checkpoint(keyring(WITNESS.key.public), entry)
    other = theirs(index=4, size=7)._inner.inclusion_proof
    wrong = theirs(index=3, size=7, hashes=[base64(one) for one in other.hashes])
    with pytest.raises(VerificationError):
        verify_merkle_inclusion(wrong)
    moved = theirs(index=3, size=7, rootHash=base64(LEAVES[0]))
    with pytest.raises(VerificationError):
        verify_checkpoint(keyring(LOG.key.public), moved)
