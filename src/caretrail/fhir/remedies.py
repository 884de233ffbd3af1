"""What the profile doctor puts right, a remedy a function over the JSON tree (IHE BALP 1.1.4).

A remedy acts only where the event itself leaves no second reading, and leaves the element as it is
otherwise: an audit event is a testimony, and the doctor was not there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from caretrail.fhir import activity, profiles
from caretrail.fhir.event_tree import child, codings, key, members, strings, written
from caretrail.fhir.parties import name_parties
from caretrail.fhir.profile import BALP, Code, ValueSet
from caretrail.fhir.profile_codes import (
    INTERACTION,
    IRCP,
    JTI,
    OAUTH_AGENT,
    PATIENT_ROLE,
    PERSON,
    QUERY_ROLE,
    REST,
    SYSTEM_OBJECT,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from caretrail.fhir.activity import Activity
    from caretrail.fhir.audit_event import Agent, AuditEvent
    from caretrail.fhir.event_tree import Json
    from caretrail.fhir.profile import Profile, Slice

_DOMAIN_RESOURCE: Final = Code(PATIENT_ROLE.system, "4")
# R4's resources that are not domain resources: their role in the event is not known by their type.
_PLAIN_RESOURCES: Final = frozenset({"Binary", "Bundle", "Parameters"})
_LITERAL: Final = re.compile(r"(?:^|/)([A-Z][A-Za-z]+)/[A-Za-z0-9.-]{1,64}(?:/_history/[^/]+)?\Z")
_OAUTH: Final = f"{BALP}IHE.BasicAudit.OAUTHaccessTokenUse."
_OPAQUE: Final = f"{_OAUTH}Opaque"
_SAML: Final = f"{BALP}IHE.BasicAudit.SAMLaccessTokenUse."
# The agent whose policy is a JSON Web Token's id, by the claim that says so.
_TOKEN_USERS: Final = {f"{_OAUTH}Minimal": OAUTH_AGENT, f"{_OAUTH}Comprehensive": IRCP}


def treat(tree: Json) -> None:
    """Put right in `tree` what can be known from the event alone, but for its claims."""
    subtypes = [code for code in map(key, members(tree, "subtype")) if code is not None]
    _name_type(tree, subtypes)
    rows = activity.certain(key(tree.get("type")), subtypes)
    actions = {row.action for row in rows}
    if len(actions) == 1:
        tree["action"] = actions.pop()
        # The plain profile comes first; its Patient variant has the same agents and data.
        name_parties(tree, rows[0].profile)
        _name_objects(tree, rows[0])
    _name_requestors(tree, [row.profile for row in rows])


def _name_type(tree: Json, subtypes: Sequence[Code]) -> None:
    """Write what RESTful interactions are a type of."""
    if subtypes and {code.system for code in subtypes} == {INTERACTION}:
        if "type" not in tree:
            tree["type"] = written(REST)
        elif child(tree, "type").get("code") == REST.code:
            tree["type"].setdefault("system", REST.system)


def _name_objects(tree: Json, row: Activity) -> None:
    """Give the entities the types and roles that their own content shows."""
    if row.type != REST:
        return
    entities = members(tree, "entity")
    untyped = [entity for entity in entities if "type" not in entity]
    if not _typed(entities, SYSTEM_OBJECT):
        is_object = _is_query if row.action == "E" else _is_data
        objects = [entity for entity in untyped if is_object(entity)]
        if len(objects) == 1:
            objects[0]["type"] = written(SYSTEM_OBJECT)
    # Where what was touched is a Patient, too, the two can't be told apart.
    patients = [entity for entity in untyped if _resource_type(entity) == "Patient"]
    if len(patients) == 1 and not _typed(entities, PERSON) and _typed(entities, SYSTEM_OBJECT):
        patients[0]["type"] = written(PERSON)
    for entity in entities:
        _name_role(entity, is_search=row.action == "E")


def _name_role(entity: Json, *, is_search: bool) -> None:
    kind = key(entity.get("type"))
    if kind == SYSTEM_OBJECT and is_search and _is_query(entity):
        if key(entity.get("role")) != QUERY_ROLE:
            entity["role"] = written(QUERY_ROLE)
    elif kind == SYSTEM_OBJECT and not is_search and _is_data(entity):
        if _resource_type(entity) not in _PLAIN_RESOURCES:
            entity.setdefault("role", written(_DOMAIN_RESOURCE))
    elif kind == PERSON and _resource_type(entity) == "Patient":
        entity.setdefault("role", written(PATIENT_ROLE))


def _typed(entities: Iterable[Json], code: Code) -> bool:
    return any(key(entity.get("type")) == code for entity in entities)


def _is_query(entity: Json) -> bool:
    return "query" in entity


def _is_data(entity: Json) -> bool:
    return _resource_type(entity) not in {"", "Patient"} and "query" not in entity


def _resource_type(entity: Json) -> str:
    reference = child(entity, "what").get("reference")
    found = _LITERAL.search(reference) if isinstance(reference, str) else None
    return found[1] if found else ""


def _name_requestors(tree: Json, rows: Sequence[Profile]) -> None:
    """Say of an agent without `requestor` what its type says of it.

    A client or server is none; a user is the one, unless another agent is already.
    """
    agents = members(tree, "agent")
    users, helpers = _agent_codes(rows)
    for agent in agents:
        held = {key(coding) for coding in codings(agent)}
        if "requestor" in agent:
            continue
        if held & users and not any(other.get("requestor") is True for other in agents):
            agent["requestor"] = True
        elif held & helpers and not held & users:
            agent["requestor"] = False


def _agent_codes(rows: Sequence[Profile]) -> tuple[set[Code], set[Code]]:
    """Return the types of agents that the profiles say to be requestors, and of the others."""
    users, helpers = {OAUTH_AGENT}, set[Code]()
    for profile in rows:
        for slicing in profile.slicings:
            for row in slicing.slices if slicing.element == "agent" else ():
                is_user = any(item.pattern is True for item in row.elements)
                (users if is_user else helpers).update(_codes(row))
    return users, helpers


def _codes(row: Slice) -> Iterable[Code]:
    assert not isinstance(row.match, str)
    return row.match.codes if isinstance(row.match, ValueSet) else (row.match,)


def mark_token_ids(tree: Json) -> None:
    """Prefix the id of a token that a claim says to be a JSON Web Token's.

    An id with a colon may be a uri already, and Opaque's policy is no id at all.
    """
    claims = {profiles.canonical(url) for url in strings(child(tree, "meta"), "profile")}
    users = {code for url, code in _TOKEN_USERS.items() if url in claims}
    if _OPAQUE in claims:
        return
    for agent in members(tree, "agent"):
        ids = strings(agent, "policy")
        if len(ids) == 1 and ":" not in ids[0] and users & {key(item) for item in codings(agent)}:
            agent["policy"] = [JTI + ids[0]]


def claim(tree: Json, event: AuditEvent) -> None:
    """Drop the BALP claims that do not hold, and add those that hold beyond doubt."""
    met, false = profiles.met(event), set(profiles.unmet(event))
    before = strings(child(tree, "meta"), "profile")
    after = [url for url in before if profiles.canonical(url) not in false]
    claimed = {profiles.canonical(url) for url in after}
    described = list(filter(activity.describes, met))[:1]
    after += [url for url in (*described, *_tokens(event, met, claimed)) if url not in claimed]
    meta = tree.setdefault("meta", {}) if after != before else None
    if not isinstance(meta, dict):
        return
    meta["profile"] = after
    for owner, name in ((meta, "profile"), (tree, "meta")):
        if not owner[name]:
            del owner[name]


def _tokens(event: AuditEvent, met: Sequence[str], claimed: set[str]) -> Iterator[str]:
    """Yield the token profiles that hold and are not only met by chance.

    A client with an identifier meets OAuth Comprehensive, token or not: what shows the use of a
    token is the user's policy, and that it is a JSON Web Token's id is shown by its prefix.
    """
    if not any(url.startswith(_OAUTH) for url in claimed):
        for url, code in _TOKEN_USERS.items():
            if url in met and _has_token_id(event, code):
                yield url
    if not any(url.startswith(_SAML) for url in claimed) and f"{_SAML}Minimal" in met:
        yield f"{_SAML}Minimal"


def _has_token_id(event: AuditEvent, code: Code) -> bool:
    users = [agent for agent in event.agent if code in _types(agent)]
    return bool(users) and all((agent.policy or [""])[0].startswith(JTI) for agent in users)


def _types(agent: Agent) -> set[tuple[str | None, str | None]]:
    concepts = agent.type.coding if agent.type is not None else None
    return {(coding.system, coding.code) for coding in concepts or ()}
