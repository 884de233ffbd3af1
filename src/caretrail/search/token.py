"""Search parameters of type token (FHIR R4, search, token)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

from caretrail.errors import ParameterError
from caretrail.limits import PARTS_REMEMBERED
from caretrail.search.displays import scan
from caretrail.search.fold import fold
from caretrail.search.syntax import split, unescape
from caretrail.search.term import Node, Prefix, Scan, Term, digest, known

if TYPE_CHECKING:
    from collections.abc import Iterable

MODIFIERS = ("missing", "not", "text", "of-type")

# Later terminology moved these; both spellings are the same code system.
_SYNONYMS = {
    "http://terminology.hl7.org/CodeSystem/audit-event-outcome": "http://hl7.org/fhir/audit-event-outcome",
    "http://terminology.hl7.org/CodeSystem/audit-event-action": "http://hl7.org/fhir/audit-event-action",
}


class Coded(Protocol):
    """An element that a token can match; a Coding is one as it stands."""

    @property
    def system(self) -> str | None:
        """The code system's URI."""

    @property
    def code(self) -> str | None:
        """The code, or the value of an identifier."""

    @property
    def display(self) -> str | None:
        """What people read."""


class Token(NamedTuple):
    """A code, string or Identifier as a token sees it.

    `kinds` are the (system, code) of an Identifier's type.
    """

    system: str | None
    code: str | None
    display: str | None = None
    kinds: tuple[tuple[str | None, str | None], ...] = ()


class Value(NamedTuple):
    """A wanted code: `system` is None for any system and "" for none."""

    system: str | None
    code: str

    def matches(self, elements: Iterable[Coded]) -> bool:
        """Tell whether any element is this code."""
        return any(
            (self.system is None or self.system == (element.system or ""))
            and (not self.code or self.code == element.code)
            for element in elements
        )

    def node(self, key: str) -> Node:
        """Return where the index has it."""
        if not self.code:
            system = digest(self.system, 4)
            return Scan(key, lambda term: term.endswith(system))
        if self.system is None:
            return Prefix(key + digest(self.code, 6))
        return Term(term(key, self.system or None, self.code))

    @property
    def exact(self) -> bool:
        """Tell whether the index alone decides."""
        return True


class TextValue(NamedTuple):
    """`:text`: the display begins with this."""

    folded: str

    def matches(self, elements: Iterable[Coded]) -> bool:
        """Tell whether any element's display begins so."""
        return any(
            element.display and fold(element.display).startswith(self.folded)
            for element in elements
        )

    def node(self, key: str) -> Node:
        """Return where the index has it: among the displays, which name their parameter."""
        return scan(key, lambda display: display.startswith(self.folded))

    @property
    def exact(self) -> bool:
        """Tell whether the index alone decides."""
        return False


class OfTypeValue(NamedTuple):
    """`:of-type`: an Identifier of this type with this value."""

    system: str
    kind: str
    value: str

    def matches(self, elements: Iterable[Coded]) -> bool:
        """Tell whether any element is such an Identifier."""
        wanted = (self.system, self.kind)
        return any(
            isinstance(element, Token) and element.code == self.value and wanted in element.kinds
            for element in elements
        )

    def node(self, key: str) -> Node:
        """Return where the index has the identifier's value."""
        return Prefix(key + digest(self.value, 6))

    @property
    def exact(self) -> bool:
        """Tell whether the index alone decides."""
        return False


def parse(text: str, modifier: str | None) -> Value | TextValue | OfTypeValue:
    """Parse one value: `code`, `system|code`, `|code` or `system|`."""
    if modifier == "text":
        return TextValue(fold(unescape(text)))
    parts = split(text, "|")
    if modifier == "of-type":
        if len(parts) != 3 or not all(parts):
            raise ParameterError("`:of-type` needs system|code|value")
        return OfTypeValue(*parts)
    if len(parts) == 1:
        return Value(None, parts[0])
    if len(parts) != 2 or not any(parts):
        raise ParameterError("a token is code, system|code, |code or system|")
    return Value(_SYNONYMS.get(parts[0], parts[0]), parts[1])


def term(key: str, system: str | None, code: str | None) -> str:
    """Return the index term of a code."""
    # Without a system the term ends early, as most identifiers' do: it is shorter that way.
    return f"{key}{digest(code, 6)}{known(system, 4) if system else ''}"


_known_term = lru_cache(PARTS_REMEMBERED)(term)


def known_term(key: str, system: str | None, code: str | None) -> str:
    """Return the same as `term` does, for the codes of code systems, which are few and short."""
    if len(code or "") + len(system or "") > _CODE_REMEMBERED:
        return term(key, system, code)
    return _known_term(key, system, code)


_CODE_REMEMBERED = 256
