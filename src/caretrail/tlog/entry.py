"""The entry of the log: what a leaf commits to, without saying it (spec: caretrail/entry/v1).

An entry names no person. Content is bound by a salted commitment, so that erasing content and
salt leaves every proof intact, and patients and agents by tags that nobody can link without the
log's tag key. The layout is fixed: one entry has one spelling.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from hashlib import sha256
from typing import Final, NamedTuple, Self

from caretrail.errors import VerificationError

VERSION: Final = b"caretrail/entry/v1\n"
CONTENT: Final = b"caretrail/content/v1\n"
SALT_BYTES: Final = 32
TAG_BYTES: Final = 8
TAGS_MAX: Final = 255
NO_NUMBER: Final = 2**64 - 1
# version, kind, form, flags, log, event, received (ms), producer, producer's number, commitment,
# count of tags
_LAYOUT: Final = struct.Struct(">19sBBH16s16sQ16sQ32sB")


class Kind(IntEnum):
    """What an entry is about."""

    EVENT = 0
    OWN = 1  # The log's own facts: start, stop, search, redaction (DESIGN, decision 12).


class Entry(NamedTuple):
    """One entry; `number` is the producer's own, `received` in milliseconds since 1970.

    `form` says how the content is written, and `flags` what the log noticed when it was received:
    numbers of those who use the log, bound here because its answers depend on them.
    """

    kind: int
    form: int
    flags: int
    log: bytes
    event: bytes
    received: int
    producer: bytes
    number: int | None
    commitment: bytes
    tags: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return the only spelling of this entry."""
        number = NO_NUMBER if self.number is None else self.number
        return _LAYOUT.pack(
            VERSION,
            self.kind,
            self.form,
            self.flags,
            self.log,
            self.event,
            self.received,
            self.producer,
            number,
            self.commitment,
            len(self.tags),
        ) + b"".join(self.tags)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse `data`, which must be the only spelling of an entry."""
        try:
            version, kind, form, flags, *ids, number, bound, count = _LAYOUT.unpack_from(data)
            log, event, received, producer = ids
        except struct.error as error:
            raise VerificationError("the entry is too short") from error
        rest = data[_LAYOUT.size :]
        if version != VERSION or len(rest) != count * TAG_BYTES:
            raise VerificationError("the entry is malformed")
        tags = tuple(rest[i : i + TAG_BYTES] for i in range(0, len(rest), TAG_BYTES))
        known = None if number == NO_NUMBER else number
        return cls(kind, form, flags, log, event, received, producer, known, bound, tags)


def commitment(salt: bytes, content: bytes) -> bytes:
    """Bind `content` by HMAC-SHA256, and hide it as long as `salt` is secret."""
    return _mac(salt, CONTENT + content)


def subject_key(tag_key: Mac, subject: str) -> bytes:
    """Return the key by which one patient's or one agent's entries can be recognised."""
    return tag_key.digest(subject.encode(errors="surrogatepass"))


def tag(key: Mac, event: bytes) -> bytes:
    """Mark the entry of `event` as being about the subject that `key` belongs to."""
    return key.digest(event)[:TAG_BYTES]


def tag_once(key: bytes, event: bytes) -> bytes:
    """Return the same as `tag` does, with a key that is not used again soon."""
    return _mac(key, event)[:TAG_BYTES]


_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))
_BLOCK: Final = 64


def _pads(key: bytes) -> tuple[bytes, bytes]:
    """Return what HMAC-SHA256 (RFC 2104) puts in front of the message and of its hash."""
    assert len(key) <= _BLOCK
    padded = key.ljust(_BLOCK, b"\0")
    return padded.translate(_INNER), padded.translate(_OUTER)


def _mac(key: bytes, message: bytes) -> bytes:
    """Return HMAC-SHA256; `hmac.digest` takes twice as long for a short message."""
    inner, outer = _pads(key)
    return sha256(outer + sha256(inner + message).digest()).digest()


class Mac:
    """HMAC-SHA256 (RFC 2104) with one key, for many short messages."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        inner, outer = _pads(key)
        self._inner, self._outer = sha256(inner), sha256(outer)

    def digest(self, *parts: bytes) -> bytes:
        """Return the authentication code of the parts, one after the other."""
        inner, outer = self._inner.copy(), self._outer.copy()
        for part in parts:
            inner.update(part)
        outer.update(inner.digest())
        return outer.digest()
