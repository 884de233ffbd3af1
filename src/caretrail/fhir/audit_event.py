"""FHIR R4 AuditEvent: one typed pass over the bytes (FHIR R4, AuditEvent).

The structures hold every element that search, profiles and capture read. `decode` fills them in
one pass that also checks types, cardinalities, required bindings and the primitives' shapes. It
answers only when it is sure of the event; anything unusual (an extension, a contained resource, a
second `recorded`, a control character) it leaves to `validation`, which alone decides and names
every problem.
"""

from __future__ import annotations

import re
from calendar import monthrange
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta as Rule

from caretrail.fhir import strict_json

# The primitives' shapes (FHIR R4, datatypes). Patterns cost more than the whole decoding, so only
# rare elements have one: control characters and the white space that a uri or code must not hold
# are looked for once an event. `\Z` where Python's `$` would let a line feed follow.
String = Annotated[str, Rule(min_length=1)]
Uri = String
Code = String
Id = Annotated[str, Rule(pattern=r"^[A-Za-z0-9.-]{1,64}\Z")]
Base64Binary = Annotated[str, Rule(min_length=4, pattern=r"^[A-Za-z0-9+/]+={0,2}\Z")]
# `[0-9]`, as `\d` would take the digits of every script.
_DAY: Final = r"(?!0000)[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME: Final = (
    r"([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?"
    r"(Z|[+-](0[0-9]|1[0-3]):[0-5][0-9]|[+-]14:00)"
)
Instant = Annotated[str, Rule(pattern=rf"^{_DAY}T{_TIME}\Z")]
DateTime = Annotated[
    str,
    Rule(
        pattern=rf"^(?!0000)[0-9]{{4}}(-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01])(T{_TIME})?)?)?\Z"
    ),
]


# JSON that is not judged here. At run time it must not be a union: msgspec would then take only
# null for it.
if TYPE_CHECKING:
    Kept: TypeAlias = msgspec.Raw | None
else:
    Kept = msgspec.Raw


class Struct(msgspec.Struct, omit_defaults=True, frozen=True, gc=False):
    """An element; a member that is not named in it is left out, which `decode` notices."""


class Coding(Struct, frozen=True):
    """FHIR R4 Coding."""

    system: Uri | None = None
    version: String | None = None
    code: Code | None = None
    display: String | None = None
    userSelected: bool | None = None  # noqa: N815


Codings = Annotated[list[Coding], Rule(min_length=1)]


class CodeableConcept(Struct, frozen=True):
    """FHIR R4 CodeableConcept."""

    coding: Codings | None = None
    text: String | None = None


Concepts = Annotated[list[CodeableConcept], Rule(min_length=1)]


class Period(Struct, frozen=True):
    """FHIR R4 Period; which end comes first is checked by `decode`."""

    start: DateTime | None = None
    end: DateTime | None = None


class Identifier(Struct, frozen=True):
    """FHIR R4 Identifier."""

    use: Literal["usual", "official", "temp", "secondary", "old"] | None = None
    type: CodeableConcept | None = None
    system: Uri | None = None
    value: String | None = None
    period: Period | None = None
    assigner: Reference | None = None


class Reference(Struct, frozen=True):
    """FHIR R4 Reference."""

    reference: String | None = None
    type: Uri | None = None
    identifier: Identifier | None = None
    display: String | None = None


class Meta(Struct, frozen=True):
    """FHIR R4 Meta."""

    versionId: Id | None = None  # noqa: N815
    lastUpdated: Instant | None = None  # noqa: N815
    source: Uri | None = None
    profile: Annotated[list[Uri], Rule(min_length=1)] | None = None
    security: Codings | None = None
    tag: Codings | None = None


class Network(Struct, frozen=True):
    """AuditEvent.agent.network."""

    address: String | None = None
    type: Literal["1", "2", "3", "4", "5"] | None = None


class Agent(Struct, frozen=True):
    """AuditEvent.agent."""

    requestor: bool
    type: CodeableConcept | None = None
    role: Concepts | None = None
    who: Reference | None = None
    altId: String | None = None  # noqa: N815
    name: String | None = None
    location: Reference | None = None
    policy: Annotated[list[Uri], Rule(min_length=1)] | None = None
    media: Coding | None = None
    network: Network | None = None
    purposeOfUse: Concepts | None = None  # noqa: N815
    extension: Kept = None  # Judged by `validation`, read by profiles.


class Source(Struct, frozen=True):
    """AuditEvent.source."""

    observer: Reference
    site: String | None = None
    type: Codings | None = None


class Detail(Struct, frozen=True):
    """AuditEvent.entity.detail; exactly one value is checked by `decode`."""

    type: String
    valueString: String | None = None  # noqa: N815
    valueBase64Binary: Base64Binary | None = None  # noqa: N815


class Entity(Struct, frozen=True):
    """AuditEvent.entity; sev-1 is checked by `decode`."""

    what: Reference | None = None
    type: Coding | None = None
    role: Coding | None = None
    lifecycle: Coding | None = None
    securityLabel: Codings | None = None  # noqa: N815
    name: String | None = None
    description: String | None = None
    query: Base64Binary | None = None
    detail: Annotated[list[Detail], Rule(min_length=1)] | None = None


class Contained(Struct, frozen=True):
    """What search needs of a contained resource; the rest stays in the bytes."""

    resourceType: String  # noqa: N815
    id: str | None = None
    identifier: Kept = None


class AuditEvent(Struct, frozen=True):
    """FHIR R4 AuditEvent."""

    resourceType: Literal["AuditEvent"]  # noqa: N815
    type: Coding
    recorded: Instant
    agent: Annotated[list[Agent], Rule(min_length=1)]
    source: Source
    id: Id | None = None
    meta: Meta | None = None
    subtype: Codings | None = None
    action: Literal["C", "R", "U", "D", "E"] | None = None
    period: Period | None = None
    outcome: Literal["0", "4", "8", "12"] | None = None
    outcomeDesc: String | None = None  # noqa: N815
    purposeOfEvent: Concepts | None = None  # noqa: N815
    entity: Annotated[list[Entity], Rule(min_length=1)] | None = None
    modifierExtension: Kept = None  # noqa: N815
    contained: list[Contained] | None = None
    extension: Kept = None  # Judged by `validation`, read by search.elements.


_decoder: Final = msgspec.json.Decoder(AuditEvent)
_encoder: Final = msgspec.json.Encoder()


def decode(body: bytes) -> AuditEvent | None:
    """Return the event in `body`, or None when only `validation` can judge it.

    What it returns is valid R4: `validation.problems` finds nothing in the same bytes.
    """
    # An escape can hide a control character, half of a surrogate pair, or a quotation mark.
    if b"\\" in body and _ESCAPE.search(body):
        return None
    try:
        event = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    # A member that the structures do not have, or that a later one of the same name replaced, is
    # missing when the event is written again: each takes at least two quotation marks with it.
    # There an element without children (ele-1) is `{}`, whatever white space it was sent with.
    again = _encoder.encode(event)
    if again.count(b'"') != body.count(b'"') or b"{}" in again:
        return None
    return event if _holds(event) else None


def read(body: bytes) -> AuditEvent:
    """Return the elements of a valid R4 event, leaving out members that are not named here.

    White space in base64 and the nulls beside extensions of values are left out too. A `requestor`
    that only has extensions counts as false, and a detail whose type only has those is left out.
    """
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError:
        return _decoder.decode(strict_json.encode(_plain(strict_json.parse(body).tree)))


def _plain(tree: Any) -> Any:
    """Return `tree` without what is valid in FHIR but has no place in the structures."""
    if isinstance(tree, list):
        return [_plain(part) for part in tree if part is not None]
    if not isinstance(tree, dict):
        return tree
    plain = {name: _plain(part) for name, part in tree.items()}
    for name in ("query", "valueBase64Binary"):
        if isinstance(plain.get(name), str):
            plain[name] = "".join(plain[name].split())
    if "_requestor" in plain:
        plain.setdefault("requestor", False)
    if isinstance(plain.get("detail"), list):
        plain["detail"] = [row for row in plain["detail"] if "type" in row]
    return {name: part for name, part in plain.items() if part != []}


# Every escape but those of the reverse solidus and of characters that a string may hold.
_ESCAPE: Final = re.compile(rb"\\(?:u00[01]|[bf]|u0022|u[dD][89a-fA-F])")


def _holds(event: AuditEvent) -> bool:
    """Check what the types cannot say: real days, white space, sev-1, one value a detail."""
    if event.period or event.contained is not None:
        return False
    if event.extension is not None or event.modifierExtension is not None:
        return False
    if event.recorded[8:10] > "28" and not _is_day(event.recorded):
        return False
    words = [event.type.system, event.type.code]
    _add_codings(words, event.subtype)
    _add_concepts(words, event.purposeOfEvent)
    if event.meta is not None:
        if event.meta.lastUpdated is not None:
            return False
        words += (event.meta.source, *(event.meta.profile or ()))
        _add_codings(words, event.meta.security)
        _add_codings(words, event.meta.tag)
    _add_reference(words, event.source.observer)
    _add_codings(words, event.source.type)
    for agent in event.agent:
        if agent.extension is not None:
            return False
        _add_agent(words, agent)
    for entity in event.entity or ():
        if not _add_entity(words, entity):
            return False
    # A uri has no white space; a code may have single spaces, but `validation` sees to those.
    text = "".join(filter(None, words))
    return text.split() == [text] if text else True


def _add_agent(words: list[str | None], agent: Agent) -> None:
    _add_reference(words, agent.who)
    _add_reference(words, agent.location)
    if agent.type is not None:
        _add_codings(words, agent.type.coding)
    _add_concepts(words, agent.role)
    _add_concepts(words, agent.purposeOfUse)
    if agent.media is not None:
        words += (agent.media.system, agent.media.code)
    if agent.policy is not None:
        words += agent.policy


def _add_entity(words: list[str | None], entity: Entity) -> bool:
    if entity.query is not None and entity.name is not None:
        return False
    for detail in entity.detail or ():
        if (detail.valueString is None) == (detail.valueBase64Binary is None):
            return False
        if len(detail.valueBase64Binary or "") % 4:
            return False
    if len(entity.query or "") % 4:
        return False
    for coding in (entity.type, entity.role, entity.lifecycle):
        if coding is not None:
            words += (coding.system, coding.code)
    _add_codings(words, entity.securityLabel)
    _add_reference(words, entity.what)
    return True


def _add_reference(words: list[str | None], reference: Reference | None) -> None:
    if reference is None:
        return
    words.append(reference.type)
    if reference.reference is not None and reference.reference[0] == "#":
        words.append(" ")  # Its contained resource (ref-1) is looked for by `validation`.
    identifier = reference.identifier
    if identifier is not None:
        words.append(identifier.system)
        if identifier.type is not None:
            _add_codings(words, identifier.type.coding)
        if identifier.period is not None or identifier.assigner is not None:
            words.append(" ")  # Rare: left to `validation`.


def _add_codings(words: list[str | None], codings: list[Coding] | None) -> None:
    for coding in codings or ():
        words += (coding.system, coding.code)


def _add_concepts(words: list[str | None], concepts: list[CodeableConcept] | None) -> None:
    for concept in concepts or ():
        _add_codings(words, concept.coding)


def _is_day(date: str) -> bool:
    return int(date[8:10]) <= monthrange(int(date[:4]), int(date[5:7]))[1]
