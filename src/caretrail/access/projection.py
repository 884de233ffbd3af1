"""What a patient, or whoever acts for one, is shown of an event: a list of what stays (T-20).

An event may name other patients, and texts may say anything, so nothing is taken out: what is not
listed here is not shown. Staff are named as far as the disclosure level of the site says
(requirements 0.6: the dates and purposes are the patient's right, a name is not always).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail.patterns.codes import PERSON
from caretrail.search.reference import literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from caretrail.search.reference import Literal

Json = dict[str, Any]


class Disclosure(StrEnum):
    """How much a patient is told of who looked."""

    NAME = "name"
    ROLE = "role"
    ORGANISATION = "organisation"


_META: Final = ("versionId", "lastUpdated")
_PLAIN: Final = ("resourceType", "id", "action", "recorded", "outcome")
_KIND: Final = ("type", "role", "lifecycle")
_CODING: Final = ("system", "code", "display")
_STAFF: Final = ("Practitioner", "PractitionerRole")
_DEVICES: Final = ("Device", "Organization")
_PEOPLE: Final = ("Patient", "RelatedPerson", "Person", "Group", *_STAFF)
# Of our own events: what says how the log is, and nothing of whom somebody asked for.
_DETAILS_OF_LOG: Final = frozenset(
    ["version", "configuration", "tree-size", "stopped-before", "gap-since", "gap-until", "key",
     "key-since", "verified-size", "findings", "interaction", "status", "rows", "attempts",
     "window-seconds", "tls-error"]
)  # fmt: skip


def of_patient(patient_id: str, disclosure: Disclosure) -> Callable[[bytes], bytes]:
    """Return what shows an event to the patient with that id."""

    def shown(event: bytes) -> bytes:
        return msgspec.json.encode(_for_patient(msgspec.json.decode(event), patient_id, disclosure))

    return shown


def of_security(event: bytes) -> bytes:
    """Return a security event without what its entities say of queries and of anybody's data."""
    tree: Json = msgspec.json.decode(event)
    tree.pop("text", None)
    tree.pop("contained", None)
    if "entity" in tree:
        tree["entity"] = [_of_log(one) for one in tree["entity"]]
    return msgspec.json.encode(tree)


def _of_log(entity: Json) -> Json:
    found: Json = {name: entity[name] for name in _KIND if name in entity}
    what = entity.get("what", {})
    parts = literal(what.get("reference", ""))
    if parts is not None and parts.type == "AuditEvent":
        found["what"] = {"reference": f"AuditEvent/{parts.id}"}
    details = [row for row in entity.get("detail", ()) if row.get("type") in _DETAILS_OF_LOG]
    if details:
        found["detail"] = details
    # An element without anything in it is no valid FHIR.
    return found or {"type": {"system": PERSON.system, "code": "4"}}


def _for_patient(event: Json, patient_id: str, disclosure: Disclosure) -> Json:
    found: Json = {name: event[name] for name in _PLAIN if name in event}
    meta = event.get("meta", {})
    if kept := {name: meta[name] for name in _META if name in meta}:
        found["meta"] = kept
    found["type"] = _coding(event["type"])
    if "subtype" in event:
        found["subtype"] = [_coding(one) for one in event["subtype"]]
    if purposes := _concepts(event.get("purposeOfEvent", ())):
        found["purposeOfEvent"] = purposes
    found["agent"] = [_agent(one, disclosure) for one in event["agent"]]
    found["source"] = _source(event["source"])
    found["entity"] = list(_entities(event, patient_id))
    if not found["entity"]:
        del found["entity"]
    return found


def _agent(agent: Json, disclosure: Disclosure) -> Json:
    found: Json = {"requestor": agent["requestor"]}
    parts = _who(agent)
    kind = parts.type if parts is not None else ""
    if kind == "Organization" and parts is not None:
        found["who"] = _reference(parts)
    if disclosure is Disclosure.ORGANISATION:
        return found
    if concept := _concept(agent.get("type", {})):
        found["type"] = concept
    for name in ("role", "purposeOfUse"):
        if concepts := _concepts(agent.get(name, ())):
            found[name] = concepts
    if disclosure is Disclosure.NAME and parts is not None and kind in (*_STAFF, *_DEVICES):
        found["who"] = _reference(parts)
        if name := agent.get("name") or agent["who"].get("display"):
            found["name"] = name
    return found


def _source(source: Json) -> Json:
    parts = literal(source["observer"].get("reference", ""))
    is_device = parts is not None and parts.type in _DEVICES
    # R4 wants an observer; one that may be a person is only said to be there.
    observer = _reference(parts) if parts and is_device else {"display": "recorder"}
    found: Json = {"observer": observer}
    if types := [_coding(one) for one in source.get("type", ())]:
        found["type"] = types
    return found


def _entities(event: Json, patient_id: str) -> Iterator[Json]:
    """Yield the patient's own entity and, where nobody else's data can be among them, the others."""
    entities = [
        (one, literal(one.get("what", {}).get("reference", ""))) for one in event.get("entity", ())
    ]
    is_own = all(
        _is_own(parts, patient_id) or not _is_person(one, parts) for one, parts in entities
    )
    for entity, parts in entities:
        own = _is_own(parts, patient_id)
        if parts is None or not (own or (is_own and not _is_person(entity, parts))):
            continue
        found: Json = {"what": _reference(parts)}
        for name in _KIND:
            if name in entity:
                found[name] = _coding(entity[name])
        yield found


def _is_own(parts: Literal | None, patient_id: str) -> bool:
    return parts is not None and parts.type == "Patient" and parts.id == patient_id


def _is_person(entity: Json, parts: Literal | None) -> bool:
    """Tell whether an entity may be somebody: what is not clearly a thing, is."""
    if entity.get("type", {}).get("code") == PERSON.code:
        return True
    if parts is None:
        return "what" in entity
    return parts.type in _PEOPLE


def _who(agent: Json) -> Literal | None:
    return literal(agent.get("who", {}).get("reference", ""))


def _reference(parts: Literal) -> Json:
    base = f"{parts.base}/" if parts.base else ""
    return {"reference": f"{base}{parts.type}/{parts.id}"}


def _coding(coding: Json) -> Json:
    return {name: coding[name] for name in _CODING if name in coding}


def _concept(concept: Json) -> Json:
    codings = [kept for one in concept.get("coding", ()) if (kept := _coding(one))]
    return {"coding": codings} if codings else {}


def _concepts(concepts: Any) -> list[Json]:
    return [kept for one in concepts if (kept := _concept(one))]
