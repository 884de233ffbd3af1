"""Search parameters of type string (FHIR R4, search, string)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from caretrail.errors import ParameterError
from caretrail.search.fold import fold
from caretrail.search.syntax import unescape
from caretrail.search.term import Node, Prefix, Scan, for_short_texts, spell, spell_prefix, unspell

if TYPE_CHECKING:
    from collections.abc import Iterable

MODIFIERS = ("missing", "exact", "contains")


class Value(NamedTuple):
    """The element begins with this, whatever its case and accents."""

    folded: str

    def matches(self, elements: Iterable[str]) -> bool:
        """Tell whether any element begins so."""
        return any(fold(element).startswith(self.folded) for element in elements)

    def node(self, key: str) -> Node:
        """Return where the index has it."""
        return Prefix(key + spell_prefix(self.folded))

    @property
    def exact(self) -> bool:
        """Tell whether the index alone decides: it keeps the beginning of long text only."""
        return _is_whole(self.folded)


class ContainsValue(NamedTuple):
    """`:contains`: the element has this somewhere."""

    folded: str

    def matches(self, elements: Iterable[str]) -> bool:
        """Tell whether any element has it."""
        return any(self.folded in fold(element) for element in elements)

    def node(self, key: str) -> Node:
        """Return where the index has it; what is cut short there may have it further on."""

        def accepts(term: str) -> bool:
            text, whole = unspell(term[len(key) :])
            return not whole or self.folded in text

        return Scan(key, accepts)

    @property
    def exact(self) -> bool:
        """Tell whether the index alone decides."""
        return False


class ExactValue(NamedTuple):
    """`:exact`: the element is this, to the letter."""

    text: str

    def matches(self, elements: Iterable[str]) -> bool:
        """Tell whether any element is it."""
        return self.text in elements

    def node(self, key: str) -> Node:
        """Return where the index has its folded form."""
        return Prefix(key + spell_prefix(fold(self.text)))

    @property
    def exact(self) -> bool:
        """Tell whether the index alone decides."""
        return False


def parse(text: str, modifier: str | None) -> Value | ContainsValue | ExactValue:
    """Parse one value."""
    text = unescape(text)
    if not text.strip():
        raise ParameterError("a string to search for is empty")
    if modifier == "exact":
        return ExactValue(text)
    return ContainsValue(fold(text)) if modifier == "contains" else Value(fold(text))


def terms(key: str, element: str) -> tuple[str, ...]:
    """Return the index terms of a string."""
    return (key + _folded(element),)


@for_short_texts
def _folded(element: str) -> str:
    return spell(fold(element))


def _is_whole(folded: str) -> bool:
    return unspell(spell(folded))[1]
