"""Data keys: one a month, in a file outside the data folder, for bodies and salts.

With the key of a month goes all that was received in it, in every backup there is. A key is made
when its month begins, and destroyed only by name; a destroyed one is never made again.
"""

from __future__ import annotations

import base64
import os
import stat
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from caretrail import durable_file
from caretrail.errors import ConfigurationError, NotFoundError, ParameterError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_MODE: Final = 0o600
_OTHERS: Final = 0o077
_FORMAT: Final = "caretrail/data-keys/v1"


class Month(NamedTuple):
    """A month of UTC; its number is stored with what its key seals."""

    year: int
    month: int

    @classmethod
    def of(cls, milliseconds: int) -> Month:
        """Return the month of an instant, in milliseconds since 1970."""
        year, month, *_ = time.gmtime(milliseconds // 1000)
        return cls(year, month)

    @classmethod
    def parse(cls, text: str) -> Month:
        """Parse `yyyy-mm`."""
        year, _, month = text.partition("-")
        plain = len(text) == 7 and text.isascii() and year.isdigit() and month.isdigit()
        if not plain or not 1970 <= int(year) <= 7431 or not 1 <= int(month) <= 12:
            raise ParameterError("a month is yyyy-mm, such as 2015-03")
        return cls(int(year), int(month))

    @classmethod
    def numbered(cls, number: int) -> Month:
        """Return the month with that number."""
        year, month = divmod(number, 12)
        return cls(1970 + year, month + 1)

    @property
    def number(self) -> int:
        """Return the months since January 1970."""
        return (self.year - 1970) * 12 + self.month - 1

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"


class _File(msgspec.Struct, frozen=True):
    """The file: keys in base64 by month; one that was destroyed is null."""

    format: str
    keys: dict[str, str | None]


class DataKeys:
    """The keys in one file; one process writes it, others read it again when they lack a month."""

    def __init__(self, path: Path, *, data: Path | None = None) -> None:
        """Read the file, which is made with the first key; raises ConfigurationError.

        It must not be in the data folder, where that is named.
        """
        if data is not None and path.resolve().is_relative_to(data.resolve()):
            raise ConfigurationError(
                f"the data keys {path} are inside the data folder: a backup of the folder would have"
                " them, too, and destroying a key would reach nothing; choose a file outside"
            )
        self._path = path
        self._ciphers: dict[int, AESGCM] = {}
        self._keys = self._read()

    def seal(self, plain: bytes, *, month: Month, about: bytes) -> bytes:
        """Encrypt with the key of a month, which is made where there is none.

        `about` is bound with it: what is sealed for one event opens for no other.
        """
        cipher = self._cipher(month, make=True)
        nonce = os.urandom(NONCE_BYTES)
        return month.number.to_bytes(2) + nonce + cipher.encrypt(nonce, plain, about)

    def open(self, sealed: bytes, *, about: bytes) -> bytes:
        """Decrypt; raises StoreError when the key is not there or the bytes were damaged."""
        cipher = self._cipher(Month.numbered(int.from_bytes(sealed[:2])), make=False)
        nonce, rest = sealed[2 : 2 + NONCE_BYTES], sealed[2 + NONCE_BYTES :]
        try:
            return cipher.decrypt(nonce, rest, about)
        except InvalidTag as error:
            raise StoreError("what is encrypted was damaged, or is another event's") from error

    def destroy(self, month: Month) -> None:
        """Destroy the key of a month for ever; raises NotFoundError when there is none."""
        self._keys = self._read()
        if self._keys.get(str(month)) is None:
            raise NotFoundError("there is no data key of this month")
        self._ciphers.pop(month.number, None)
        self._write({**self._keys, str(month): None})

    def months(self) -> list[Month]:
        """Return the months that have a key."""
        return sorted(Month.parse(name) for name, key in self._read().items() if key is not None)

    def _cipher(self, month: Month, *, make: bool) -> AESGCM:
        cipher = self._ciphers.get(month.number)
        if cipher is None:
            cipher = self._ciphers[month.number] = AESGCM(self._key(month, make=make))
        return cipher

    def _key(self, month: Month, *, make: bool) -> bytes:
        name = str(month)
        if name not in self._keys:
            self._keys = self._read()
        if name not in self._keys and make:
            key = os.urandom(KEY_BYTES)
            self._write({**self._keys, name: base64.b64encode(key).decode()})
        found = self._keys.get(name)
        if found is None:
            raise StoreError("the data key of this month is not there, or was destroyed")
        return base64.b64decode(found)

    def _read(self) -> dict[str, str | None]:
        try:
            mode = stat.S_IMODE(self._path.stat().st_mode)
            file = msgspec.json.decode(self._path.read_bytes(), type=_File)
            if any(
                len(base64.b64decode(key, validate=True)) != KEY_BYTES
                for key in file.keys.values()
                if key
            ):
                raise ValueError("a key of another length")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigurationError(f"the data keys cannot be read ({error.strerror})") from error
        except (ValueError, msgspec.MsgspecError) as error:
            raise ConfigurationError(
                f"the data keys {self._path} are damaged: put back a copy, and change nothing"
            ) from error
        if mode & _OTHERS or file.format != _FORMAT:
            raise ConfigurationError(
                f"the data keys {self._path} can be read by others, or are of another version:"
                " chmod 600, or use the version of caretrail that wrote them"
            )
        return file.keys

    def _write(self, keys: dict[str, str | None]) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            content = msgspec.json.encode(_File(_FORMAT, keys), order="sorted")
            durable_file.replace(self._path, content + b"\n", mode=_MODE)
        except OSError as error:
            raise StoreError("the data keys cannot be written") from error
        self._keys = keys
