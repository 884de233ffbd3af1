"""An AuditEvent without who its patients are, for receivers that look after systems (SIEM).

An entity that is a patient goes whole, and so does what may quote one: queries, descriptions,
details, the text of an outcome. An agent that is a patient stays, as one without a name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from caretrail.fhir.event_tree import child, members

if TYPE_CHECKING:
    from caretrail.fhir.event_tree import Json

_PATIENT: Final = re.compile(r"(?:^|/)Patient/")
_PERSON_TYPE: Final = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ROLE: Final = "http://terminology.hl7.org/CodeSystem/object-role"
_QUOTING: Final = ("query", "description", "detail", "name")
_OF_AGENT: Final = ("who", "altId", "name")
_EXTENDING: Final = ("extension", "modifierExtension", "contained", "text")


def bare(node: Any) -> Any:
    """Return `node` without extensions, contained resources and narrative: they may say anything."""
    if isinstance(node, list):
        return [bare(one) for one in node]
    if not isinstance(node, dict):
        return node
    return {
        name: bare(value)
        for name, value in node.items()
        if not name.startswith("_") and (name not in _EXTENDING or _is_words(name, value))
    }


def _is_words(name: str, value: Any) -> bool:
    """Tell the text of a CodeableConcept from a resource's narrative, which is an object."""
    return name == "text" and isinstance(value, str)


def without_patients(event: Json) -> Json:
    """Return the event without its patients."""
    found: Json = bare(event)
    found.pop("outcomeDesc", None)
    kept = [
        {name: value for name, value in one.items() if name not in _QUOTING}
        for one in members(found, "entity")
        if not _is_patient(one)
    ]
    found.pop("entity", None)
    if kept:
        found["entity"] = kept
    found["agent"] = [_unnamed(one) for one in members(found, "agent")]
    return found


def _is_patient(entity: Json) -> bool:
    kind, role = child(entity, "type"), child(entity, "role")
    return (
        (kind.get("system"), kind.get("code")) == (_PERSON_TYPE, "1")
        or (role.get("system"), role.get("code")) == (_ROLE, "1")
        or _is_of_patient(child(entity, "what"))
    )


def _unnamed(agent: Json) -> Json:
    if not _is_of_patient(child(agent, "who")):
        return agent
    named = {name: value for name, value in agent.items() if name not in _OF_AGENT}
    return {**named, "who": {"type": "Patient"}}


def _is_of_patient(reference: Json) -> bool:
    text = reference.get("reference")
    return reference.get("type") == "Patient" or (
        isinstance(text, str) and bool(_PATIENT.search(text))
    )
