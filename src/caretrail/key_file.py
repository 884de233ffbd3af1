"""A private key in a file of its own: PKCS#8 in PEM (RFC 5958, RFC 7468), for its owner's eyes only.

A key is made once and never overwritten: with it goes the name under which others know the log or
the witness. With a passphrase the file is encrypted (PBES2: AES-256, PBKDF2 with few rounds), so the
passphrase has to be a long random one.
"""

from __future__ import annotations

import os
import stat
from enum import Enum
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from caretrail import durable_file
from caretrail.errors import ConfigurationError
from caretrail.limits import KEY_FILE_BYTES_MAX

if TYPE_CHECKING:
    from pathlib import Path

_MODE: Final = 0o600
_OTHERS: Final = 0o077
_ENCRYPTED: Final = b"BEGIN ENCRYPTED PRIVATE KEY"


class Algorithm(Enum):
    """What a key signs with; both keys follow from a seed of 32 bytes."""

    ED25519 = Ed25519PrivateKey
    MLDSA44 = MLDSA44PrivateKey


def load_or_create(
    path: Path, *, passphrase: bytes | None, algorithm: Algorithm = Algorithm.ED25519
) -> bytes:
    """Return the seed of the key in the file, which is made on the first call.

    Raises ConfigurationError when others may read the file, when it is damaged or of another
    algorithm, and when the passphrase is not the one that it was made with.
    """
    if passphrase == b"":
        raise ConfigurationError("the passphrase of the key is empty: give one, or leave it out")
    try:
        if not path.exists():
            _create(path, passphrase, algorithm)
        data = _read(path)
    except OSError as error:
        raise ConfigurationError(
            f"the key file {path} cannot be read or written ({error.strerror})"
        ) from error
    return _seed(path, data, passphrase, algorithm)


def _create(path: Path, passphrase: bytes | None, algorithm: Algorithm) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        data = algorithm.value.generate().private_bytes(
            Encoding.PEM,
            PrivateFormat.PKCS8,
            BestAvailableEncryption(passphrase) if passphrase else NoEncryption(),
        )
    except UnsupportedAlgorithm as error:
        raise ConfigurationError(
            "this build of the cryptography library has no ML-DSA-44: install its own wheel"
        ) from error
    try:
        durable_file.create(path, data, mode=_MODE)
    except FileExistsError:
        return  # Of two starts at once, one makes the key and the other reads it.


def _read(path: Path) -> bytes:
    with path.open("rb") as opened:
        if stat.S_IMODE(os.fstat(opened.fileno()).st_mode) & _OTHERS:
            raise ConfigurationError(f"others may read the key file {path}: chmod 600 it")
        return opened.read(KEY_FILE_BYTES_MAX)


def _seed(path: Path, data: bytes, passphrase: bytes | None, algorithm: Algorithm) -> bytes:
    if (_ENCRYPTED in data) is not (passphrase is not None):
        raise ConfigurationError(
            f"the key file {path} is encrypted: give its passphrase"
            if passphrase is None
            else f"the key file {path} is not encrypted, or damaged: leave out the passphrase,"
            " or encrypt the file"
        )
    try:
        key = load_pem_private_key(data, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            f"the key file {path} is damaged, or the passphrase is another one:"
            " put back your copy of the file"
        ) from error
    if not isinstance(key, algorithm.value):
        raise ConfigurationError(f"the key file {path} has a key of another algorithm")
    return bytes(key.private_bytes_raw())
