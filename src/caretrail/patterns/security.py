"""Security and privacy events: DICOM PS3.15 A.5 messages, and BALP's consent and disclosure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from caretrail.patterns import codes
from caretrail.patterns.elements import (
    coding,
    concept,
    concepts,
    detail_list,
    machine_agent,
    object_entity,
    patient_entity,
    present,
    query_entity,
    request_entity,
    source,
    user_agent,
)
from caretrail.patterns.observation import identified

if TYPE_CHECKING:
    from caretrail.patterns.codes import Code
    from caretrail.patterns.observation import Json, Machine, Observation


def login(observation: Observation) -> Json:
    """DICOM User Authentication, Login; an `outcome` other than 0 is a failed one."""
    return _sign(observation, codes.LOGIN)


def logout(observation: Observation) -> Json:
    """DICOM User Authentication, Logout."""
    return _sign(observation, codes.LOGOUT)


def emergency_override(observation: Observation, *, started: bool, reason: str) -> Json:
    """DICOM Security Alert, Emergency Override Started or Stopped (breaking the glass)."""
    subtype = codes.EMERGENCY_OVERRIDE_STARTED if started else codes.EMERGENCY_OVERRIDE_STOPPED
    entities = patient_entity(observation.patient)
    for entity in entities:
        entity["detail"] = detail_list({"reason": reason})
    return _event(observation, codes.SECURITY_ALERT, subtype, "E", _people(observation), entities)


def export(
    observation: Observation, *, destination: Machine, patients: str, media_type: str
) -> Json:
    """DICOM Export: data of `patients` patients left for `destination`."""
    agents = [
        *user_agent(observation, codes.SOURCE, codes.HUMAN),
        machine_agent(observation.client, codes.APPLICATION),
        machine_agent(destination, codes.DESTINATION),
    ]
    details = {"patients": patients, "format": media_type}
    what = observation.resource
    entities = [
        *object_entity(what, codes.REPORT, details=details),
        *query_entity(observation.query, observation.query_text),
        *patient_entity(observation.patient),
    ]
    return _event(observation, codes.EXPORT, None, "R", agents, entities)


def application(observation: Observation, *, started: bool, version: str) -> Json:
    """DICOM Application Activity: the server of this observation started or stopped."""
    subtype = codes.APPLICATION_START if started else codes.APPLICATION_STOP
    agents = [machine_agent(observation.server, codes.APPLICATION)]
    agents += user_agent(observation, codes.HUMAN)
    what = identified("configuration", display="Configuration")
    entities = object_entity(what, codes.SECURITY_RESOURCE, details={"version": version})
    return _event(observation, codes.APPLICATION_ACTIVITY, subtype, "E", agents, entities)


def user_attributes_changed(
    observation: Observation, *, account: Json, before: str, after: str
) -> Json:
    """DICOM Security Alert, User Security Attributes Changed: roles or state of `account`."""
    changed = {
        "what": account,
        "type": coding(codes.PERSON),
        "role": coding(codes.USER),
        "detail": detail_list({"before": before, "after": after}),
    }
    subtype = codes.USER_ATTRIBUTES_CHANGED
    return _event(observation, codes.SECURITY_ALERT, subtype, "U", _people(observation), [changed])


def audit_log_used(observation: Observation) -> Json:
    """DICOM Audit Log Used: `resource` is the log, `query` what it was asked."""
    entities = [
        *object_entity(observation.resource, codes.SECURITY_RESOURCE),
        *query_entity(observation.query, observation.query_text),
        *patient_entity(observation.patient),
    ]
    agents = _people(observation)
    return _event(observation, codes.AUDIT_LOG_USED, None, "R", agents, entities)


def consent_decision(observation: Observation, *, organization: Json, consent: Json) -> Json:
    """BALP AuthZconsent: the authorization server permitted (outcome 0) or denied a token.

    The server of the observation decided and records; `jti` names the token that it issued. The
    profile closes the list of entities, so the X-Request-Id has no place in it.
    """
    assert observation.user is not None
    assert observation.patient is not None
    assert not observation.by_client
    agents = [
        machine_agent(observation.client, codes.APPLICATION),
        *user_agent(replace(observation, jti=None), codes.RECIPIENT),
        {"type": concept(codes.PROVIDER), "who": organization, "requestor": False},
        {"type": concept(codes.AUTHORIZER), "who": observation.server.who, "requestor": False},
    ]
    agents[0].pop("name", None)
    entities = [
        *patient_entity(observation.patient),
        {"what": consent, "type": coding(codes.CONSENT)},
    ]
    if observation.jti:
        what = identified(codes.JTI + observation.jti)
        entities.append({"what": what, "type": coding(codes.OAUTH_USER)})
    subtype, profile = codes.CONSENT_DECISION, "AuthZconsent"
    return _event(
        observation, codes.SECURITY_ALERT, subtype, "E", agents, entities, profile=profile
    )


def disclosure(observation: Observation, *, recipient: Machine, custodian: Json) -> Json:
    """BALP PrivacyDisclosure.Source: the server's data of one patient went to `recipient`."""
    assert observation.patient is not None
    assert observation.resource is not None
    agents = [
        machine_agent(observation.server, codes.SOURCE),
        machine_agent(recipient, codes.DESTINATION),
        {"type": concept(codes.RECORD_KEEPER), "who": custodian, "requestor": False},
        *user_agent(observation, codes.HUMAN),
    ]
    entities = [
        *object_entity(observation.resource, codes.REPORT),
        *patient_entity(observation.patient),
    ]
    profile = "PrivacyDisclosure.Source"
    return _event(observation, codes.EXPORT, codes.DISCLOSE, "R", agents, entities, profile=profile)


def _sign(observation: Observation, subtype: Code) -> Json:
    agents = _people(observation)
    return _event(observation, codes.USER_AUTHENTICATION, subtype, "E", agents, [])


def _people(observation: Observation) -> list[Json]:
    return [
        *user_agent(observation, codes.HUMAN),
        machine_agent(observation.client, codes.APPLICATION),
    ]


def _event(
    observation: Observation,
    kind: Code,
    subtype: Code | None,
    action: str,
    agents: list[Json],
    entities: list[Json],
    *,
    profile: str = "",
) -> Json:
    # AuthZconsent's entities are closed; everywhere else the exchange may be named.
    request = [] if profile == "AuthZconsent" else request_entity(observation.request_id)
    event = {
        "resourceType": "AuditEvent",
        "meta": {"profile": [codes.BASIC_AUDIT + profile]} if profile else None,
        "type": coding(kind),
        "subtype": [coding(subtype)] if subtype else [],
        "action": action,
        "recorded": observation.recorded,
        "outcome": observation.outcome,
        "outcomeDesc": observation.outcome_text,
        "purposeOfEvent": concepts(observation.purposes),
        "agent": agents,
        "source": source(observation, codes.SECURITY_SERVER),
        "entity": [*request, *entities],
    }
    return present(event)
