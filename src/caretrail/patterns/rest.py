"""FHIR REST interactions: BALP Create, Read, Update, Delete, Query, and their Patient variants.

Each is combined with OAUTHaccessTokenUse.Minimal where the token's id is known. An event claims
only what it meets: a failure, or an object that nobody could name, has the shape and no profile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caretrail.patterns import codes
from caretrail.patterns.codes import Code
from caretrail.patterns.elements import (
    coding,
    concepts,
    machine_agent,
    object_entity,
    patient_entity,
    present,
    query_entity,
    request_entity,
    source,
    user_agent,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from caretrail.patterns.observation import Json, Observation


def create(observation: Observation) -> Json:
    """BALP Create or PatientCreate: the data flow from the client to the server."""
    agents = _agents(observation, codes.SOURCE, codes.DESTINATION, codes.AUTHOR)
    return _event(observation, "Create", "C", agents, _data(observation))


def read(observation: Observation) -> Json:
    """BALP Read or PatientRead: the data flow from the server to the client."""
    agents = _agents(observation, codes.DESTINATION, codes.SOURCE, codes.RECIPIENT)
    return _event(observation, "Read", "R", agents, _data(observation))


def update(observation: Observation) -> Json:
    """BALP Update or PatientUpdate; `resource` should name the new version."""
    agents = _agents(observation, codes.SOURCE, codes.DESTINATION, codes.AUTHOR)
    return _event(observation, "Update", "U", agents, _data(observation))


def delete(observation: Observation) -> Json:
    """BALP Delete or PatientDelete: no data flow, the server is their custodian."""
    agents = _agents(observation, codes.APPLICATION, codes.CUSTODIAN, codes.AUTHOR)
    return _event(observation, "Delete", "D", agents, _data(observation))


def query(observation: Observation) -> Json:
    """BALP Query or PatientQuery: the search parameters flow from the client to the server."""
    agents = _agents(observation, codes.SOURCE, codes.DESTINATION, codes.RECIPIENT)
    entity = query_entity(observation.query, observation.query_text, observation.labels)
    return _event(observation, "Query", "E", agents, entity)


# The interactions of restful-interaction that BALP has a pattern for.
BY_INTERACTION: Final[dict[str, Callable[[Observation], Json]]] = {
    "create": create,
    "read": read,
    "vread": read,
    "update": update,
    "patch": update,
    "delete": delete,
    "search": query,
    "search-type": query,
    "search-system": query,
}


def _event(
    observation: Observation, pattern: str, action: str, agents: list[Json], data: list[Json]
) -> Json:
    assert BY_INTERACTION[observation.interaction].__name__ == pattern.lower()
    # Without a user the purpose is the event's; with one it is his (BALP: agent:user).
    purposes = () if observation.user else observation.purposes
    event = {
        "resourceType": "AuditEvent",
        "meta": _claims(observation, pattern) if data else None,
        "type": coding(codes.REST),
        "subtype": [coding(Code(codes.INTERACTION, observation.interaction))],
        "action": action,
        "recorded": observation.recorded,
        "outcome": observation.outcome,
        "outcomeDesc": observation.outcome_text,
        "purposeOfEvent": concepts(purposes),
        "agent": agents,
        "source": source(observation),
        "entity": [
            *request_entity(observation.request_id),
            *data,
            *patient_entity(observation.patient),
        ],
    }
    return present(event)


def _claims(observation: Observation, pattern: str) -> Json | None:
    # BALP's REST profiles fix outcome 0: a failure meets none of them.
    if observation.outcome != "0":
        return None
    variant = "Patient" if observation.patient else ""
    profiles = [f"{codes.BASIC_AUDIT}{variant}{pattern}"]
    if observation.jti:
        profiles.append(f"{codes.BASIC_AUDIT}OAUTHaccessTokenUse.Minimal")
    return {"profile": profiles}


def _agents(observation: Observation, client: Code, server: Code, user: Code) -> list[Json]:
    return [
        machine_agent(observation.client, client),
        machine_agent(observation.server, server),
        *user_agent(observation, user),
    ]


def _data(observation: Observation) -> list[Json]:
    what, role = observation.resource, observation.resource_role
    return object_entity(what, role, labels=observation.labels)
