"""The random bearer token of a data folder, the only credential until others are set up."""

from __future__ import annotations

import hmac
import os
import re
import secrets
import stat
from typing import TYPE_CHECKING, Final

from caretrail.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME: Final = "token"
_TOKEN_BYTES: Final = 32
# What RFC 6750 lets a bearer token hold; 43 characters of base64url are 256 bits.
_SHAPE: Final = re.compile(r"[A-Za-z0-9._~+/-]{20,512}=*")


def load(folder: Path) -> str:
    """Return the token of the data folder, which is made on the first call.

    Raises ConfigurationError when the file can be read by others than its owner, or holds
    something else.
    """
    path = folder / FILE_NAME
    try:
        _create(path)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigurationError(f"the token file {path} cannot be written") from error
    return _read(path)


def unheld() -> str:
    """Return a token that nobody has."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def same(given: str, secret: str) -> bool:
    """Compare in a time that does not tell how much of the token was right."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())


def _create(path: Path) -> None:
    # O_EXCL: of two starts at once, one makes the file and the other reads it, and a link that
    # somebody put there is not followed. The text is whole or absent: 44 bytes are one write.
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.write(file, secrets.token_urlsafe(_TOKEN_BYTES).encode() + b"\n")
        os.fsync(file)
    finally:
        os.close(file)


def _read(path: Path) -> str:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise ConfigurationError(f"the token file {path} cannot be read") from error
    with os.fdopen(file, "r", encoding="ascii", errors="replace") as opened:
        if stat.S_IMODE(os.fstat(file).st_mode) & 0o077:
            raise ConfigurationError(f"others may read the token file {path}: chmod 600 it")
        text = opened.read(1024).strip()
    if not _SHAPE.fullmatch(text):
        raise ConfigurationError(
            f"the token file {path} holds no token: remove it to get a new one"
        )
    return text
