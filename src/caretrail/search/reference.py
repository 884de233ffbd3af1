"""Search parameters of type reference (FHIR R4, search, reference).

A repository collects from many servers, so a relative value means that resource on any of them;
an absolute value means its own server only, and ours is written either way.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.errors import ParameterError
from caretrail.search.fold import fold
from caretrail.search.syntax import unescape
from caretrail.search.term import Node, Prefix, Scan, Term, digest, for_short_texts, known, spell

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from caretrail.fhir.audit_event import Reference

MODIFIERS = ("missing", "identifier", "text")

_ID: Final = r"[A-Za-z0-9\-.]{1,64}"
_LITERAL: Final = re.compile(
    # Base, type, id and version.
    rf"(?:([A-Za-z][A-Za-z0-9+.-]*://\S*)/)?([A-Z][A-Za-z]{{1,63}})/({_ID})(?:/_history/({_ID}))?",
)
_BARE: Final = re.compile(_ID)
_TYPE: Final = re.compile(r"[A-Z][A-Za-z]{1,63}")
# The parts of a term, in characters after the parameter's two letters: id, type, base, version.
_ID_END, _TYPE_END, _BASE_END = 2 + 12, 2 + 12 + 4, 2 + 12 + 4 + 6


class Literal(NamedTuple):
    """The parts of a literal reference in the form of FHIR REST."""

    base: str | None
    type: str
    id: str
    version: str | None


def _parts(text: str) -> Literal | None:
    found = _LITERAL.fullmatch(text)
    if found is None:
        return None
    base, kind, name, version = found.groups()
    return Literal(_normal(base) if base else None, kind, name, version)


# One event is asked several times, and a patient is an entity and the patient.
_TEXTS_REMEMBERED: Final = 512
_remembered: Final = for_short_texts(_parts, _TEXTS_REMEMBERED)


def literal(text: str) -> Literal | None:
    """Return the parts of `text`, or None when it has another form (a URN, a fragment)."""
    return _remembered(text)


def _normal(base: str) -> str:
    """Return the base with scheme and host in lower case; its path tells capitals apart."""
    scheme, _, rest = base.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}://{host.lower()}{slash}{path}"


class Value(NamedTuple):
    """A wanted resource; a part that is None may be anything."""

    base: str | None
    type: str | None
    id: str
    version: str | None

    def matches(self, elements: Iterable[Reference]) -> bool:
        """Tell whether any element refers to it."""
        return any(self._fits(element.reference) for element in elements)

    def _fits(self, text: str | None) -> bool:
        stored = literal(text) if text else None
        return (
            stored is not None
            and stored.id == self.id
            and self.type in (None, stored.type)
            and self.base in (None, stored.base)
            and self.version in (None, stored.version)
        )

    def node(self, key: str) -> Node:
        """Return where the index has it."""
        text = key + digest(self.id, 6)
        if self.type is None:
            return Prefix(text)
        text += digest(self.type, 2)
        if self.base is not None:
            text += digest(self.base, 3)
            return Prefix(text) if self.version is None else Term(text + digest(self.version, 2))
        if self.version is None:
            return Prefix(text)
        version = digest(self.version, 2)
        return Scan(text, lambda term: term[_BASE_END:] == version)

    @property
    def exact(self) -> bool:
        """Tell whether the index alone decides: two versions may share a hash of 16 bits."""
        return self.version is None


class OpaqueValue(NamedTuple):
    """A reference in another form (a URN): it is compared as a whole."""

    text: str

    def matches(self, elements: Iterable[Reference]) -> bool:
        """Tell whether any element says just this."""
        return any(element.reference == self.text for element in elements)

    def node(self, key: str) -> Node:
        """Return where the index has it."""
        return Term(key + _OPAQUE + digest(self.text, 8))

    @property
    def exact(self) -> bool:
        """Tell whether the index alone decides."""
        return True


class DisplayValue(NamedTuple):
    """`:text`: the reference's display begins with this."""

    folded: str

    def matches(self, elements: Iterable[Reference]) -> bool:
        """Tell whether any element's display begins so."""
        return any(
            element.display and fold(element.display).startswith(self.folded)
            for element in elements
        )

    def node(self, key: str) -> Node:
        """Return where the index has it."""
        return Prefix(key + _DISPLAY + spell(self.folded))

    @property
    def exact(self) -> bool:
        """Tell whether the index alone decides."""
        return False


_OPAQUE: Final = "z"  # No hash has these letters.
_DISPLAY: Final = "y"


def parse(text: str, modifier: str | None, ours: str) -> Value | OpaqueValue | DisplayValue:
    """Parse one value; `ours` is the base URL under which this repository is known."""
    text = unescape(text)
    if modifier == "text":
        return DisplayValue(fold(text))
    if text.startswith(ours + "/"):
        text = text.removeprefix(ours + "/")
    parts = literal(text)
    if modifier is not None:  # A resource type: `agent:Patient=123` is `agent=Patient/123`.
        if parts is not None and parts.type != modifier:
            raise ParameterError("the reference is not of the type that its modifier names")
        parts = parts or literal(f"{modifier}/{text}")
        if parts is None:
            raise ParameterError("a reference with a type as modifier needs an id")
    if parts is not None:
        return Value(*parts)
    return Value(None, None, text, None) if _BARE.fullmatch(text) else OpaqueValue(text)


def is_type(modifier: str) -> bool:
    """Tell whether a modifier has the form of a resource type."""
    return _TYPE.fullmatch(modifier) is not None


def _term(text: str) -> str:
    parts = literal(text)
    if parts is None:
        return _OPAQUE + digest(text, 8)
    term = digest(parts.id, 6) + known(parts.type, 2)
    if parts.version is not None:
        return f"{term}{known(parts.base, 3)}{known(parts.version, 2)}"
    # What is absent at the end is left out: most references are relative and without a version.
    return term if parts.base is None else term + known(parts.base, 3)


_literal_term: Final = for_short_texts(_term, _TEXTS_REMEMBERED)


def terms(key: str, element: Reference) -> Sequence[str]:
    """Return the index terms of a reference; its identifier has a parameter of its own."""
    if element.display is None:
        return () if element.reference is None else (key + _literal_term(element.reference),)
    shown = key + _DISPLAY + _folded(element.display)
    return (
        (shown,) if element.reference is None else (key + _literal_term(element.reference), shown)
    )


@for_short_texts
def _folded(display: str) -> str:
    return spell(fold(display))
