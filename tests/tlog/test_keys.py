"""Keys: others' signatures, and keys that nobody may trust."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import mldsa

from caretrail.errors import ConfigurationError, VerificationError
from caretrail.tlog.keys import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
    MLDSA44PrivateKey,
    MLDSA44PublicKey,
)

MERKLE = Path(__file__).parents[3] / "shared" / "vectors" / "merkle"
ABSENT = [pytest.param(None, marks=pytest.mark.skip(reason="needs ../shared/vectors/merkle"))]

# RFC 8032, 7.1, TEST 2.
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
P = 2**255 - 19


def groups(file: str) -> list[Any]:
    path = MERKLE / file
    if not path.exists():
        return ABSENT
    return json.loads(path.read_text())["testGroups"]


@pytest.mark.parametrize("group", groups("ed25519/wycheproof-ed25519.json"))
def test_ed25519_signatures_are_judged_as_others_judge(group: Any) -> None:
    key = Ed25519PublicKey(bytes.fromhex(group["publicKey"]["pk"]))
    for row in group["tests"]:
        valid = key.verify(bytes.fromhex(row["msg"]), bytes.fromhex(row["sig"]))
        assert valid is (row["result"] == "valid"), row["tcId"]


@pytest.mark.parametrize("group", groups("mldsa44/wycheproof-mldsa44-verify.json"))
def test_mldsa44_signatures_are_judged_as_others_judge(group: Any) -> None:
    encoded = bytes.fromhex(group["publicKey"])
    for row in group["tests"]:
        if row.get("ctx"):
            continue  # C2SP's signatures have no context.
        if "IncorrectPublicKeyLength" in row["flags"]:
            with pytest.raises(VerificationError):
                MLDSA44PublicKey(encoded)
            continue
        valid = MLDSA44PublicKey(encoded).verify(
            bytes.fromhex(row["msg"]), bytes.fromhex(row["sig"])
        )
        assert valid is (row["result"] == "valid"), row["tcId"]


def test_the_signature_of_the_rfc_is_made_and_verified() -> None:
    key = Ed25519PrivateKey(SEED)
    assert key.public.encoded == PUBLIC
    assert key.sign(b"\x72") == SIGNATURE
    assert key.public.verify(b"\x72", SIGNATURE)
    for message, signature in ((b"\x73", SIGNATURE), (b"\x72", SIGNATURE[:-1]), (b"\x72", b"")):
        assert not key.public.verify(message, signature)


def test_an_mldsa44_key_follows_from_its_seed_and_signs() -> None:
    key = MLDSA44PrivateKey(SEED)
    assert key.public.encoded == MLDSA44PrivateKey(SEED).public.encoded
    assert key.public.encoded != MLDSA44PrivateKey(SEED[::-1]).public.encoded
    signature = key.sign(b"message")
    assert len(signature) == 2_420
    assert key.public.verify(b"message", signature)
    assert not key.public.verify(b"massage", signature)
    assert not key.public.verify(b"message", signature[:-1])


@pytest.mark.parametrize("make", [Ed25519PrivateKey, MLDSA44PrivateKey])
def test_a_seed_has_32_bytes_and_is_shown_nowhere(make: Any) -> None:
    for seed in (b"", SEED[:-1], SEED + b"\0"):
        with pytest.raises(ConfigurationError, match="32 bytes"):
            make(seed)
    shown = repr(make(SEED)) + str(vars(make(SEED)))
    assert SEED.hex() not in shown
    assert repr(SEED) not in shown


def _double(x: int, y: int) -> tuple[int, int]:
    """Return twice a point of edwards25519, by the addition of RFC 8032, 5.1.4."""
    d = -121_665 * pow(121_666, -1, P) % P
    t = d * x * x * y * y % P
    return 2 * x * y * pow(1 + t, -1, P) % P, (y * y + x * x) * pow(1 - t, -1, P) % P


def _root(square: int) -> int:
    """Return a square root in the field (RFC 8032, 5.1.3)."""
    root = pow(square, (P + 3) // 8, P)
    return root if root * root % P == square else root * pow(2, (P - 1) // 4, P) % P


def _small_order() -> list[tuple[int, int]]:
    """Return the eight points P with 8 P = 0, found by halving: y of order 8 fits x^2 = -y^2."""
    d = -121_665 * pow(121_666, -1, P) % P
    # -x^2 + y^2 = 1 + d x^2 y^2 with x^2 = -y^2: d y^4 + 2 y^2 - 1 = 0.
    roots = [(-1 + sign * _root((1 + d) % P)) * pow(d, -1, P) % P for sign in (1, -1)]
    squares = [one for one in roots if pow(one, (P - 1) // 2, P) == 1]
    points = [(0, 1), (0, P - 1), (_root(P - 1), 0), (P - _root(P - 1), 0)]
    for square in squares:
        y, x = _root(square), _root(P - square)
        points += [(x, y), (P - x, y), (x, P - y), (P - x, P - y)]
    return points


def test_keys_of_small_order_are_refused_in_every_spelling() -> None:
    points = _small_order()
    assert len(set(points)) == 8
    for point in points:
        three_times = _double(*_double(*_double(*point)))
        assert three_times == (0, 1)
        for sign in (0, 1):
            with pytest.raises(VerificationError, match="small order"):
                Ed25519PublicKey((point[1] | sign << 255).to_bytes(32, "little"))


@pytest.mark.parametrize("y", [P, P + 1, P + 3, 2**255 - 1])
@pytest.mark.parametrize("sign", [0, 1])
def test_keys_in_a_second_spelling_are_refused(y: int, sign: int) -> None:
    with pytest.raises(VerificationError, match="not canonical"):
        Ed25519PublicKey((y | sign << 255).to_bytes(32, "little"))


def test_what_is_no_point_of_the_curve_is_refused() -> None:
    refused = 0
    for y in range(2, 60):
        try:
            Ed25519PublicKey(y.to_bytes(32, "little"))
        except VerificationError:
            refused += 1
    assert 15 < refused < 45, "every second number belongs to no point"


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_keys_of_another_length_are_refused(length: int) -> None:
    for make in (Ed25519PublicKey, MLDSA44PublicKey):
        with pytest.raises(VerificationError):
            make(b"\2" * length)


def test_a_library_without_mldsa44_is_a_matter_of_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoded = MLDSA44PrivateKey(SEED).public.encoded

    class Without:
        @staticmethod
        def from_seed_bytes(seed: bytes) -> None:
            raise UnsupportedAlgorithm("ML-DSA")

        from_public_bytes = from_seed_bytes

    monkeypatch.setattr(mldsa, "MLDSA44PrivateKey", Without)
    monkeypatch.setattr(mldsa, "MLDSA44PublicKey", Without)
    with pytest.raises(ConfigurationError, match="ML-DSA-44"):
        MLDSA44PrivateKey(SEED)
    with pytest.raises(ConfigurationError, match="ML-DSA-44"):
        MLDSA44PublicKey(encoded)
