"""Bodies in gzip, inflated as they arrive and never further than a limit allows."""

from __future__ import annotations

import zlib
from typing import Final

from caretrail.errors import InvalidError, TooLargeError
from caretrail.limits import INFLATE_BYTES_FREE, INFLATE_RATIO_MAX

_GZIP: Final = 16 + zlib.MAX_WBITS


class Inflater:
    """Takes compressed pieces and keeps what they hold, at most `bytes_max` of it."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._stream = zlib.decompressobj(_GZIP)
        self._pieces: list[bytes] = []
        self._size = self._received = 0

    def feed(self, data: bytes) -> None:
        """Inflate one more piece, or raise TooLargeError for a bomb."""
        self._received += len(data)
        ratio_max = max(INFLATE_BYTES_FREE, self._received * INFLATE_RATIO_MAX)
        allowed = min(self._bytes_max, ratio_max)
        while data:
            if self._stream.eof:  # A gzip file may have several members (RFC 1952, 2.2).
                self._stream = zlib.decompressobj(_GZIP)
            try:
                # One byte more than is allowed tells that there is more.
                piece = self._stream.decompress(data, allowed - self._size + 1)
            except zlib.error as error:
                raise InvalidError("the body is not gzip, as Content-Encoding says") from error
            self._size += len(piece)
            if self._size > allowed:
                raise TooLargeError(f"the body is larger than {allowed} bytes when inflated")
            self._pieces.append(piece)
            data = self._stream.unused_data or self._stream.unconsumed_tail

    def finish(self) -> bytes:
        """Return all that was held, or raise InvalidError when the end is missing."""
        if not self._stream.eof:
            raise InvalidError("the gzip body is cut short")
        return b"".join(self._pieces)
