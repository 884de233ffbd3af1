"""Keys that sign notes: Ed25519 (RFC 8032) and ML-DSA-44 (FIPS 204).

This is the one module of the kernel that knows `cryptography`. A private key is made from its seed
of 32 bytes, which the caller keeps; nothing here draws a key, and a private key has no way back to
its seed. What is signed, and under which name, is said by `note` and `cosignature`.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa

from caretrail.errors import ConfigurationError, VerificationError

SEED_BYTES: Final = 32
ED25519_PUBLIC_BYTES: Final = 32
MLDSA44_PUBLIC_BYTES: Final = 1_312

# Edwards25519 (RFC 8032, 5.1): the field's prime, and the curve's d.
_P: Final = 2**255 - 19
_D: Final = -121_665 * pow(121_666, -1, _P) % _P


class Ed25519PublicKey:
    """An Ed25519 key (RFC 8032, 5.1) that is safe to trust."""

    def __init__(self, encoded: bytes) -> None:
        _check_point(encoded)
        self.encoded: Final = encoded
        self._key = ed25519.Ed25519PublicKey.from_public_bytes(encoded)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Tell whether `signature` over `message` is this key's."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


def _check_point(encoded: bytes) -> None:
    """Refuse what is no point, has a second spelling, or signs many messages at once.

    `cryptography` takes such keys. A key of small order (8 P = 0) accepts one signature for many
    messages. That holds for the identity and the points of order 2 (x = 0), 4 (y = 0) and 8, whose
    double has y = 0, so that x^2 = -y^2. A point with a part of small order is not refused: to
    find it costs as much as a signature, and its owner gains nothing by it in a log.
    """
    if len(encoded) != ED25519_PUBLIC_BYTES:
        raise VerificationError("an Ed25519 key has 32 bytes")
    y = int.from_bytes(encoded, "little") & (1 << 255) - 1
    square = y * y % _P
    x_square = (square - 1) * pow(_D * square + 1, -1, _P) % _P
    if y >= _P or not x_square * y * (x_square + square) % _P:
        raise VerificationError("the Ed25519 key is not canonical or of small order")
    if pow(x_square, (_P - 1) // 2, _P) != 1:
        raise VerificationError("the Ed25519 key is no point of the curve")


class Ed25519PrivateKey:
    """An Ed25519 key that signs; its signatures are deterministic (RFC 8032, 5.1.6)."""

    def __init__(self, seed: bytes) -> None:
        _check_seed(seed)
        self._key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        self.public: Final = Ed25519PublicKey(self._key.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """Return this key's signature over `message`, 64 bytes."""
        return self._key.sign(message)


class MLDSA44PublicKey:
    """An ML-DSA-44 key (FIPS 204, 5.3); signatures have no context."""

    def __init__(self, encoded: bytes) -> None:
        if len(encoded) != MLDSA44_PUBLIC_BYTES:
            raise VerificationError("an ML-DSA-44 key has 1,312 bytes")
        try:
            self._key = mldsa.MLDSA44PublicKey.from_public_bytes(encoded)
        except UnsupportedAlgorithm as error:
            raise ConfigurationError(_NO_MLDSA) from error
        self.encoded: Final = encoded

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Tell whether `signature` over `message` is this key's."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


class MLDSA44PrivateKey:
    """An ML-DSA-44 key that signs (FIPS 204, 5.2).

    Its signatures are hedged: the library mixes fresh randomness in, so two over one message
    differ. Both are valid, and no caller may compare them.
    """

    def __init__(self, seed: bytes) -> None:
        _check_seed(seed)
        try:
            self._key = mldsa.MLDSA44PrivateKey.from_seed_bytes(seed)
        except UnsupportedAlgorithm as error:
            raise ConfigurationError(_NO_MLDSA) from error
        self.public: Final = MLDSA44PublicKey(self._key.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """Return this key's signature over `message`, 2,420 bytes."""
        return self._key.sign(message)


_NO_MLDSA: Final = "this build of the cryptography library has no ML-DSA-44: install its own wheel"


def _check_seed(seed: bytes) -> None:
    if len(seed) != SEED_BYTES:
        raise ConfigurationError("the seed of a key has 32 bytes")
