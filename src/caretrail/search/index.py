"""The terms under which an event is found.

They are made part by part: what agents, the source, and type, outcome and `meta` bring is
remembered with them, since few of them are new; what the entities bring is made each time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caretrail.fhir.audit_event import Agent, AuditEvent, Coding, Reference, Source
from caretrail.limits import PARTS_REMEMBERED, WORDS_MAX
from caretrail.search import displays, reference, string, token, uri
from caretrail.search import elements as of
from caretrail.search.elements import Facts
from caretrail.search.fold import words
from caretrail.search.parameters import INDEXED, Type
from caretrail.search.record import Flag, Record
from caretrail.search.term import for_short_texts, spell
from caretrail.search.text import OVERFLOW, WORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from caretrail.fhir.audit_event import CodeableConcept, Meta
    from caretrail.search.parameters import SearchParameter

SHAPE: Final = "sh"
ORGANISATION: Final = "og"
PRODUCER: Final = "pr"


class Part(NamedTuple):
    """What one part of an event brings: terms, words, displays of codings by parameter.

    `shape` has a bit for each parameter of INDEXED that has a value.
    """

    terms: frozenset[str]
    words: frozenset[str]
    shown: tuple[tuple[str, str], ...]
    shape: int


def terms(record: Record) -> set[str]:
    """Return every term of an event."""
    event = record.event
    if not record.is_plain:
        return _terms(record, (_part(_ROWS, record, of.unlisted_texts(event)),), displays.terms)
    parts = [
        _source(event.source),
        _head(
            event.type, event.subtype, event.action, event.outcome, event.purposeOfEvent, event.meta
        ),
        *map(_agent, event.agent),
    ]
    if event.entity is not None:
        facts = Facts(record, of_agents=False)
        parts.append(_made(_ENTITY, facts, of.entity_texts(event.entity)))
    if event.outcomeDesc is not None:  # Seldom the same: it is not remembered with the rest.
        parts.append(_part(_HEAD, _fragment(outcomeDesc=event.outcomeDesc), ()))
    if record.flags:
        parts.append(_flags(record.flags))
    return _terms(record, parts, _shown)


def _terms(
    record: Record,
    parts: Sequence[Part],
    make_shown: Callable[[tuple[tuple[str, str], ...]], Iterable[str]],
) -> set[str]:
    found = {_sender(PRODUCER, record.producer)}
    if record.organisation:
        found.add(_sender(ORGANISATION, record.organisation))
    shape = 0
    displayed: tuple[tuple[str, str], ...] = ()
    said: set[str] = set()
    for part in parts:
        found |= part.terms
        said |= part.words
        displayed += part.shown
        shape |= part.shape
    found.add(_shape(shape))
    found.update(make_shown(displayed))
    if len(said) > WORDS_MAX:
        said = {WORDS + OVERFLOW}
    return found | said


def shown(facts: Facts) -> list[tuple[str, str]]:
    """Return the displays of an event's codings, each with the key of its parameter."""
    return [
        (row.key, element.display)
        for row in INDEXED
        if row.type is Type.TOKEN
        for element in row.values(facts)
        if element.display is not None
    ]


class _Row(NamedTuple):
    """A parameter of the index as it is made: `term` is of tokens, `make` of the other types."""

    key: str
    bit: int
    values: Callable[[Facts], Sequence[Any]]
    term: Callable[[str, str | None, str | None], str] | None
    make: Callable[[str, Any], Iterable[str]] | None


_MAKERS: Final[dict[Type, Callable[[str, Any], Iterable[str]]]] = {
    Type.REFERENCE: reference.terms,
    Type.STRING: string.terms,
    Type.URI: uri.terms,
}


def _row(number: int, row: SearchParameter) -> _Row:
    term = token.term if row.is_identifier else token.known_term
    is_token = row.type is Type.TOKEN
    make = None if is_token else _MAKERS[row.type]
    return _Row(row.key, 1 << number, row.values, term if is_token else None, make)


_ROWS: Final = tuple(_row(number, row) for number, row in enumerate(INDEXED))


def _rows(element: str) -> tuple[_Row, ...]:
    """Return the rows that look into one part, as their expressions say."""
    return tuple(
        row
        for row, parameter in zip(_ROWS, INDEXED, strict=True)
        if element in {_element(path) for path in parameter.expression.split(" | ")}
    )


def _element(path: str) -> str:
    """Return the part of an event that a FHIRPath goes into; "" for the event's own elements."""
    name = path.removeprefix("AuditEvent.").partition(".")[0]
    return name if name in ("agent", "source", "entity") else "" if path else "flags"


_HEAD: Final = _rows("")
_AGENT: Final = _rows("agent")
_SOURCE: Final = _rows("source")
_ENTITY: Final = _rows("entity")
_FLAGS: Final = _rows("flags")


def _part(rows: Iterable[_Row], record: Record, texts: Iterable[str]) -> Part:
    return _made(rows, Facts(record), texts)


def _made(rows: Iterable[_Row], facts: Facts, texts: Iterable[str]) -> Part:
    found: set[str] = set()
    displayed: list[tuple[str, str]] = []
    shape = 0
    for key, bit, values, term, make in rows:
        elements = values(facts)
        if not elements:
            continue
        shape |= bit
        if make is not None:
            for element in elements:
                found.update(make(key, element))
            continue
        assert term is not None
        for element in elements:
            if element.code is not None or element.system is not None:
                found.add(term(key, element.system, element.code))
            if element.display is not None:
                displayed.append((key, element.display))
    # The term of displays is cut short: longer ones are found by their words.
    long = [text for _, text in displayed if len(text) > displays.CHARACTERS_MAX]
    said = frozenset().union(*map(_words_of, (*texts, *long)))
    return Part(frozenset(found), said, tuple(displayed), shape)


_NO_TYPE: Final = Coding()
_NO_SOURCE: Final = Source(Reference())


def _fragment(**elements: Any) -> Record:
    """Return an event that has these elements only."""
    whole: dict[str, Any] = {"type": _NO_TYPE, "recorded": "", "agent": (), "source": _NO_SOURCE}
    event = AuditEvent("AuditEvent", **(whole | elements))
    return Record(event, "", -1, 0, Flag(0), "", "", b"", 0)


@lru_cache(PARTS_REMEMBERED)
def _agent(agent: Agent) -> Part:
    return _part(_AGENT, _fragment(agent=(agent,)), of.agent_texts((agent,)))


@lru_cache(PARTS_REMEMBERED)
def _source(source: Source) -> Part:
    return _part(_SOURCE, _fragment(source=source), of.source_texts(source))


@lru_cache(PARTS_REMEMBERED)
def _head(
    kind: Coding,
    subtype: tuple[Coding, ...] | None,
    action: str | None,
    outcome: str | None,
    purposes: tuple[CodeableConcept, ...] | None,
    meta: Meta | None,
) -> Part:
    head = _fragment(
        type=kind,
        subtype=subtype,
        action=action,
        outcome=outcome,
        purposeOfEvent=purposes,
        meta=meta,
    )
    return _part(_HEAD, head, ())


@lru_cache(64)
def _flags(flags: Flag) -> Part:
    return _part(_FLAGS, _fragment()._replace(flags=flags), ())


@lru_cache(PARTS_REMEMBERED)
def _sender(key: str, name: str) -> str:
    return key + spell(name)


@lru_cache(1_024)
def _shape(bits: int) -> str:
    return SHAPE + "".join(row.key for row in _ROWS if bits & row.bit)


_shown: Final = lru_cache(PARTS_REMEMBERED)(displays.terms)


@for_short_texts
def _words_of(text: str) -> frozenset[str]:
    return frozenset(WORDS + spell(word) for word in words((text,)))
