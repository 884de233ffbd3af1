"""The index as search sees it: every event has a set of terms, and a query is an expression of them.

A term begins with the two letters of its search parameter. Codes, identifiers and references are
hashed part by part, so that leaving out the last parts (any system, any server, any version) is
a prefix. Strings and URIs keep their text, so that the index is their dictionary as well. A store
may break terms at anything but letters and digits of ASCII and characters beyond it, and may fold
ASCII capitals: terms hold none of either.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from caretrail.limits import PART_BYTES_REMEMBERED, PARTS_REMEMBERED, TERM_CHARACTERS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Term(NamedTuple):
    """The events that have this term."""

    text: str


class Prefix(NamedTuple):
    """The events with a term that begins so."""

    text: str


class Scan(NamedTuple):
    """The events with a term that begins with `prefix` and that `accepts` takes."""

    prefix: str
    accepts: Callable[[str], bool]


class Or(NamedTuple):
    """The events that fit any of the nodes; none for no nodes."""

    nodes: tuple[Node, ...]


class And(NamedTuple):
    """The events that fit all of the nodes."""

    nodes: tuple[Node, ...]


class Not(NamedTuple):
    """The events that do not fit the node."""

    node: Node


Node = Term | Prefix | Scan | Or | And | Not
NOTHING: Final = Or(())

# Stands where a part is absent; no hash has such a letter.
ABSENT: Final = "x"
_CUT: Final = "\u01ff"  # Ends a term whose text goes on.
# Beyond ASCII everything is a letter to the index, but what we use ourselves is moved away.
_OURS: Final = {code: 0xE000 + code for code in range(0x100, 0x200)}
_ESCAPES: Final = _OURS | {
    code: 0x100 + code for code in range(128) if not (chr(code).islower() or chr(code).isdigit())
}
_PLAIN: Final = {escape: code for code, escape in _ESCAPES.items()}


def for_short_texts(make: Callable[[str], T], texts: int = PARTS_REMEMBERED) -> Callable[[str], T]:
    """Remember what `make` returns, but for long texts: a few senders could fill the memory."""
    remembered = lru_cache(texts)(make)

    def made(text: str) -> T:
        return remembered(text) if len(text) <= PART_BYTES_REMEMBERED else make(text)

    return made


def digest(text: str | None, size: int) -> str:
    """Return `2 * size` hexadecimal digits that stand for `text`."""
    if text is None:
        return ABSENT * (2 * size)
    return blake2b(text.encode(errors="surrogatepass"), digest_size=size).hexdigest()


# Systems, types, servers. A cache of what is new each
# time (ids, references) costs more than it saves: it is memory that is touched for the first time.
_known = lru_cache(1_024)(digest)


def known(text: str | None, size: int) -> str:
    """Return the same as `digest` does, for what few senders say again and again."""
    return (
        _known(text, size)
        if text is None or len(text) <= PART_BYTES_REMEMBERED
        else digest(text, size)
    )


def spell(text: str) -> str:
    """Return `text` in the letters that a term may have; the spelling of a prefix is a prefix."""
    if len(text) > TERM_CHARACTERS_MAX:
        return text[:TERM_CHARACTERS_MAX].translate(_ESCAPES) + _CUT
    return text.translate(_ESCAPES)


def spell_prefix(text: str) -> str:
    """Return what the spelling of every text that begins with `text` begins with."""
    return text[:TERM_CHARACTERS_MAX].translate(_ESCAPES)


def spell_whole(text: str) -> str:
    """Return all of `text` in the letters that a term may have."""
    return text.translate(_ESCAPES)


def unspell(term: str) -> tuple[str, bool]:
    """Return the text of a spelt term, and whether it is all of it."""
    whole = not term.endswith(_CUT)
    return (term if whole else term[:-1]).translate(_PLAIN), whole
