"""Security and privacy events: DICOM PS3.15 A.5 messages, and BALP's consent and disclosure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from caretrail.patterns import codes
from caretrail.patterns.agents import policy_of, user_agents, user_of
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
)
from caretrail.patterns.observation import identified

if TYPE_CHECKING:
    from caretrail.patterns.codes import Code
    from caretrail.patterns.kinds import Kind
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
    entities = patient_entity(observation.patient, reason)
    return alert(observation, subtype, "E", people(observation), entities)


def export(
    observation: Observation, *, destination: Machine, patients: str, media_type: str
) -> Json:
    """DICOM Export: data of `patients` patients left for `destination`."""
    agents = [
        *user_agents(observation, codes.SOURCE, codes.HUMAN),
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
    agents += user_agents(observation, codes.HUMAN)
    what = identified("configuration", display="Configuration")
    entities = object_entity(what, codes.SECURITY_RESOURCE, details={"version": version})
    return _event(observation, codes.APPLICATION_ACTIVITY, subtype, "E", agents, entities)


def user_attributes_changed(
    observation: Observation, *, account: Json, before: str, after: str
) -> Json:
    """DICOM Security Alert, User Security Attributes Changed: roles or state of `account`."""
    return _account_changed(observation, codes.USER_ATTRIBUTES_CHANGED, account, before, after)


def roles_changed(observation: Observation, *, account: Json, before: str, after: str) -> Json:
    """DICOM Security Alert, Security Roles Changed: `account` has other roles from now on."""
    return _account_changed(observation, codes.SECURITY_ROLES_CHANGED, account, before, after)


def _account_changed(
    observation: Observation, subtype: Code, account: Json, before: str, after: str
) -> Json:
    changed = {
        "what": account,
        "type": coding(codes.PERSON),
        "role": coding(codes.USER),
        "detail": detail_list({"before": before, "after": after}),
    }
    return alert(observation, subtype, "U", people(observation), [changed])


def of_kind(
    observation: Observation, kind: Kind, *, subtypes: tuple[Code, ...] = (), action: str = ""
) -> Json:
    """Return an event of a kind that claims no profile; `subtypes` are added to the kind's own.

    What it is about are the observation's `related` entities.
    """
    if kind.is_token:
        agents = [
            machine_agent(observation.client, codes.APPLICATION),
            machine_agent(observation.server, codes.AUTHORIZATION_SERVICE),
            *user_agents(observation, codes.RECIPIENT),
        ]
    else:
        agents = people(observation)
    made = _event(
        observation,
        kind.type,
        None,
        action or kind.action,
        agents,
        list(observation.related),
    )
    return present({**made, "subtype": [coding(code) for code in (*kind.subtypes, *subtypes)]})


def audit_log_used(observation: Observation) -> Json:
    """DICOM Audit Log Used: `resource` is the log, `query` what it was asked."""
    entities = [
        *object_entity(observation.resource, codes.SECURITY_RESOURCE),
        *query_entity(observation.query, observation.query_text),
        *patient_entity(observation.patient),
    ]
    agents = people(observation)
    return _event(observation, codes.AUDIT_LOG_USED, None, "R", agents, entities)


def consent_decision(observation: Observation, *, organization: Json, consent: Json) -> Json:
    """BALP AuthZconsent: the authorization server permitted (outcome 0) or denied a token.

    The server of the observation decided and records; `credential` is the token that it issued. The
    profile closes the list of entities, so the X-Request-Id has no place in it.
    """
    assert user_of(observation) is not None
    assert observation.patient is not None
    assert not observation.by_client
    agents = [
        machine_agent(observation.client, codes.APPLICATION),
        *user_agents(_unsigned(observation), codes.RECIPIENT),
        {"type": concept(codes.PROVIDER), "who": organization, "requestor": False},
        {"type": concept(codes.AUTHORIZER), "who": observation.server.who, "requestor": False},
    ]
    agents[0].pop("name", None)
    entities = [
        *patient_entity(observation.patient),
        {"what": consent, "type": coding(codes.CONSENT)},
    ]
    if observation.credential is not None:
        what = identified(*policy_of(observation.credential))
        entities.append({"what": what, "type": coding(codes.OAUTH_USER)})
    subtype, profile = codes.CONSENT_DECISION, "AuthZconsent"
    kind = codes.SECURITY_ALERT
    return _event(observation, kind, subtype, "E", agents, entities, profile=profile, closed=True)


def token_request(observation: Observation) -> Json:
    """BALP IUA.71: the server of the observation issued a token; `query` is the request for it.

    The profile allows three agents and one entity. A refusal has the shape and claims nothing.
    """
    agents = [
        machine_agent(observation.client, codes.APPLICATION),
        machine_agent(observation.server, codes.AUTHORIZATION_SERVICE),
        *user_agents(_unsigned(observation), codes.RECIPIENT),
    ]
    entities = query_entity(observation.query, observation.query_text)
    profile = "IHE.IUA.71" if entities and observation.outcome == "0" else ""
    kind, subtype = codes.USER_AUTHENTICATION, codes.TOKEN_REQUEST
    return _event(observation, kind, subtype, "E", agents, entities, profile=profile, closed=True)


def disclosure(
    observation: Observation,
    *,
    recipient: Machine,
    custodian: Json | None = None,
    authorizer: Json | None = None,
) -> Json:
    """BALP PrivacyDisclosure.Source: the server's data of one patient went to `recipient`."""
    agents = [
        machine_agent(observation.server, codes.SOURCE),
        machine_agent(recipient, codes.DESTINATION),
        *_release(custodian, authorizer),
        *user_agents(observation, codes.HUMAN),
    ]
    return _disclosed(observation, agents, codes.EXPORT, "R", "PrivacyDisclosure.Source")


def disclosure_received(
    observation: Observation,
    *,
    sender: Machine,
    custodian: Json | None = None,
    authorizer: Json | None = None,
) -> Json:
    """BALP PrivacyDisclosure.Recipient: data of one patient came from `sender` to the server."""
    agents = [
        machine_agent(sender, codes.SOURCE),
        machine_agent(observation.server, codes.DESTINATION),
        *_release(custodian, authorizer),
        *user_agents(observation, codes.HUMAN),
    ]
    return _disclosed(observation, agents, codes.IMPORT, "C", "PrivacyDisclosure.Recipient")


def audit_recording(observation: Observation, *, started: bool, reason: str, scope: str) -> Json:
    """DICOM Security Alert, Audit Recording Started or Stopped: `scope` is what it is about."""
    subtype = codes.RECORDING_STARTED if started else codes.RECORDING_STOPPED
    what = identified("audit-recording", display="Audit recording")
    details = {"reason": reason, "scope": scope}
    entities = object_entity(what, codes.SECURITY_RESOURCE, details=details)
    return alert(observation, subtype, "E", people(observation), entities)


def gap(observation: Observation, *, since: str, until: str, exchanges: int, reason: str) -> Json:
    """DICOM Audit Recording Stopped: between two instants exchanges may be without a record.

    `exchanges` is how many there were, as far as they were counted.
    """
    what = identified("audit-recording", display="Audit recording")
    details = {
        "gap-since": since,
        "gap-until": until,
        "exchanges": str(exchanges),
        "reason": reason,
    }
    entities = object_entity(what, codes.SECURITY_RESOURCE, details=details)
    agents = [machine_agent(observation.server, codes.APPLICATION)]
    subtype = codes.RECORDING_STOPPED
    return alert(observation, subtype, "E", agents, entities)


def job(observation: Observation, *, name: str, start: str, end: str) -> Json:
    """DICOM Application Activity: the server of the observation ran a job (object-role 20)."""
    agents = [machine_agent(observation.server, codes.APPLICATION)]
    agents += user_agents(observation, codes.HUMAN)
    entities = [
        *object_entity(identified(name, display=name), codes.JOB),
        *patient_entity(observation.patient, observation.reason),
        *observation.related,
    ]
    made = _event(observation, codes.APPLICATION_ACTIVITY, None, "E", agents, entities)
    return {**made, "period": {"start": start, "end": end}}


def _release(custodian: Json | None, authorizer: Json | None) -> list[Json]:
    """Return who was responsible for the data, and who released them for the patient."""
    agents = []
    if custodian is not None:
        agents.append({"type": concept(codes.RECORD_KEEPER), "who": custodian, "requestor": False})
    if authorizer is not None:
        agents.append({"type": concept(codes.RELEASER), "who": authorizer, "requestor": True})
    return agents


def _disclosed(
    observation: Observation, agents: list[Json], kind: Code, action: str, profile: str
) -> Json:
    assert observation.patient is not None
    assert observation.resource is not None
    entities = [
        *object_entity(observation.resource, codes.REPORT),
        *patient_entity(observation.patient),
    ]
    return _event(observation, kind, codes.DISCLOSE, action, agents, entities, profile=profile)


def _unsigned(observation: Observation) -> Observation:
    """Return the observation with its user alone: these profiles name the other agents."""
    user = user_of(observation)
    return replace(observation, user=user, credential=None, organization=None, on_behalf_of=None)


def _sign(observation: Observation, subtype: Code) -> Json:
    agents = people(observation)
    return _event(observation, codes.USER_AUTHENTICATION, subtype, "E", agents, [])


def people(observation: Observation) -> list[Json]:
    """Return the agents of what somebody did at a client."""
    return [
        *user_agents(observation, codes.HUMAN),
        machine_agent(observation.client, codes.APPLICATION),
    ]


def alert(
    observation: Observation, subtype: Code, action: str, agents: list[Json], entities: list[Json]
) -> Json:
    """Return a DICOM Security Alert."""
    return _event(observation, codes.SECURITY_ALERT, subtype, action, agents, entities)


def _event(
    observation: Observation,
    kind: Code,
    subtype: Code | None,
    action: str,
    agents: list[Json],
    entities: list[Json],
    *,
    profile: str = "",
    closed: bool = False,
) -> Json:
    # Two profiles close the list of entities; everywhere else the exchange may be named.
    request = [] if closed else request_entity(observation)
    url = profile if profile.startswith("IHE.") else f"IHE.BasicAudit.{profile}"
    event = {
        "resourceType": "AuditEvent",
        "meta": {"profile": [codes.PROFILES + url]} if profile else None,
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
