"""The parts that AuditEvents of every pattern are put together from (FHIR R4, AuditEvent)."""

from __future__ import annotations

from base64 import b64encode
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from caretrail.patterns import codes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.patterns.codes import Code
    from caretrail.patterns.observation import Json, Machine, Observation

_CODES_MAX: Final = 4_096  # Roles and labels are a site's own.


def present(members: Json) -> Json:
    """Return `members` without those that are None or empty, which JSON in FHIR must not hold."""
    return {name: value for name, value in members.items() if value or value is False}


# The same few codes are in every event; whoever changes what these return changes all events.
@lru_cache(maxsize=_CODES_MAX)
def coding(code: Code) -> Json:
    """Return a Coding."""
    system, value, display = code
    found = {"system": system} if system else {}
    found["code"] = value
    if display:
        found["display"] = display
    return found


@lru_cache(maxsize=_CODES_MAX)
def concept(*concept_codes: Code) -> Json:
    """Return a CodeableConcept: the same thing in one or more systems."""
    return {"coding": [coding(code) for code in concept_codes]}


def concepts(concept_codes: Sequence[Code]) -> list[Json]:
    """Return a CodeableConcept for each code: several things."""
    return [concept(code) for code in concept_codes]


def machine_agent(machine: Machine, *types: Code) -> Json:
    """Return the agent of a client or server, which is never the requestor."""
    network = {"address": machine.address, "type": machine.address_type} if machine.address else {}
    return present(
        {
            "type": concept(*types),
            "who": machine.who,
            "name": machine.name,
            "requestor": False,
            "network": network,
        }
    )


def source(observation: Observation, server_type: Code = codes.APPLICATION_SERVER) -> Json:
    """Return who recorded the event: the client or the server."""
    recorder = observation.client if observation.by_client else observation.server
    kind = codes.USER_DEVICE if observation.by_client else server_type
    return present({"site": observation.site, "observer": recorder.who, "type": [coding(kind)]})


def request_entity(observation: Observation) -> list[Json]:
    """Return the X-Request-Id's entity: what joins the events of one HTTP exchange (BALP).

    `part` sets apart the events of one exchange: without it two equal entries of a batch would
    look like one event that was sent twice. A reason stands here where there is no patient.
    """
    if observation.request_id is None:
        return []
    reason = observation.reason if observation.patient is None else None
    entity = {
        "what": {"identifier": {"value": observation.request_id}},
        "type": coding(codes.REQUEST),
        "detail": detail_list({"part": observation.part, "reason": reason}),
    }
    return [present(entity)]


def trace_entity(trace_id: str | None) -> list[Json]:
    """Return the entity of the trace that the exchange was a part of (W3C Trace Context)."""
    if trace_id is None:
        return []
    what = {"identifier": {"system": codes.TRACE_ID, "value": trace_id}}
    return [{"what": what, "type": coding(codes.OTHER), "name": "trace-id"}]


def patient_entity(patient: Json | None, reason: str | None = None) -> list[Json]:
    """Return the entity of the patient whose data these are; [] where none is known."""
    if patient is None:
        return []
    entity = {
        "what": patient,
        "type": coding(codes.PERSON),
        "role": coding(codes.PATIENT),
        "detail": detail_list({"reason": reason}),
    }
    return [present(entity)]


def query_entity(
    query: bytes | None,
    text: str | None,
    *,
    labels: Sequence[Code] = (),
    kind: Code = codes.SYSTEM_OBJECT,
) -> list[Json]:
    """Return the entity of a search: the raw request, and in clear what was understood of it.

    Beside an object of the system, which BALP lets be the only one of its type, `kind` is OTHER.
    """
    if query is None:
        return []
    entity = {
        "type": coding(kind),
        "role": coding(codes.QUERY),
        "securityLabel": [coding(label) for label in labels],
        "description": text,
        "query": b64encode(query).decode(),
    }
    return [present(entity)]


def object_entity(
    what: Json | None, role: Code, *, labels: Sequence[Code] = (), details: Json | None = None
) -> list[Json]:
    """Return the entity of an object of the system; `details` are texts by their type."""
    if what is None:
        return []
    entity = {
        "what": what,
        "type": coding(codes.SYSTEM_OBJECT),
        "role": coding(role),
        "securityLabel": [coding(label) for label in labels],
        "detail": detail_list(details or {}),
    }
    return [present(entity)]


def detail_list(details: Json) -> list[Json]:
    """Return AuditEvent.entity.detail, one a member of `details`."""
    return [{"type": name, "valueString": value} for name, value in details.items() if value]
