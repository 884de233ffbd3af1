"""SMART App Launch 2.2, scopes: what a token lets its bearer do with which type of resource.

A scope that is not about FHIR resources (`openid`, `launch`, `offline_access`) grants nothing here,
and neither does one that is malformed: what cannot be read is never taken for more than nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

CONTEXTS: Final = ("patient", "user", "system")
EVENT: Final = "AuditEvent"
_ANY_TYPE: Final = "*"
# Letters stand in this order, each at most once (SMART 2.2, 4.2.2).
_SCOPE: Final = re.compile(
    r"(patient|user|system)/([A-Z][A-Za-z]{0,63}|\*)\.(c?r?u?d?s?|read|write|\*)(?:\?(\S+))?"
)
_LETTERS: Final = {"read": "rs", "write": "cud", "*": "cruds"}
# An audit event is created, read and searched, and that is all (DESIGN, decision 4).
_OF_EVENTS: Final = frozenset("crs")
_SCOPES_MAX: Final = 100


class Scope(NamedTuple):
    """One scope: `letters` of create, read, update, delete, search; `query` narrows it."""

    context: str
    resource: str
    letters: frozenset[str]
    query: str = ""

    @property
    def is_of_events(self) -> bool:
        """Tell whether it names AuditEvent: a wildcard does not mean it (R-AC-01)."""
        return self.resource == EVENT


def parse(text: str) -> tuple[Scope, ...]:
    """Return the scopes of a token's claim `scope`, those that are about FHIR resources."""
    return tuple(_scopes(text.split(" ")[:_SCOPES_MAX]))


def _scopes(words: Iterable[str]) -> Iterable[Scope]:
    for word in dict.fromkeys(words):
        found = _SCOPE.fullmatch(word)
        if found is None:
            continue
        context, resource, named, query = found.groups()
        letters = frozenset(_LETTERS.get(named, named))
        if resource == EVENT:
            letters &= _OF_EVENTS
        if letters:
            yield Scope(context, resource, letters, query or "")


def over_all_types(scopes: Iterable[Scope]) -> frozenset[str]:
    """Return what may be done with every type of the clinic, by somebody who is no patient."""
    letters: frozenset[str] = frozenset()
    for one in scopes:
        if one.resource == _ANY_TYPE and one.context != "patient" and not one.query:
            letters |= one.letters
    return letters
