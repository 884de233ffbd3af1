"""FHIR REST interactions: BALP's five patterns, and base R4 where BALP has none (BALP 4, 14).

Each is combined with the profile of the credential that was used. An event claims only what it can
meet: a failure, or an object that nobody could name, has the shape and no profile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.patterns import codes
from caretrail.patterns.agents import client_agent, consent_entity, user_agents
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
    trace_entity,
)

if TYPE_CHECKING:
    from caretrail.patterns.observation import Json, Observation


class Flow(NamedTuple):
    """Which way the data went: the codes of client, server and user (BALP 11, directions)."""

    client: Code
    server: Code
    user: Code


# What is pushed flows to the server, what is read to the client; a search's parameters flow to the
# server; a deletion moves nothing, the server is the custodian.
_PUSHED: Final = Flow(codes.SOURCE, codes.DESTINATION, codes.AUTHOR)
_READ: Final = Flow(codes.DESTINATION, codes.SOURCE, codes.RECIPIENT)
_ASKED: Final = Flow(codes.SOURCE, codes.DESTINATION, codes.RECIPIENT)
_DELETED: Final = Flow(codes.APPLICATION, codes.CUSTODIAN, codes.AUTHOR)


class Pattern(NamedTuple):
    """How an interaction is recorded; `code` is of restful-interaction, `profile` BALP's name."""

    code: str
    action: str
    flow: Flow
    profile: str = ""
    type: Code = codes.REST


PATTERNS: Final[dict[str, Pattern]] = {
    "create": Pattern("create", "C", _PUSHED, "Create"),
    "read": Pattern("read", "R", _READ, "Read"),
    "vread": Pattern("vread", "R", _READ, "Read"),
    "update": Pattern("update", "U", _PUSHED, "Update"),
    "patch": Pattern("patch", "U", _PUSHED, "Update"),
    "delete": Pattern("delete", "D", _DELETED, "Delete"),
    "search": Pattern("search", "E", _ASKED, "Query"),
    "search-type": Pattern("search-type", "E", _ASKED, "Query"),
    "search-system": Pattern("search-system", "E", _ASKED, "Query"),
    # From here on BALP is silent.
    "create-found": Pattern("create", "C", _PUSHED),  # A conditional one that made nothing.
    "history-instance": Pattern("history-instance", "R", _READ),
    "history-type": Pattern("history-type", "R", _READ),
    "history-system": Pattern("history-system", "R", _READ),
    "capabilities": Pattern("capabilities", "R", _READ),
    "operation": Pattern("operation", "E", _ASKED),
    "batch": Pattern("batch", "E", _PUSHED),
    "transaction": Pattern("transaction", "E", _PUSHED),
    "export-file": Pattern("", "R", _READ, type=codes.EXPORT),
    "import": Pattern("operation", "C", _PUSHED, type=codes.IMPORT),
    "delivery": Pattern("", "R", _PUSHED, type=codes.EXPORT),
    "unknown": Pattern("", "E", _ASKED),
}


def event(observation: Observation) -> Json:
    """Return the AuditEvent of an interaction; `observation.interaction` names its pattern.

    `meta.profile` holds what such an event can meet; `claims` has the last word.
    """
    pattern = PATTERNS[observation.interaction]
    # Without a user the purpose is the event's; with one it is his (BALP: agent:user).
    users = user_agents(observation, pattern.flow.user)
    is_named = any("purposeOfUse" in agent for agent in users)
    subtype = [coding(Code(codes.INTERACTION, pattern.code))] if pattern.code else []
    if observation.operation:
        subtype.append({"code": observation.operation})
    entities = _objects(observation)
    profiles = _claims(observation, pattern, is_complete=bool(entities))
    made = {
        "resourceType": "AuditEvent",
        "meta": {"profile": profiles} if profiles else None,
        "type": coding(pattern.type),
        "subtype": subtype,
        "action": pattern.action,
        "recorded": observation.recorded,
        "outcome": observation.outcome,
        "outcomeDesc": observation.outcome_text,
        "purposeOfEvent": [] if is_named else concepts(observation.purposes),
        "agent": [
            client_agent(observation, pattern.flow.client),
            machine_agent(observation.server, pattern.flow.server),
            *users,
        ],
        "source": source(observation),
        "entity": [
            *request_entity(observation),
            *trace_entity(observation.trace_id),
            *entities,
            *patient_entity(observation.patient, observation.reason),
            *consent_entity(observation.credential),
            *observation.related,
        ],
    }
    return present(made)


def _objects(observation: Observation) -> list[Json]:
    """Return what was touched, and the criteria that found it; BALP allows one System Object."""
    what = object_entity(observation.resource, observation.resource_role, labels=observation.labels)
    kind = codes.OTHER if what else codes.SYSTEM_OBJECT
    labels = () if what else observation.labels
    text = observation.query_text
    return [*what, *query_entity(observation.query, text, labels=labels, kind=kind)]


def _claims(observation: Observation, pattern: Pattern, *, is_complete: bool) -> list[str]:
    profiles = []
    # BALP's REST profiles fix outcome 0: a failure meets none of them.
    if pattern.profile and is_complete and observation.outcome == "0":
        variant = "Patient" if observation.patient else ""
        profiles.append(f"{codes.BASIC_AUDIT}{variant}{pattern.profile}")
    # A token is used by a request that fails, too.
    if observation.credential is not None:
        profiles.append(observation.credential.profile)
    return profiles
