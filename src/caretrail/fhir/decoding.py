"""The typed pass: bytes to an AuditEvent, or to nothing (FHIR R4, AuditEvent).

`decode` checks types, cardinalities, required bindings and the primitives' shapes on the way. It
answers only when it is sure of the event; anything unusual (an extension, a contained resource, a
second `recorded`, a control character) it leaves to `validation`, which alone decides and names
every problem.

Much of an event was seen before: the same user, workstation and server, the same codes. Such parts
are cut out as they stand and remembered by their bytes; what is new each time is decoded.
"""

from __future__ import annotations

import re
from calendar import monthrange
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType
from msgspec import Meta as Rule

from caretrail.fhir.audit_event import (
    Agent,
    AuditEvent,
    CodeableConcept,
    Coding,
    Entity,
    Id,
    Instant,
    Meta,
    Source,
    String,
    Struct,
)
from caretrail.limits import PART_BYTES_REMEMBERED, PARTS_REMEMBERED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from caretrail.fhir.audit_event import Reference

T = TypeVar("T")


class Cut(Struct, frozen=True):
    """An event with the parts that repeat left as bytes, and without what is never plain."""

    resourceType: Literal["AuditEvent"]  # noqa: N815
    type: Raw
    recorded: Instant
    agent: Annotated[list[Raw], Rule(min_length=1)]
    source: Raw
    id: Id | None = None
    meta: Raw | UnsetType = UNSET
    subtype: Raw | UnsetType = UNSET
    action: Literal["C", "R", "U", "D", "E"] | None = None
    outcome: Literal["0", "4", "8", "12"] | None = None
    outcomeDesc: String | None = None  # noqa: N815
    purposeOfEvent: Raw | UnsetType = UNSET  # noqa: N815
    entity: Annotated[tuple[Entity, ...], Rule(min_length=1)] | None = None


class UnsureError(Exception):
    """Only `validation` can judge this."""


# The first pass, over the whole event.
cut: Final = msgspec.json.Decoder(Cut).decode
_encode: Final = msgspec.json.Encoder().encode
# Every escape but those of the reverse solidus and of characters that a string may hold.
_ESCAPE: Final = re.compile(rb"\\(?:u00[01]|[bf]|u0022|u[dD][89a-fA-F])")


def decode(body: bytes) -> AuditEvent | None:
    """Return the event in `body`, or None when only `validation` can judge it.

    What it returns is valid R4: `validation.problems` finds nothing in the same bytes.
    """
    # An escape can hide a control character, half of a surrogate pair, or a quotation mark.
    if b"\\" in body and _ESCAPE.search(body):
        return None
    try:
        found = cut(body)
        check_whole(found, body)
        _check_entities(found.entity or ())
        recorded = found.recorded
        if recorded[8:10] > "28" and not _is_day(recorded):
            return None
        return AuditEvent(
            "AuditEvent",
            _coding(found.type),
            recorded,
            tuple(map(_agent, found.agent)),
            _source(found.source),
            found.id,
            _meta(found.meta) if found.meta is not UNSET else None,
            _codings(found.subtype) if found.subtype is not UNSET else None,
            found.action,
            None,
            found.outcome,
            found.outcomeDesc,
            _concepts(found.purposeOfEvent) if found.purposeOfEvent is not UNSET else None,
            found.entity,
        )
    except (UnsureError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def check_whole(part: Any, body: bytes) -> None:
    """Raise UnsureError where `part` does not hold everything that stands in `body`.

    A member that the structures do not have, or that a later one of the same name replaced, is
    missing when the part is written again: each takes at least two quotation marks with it. What
    is written again is never longer, so an equal length says that there is nothing to count.
    There an element without children (ele-1) is `{}`, whatever white space it was sent with.
    """
    again = _encode(part)
    if len(again) != len(body) and again.count(b'"') != body.count(b'"'):
        raise UnsureError
    if b"{}" in again:
        raise UnsureError


def _part(kind: Any, words: Callable[[T], list[str | None]]) -> Callable[[Raw], T]:
    """Return what decodes a part; `words` are its URIs and codes, which have no white space."""
    decoder = msgspec.json.Decoder(kind)

    def decoded(body: bytes) -> T:
        part: T = decoder.decode(body)
        check_whole(part, body)
        _check_words(words(part))
        return part

    remembered = lru_cache(PARTS_REMEMBERED)(decoded)

    def part(raw: Raw) -> T:
        body = bytes(raw)
        return remembered(body) if len(body) <= PART_BYTES_REMEMBERED else decoded(body)

    return part


def _check_words(words: Iterable[str | None]) -> None:
    # A uri has no white space; a code may have single spaces, but `validation` sees to those.
    text = "".join(filter(None, words))
    if text and text.split() != [text]:
        raise UnsureError


def _check_entities(entities: Iterable[Entity]) -> None:
    """Check what the types cannot say: white space, sev-1, and one value a detail."""
    words: list[str | None] = []
    for entity in entities:
        query = entity.query
        if query is not None and (entity.name is not None or len(query) % 4):
            raise UnsureError
        for detail in entity.detail or ():
            if (detail.valueString is None) == (detail.valueBase64Binary is None):
                raise UnsureError
            if len(detail.valueBase64Binary or "") % 4:
                raise UnsureError
        for coding in (entity.type, entity.role, entity.lifecycle):
            if coding is not None:
                words += (coding.system, coding.code)
        if entity.securityLabel is not None:
            words += _of_codings(entity.securityLabel)
        if entity.what is not None:
            words += _of_reference(entity.what)
    _check_words(words)


def _of_reference(reference: Reference | None) -> list[str | None]:
    if reference is None:
        return []
    if reference.reference is not None and reference.reference[0] == "#":
        raise UnsureError  # Its contained resource (ref-1) is looked for by `validation`.
    identifier = reference.identifier
    if identifier is None:
        return [reference.type]
    if identifier.period is not None or identifier.assigner is not None:
        raise UnsureError  # Rare: left to `validation`.
    kinds = _of_codings(identifier.type.coding or ()) if identifier.type is not None else ()
    return [reference.type, identifier.system, *kinds]


def _of_codings(codings: tuple[Coding, ...]) -> list[str | None]:
    return [word for coding in codings for word in (coding.system, coding.code)]


def _of_concepts(concepts: tuple[CodeableConcept, ...] | None) -> list[str | None]:
    return [word for one in concepts or () for word in _of_codings(one.coding or ())]


def _of_agent(agent: Agent) -> list[str | None]:
    if agent.extension is not None:
        raise UnsureError
    words = _of_reference(agent.who) + _of_reference(agent.location) + _of_concepts(agent.role)
    words += _of_concepts(agent.purposeOfUse) + list(agent.policy or ())
    if agent.type is not None:
        words += _of_concepts((agent.type,))
    if agent.media is not None:
        words += (agent.media.system, agent.media.code)
    return words


def _of_source(source: Source) -> list[str | None]:
    return _of_reference(source.observer) + _of_codings(source.type or ())


def _of_meta(meta: Meta) -> list[str | None]:
    if meta.lastUpdated is not None:
        raise UnsureError
    codings = (*(meta.security or ()), *(meta.tag or ()))
    return [meta.source, *(meta.profile or ()), *_of_codings(codings)]


_coding: Final[Callable[[Raw], Coding]] = _part(Coding, lambda one: _of_codings((one,)))
_codings: Final = _part(Annotated[tuple[Coding, ...], Rule(min_length=1)], _of_codings)
_concepts: Final = _part(Annotated[tuple[CodeableConcept, ...], Rule(min_length=1)], _of_concepts)
_agent: Final = _part(Agent, _of_agent)
_source: Final = _part(Source, _of_source)
_meta: Final = _part(Meta, _of_meta)


def _is_day(date: str) -> bool:
    return int(date[8:10]) <= monthrange(int(date[:4]), int(date[5:7]))[1]
