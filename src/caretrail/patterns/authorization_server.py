"""What an authorization server does beside sign-in, consent and tokens: DICOM PS3.15 A.5.

BALP has profiles for a token that is issued (`security.token_request`) and for a patient's consent
(`security.consent_decision`); DICOM's Security Alert has codes for the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from caretrail.patterns import codes
from caretrail.patterns.agents import policy_of, user_agents, user_of
from caretrail.patterns.codes import Code
from caretrail.patterns.elements import (
    coding,
    concept,
    machine_agent,
    object_entity,
    patient_entity,
    present,
)
from caretrail.patterns.observation import identified
from caretrail.patterns.own import OBJECT_SECURITY_CHANGED
from caretrail.patterns.security import alert, people

if TYPE_CHECKING:
    from caretrail.patterns.observation import Json, Observation

ROLE_DECISION: Final = Code(f"{codes.BALP}/CodeSystem/AuthZsubType", "AuthZ-Role", "Role")


def role_decision(observation: Observation, *, organization: Json, consent: str) -> Json:
    """BALP AuthZ-Role: a person permitted or refused what is no one patient's to consent to.

    No profile is claimed, as AuthZconsent is about a patient; the shape is its own. `consent` is
    the id of the decision, `credential` the token where there is one.
    """
    asking = replace(observation, user=user_of(observation), credential=None, organization=None)
    agents = [
        machine_agent(observation.client, codes.APPLICATION),
        *user_agents(asking, codes.RECIPIENT),
        {"type": concept(codes.PROVIDER), "who": organization, "requestor": False},
        {"type": concept(codes.AUTHORIZER), "who": observation.server.who, "requestor": False},
    ]
    entities: list[Json] = [{"what": identified(consent), "type": coding(codes.CONSENT)}]
    return alert(observation, ROLE_DECISION, "E", agents, entities)


def token_revoked(observation: Observation, *, tokens: tuple[str, ...], reason: str) -> Json:
    """DICOM Object Security Attributes Changed: tokens, by their ids, are good no longer."""
    entities = [
        _object(identified(codes.JTI + token), {"state": "revoked", "reason": reason})
        for token in tokens
    ]
    return alert(
        observation,
        OBJECT_SECURITY_CHANGED,
        "D",
        people(observation),
        entities,
    )


def token_introspected(observation: Observation, *, active: bool) -> Json:
    """DICOM Use of Restricted Function: the client asked whether `credential` is good (RFC 7662)."""
    known = policy_of(observation.credential)
    what = identified(*known) if known else identified("unknown token")
    entities = [_object(what, {"function": "introspection", "active": str(active).lower()})]
    asking = replace(observation, user=None, credential=None)
    return alert(observation, codes.RESTRICTED_FUNCTION, "E", people(asking), entities)


def launched(observation: Observation, *, launch: str) -> Json:
    """DICOM Use of Restricted Function: the client launches another one for a patient (SMART).

    `launch` is an id of the launch, not its secret.
    """
    entities = [
        _object(identified(launch), {"function": "smart-launch"}),
        *patient_entity(observation.patient),
    ]
    return alert(observation, codes.RESTRICTED_FUNCTION, "E", people(observation), entities)


def configuration_changed(
    observation: Observation, *, what: Json, action: str, before: str, after: str
) -> Json:
    """DICOM Security Configuration: a client or a key of the server; `action` is C, U or D."""
    entities = [_object(what, {"before": before, "after": after})]
    agents = people(observation)
    return alert(observation, codes.SECURITY_CONFIGURATION, action, agents, entities)


def _object(what: Json, details: Json) -> Json:
    (entity,) = object_entity(what, codes.SECURITY_RESOURCE, details=details)
    return present(entity)
