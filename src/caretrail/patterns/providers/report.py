"""What a provider told, in words that all of them share, and the AuditEvent that it becomes."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from caretrail.patterns import codes, kinds, security
from caretrail.patterns.codes import Code
from caretrail.patterns.credential import OAuthToken
from caretrail.patterns.elements import coding, detail_list, present
from caretrail.patterns.observation import Machine, Observation, User, identified

if TYPE_CHECKING:
    from collections.abc import Mapping

    from caretrail.patterns.kinds import Kind
    from caretrail.patterns.observation import Json

_UNKNOWN_CLIENT: Final = {"display": "unknown client"}
_ID: Final = re.compile(r"[A-Za-z0-9.-]{1,64}")


class Party(NamedTuple):
    """A user, a client, or a thing that was changed, as the provider calls it."""

    id: str
    name: str | None = None


class Change(NamedTuple):
    """A property of what was changed; the values are given only where they cannot be secret."""

    name: str
    before: str | None = None
    after: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a provider told.

    `key` is the provider's id of it, `code` the provider's name for such things. `reason` says why
    it failed, by a code. `token` is the id of a token, never a part of it.
    """

    recorded: str
    code: str
    kind: Kind = kinds.OTHER
    key: str | None = None
    action: str = ""
    outcome: str = "0"
    reason: str | None = None
    tenant: str | None = None
    user: Party | None = None
    client: Party | None = None
    address: str = ""
    target: Party | None = None
    targets_person: bool = True
    changes: tuple[Change, ...] = ()
    token: str | None = None
    session: str | None = None
    details: Mapping[str, str | None] = {}


def event_of(provider: str, title: str, report: Report) -> Json:
    """Return the event: the provider is its observer, and `provider` the start of its systems."""
    system = f"urn:caretrail:{provider}"
    server = Machine(
        who=identified(report.tenant or provider, system=system, display=title), address=""
    )
    client = report.client
    who = identified(client.id, display=client.name) if client else _UNKNOWN_CLIENT
    user = report.user
    observation = Observation(
        recorded=report.recorded,
        client=Machine(who=who, address=report.address),
        server=server,
        user=User(who=identified(user.id, system=_users(system, report)), name=user.name)
        if user
        else None,
        credential=OAuthToken(id=report.token, client=client.id if client else None)
        if report.token
        else None,
        outcome=report.outcome,
        outcome_text=report.reason if report.outcome != "0" else None,
        related=(*_target(report, system), _told(report, system)),
    )
    # A token that nobody holds says nothing of who did it.
    if observation.user is None:
        observation = replace(observation, credential=None)
    name = Code(f"{system}:event", report.code)
    made = security.of_kind(observation, report.kind, subtypes=(name,), action=report.action)
    return {**made, **_identified(provider, report.key)}


def _identified(provider: str, key: str | None) -> Json:
    """Return the event's id: with the provider's own an event is stored once (DESIGN, 5)."""
    if not key:
        return {}
    plain = f"{provider}-{key}"
    if _ID.fullmatch(plain):
        return {"id": plain}
    return {"id": f"{provider}-{blake2b(key.encode(), digest_size=20).hexdigest()}"}


def _users(system: str, report: Report) -> str:
    return f"{system}:user:{report.tenant}" if report.tenant else f"{system}:user"


def _target(report: Report, system: str) -> list[Json]:
    if report.target is None and not report.changes:
        return []
    target = report.target
    if report.targets_person:
        kind, role, names = codes.PERSON, codes.USER, _users(system, report)
    else:
        kind, role, names = codes.SYSTEM_OBJECT, codes.SECURITY_RESOURCE, f"{system}:object"
    details = []
    for change in report.changes:
        details += detail_list({"changed": change.name})
        details += detail_list(
            {f"before:{change.name}": change.before, f"after:{change.name}": change.after}
        )
    entity = {
        "what": identified(target.id, system=names, display=target.name) if target else None,
        "type": coding(kind),
        "role": coding(role),
        "detail": details,
    }
    return [present(entity)]


def _told(report: Report, system: str) -> Json:
    """Return the entity of the provider's own record, so that it can be found there again."""
    entity = {
        "what": identified(report.key, system=f"{system}:id") if report.key else None,
        "type": coding(codes.OTHER),
        "detail": detail_list(
            {
                "kind": report.kind.name,
                "tenant": report.tenant,
                "session": report.session,
                **report.details,
            }
        ),
    }
    return present(entity)
