"""Links from page to page: opaque, bound to their search, and of no use when changed (T-22).

A link is encrypted by a key of the log's own, under a synthetic nonce (the construction of RFC 5297
with HMAC): it says nothing of the log's size or of the event that it begins after, and it is of no
use to somebody who may see other events.
"""

from __future__ import annotations

import base64
import hmac
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail.errors import ExpiredError

if TYPE_CHECKING:
    from caretrail.search.query import Query

_MAC_BYTES: Final = 16
_BLOCK_BYTES: Final = 32
_MAXIMUM: Final = 8_192


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where a page begins.

    `until` is the size of the log at the first page: later events are in no page of this search.
    `total` goes along, so that every page says the same.
    """

    place: list[Any]
    until: int
    total: int | None
    estimated: bool = False
    backward: bool = False

    def encode(self, query: Query, *, key: bytes) -> str:
        """Return the cursor as the value of `_page`."""
        data = msgspec.json.encode(self)
        mac = _mac(data, query, key)
        return base64.urlsafe_b64encode(mac + _masked(data, mac, key)).rstrip(b"=").decode()


def decode(text: str, query: Query, *, key: bytes) -> Cursor:
    """Return the cursor in a page link of this very search; raise ExpiredError for any other."""
    try:
        if len(text) > _MAXIMUM:
            raise ValueError("too long")
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        mac = raw[:_MAC_BYTES]
        data = _masked(raw[_MAC_BYTES:], mac, key)
        if not hmac.compare_digest(mac, _mac(data, query, key)):
            raise ValueError("foreign")
        return msgspec.json.decode(data, type=Cursor)
    except (ValueError, msgspec.MsgspecError) as error:
        raise ExpiredError("the page link is not of this search: search again") from error


def _mac(data: bytes, query: Query, key: bytes) -> bytes:
    # The page's size and form may change from page to page; what is searched may not.
    search = sorted(pair for pair in query.applied if pair[0] not in _FREE)
    asked = sha256(msgspec.json.encode((search, query.binding))).digest()
    return hmac.digest(key, asked + data, "sha256")[:_MAC_BYTES]


def _masked(data: bytes, mac: bytes, key: bytes) -> bytes:
    """Return `data` under the key stream of `mac`: twice masked is as it was."""
    blocks = range(-(-len(data) // _BLOCK_BYTES))
    stream = b"".join(
        hmac.digest(key, b"stream" + mac + block.to_bytes(4), "sha256") for block in blocks
    )
    return (int.from_bytes(data) ^ int.from_bytes(stream[: len(data)])).to_bytes(len(data))


_FREE: Final = frozenset(("_count", "_total", "_summary", "_elements", "_include", "_revinclude"))
