"""FHIR R4 AuditEvent: its elements as structures (FHIR R4, AuditEvent).

They hold every element that search, profiles and capture read, and say its type, cardinality,
required binding and the primitive's shape. An element is a value: equal ones are equal, and their
hash is computed once, so that what follows from an element can be remembered with it.
"""

from __future__ import annotations

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


class Struct(msgspec.Struct, omit_defaults=True, frozen=True, cache_hash=True, gc=False):
    """An element; a member that is not named in it is left out, which `decoding` notices."""


class Coding(Struct, frozen=True):
    """FHIR R4 Coding."""

    system: Uri | None = None
    version: String | None = None
    code: Code | None = None
    display: String | None = None
    userSelected: bool | None = None  # noqa: N815


Codings = Annotated[tuple[Coding, ...], Rule(min_length=1)]


class CodeableConcept(Struct, frozen=True):
    """FHIR R4 CodeableConcept."""

    coding: Codings | None = None
    text: String | None = None


Concepts = Annotated[tuple[CodeableConcept, ...], Rule(min_length=1)]


class Period(Struct, frozen=True):
    """FHIR R4 Period; which end comes first is checked by `decoding`."""

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
    profile: Annotated[tuple[Uri, ...], Rule(min_length=1)] | None = None
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
    policy: Annotated[tuple[Uri, ...], Rule(min_length=1)] | None = None
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
    """AuditEvent.entity.detail; exactly one value is checked by `decoding`."""

    type: String
    valueString: String | None = None  # noqa: N815
    valueBase64Binary: Base64Binary | None = None  # noqa: N815


class Entity(Struct, frozen=True):
    """AuditEvent.entity; sev-1 is checked by `decoding`."""

    what: Reference | None = None
    type: Coding | None = None
    role: Coding | None = None
    lifecycle: Coding | None = None
    securityLabel: Codings | None = None  # noqa: N815
    name: String | None = None
    description: String | None = None
    query: Base64Binary | None = None
    detail: Annotated[tuple[Detail, ...], Rule(min_length=1)] | None = None


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
    agent: Annotated[tuple[Agent, ...], Rule(min_length=1)]
    source: Source
    id: Id | None = None
    meta: Meta | None = None
    subtype: Codings | None = None
    action: Literal["C", "R", "U", "D", "E"] | None = None
    period: Period | None = None
    outcome: Literal["0", "4", "8", "12"] | None = None
    outcomeDesc: String | None = None  # noqa: N815
    purposeOfEvent: Concepts | None = None  # noqa: N815
    entity: Annotated[tuple[Entity, ...], Rule(min_length=1)] | None = None
    modifierExtension: Kept = None  # noqa: N815
    contained: tuple[Contained, ...] | None = None
    extension: Kept = None  # Judged by `validation`, read by search.elements.


_decoder: Final = msgspec.json.Decoder(AuditEvent)


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
