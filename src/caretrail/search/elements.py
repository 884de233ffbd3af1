"""What the search parameters look at: elements of an event, in the shapes of the search types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail.fhir.audit_event import Coding, Reference
from caretrail.search.reference import literal
from caretrail.search.token import Coded, Token

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from caretrail.fhir.audit_event import (
        Agent,
        AuditEvent,
        CodeableConcept,
        Contained,
        Entity,
        Identifier,
        Source,
    )
    from caretrail.search.record import Record

ACTION: Final = "http://hl7.org/fhir/audit-event-action"
OUTCOME: Final = "http://hl7.org/fhir/audit-event-outcome"
ENTITY_TYPE: Final = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
OBJECT_ROLE: Final = "http://terminology.hl7.org/CodeSystem/object-role"
REQUEST_ID: Final = "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType"
# A source may number its events, so that a gap shows: an extension of AuditEvent with an integer.
SOURCE_SEQUENCE: Final = "urn:caretrail:source-sequence"
FLAG: Final = "urn:caretrail:flag"


def concepts(elements: Iterable[CodeableConcept] | None) -> list[Coded]:
    """Return the codings of CodeableConcepts, and their texts as displays."""
    found: list[Coded] = []
    for concept in elements or ():
        found += concept.coding or ()
        if concept.text is not None:
            found.append(Token(None, None, concept.text))
    return found


class Facts:
    """An event's references, gathered once for all the parameters that look at them."""

    __slots__ = ("agents", "entities", "event", "patients", "record")

    agents: list[Reference]
    patients: list[Reference]

    def __init__(self, record: Record, *, of_agents: bool = True) -> None:
        """Gather them all, or without `of_agents` those of the entities alone."""
        self.record = record
        event = self.event = record.event
        self.entities = [one.what for one in event.entity or () if one.what is not None]
        if of_agents:
            self.agents = [agent.who for agent in event.agent if agent.who is not None]
            self.patients = patients(event)
        else:
            self.agents = []
            self.patients = entity_patients(event)


def patients(event: AuditEvent) -> list[Reference]:
    """Return the references of agents and entities that are to a Patient.

    `resolve() is Patient` cannot be asked of other servers' resources. What decides is, in this
    order: the contained resource, `Reference.type`, the type in the URL, and for a reference
    without any of them that the entity is a person in the role of the patient.
    """
    agents = [one.who for one in event.agent if one.who and kind(event, one.who) == "Patient"]
    return agents + entity_patients(event)


def entity_patients(event: AuditEvent) -> list[Reference]:
    """Return those of the entities alone."""
    return [
        what
        for entity in event.entity or ()
        if (what := entity.what) is not None
        and (kind(event, what) == "Patient" or _is_subject(what, entity))
    ]


def _is_subject(what: Reference, entity: Entity) -> bool:
    return (
        what.type is None
        and what.reference is None
        and entity.type is not None
        and (entity.type.system, entity.type.code) == (ENTITY_TYPE, "1")
        and entity.role is not None
        and (entity.role.system, entity.role.code) == (OBJECT_ROLE, "1")
    )


def kind(event: AuditEvent, reference: Reference) -> str | None:
    """Return the resource type that a reference says it is to."""
    if event.contained and (held := contained(event, reference)) is not None:
        return held.resourceType
    return reference_kind(reference)


def reference_kind(reference: Reference) -> str | None:
    """Return the resource type that a reference itself says."""
    text = reference.reference
    if reference.type is not None:
        return reference.type.removeprefix("http://hl7.org/fhir/StructureDefinition/")
    parts = literal(text) if text is not None else None
    return parts.type if parts is not None else None


def contained(event: AuditEvent, reference: Reference) -> Contained | None:
    """Return the contained resource that a reference points to."""
    if not event.contained or not reference.reference or reference.reference[0] != "#":
        return None
    wanted = reference.reference[1:]
    return next((held for held in event.contained if held.id == wanted), None)


def identifiers(event: AuditEvent, references: Sequence[Reference]) -> list[Coded]:
    """Return the identifiers of references: their own, and the contained resource's."""
    found: list[Coded] = []
    for reference in references:
        if reference.identifier is not None:
            found.append(_identifier(reference.identifier))
        held = contained(event, reference) if event.contained else None
        if held is not None and held.identifier is not None:
            found += _contained_identifiers(held.identifier)
    return found


def own_identifiers(references: Sequence[Reference]) -> list[Coded]:
    """Return `Reference.identifier` alone: what the modifier `:identifier` asks for."""
    return [_identifier(one.identifier) for one in references if one.identifier is not None]


def _identifier(identifier: Identifier) -> Token:
    if identifier.type is None:
        return Token(identifier.system, identifier.value)
    kinds = tuple((c.system, c.code) for c in identifier.type.coding or ())
    return Token(identifier.system, identifier.value, identifier.type.text, kinds)


def _contained_identifiers(raw: msgspec.Raw) -> list[Coded]:
    value: Any = msgspec.json.decode(raw)
    rows = value if isinstance(value, list) else [value]
    return [
        Token(row.get("system"), row.get("value"))
        for row in rows
        if isinstance(row, dict) and isinstance(row.get("value"), str)
    ]


def request_ids(event: AuditEvent) -> list[Coded]:
    """Return the X-Request-Id of BALP's transaction entity (BALP 3:5.7.5)."""
    return [
        _identifier(entity.what.identifier)
        for entity in event.entity or ()
        if entity.type is not None
        and (entity.type.system, entity.type.code) == (REQUEST_ID, "XrequestId")
        and entity.what is not None
        and entity.what.identifier is not None
    ]


def users(event: AuditEvent) -> list[Coded]:
    """Return every name by which an agent that is the requestor goes, as tokens."""
    found: list[Coded] = []
    for agent in event.agent:
        if not agent.requestor:
            continue
        if agent.altId is not None:
            found.append(Token(None, agent.altId))
        if agent.name is not None:
            found.append(Token(None, agent.name))
        if agent.who is not None:
            found += own_identifiers([agent.who])
            parts = literal(agent.who.reference) if agent.who.reference else None
            if parts is not None:
                found += (Token(None, parts.id), Token(None, f"{parts.type}/{parts.id}"))
    return found


def purposes(event: AuditEvent) -> list[Coded]:
    """Return purposes of use, of the event and of its agents."""
    found = concepts(event.purposeOfEvent)
    for agent in event.agent:
        found += concepts(agent.purposeOfUse)
    return found


def flags(record: Record) -> list[Coded]:
    """Return what the repository noticed."""
    return [Token(FLAG, code) for code in record.flags.codes()] if record.flags else []


def source_sequence(event: AuditEvent) -> int | None:
    """Return the number that the source gave this event, in the extension for it."""
    if event.extension is None:
        return None
    for row in msgspec.json.decode(event.extension):
        if row.get("url") == SOURCE_SEQUENCE:
            number = row.get(
                "valueInteger", row.get("valueUnsignedInt", row.get("valuePositiveInt"))
            )
            return number if isinstance(number, int) and number >= 0 else None
    return None


def texts(event: AuditEvent) -> list[str]:
    """Return names, descriptions and displays of references: what is not a coding's display."""
    found = [event.outcomeDesc, *(agent.name for agent in event.agent)]
    found += (entity.name for entity in event.entity or ())
    return [*(text for text in found if text is not None), *unlisted_texts(event)]


def unlisted_texts(event: AuditEvent) -> list[str]:
    """Return the texts that no search parameter of type string keeps anyway."""
    found = source_texts(event.source) + agent_texts(event.agent)
    return found + entity_texts(event.entity or ())


def source_texts(source: Source) -> list[str]:
    """Return a source's texts of that kind."""
    return _present(source.site, source.observer.display)


def agent_texts(agents: Iterable[Agent]) -> list[str]:
    """Return agents' texts of that kind."""
    return [
        text
        for agent in agents
        for text in _present(agent.altId, agent.who.display if agent.who else None)
    ]


def entity_texts(entities: Iterable[Entity]) -> list[str]:
    """Return entities' texts of that kind."""
    return [
        text
        for entity in entities
        for text in (entity.description, entity.what.display if entity.what else None)
        if text is not None
    ]


def _present(*texts: str | None) -> list[str]:
    return [text for text in texts if text is not None]


def codes(system: str, code: str | None) -> list[Coded]:
    """Return the element of a required binding, whose code system goes without saying."""
    return [Coding(system=system, code=code)] if code is not None else []
