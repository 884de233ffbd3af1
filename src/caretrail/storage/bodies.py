"""How bodies are kept: a head that says how to read them, then the compressed bytes.

The head is three bytes: codec, dictionary and key. Key 0 is no encryption; key 1 is a data key of the
month of receipt (`data_keys`), which seals the compressed bytes and, beside them, the salt.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Final

import zstandard

from caretrail.errors import StoreError
from caretrail.limits import EVENT_BYTES_MAX
from caretrail.storage.data_keys import Month
from caretrail.tlog.entry import SALT_BYTES

if TYPE_CHECKING:
    from caretrail.storage.data_keys import DataKeys

STORED: Final = 0
ZSTANDARD: Final = 1
SEALED: Final = 2
NO_KEY: Final = 0
DATA_KEY: Final = 1
# The dictionary that new bodies are packed with; its number goes into each of them.
DICTIONARY: Final = 1
_LEVEL: Final = 3


def shipped(number: int) -> bytes:
    """Return a dictionary that comes with the package."""
    return files("caretrail.storage").joinpath(f"dictionaries/{number}.zdict").read_bytes()


class Bodies:
    """Packs and unpacks bodies with the dictionaries of one database. Not for several threads."""

    def __init__(self, dictionaries: dict[int, bytes], keys: DataKeys | None = None) -> None:
        """Take the dictionaries by number, and the data keys where bodies are encrypted."""
        self.keys = keys
        loaded = {
            number: zstandard.ZstdCompressionDict(data) for number, data in dictionaries.items()
        }
        # Its tables are made once, and not anew for every body.
        loaded[DICTIONARY].precompute_compress(level=_LEVEL)
        self._compressor = zstandard.ZstdCompressor(
            level=_LEVEL, dict_data=loaded[DICTIONARY], write_dict_id=False, write_checksum=False
        )
        self._decompressors = {
            number: zstandard.ZstdDecompressor(dict_data=data) for number, data in loaded.items()
        }
        self._head = bytes((ZSTANDARD, DICTIONARY, NO_KEY))
        self._sealed_head = bytes((SEALED, DICTIONARY, DATA_KEY))

    def pack(self, body: bytes) -> bytes:
        """Return `body` as it is kept."""
        return self._head + self._compressor.compress(body)

    def seal(self, body: bytes, salt: bytes, *, event: bytes, received: int) -> tuple[bytes, bytes]:
        """Return body and salt of an event as they are kept: encrypted, where there are data keys.

        `event` is the id's 16 bytes, `received` in milliseconds since 1970.
        """
        if self.keys is None:
            return self.pack(body), salt
        month = Month.of(received)
        packed = self._compressor.compress(body)
        return (
            self._sealed_head + self.keys.seal(packed, month=month, about=event),
            self.keys.seal(salt, month=month, about=event),
        )

    def salt(self, kept: bytes, *, event: bytes) -> bytes:
        """Return the salt that was kept; raise StoreError when its data key is not there."""
        return kept if len(kept) == SALT_BYTES else self._opened(kept, event)

    def _opened(self, sealed: bytes, event: bytes) -> bytes:
        if self.keys is None:
            raise StoreError("the event is encrypted, and this log names no data keys")
        return self.keys.open(sealed, about=event)

    def unpack(self, kept: bytes, *, event: bytes = b"") -> bytes:
        """Return the body that was packed; raise StoreError when its bytes were damaged."""
        codec, dictionary, key = kept[:3]
        if (codec, key) == (STORED, NO_KEY):
            return kept[3:]
        try:
            if (codec, key) == (SEALED, DATA_KEY):
                packed = self._opened(kept[3:], event)
            elif (codec, key) == (ZSTANDARD, NO_KEY):
                packed = kept[3:]
            else:
                raise StoreError("a body is kept in a way that this version cannot read")
            return self._decompressors[dictionary].decompress(
                packed, max_output_size=2 * EVENT_BYTES_MAX
            )
        except (zstandard.ZstdError, KeyError) as error:
            raise StoreError("a body does not unpack") from error
