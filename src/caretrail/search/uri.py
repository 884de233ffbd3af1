"""Search parameters of type uri (FHIR R4, search, uri)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.search.syntax import unescape
from caretrail.search.term import Node, Or, Prefix, for_short_texts, spell_whole

if TYPE_CHECKING:
    from collections.abc import Iterable

MODIFIERS = ("missing", "above", "below")

_CHARACTERS_MAX: Final = 48
_PART_END: Final = re.compile(r"[/?#]")


class Value(NamedTuple):
    """The element is this URI; a canonical's version may follow."""

    uri: str

    def matches(self, elements: Iterable[str]) -> bool:
        """Tell whether any element is it."""
        return any(self.uri in _spellings(element) for element in elements)

    def node(self, key: str) -> Node:
        """Return where the index has it; what follows is compared with the event."""
        return Prefix(key + _start(self.uri))

    @property
    def exact(self) -> bool:
        """Tell whether the index alone decides."""
        return False


class BelowValue(NamedTuple):
    """`:below`: the element is this URI or one under it."""

    uri: str

    def matches(self, elements: Iterable[str]) -> bool:
        """Tell whether any element is under it."""
        return any(is_below(element, self.uri) for element in elements)

    def node(self, key: str) -> Node:
        """Return where the index has it."""
        return Prefix(key + _start(self.uri))

    @property
    def exact(self) -> bool:
        """Tell whether the index alone decides."""
        return False


class AboveValue(NamedTuple):
    """`:above`: this URI is the element or under it."""

    uri: str

    def matches(self, elements: Iterable[str]) -> bool:
        """Tell whether it is under any element."""
        return any(is_below(self.uri, element) for element in elements)

    def node(self, key: str) -> Node:
        """Return where the index has each URI that this one is under."""
        ends = {at.start() for at in _PART_END.finditer(self.uri)}
        ends |= {end + 1 for end in ends} | {len(self.uri)}
        return Or(tuple(Prefix(key + _start(self.uri[:end])) for end in sorted(ends) if end))

    @property
    def exact(self) -> bool:
        """Tell whether the index alone decides."""
        return False


def parse(text: str, modifier: str | None) -> Value | BelowValue | AboveValue:
    """Parse one value."""
    uri = unescape(text)
    if modifier == "below":
        return BelowValue(uri)
    return AboveValue(uri) if modifier == "above" else Value(uri)


def is_below(uri: str, parent: str) -> bool:
    """Tell whether `uri` is `parent` or has it as its path's beginning, part by part."""
    if not uri.startswith(parent):
        return False
    rest = uri[len(parent) :]
    return not rest or parent[-1] in "/?#" or rest[0] in "/?#"


def terms(key: str, element: str) -> tuple[str, ...]:
    """Return the index terms of a URI."""
    return (key + _start(element),)


@for_short_texts
def _start(uri: str) -> str:
    """Return what the index keeps of a URI: ids of tokens are long, and new all the time."""
    return spell_whole(uri[:_CHARACTERS_MAX])


def _spellings(element: str) -> tuple[str, ...]:
    canonical, bar, _ = element.partition("|")
    return (element, canonical) if bar else (element,)
