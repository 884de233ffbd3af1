"""The terms under which an event is found."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from caretrail.limits import WORDS_MAX
from caretrail.search import displays, reference, string, token, uri
from caretrail.search import elements as of
from caretrail.search.fold import words
from caretrail.search.parameters import INDEXED, Type
from caretrail.search.term import spell
from caretrail.search.text import OVERFLOW, WORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from caretrail.fhir.audit_event import AuditEvent
    from caretrail.search.elements import Facts

SHAPE: Final = "sh"
ORGANISATION: Final = "og"
PRODUCER: Final = "pr"

_LISTED: Final = tuple(
    (row.key, row.type, row.values, token.term if row.is_identifier else token.known_term)
    for row in INDEXED
)


def terms(facts: Facts) -> set[str]:
    """Return every term of an event."""
    found: set[str] = set()
    shown: list[tuple[str, str]] = []
    shape = SHAPE
    for key, kind, values, term in _LISTED:
        elements: Iterable[Any] = values(facts)
        if not elements:
            continue
        shape += key
        if kind is Type.TOKEN:
            for element in elements:
                if element.code is not None or element.system is not None:
                    found.add(term(key, element.system, element.code))
                if element.display is not None:
                    shown.append((key, element.display))
        else:
            make = _TERMS[kind]
            for element in elements:
                found.update(make(key, element))
    found.add(shape)
    found.update(displays.terms(tuple(shown)))
    found.update(_words(facts.event, shown))
    if facts.record.organisation:
        found.add(ORGANISATION + spell(facts.record.organisation))
    found.add(PRODUCER + spell(facts.record.producer))
    return found


_TERMS: Final[dict[Type, Callable[[str, Any], Iterable[str]]]] = {
    Type.REFERENCE: reference.terms,
    Type.STRING: string.terms,
    Type.URI: uri.terms,
}


def _words(event: AuditEvent, shown: list[tuple[str, str]]) -> Iterable[str]:
    texts = of.unlisted_texts(event)
    texts += (text for _, text in shown if len(text) > displays.CHARACTERS_MAX)
    found = set().union(*map(_words_of, texts))
    return (WORDS + OVERFLOW,) if len(found) > WORDS_MAX else found


@lru_cache(4_096)
def _words_of(text: str) -> frozenset[str]:
    return frozenset(WORDS + spell(word) for word in words((text,)))


def shown(facts: Facts) -> list[tuple[str, str]]:
    """Return the displays of an event's codings, each with the key of its parameter."""
    return [
        (row.key, element.display)
        for row in INDEXED
        if row.type is Type.TOKEN
        for element in row.values(facts)
        if element.display is not None
    ]
