"""The parts that AuditEvents of every pattern are put together from (FHIR R4, AuditEvent)."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from caretrail.patterns import codes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.patterns.codes import Code
    from caretrail.patterns.observation import Json, Machine, Observation


def present(members: Json) -> Json:
    """Return `members` without those that are None or empty, which JSON in FHIR must not hold."""
    return {name: value for name, value in members.items() if value not in (None, [], {}, "")}


def coding(code: Code) -> Json:
    """Return a Coding."""
    return present(code._asdict())


def concept(*concept_codes: Code) -> Json:
    """Return a CodeableConcept: the same thing in one or more systems."""
    return {"coding": [coding(code) for code in concept_codes]}


def concepts(concept_codes: Sequence[Code]) -> list[Json]:
    """Return a CodeableConcept for each code: several things."""
    return [concept(code) for code in concept_codes]


def machine_agent(machine: Machine, *types: Code) -> Json:
    """Return the agent of a client or server, which is never the requestor."""
    network = {"address": machine.address, "type": machine.address_type}
    return present(
        {
            "type": concept(*types),
            "who": machine.who,
            "name": machine.name,
            "requestor": False,
            "network": network,
        }
    )


def user_agent(observation: Observation, *types: Code) -> list[Json]:
    """Return the agent of the user, with its token where there is one; [] without a user.

    A token without a user is the client's own: it acts for itself (OAuth client credentials), in
    an agent beside the client's, because a token's agent has no network (BALP OAuth Minimal).
    """
    user, jti = observation.user, observation.jti
    if user is None:
        who = observation.client.who
        agent = {"type": concept(codes.OAUTH_USER), "who": who, "requestor": True}
        return [{**agent, "policy": [codes.JTI + jti]}] if jti else []
    if jti:
        types = (*types, codes.OAUTH_USER)
    if user.is_patient:
        types = (*types, codes.PATIENT_USER)
    agent = {
        "type": concept(*types),
        "role": concepts(user.roles),
        "who": user.who,
        "name": user.name,
        "requestor": True,
        "policy": [codes.JTI + jti] if jti else [],
        "purposeOfUse": concepts(observation.purposes),
    }
    return [present(agent)]


def source(observation: Observation, server_type: Code = codes.APPLICATION_SERVER) -> Json:
    """Return who recorded the event: the client or the server."""
    recorder = observation.client if observation.by_client else observation.server
    kind = codes.USER_DEVICE if observation.by_client else server_type
    return present({"site": observation.site, "observer": recorder.who, "type": [coding(kind)]})


def request_entity(request_id: str | None) -> list[Json]:
    """Return the X-Request-Id's entity: what joins the events of one HTTP exchange (BALP)."""
    if request_id is None:
        return []
    return [{"what": {"identifier": {"value": request_id}}, "type": coding(codes.REQUEST)}]


def patient_entity(patient: Json | None) -> list[Json]:
    """Return the entity of the patient whose data these are; [] where none is known."""
    if patient is None:
        return []
    return [{"what": patient, "type": coding(codes.PERSON), "role": coding(codes.PATIENT)}]


def query_entity(query: bytes | None, text: str | None, labels: Sequence[Code] = ()) -> list[Json]:
    """Return the entity of a search: the raw request, and in clear what was understood of it."""
    if query is None:
        return []
    entity = {
        "type": coding(codes.SYSTEM_OBJECT),
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
