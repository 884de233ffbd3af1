"""How bodies are kept: a head that says how to read them, then the compressed bytes.

The head is three bytes: codec, dictionary and key. Key 0 is no encryption; a later version that
encrypts writes another codec, and old bodies stay as they are.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

import zstandard

from caretrail.errors import StoreError
from caretrail.limits import EVENT_BYTES_MAX

STORED: Final = 0
ZSTANDARD: Final = 1
NO_KEY: Final = 0
# The dictionary that new bodies are packed with; its number goes into each of them.
DICTIONARY: Final = 1
_LEVEL: Final = 3


def shipped(number: int) -> bytes:
    """Return a dictionary that comes with the package."""
    return files("caretrail.storage").joinpath(f"dictionaries/{number}.zdict").read_bytes()


class Bodies:
    """Packs and unpacks bodies with the dictionaries of one database. Not for several threads."""

    def __init__(self, dictionaries: dict[int, bytes]) -> None:
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

    def pack(self, body: bytes) -> bytes:
        """Return `body` as it is kept."""
        return self._head + self._compressor.compress(body)

    def unpack(self, kept: bytes) -> bytes:
        """Return the body that was packed; raise StoreError when its bytes were damaged."""
        codec, dictionary, key = kept[:3]
        if key == NO_KEY and codec == STORED:
            return kept[3:]
        try:
            if key != NO_KEY or codec != ZSTANDARD:
                raise StoreError("a body is kept in a way that this version cannot read")
            return self._decompressors[dictionary].decompress(
                kept[3:], max_output_size=2 * EVENT_BYTES_MAX
            )
        except (zstandard.ZstdError, KeyError) as error:
            raise StoreError("a body does not unpack") from error
