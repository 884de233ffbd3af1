"""The keys that sign tokens: a JWK Set in the data folder, for its owner's eyes only (RFC 7517).

The first key signs. One that was rotated out is still shown, until the last token that it signed
has expired. Whoever meets a key that he has not seen fetches the set again.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey

from caretrail import durable_file
from caretrail.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE_NAME: Final = "authorization-keys.json"
# RFC 9068, 2.1, and OpenID Connect Discovery ask every server for this one.
ALGORITHM: Final = "RS256"
_BITS: Final = 2048  # NIST SP 800-57: enough until 2030, and a key lives for months.
_MODE: Final = 0o600
_BYTES_MAX: Final = 64 * 1024
# A key signs for so long, and is shown for so long after that: longer than any token is valid.
_SIGNS_SECONDS: Final = 90 * 24 * 3600
_SHOWN_SECONDS: Final = 2 * 24 * 3600


class Rotation(NamedTuple):
    """Another key that is about to sign, by its id, and all that are shown then."""

    key: str
    rows: list[dict[str, Any]]


class SigningKeys:
    """The keys of one data folder; `now` is in seconds since 1970 wherever it is asked for."""

    def __init__(self, folder: Path, *, now: int) -> None:
        """Read the keys, or make them; raises ConfigurationError."""
        self._path = folder / FILE_NAME
        if not self._path.exists():
            self._write([_made(now)])
        self._rows: list[dict[str, Any]] = self._read()
        self._keys = self._parsed()

    def another(self, now: int) -> Rotation:
        """Return what makes a new key sign; those that nobody needs any more go with it."""
        shown = [{"until": now + _SHOWN_SECONDS, **row} for row in self._rows]
        rows = [_made(now), *(row for row in shown if row["until"] >= now)]
        return Rotation(str(rows[0]["jwk"]["kid"]), rows)

    def take(self, rotation: Rotation) -> None:
        """Let the new key sign from now on."""
        self._write(rotation.rows)
        self._rows = self._read()
        self._keys = self._parsed()

    def is_due(self, now: int) -> bool:
        """Tell whether the key has signed for long enough."""
        return bool(now - self._rows[0]["since"] >= _SIGNS_SECONDS)

    @property
    def signing(self) -> str:
        """Return the id of the key that signs."""
        return str(self._keys[0].kid)

    def sign(self, claims: Mapping[str, Any], *, kind: str) -> str:
        """Return a JWT of this `typ`."""
        key = self._keys[0]
        header = {"alg": ALGORITHM, "typ": kind, "kid": key.kid}
        return jwt.encode(header, dict(claims), key, algorithms=[ALGORITHM])

    def claims(self, token: str, *, kind: str) -> dict[str, Any] | None:
        """Return the claims of a JWT that one of these keys has signed, whenever; else None."""
        try:
            found = jwt.decode(token, KeySet(list(self._keys)), algorithms=[ALGORITHM])
        except (JoseError, ValueError):
            return None
        return dict(found.claims) if found.header.get("typ") == kind else None

    def public(self) -> dict[str, Any]:
        """Return the JWK Set for those who check tokens."""
        rows = [
            {**key.as_dict(private=False), "use": "sig", "alg": ALGORITHM} for key in self._keys
        ]
        return {"keys": rows}

    def _parsed(self) -> list[RSAKey]:
        try:
            found = [RSAKey.import_key(row["jwk"]) for row in self._rows]
            if not found:
                raise ValueError("there is no key")
        except (JoseError, KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"{self._path} is damaged: restore it, or remove it and all tokens with it"
            ) from error
        return found

    def _read(self) -> list[dict[str, Any]]:
        try:
            with self._path.open("rb") as opened:
                if stat.S_IMODE(os.fstat(opened.fileno()).st_mode) & ~_MODE:
                    raise ConfigurationError(f"others may read {self._path}: chmod 600 it")
                return msgspec.json.decode(opened.read(_BYTES_MAX), type=list[dict[str, Any]])
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigurationError(
                f"{self._path} cannot be read: restore it, or remove it and all tokens with it"
            ) from error

    def _write(self, rows: list[dict[str, Any]]) -> None:
        try:
            durable_file.replace(self._path, msgspec.json.encode(rows), mode=_MODE)
        except OSError as error:
            raise ConfigurationError(f"{self._path} cannot be written") from error


def _made(now: int) -> dict[str, Any]:
    key = RSAKey.generate_key(_BITS, auto_kid=True)
    return {"jwk": key.as_dict(private=True), "since": now}
