"""Cosignatures: what witnesses sign, and when (C2SP tlog-cosignature).

A cosignature says that as of a time the checkpoint is the largest consistent one that the cosigner
has seen of this log. A log may also sign its own checkpoint so, with ML-DSA-44.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from caretrail.errors import VerificationError
from caretrail.tlog.checkpoint import Checkpoint
from caretrail.tlog.keys import Ed25519PublicKey, MLDSA44PrivateKey, MLDSA44PublicKey
from caretrail.tlog.note import (
    ED25519,
    ED25519_COSIGNATURE,
    MLDSA44_COSIGNATURE,
    NoteVerifier,
    Signature,
    VerifierKey,
    check_key_name,
)

if TYPE_CHECKING:
    from caretrail.tlog.keys import Ed25519PrivateKey
    from caretrail.tlog.note import Verifier

# `timestamped_signature`: seconds since 1970 UTC, and the signature.
_TIME: Final = struct.Struct(">Q")
TIME_SECONDS_MAX: Final = 2**63 - 1
# `cosigned_message`: label, cosigner's name, time, origin, start, end, hash.
_LABEL: Final = b"subtree/v1\n\0"
_NAME_BYTES_MAX: Final = 255


def ed25519_message(text: str, time: int) -> bytes:
    """Return what an Ed25519 cosigner signs: two lines, and the whole text of the checkpoint."""
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def mldsa44_message(text: str, time: int, *, cosigner: str) -> bytes:
    """Return what an ML-DSA-44 cosigner signs: the tree as a subtree that starts at 0.

    The extension lines of the checkpoint are not part of it.
    """
    checkpoint = Checkpoint.parse(text)
    return b"".join([
        _LABEL,
        _opaque(cosigner),
        _TIME.pack(time),
        _opaque(checkpoint.origin),
        struct.pack(">QQ", 0, checkpoint.size),
        checkpoint.root,
    ])  # fmt: skip


def _opaque(name: str) -> bytes:
    """Return a name after its length (RFC 8446, 3.4)."""
    data = name.encode()
    if not 0 < len(data) <= _NAME_BYTES_MAX:
        raise VerificationError("a name is empty or longer than 255 bytes")
    return bytes([len(data)]) + data


def _message(key: VerifierKey, text: str, time: int) -> bytes:
    if key.kind == MLDSA44_COSIGNATURE:
        return mldsa44_message(text, time, cosigner=key.name)
    return ed25519_message(text, time)


class CosignatureVerifier:
    """Verifies cosignatures of one key, of type 0x04 or 0x06."""

    def __init__(self, key: VerifierKey) -> None:
        self.key: Final = key
        self._public = (
            MLDSA44PublicKey(key.public)
            if key.kind == MLDSA44_COSIGNATURE
            else Ed25519PublicKey(key.public)
        )

    def verify(self, text: str, signature: bytes) -> bool:
        """Tell whether `signature`, a time and a signature, is this key's over a checkpoint."""
        if (
            len(signature) < _TIME.size
            or (time := _TIME.unpack_from(signature)[0]) > TIME_SECONDS_MAX
        ):
            return False
        return self._public.verify(_message(self.key, text, time), signature[_TIME.size :])


class Cosigner:
    """Makes cosignatures under a name: of type 0x04, or of type 0x06 with an ML-DSA-44 key.

    An Ed25519 cosignature does not commit to the name, so one Ed25519 key serves one cosigner.
    """

    def __init__(self, name: str, private: Ed25519PrivateKey | MLDSA44PrivateKey) -> None:
        check_key_name(name)
        kind = (
            MLDSA44_COSIGNATURE if isinstance(private, MLDSA44PrivateKey) else ED25519_COSIGNATURE
        )
        self.key: Final = VerifierKey(name, kind, private.public.encoded)
        self._private = private

    def cosign(self, text: str, *, time: int) -> Signature:
        """Return the cosignature over a checkpoint's text, at `time` in seconds since 1970 UTC."""
        Checkpoint.parse(text)
        if not 0 < time <= TIME_SECONDS_MAX:
            raise VerificationError("the time of a cosignature is out of bounds")
        signature = self._private.sign(_message(self.key, text, time))
        return Signature(self.key.name, self.key.key_id, _TIME.pack(time) + signature)


def time_of(signature: Signature) -> int:
    """Return when a verified cosignature was made, in seconds since 1970 UTC.

    ML-DSA-44 cosigners may say 0: they make no statement about the time.
    """
    return int(_TIME.unpack_from(signature.signature)[0])


def verifier(key: VerifierKey) -> Verifier:
    """Return what verifies a key's signatures; refuses types and keys that cannot be trusted."""
    if key.kind == ED25519:
        return NoteVerifier(key)
    if key.kind in (ED25519_COSIGNATURE, MLDSA44_COSIGNATURE):
        return CosignatureVerifier(key)
    raise VerificationError("the verifier key has a signature type that is not known here")
