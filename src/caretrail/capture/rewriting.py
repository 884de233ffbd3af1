"""Links of a server become links of the gateway, while the body streams by.

Otherwise a client would follow the next page, or fetch an export, past the record. Only what a
server says about itself is changed; a resource is passed on as it is.
"""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from caretrail.limits import KIND_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

# Kinds that hold addresses of the server; JSON that is no resource is one, too: the manifest of an
# export, the configuration of SMART.
_KINDS: Final = (b"Bundle", b"CapabilityStatement", b"OperationOutcome", b"Parameters")
# Only the first member tells the kind: a resource deep in a Bundle has a kind as well.
_JSON_KIND: Final = re.compile(rb'[\xef\xbb\xbf\s]*\{\s*"resourceType"\s*:\s*"([A-Za-z]+)"')
_XML_KIND: Final = re.compile(
    rb"[\xef\xbb\xbf\s]*(?:<\?[^>]*>\s*|<!--.*?-->\s*)*<([A-Za-z]+)", re.S
)
# What may stand behind a base: more of a path, a query, or the end of the text.
_BORDER: Final = rb"(?=[/?#\"'<\\\s&|,;)]%s)"


class Rewriter:
    """Replaces the address `old` by `new`; `feed` and `finish` return what may go on."""

    def __init__(self, old: str, new: str) -> None:
        self._new, self._inside, self._at_end = _patterns(old, new)
        self._held_bytes = max(map(len, self._new))
        self._held = b""
        self._is_known = self._is_ours = False

    def feed(self, data: bytes) -> bytes:
        """Return what cannot be a part of the address any more."""
        data = self._held + data
        if not self._is_known and not self._find_kind(data):
            self._held = data
            return b""
        if not self._is_ours:
            self._held = b""
            return data
        cut = max(len(data) - self._held_bytes, 0)
        return self._replaced(data, cut)

    def finish(self) -> bytes:
        """Return the rest."""
        data, self._held = self._held, b""
        if not self._is_known:
            self._find_kind(data, is_all=True)
        if not self._is_ours:
            return data
        return self._at_end.sub(lambda found: self._new[found[0]], data)

    def _replaced(self, data: bytes, cut: int) -> bytes:
        """Replace what begins before `cut`; behind it may be half an address."""
        parts, done = [], 0
        for found in self._inside.finditer(data):
            if found.start() >= cut:
                break
            parts += [data[done : found.start()], self._new[found[0]]]
            done = found.end()
        parts.append(data[done:cut])
        self._held = data[max(done, cut) :]
        return b"".join(parts)

    def _find_kind(self, data: bytes, *, is_all: bool = False) -> bool:
        found = _JSON_KIND.match(data) or _XML_KIND.match(data)
        if found is None or found.end() == len(data):
            if len(data) < KIND_BYTES_MAX and not is_all:
                return False
            self._is_ours = True
        else:
            self._is_ours = found[1] in _KINDS
        self._is_known = True
        return True


@lru_cache(16)  # A proxy has one server, and a rewriter for each answer.
def _patterns(
    old: str, new: str
) -> tuple[dict[bytes, bytes], re.Pattern[bytes], re.Pattern[bytes]]:
    """Return the spellings of an address with what takes their place, and what finds them.

    The first pattern finds them inside a text, the second one at its end as well.
    """
    plain, escaped = map(re.escape, _spellings(old))
    words = b"(?:" + escaped + b"|" + plain + b")"
    spelled = dict(zip(_spellings(old), _spellings(new), strict=True))
    return spelled, re.compile(words + _BORDER % b""), re.compile(words + _BORDER % b"|$")


def _spellings(address: str) -> tuple[bytes, bytes]:
    """Return an address as it is, and as JSON may spell it."""
    return address.encode(), address.replace("/", "\\/").encode()


def inflating(coding: str) -> Callable[[bytes], bytes] | None:
    """Return what inflates a body piece by piece, or None for a coding that we do not know."""
    if coding in ("", "identity"):
        return bytes
    if coding in ("gzip", "x-gzip"):
        return zlib.decompressobj(31).decompress
    return None
