"""What stores count by the day: events with a code that many have, such as a type or an outcome.

Going through the index takes time for each event that is counted. The counters of a store take none,
and are written with the events. An event counts under each of its terms of these parameters, and under
what the terms of one code begin with, whatever its system: a search may leave out the system.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caretrail.search.index import ORGANISATION, PRODUCER
from caretrail.search.parameters import BY_CODE
from caretrail.search.term import Or, Prefix, Term

if TYPE_CHECKING:
    from collections.abc import Iterable

    from caretrail.search.term import Node

# Of these an event has one value at the most, so that those with either of two are both sums together.
_SINGLE: Final = frozenset(BY_CODE[code].key for code in ("action", "outcome", "type"))
_CODES: Final = _SINGLE | {
    BY_CODE[code].key
    for code in ("agent-role", "entity-role", "entity-type", "flag", "purpose", "site", "subtype")
}
_COUNTED: Final = _CODES | {ORGANISATION, PRODUCER}
# The key of the parameter and the digest of the code; that of the system follows (`token.term`).
_CODE_CHARACTERS: Final = 14


def names(terms: Iterable[str]) -> set[str]:
    """Return the counters that an event with these terms counts for."""
    found = {term for term in terms if term[:2] in _COUNTED}
    found |= {term[:_CODE_CHARACTERS] for term in found if term[:2] in _CODES}
    return found


def is_prefix(name: str) -> bool:
    """Tell whether a counter is that of a code, whatever its system, and not that of one term."""
    return name[:2] in _CODES and len(name) == _CODE_CHARACTERS


def summed(node: Node | None) -> tuple[str, ...]:
    """Return the counters whose sum is how many events fit the node; none when they cannot tell."""
    parts = node.nodes if isinstance(node, Or) else (node,)
    found = [_name(one) for one in parts]
    if not all(found):
        return ()
    if len(found) > 1:
        kinds = {(name[:2], len(name)) for name in found}
        if len(kinds) > 1 or found[0][:2] not in _SINGLE:
            return ()
    return tuple(dict.fromkeys(found))


def _name(node: Node | None) -> str:
    match node:
        case Term(text) if text[:2] in _COUNTED:
            return text
        case Prefix(text) if is_prefix(text):
            return text
        case _:
            return ""
