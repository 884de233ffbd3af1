"""Who took part: the client with its token, the user with his credential (BALP 5, 6).

One user agent carries the codes of the REST pattern and of the credential, because each profile
knows its user by a code and allows others beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caretrail.patterns import codes
from caretrail.patterns.credential import OAuthToken, SamlAssertion
from caretrail.patterns.elements import (
    concept,
    concepts,
    detail_list,
    machine_agent,
    present,
)
from caretrail.patterns.observation import User, identified

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caretrail.patterns.codes import Code
    from caretrail.patterns.credential import Credential
    from caretrail.patterns.observation import Json, Observation

# R4 has no code for one who is represented; a text says it.
_REPRESENTED: Final = {"text": "on behalf of"}


def client_agent(observation: Observation, *types: Code) -> Json:
    """Return the client's agent; a comprehensive token names the application (BALP 5.3)."""
    agent = machine_agent(observation.client, *types)
    token = observation.credential
    if not (isinstance(token, OAuthToken) and token.comprehensive and token.client):
        return agent
    if codes.APPLICATION not in types:
        agent["type"] = concept(*types, codes.APPLICATION)
    agent["who"] = {**agent["who"], "identifier": {"value": token.client}}
    if user_of(observation) is None:
        agent["policy"] = policy_of(token)
    return agent


def user_of(observation: Observation) -> User | None:
    """Return the user that is known, or else the one that the credential names.

    A token whose subject is its own client has no user (RFC 9068, 2.2: client credentials).
    """
    credential = observation.credential
    if observation.user is not None or credential is None or credential.subject is None:
        return observation.user
    if isinstance(credential, OAuthToken) and credential.subject == credential.client:
        return None
    name = credential.name if credential.comprehensive else None
    who = identified(credential.subject, system=credential.issuer, display=name)
    return User(who=who, name=name, roles=credential.roles)


def user_agents(observation: Observation, *types: Code) -> list[Json]:
    """Return the user's agent, and those of his organization and of whom he acts for.

    A token without a user is the client's own: it acts for itself (OAuth client credentials), in
    an agent beside the client's, because a token's agent has no network (BALP OAuth Minimal).
    """
    user, credential = user_of(observation), observation.credential
    agents = []
    if user is not None:
        agents.append(_user(observation, user, *types))
    elif credential is not None and credential.id and not _names_client(credential):
        own = {
            "type": concept(_mark(credential)),
            "who": observation.client.who,
            "requestor": True,
            "policy": policy_of(credential),
            "purposeOfUse": concepts(observation.purposes),
        }
        agents.append(present(own))
    return [*agents, *_organizations(observation), *_represented(observation)]


def policy_of(credential: Credential | None) -> list[str]:
    """Return the credential's id as AuditEvent.agent.policy, which is a uri: no white space."""
    if credential is None or not credential.id:
        return []
    text = "%20".join(credential.id.split())
    if isinstance(credential, OAuthToken) and not text.startswith(codes.JTI):
        text = codes.JTI + text
    return [text]


def consent_entity(credential: Credential | None) -> list[Json]:
    """Return the entity of a consent that the credential carries (BALP 5.4, 6.2)."""
    if credential is None or not credential.comprehensive or credential.consent is None:
        return []
    consent = credential.consent
    identifier: Json = {"value": consent.document}
    if consent.home_community:
        identifier["assigner"] = identified(consent.home_community)
    details = {codes.CONSENT_POLICY: consent.policy, codes.CONSENT_PATIENT: consent.patient}
    entity = {
        "what": {"identifier": identifier},
        "type": {"system": codes.RESOURCE_TYPES, "code": "Consent"},
        "detail": detail_list(details),
    }
    return [present(entity)]


def _user(observation: Observation, user: User, *types: Code) -> Json:
    credential = observation.credential
    codings = dict.fromkeys(types)
    if credential is not None:
        codings[codes.RECIPIENT if _names_client(credential) else _mark(credential)] = None
    if user.is_patient:
        codings[codes.PATIENT_USER] = None
    if observation.on_behalf_of is not None:
        codings[codes.AGENT] = None
    agent = {
        "extension": list(_extensions(credential)),
        "type": concept(*codings),
        "role": concepts(user.roles),
        "who": _who(user, credential),
        "name": user.name,
        "requestor": True,
        "policy": policy_of(credential),
        "purposeOfUse": concepts(observation.purposes),
    }
    return present(agent)


def _who(user: User, credential: Credential | None) -> Json:
    """Return the user with the identifier that his credential gives beside another reference."""
    if credential is None or credential.subject is None or "identifier" in user.who:
        return user.who
    known = identified(credential.subject, system=credential.issuer)
    return {**user.who, **known}


def _names_client(credential: Credential) -> bool:
    """Whether BALP OAuth Comprehensive tells its user by IRCP, and the client by 110150."""
    return isinstance(credential, OAuthToken) and credential.comprehensive


def _mark(credential: Credential) -> Code:
    return codes.SAML_USER if isinstance(credential, SamlAssertion) else codes.OAUTH_USER


def _extensions(credential: Credential | None) -> Iterator[Json]:
    if credential is None or not credential.comprehensive:
        return
    others = {codes.NATIONAL_PROVIDER: credential.npi, codes.PROVIDER_NUMBER: credential.provider}
    if isinstance(credential, SamlAssertion):
        if credential.assurance is not None:
            level = concept(credential.assurance)
            yield {"url": codes.ASSURANCE_LEVEL, "valueCodeableConcept": level}
        others = {codes.SAML_SUBJECT_ID: credential.subject_id, **others}
    for kind, value in others.items():
        if value:
            identifier = {"type": concept(kind), "value": value}
            yield {"url": codes.OTHER_ID, "valueIdentifier": identifier}


def _organizations(observation: Observation) -> Iterator[Json]:
    credential = observation.credential
    if observation.organization is not None:
        yield {
            "type": concept(codes.PROVIDER),
            "who": observation.organization,
            "requestor": False,
        }
    if credential is None or not credential.comprehensive:
        return
    if credential.organization is not None and observation.organization is None:
        named = credential.organization
        who = identified(named.value, display=named.name)
        yield {"type": concept(codes.PROVIDER), "who": who, "requestor": False}
    if credential.home_community:
        who = identified(credential.home_community)
        yield {"type": concept(codes.HOME_COMMUNITY), "who": who, "requestor": False}


def _represented(observation: Observation) -> Iterator[Json]:
    if observation.on_behalf_of is not None:
        yield {"type": _REPRESENTED, "who": observation.on_behalf_of, "requestor": False}
