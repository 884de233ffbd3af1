"""Okta: the System Log, as its API lists it and its event hooks post it.

An event's `eventType` is a path of words. A hook wraps events as `data.events`, and its `source` is
the address of the organisation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from caretrail.patterns import kinds
from caretrail.patterns.providers.reading import (
    address,
    identifier,
    instant,
    items,
    member,
    reason,
    text,
)
from caretrail.patterns.providers.report import Change, Party, Report

if TYPE_CHECKING:
    from caretrail.patterns.kinds import Kind

# By the longest beginning that fits, at the border of a word.
_TYPES: Final[dict[str, Kind]] = {
    "app.oauth2.as.authorize": kinds.AUTHORIZATION,
    "app.oauth2.as.consent": kinds.CONSENT,
    "app.oauth2.as.consent.revoke": kinds.CONSENT_WITHDRAWN,
    "app.oauth2.as.token.detect_reuse": kinds.ATTACK,
    "app.oauth2.as.token.grant": kinds.TOKEN_ISSUED,
    "app.oauth2.as.token.revoke": kinds.TOKEN_REVOKED,
    "app.oauth2.authorize": kinds.AUTHORIZATION,
    "app.oauth2.client": kinds.CLIENT_CHANGED,
    "app.oauth2.token.detect_reuse": kinds.ATTACK,
    "app.oauth2.token.grant": kinds.TOKEN_ISSUED,
    "app.oauth2.token.revoke": kinds.TOKEN_REVOKED,
    "application.lifecycle": kinds.CLIENT_CHANGED,
    "application.policy": kinds.CONFIGURATION_CHANGED,
    "application.user_membership": kinds.ROLES_CHANGED,
    "device.enrollment": kinds.FACTOR_CHANGED,
    "group.application_assignment": kinds.ROLES_CHANGED,
    "group.lifecycle": kinds.ROLES_CHANGED,
    "group.privilege": kinds.ROLES_CHANGED,
    "group.user_membership": kinds.ROLES_CHANGED,
    "iam.resourceset": kinds.ROLES_CHANGED,
    "iam.role": kinds.ROLES_CHANGED,
    "oauth2.as": kinds.CONFIGURATION_CHANGED,
    "oauth2.claim": kinds.CONFIGURATION_CHANGED,
    "oauth2.scope": kinds.CONFIGURATION_CHANGED,
    "policy.lifecycle": kinds.CONFIGURATION_CHANGED,
    "policy.rule": kinds.CONFIGURATION_CHANGED,
    "security.attack": kinds.ATTACK,
    "security.breached_credential": kinds.ATTACK,
    "security.request.blocked": kinds.ATTACK,
    "security.session.detect_client_roaming": kinds.ATTACK,
    "security.threat": kinds.ATTACK,
    "system.api_token": kinds.CLIENT_CHANGED,
    "system.api_token.revoke": kinds.TOKEN_REVOKED,
    "system.idp": kinds.CONFIGURATION_CHANGED,
    "system.log_stream": kinds.CONFIGURATION_CHANGED,
    "user.account.lock": kinds.LOCKED_OUT,
    "user.account.privilege": kinds.ROLES_CHANGED,
    "user.account.reset_password": kinds.PASSWORD_RESET_ASKED,
    "user.account.unlock": kinds.UNLOCKED,
    "user.account.unlock_by_admin": kinds.UNLOCKED,
    "user.account.update_password": kinds.PASSWORD_CHANGED,
    "user.account.update_primary_email": kinds.USER_CHANGED,
    "user.account.update_profile": kinds.USER_CHANGED,
    "user.account.update_secondary_email": kinds.USER_CHANGED,
    "user.authentication": kinds.LOGIN,
    "user.authentication.auth_via_mfa": kinds.FACTOR,
    "user.authentication.universal_logout": kinds.SESSION_ENDED,
    "user.authentication.slo": kinds.LOGOUT,
    "user.consent.grant": kinds.CONSENT,
    "user.consent.revoke": kinds.CONSENT_WITHDRAWN,
    "user.credential": kinds.FACTOR_CHANGED,
    "user.lifecycle": kinds.USER_CHANGED,
    "user.lifecycle.create": kinds.USER_CREATED,
    "user.lifecycle.delete": kinds.USER_DELETED,
    "user.mfa.attempt_bypass": kinds.FACTOR,
    "user.mfa.factor": kinds.FACTOR_CHANGED,
    "user.mfa.okta_verify": kinds.FACTOR,
    "user.risk": kinds.ATTACK,
    "user.session.access_admin_app": kinds.LOGIN,
    "user.session.clear": kinds.SESSION_ENDED,
    "user.session.end": kinds.LOGOUT,
    "user.session.expire": kinds.SESSION_EXPIRED,
    "user.session.impersonation": kinds.IMPERSONATION,
    "user.session.start": kinds.LOGIN,
    "zone": kinds.CONFIGURATION_CHANGED,
}
_FAILED: Final = ("FAILURE", "DENY", "ABANDONED", "UNKNOWN")
_PEOPLE: Final = ("User", "AppUser")
_CLIENTS: Final = ("PublicClientApp", "Client", "AppInstance")
# What a token is for is told; the tokens themselves are passed over.
_TOKENS: Final = ("access_token", "id_token", "refresh_token", "code", "Token")
_NOBODY: Final = "unknown"


def entries(tree: Any) -> list[Any]:
    """Return the events in what was sent: a list, one, or those of a hook with its organisation."""
    found = items(tree, "data", "events")
    if not found:
        return tree if isinstance(tree, list) else [tree]
    source = member(tree, "source")
    try:
        host = urlsplit(source).hostname if isinstance(source, str) else None
    except ValueError:
        host = None
    return [{"hook": host, **row} if isinstance(row, dict) else row for row in found]


def read(entry: Any) -> Report:
    """Return what one event tells. Raises InvalidError when it has no time."""
    name = text(entry, "eventType") or "unknown"
    actor, targets = member(entry, "actor"), items(entry, "target")
    result = text(entry, "outcome", "result") or ""
    is_client = member(actor, "type") in _CLIENTS
    person = next((row for row in targets if member(row, "type") in _PEOPLE), None)
    shown = [row for row in targets if member(row, "type") not in _TOKENS]
    target = person or next(iter(shown), None)
    kind = _kind(name)
    user = None if is_client else _party(actor)
    if user is None and kind.is_token and person is not None:
        user, target = _party(person), None  # The client acted, for this user.
    return Report(
        recorded=instant(entry, "published"),
        code=name,
        kind=kind,
        key=identifier(entry, "uuid"),
        outcome="4" if result in _FAILED else "0",
        reason=reason(entry, "outcome", "reason") or result or None,
        tenant=identifier(entry, "hook"),
        user=user,
        client=_client(entry, actor if is_client else None, targets),
        address=address(entry, "client", "ipAddress"),
        target=_party(target),
        targets_person=member(target, "type") in _PEOPLE,
        changes=tuple(_changes(entry, target)),
        session=identifier(entry, "authenticationContext", "externalSessionId"),
        details={
            "result": result,
            "credential-type": text(entry, "authenticationContext", "credentialType"),
            "transaction": identifier(entry, "transaction", "id"),
            "user-agent": text(entry, "client", "userAgent", "rawUserAgent"),
        },
    )


def _kind(name: str) -> Kind:
    """Return the kind of the longest beginning that has a row."""
    words = name.split(".")
    for count in range(len(words), 0, -1):
        found = _TYPES.get(".".join(words[:count]))
        if found is not None:
            is_refresh = found is kinds.TOKEN_ISSUED and "refresh_token" in words
            return kinds.TOKEN_REFRESHED if is_refresh else found
    return kinds.OTHER


def _party(row: Any) -> Party | None:
    """Return who or what this is; what somebody typed who is no user may be a password."""
    known = identifier(row, "id")
    if known is None or known == _NOBODY or member(row, "type") == "SystemPrincipal":
        return None
    return Party(known, text(row, "displayName") or text(row, "alternateId"))


def _client(entry: Any, actor: Any, targets: list[Any]) -> Party | None:
    if actor is not None:
        return _party(actor)
    found = next((row for row in targets if member(row, "type") in _CLIENTS), None)
    known = identifier(entry, "client", "id")
    return _party(found) or (Party(known) if known else None)


def _changes(entry: Any, target: Any) -> list[Change]:
    """Return which privilege was given, and the names of what was changed, not the values."""
    found = []
    granted = text(entry, "debugContext", "debugData", "privilegeGranted")
    revoked = text(entry, "debugContext", "debugData", "privilegeRevoked")
    if granted or revoked:
        found.append(Change("privilege", before=revoked, after=granted))
    changed = member(target, "changeDetails")
    names = {
        name
        for side in ("from", "to")
        for name in (member(changed, side) if isinstance(member(changed, side), dict) else ())
    }
    return found + [Change(text({"name": name}, "name") or "?") for name in sorted(names)]
