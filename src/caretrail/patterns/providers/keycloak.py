"""Keycloak: user events and admin events, as its admin API and event listeners write them.

A user event has a `type`, and a failed one ends in `_ERROR`; an admin event has an `operationType`
and a `resourceType`. Listeners that post to the web put `access.` or `admin.` in front.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail.patterns import kinds
from caretrail.patterns.providers.reading import (
    address,
    clean,
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

_FAILED: Final = "_ERROR"
_USER_EVENTS: Final[dict[str, Kind]] = {
    "AUTHREQID_TO_TOKEN": kinds.TOKEN_ISSUED,
    "CLIENT_DELETE": kinds.CLIENT_CHANGED,
    "CLIENT_LOGIN": kinds.TOKEN_ISSUED,
    "CLIENT_REGISTER": kinds.CLIENT_CHANGED,
    "CLIENT_UPDATE": kinds.CLIENT_CHANGED,
    "CODE_TO_TOKEN": kinds.TOKEN_ISSUED,
    "DELETE_ACCOUNT": kinds.USER_DELETED,
    "FEDERATED_IDENTITY_LINK": kinds.USER_CHANGED,
    "GRANT_CONSENT": kinds.CONSENT,
    "IDENTITY_PROVIDER_FIRST_LOGIN": kinds.LOGIN,
    "IDENTITY_PROVIDER_LOGIN": kinds.LOGIN,
    "IDENTITY_PROVIDER_POST_LOGIN": kinds.LOGIN,
    "IMPERSONATE": kinds.IMPERSONATION,
    "INTROSPECT_TOKEN": kinds.TOKEN_INTROSPECTED,
    "JWT_BEARER": kinds.TOKEN_ISSUED,
    "LOGIN": kinds.LOGIN,
    "LOGOUT": kinds.LOGOUT,
    "OAUTH2_DEVICE_AUTH": kinds.AUTHORIZATION,
    "OAUTH2_DEVICE_CODE_TO_TOKEN": kinds.TOKEN_ISSUED,
    "OAUTH2_DEVICE_VERIFY_USER_CODE": kinds.AUTHORIZATION,
    "OAUTH2_EXTENSION_GRANT": kinds.TOKEN_ISSUED,
    "PERMISSION_TOKEN": kinds.TOKEN_ISSUED,
    "PUSHED_AUTHORIZATION_REQUEST": kinds.AUTHORIZATION,
    "REFRESH_TOKEN": kinds.TOKEN_REFRESHED,
    "REGISTER": kinds.USER_CREATED,
    "REMOVE_CREDENTIAL": kinds.FACTOR_CHANGED,
    "REMOVE_FEDERATED_IDENTITY": kinds.USER_CHANGED,
    "REMOVE_TOTP": kinds.FACTOR_CHANGED,
    "RESET_PASSWORD": kinds.PASSWORD_CHANGED,
    "REVOKE_GRANT": kinds.TOKEN_REVOKED,
    "SEND_RESET_PASSWORD": kinds.PASSWORD_RESET_ASKED,
    "TOKEN_EXCHANGE": kinds.TOKEN_ISSUED,
    "UPDATE_CONSENT": kinds.CONSENT,
    "UPDATE_CREDENTIAL": kinds.FACTOR_CHANGED,
    "UPDATE_EMAIL": kinds.USER_CHANGED,
    "UPDATE_PASSWORD": kinds.PASSWORD_CHANGED,
    "UPDATE_PROFILE": kinds.USER_CHANGED,
    "UPDATE_TOTP": kinds.FACTOR_CHANGED,
    "USER_DISABLED_BY_PERMANENT_LOCKOUT": kinds.LOCKED_OUT,
    "USER_DISABLED_BY_TEMPORARY_LOCKOUT": kinds.LOCKED_OUT,
    "USER_SESSION_DELETED": kinds.SESSION_EXPIRED,
    "VALIDATE_ACCESS_TOKEN": kinds.TOKEN_INTROSPECTED,
}
_ACTIONS: Final = {"CREATE": "C", "UPDATE": "U", "DELETE": "D", "ACTION": "E"}
_OF_USERS: Final = {
    "CREATE": kinds.USER_CREATED,
    "UPDATE": kinds.USER_CHANGED,
    "DELETE": kinds.USER_DELETED,
}
# Of what is done to a user, by the end or a part of the resource's path.
_ON_USERS: Final = (
    ("/reset-password-email", kinds.PASSWORD_RESET_ASKED),
    ("/execute-actions-email", kinds.PASSWORD_RESET_ASKED),
    ("/reset-password", kinds.PASSWORD_CHANGED),
    ("/impersonation", kinds.IMPERSONATION),
    ("/logout", kinds.SESSION_ENDED),
    ("/consents/", kinds.CONSENT_WITHDRAWN),
    ("/credentials", kinds.FACTOR_CHANGED),
    ("/disable-credential-types", kinds.FACTOR_CHANGED),
    ("/federated-identity/", kinds.USER_CHANGED),
)
_RESOURCES: Final[dict[str, Kind]] = {
    "USER_LOGIN_FAILURE": kinds.UNLOCKED,
    "USER_SESSION": kinds.SESSION_ENDED,
    **dict.fromkeys(
        ["CLIENT_ROLE", "CLIENT_ROLE_MAPPING", "GROUP", "GROUP_MEMBERSHIP", "REALM_ROLE",
         "REALM_ROLE_MAPPING"],
        kinds.ROLES_CHANGED,
    ),
    **dict.fromkeys(
        ["AUTHORIZATION_POLICY", "AUTHORIZATION_RESOURCE", "AUTHORIZATION_RESOURCE_SERVER",
         "AUTHORIZATION_SCOPE", "CLIENT", "CLIENT_INITIAL_ACCESS_MODEL", "CLIENT_SCOPE",
         "CLIENT_SCOPE_MAPPING", "PROTOCOL_MAPPER", "REALM_SCOPE_MAPPING"],
        kinds.CLIENT_CHANGED,
    ),
    **dict.fromkeys(
        ["AUTHENTICATOR_CONFIG", "AUTH_EXECUTION", "AUTH_EXECUTION_FLOW", "AUTH_FLOW",
         "CLUSTER_NODE", "COMPONENT", "IDENTITY_PROVIDER", "IDENTITY_PROVIDER_MAPPER", "REALM",
         "REQUIRED_ACTION", "USER_FEDERATION_MAPPER", "USER_FEDERATION_PROVIDER", "USER_PROFILE"],
        kinds.CONFIGURATION_CHANGED,
    ),
}  # fmt: skip
_DETAILS: Final = {
    "auth-method": "auth_method",
    "credential-type": "credential_type",
    "grant-type": "grant_type",
    "identity-provider": "identity_provider",
    "scope": "scope",
}


def entries(tree: Any) -> list[Any]:
    """Return the events in what was sent: a list of them, or one."""
    return tree if isinstance(tree, list) else [tree]


def read(entry: Any) -> Report:
    """Return what one event tells. Raises InvalidError when it has no time."""
    kind = text(entry, "type") or ""
    if kind.startswith("admin.") or member(entry, "operationType") is not None:
        return _admin(entry, kind.removeprefix("admin."))
    return _user(entry, kind.removeprefix("access."))


def _user(entry: Any, name: str) -> Report:
    failed = name.endswith(_FAILED) or member(entry, "error") is not None
    base, details = name.removesuffix(_FAILED), member(entry, "details")
    kind = _USER_EVENTS.get(base, kinds.OTHER)
    if kind is kinds.FACTOR_CHANGED and member(details, "credential_type") == "password":
        kind = kinds.PASSWORD_CHANGED
    if kind is kinds.TOKEN_REVOKED and member(details, "revoked_client") is not None:
        kind = kinds.CONSENT_WITHDRAWN
    user, target = _party(entry, details), None
    impersonator = identifier(details, "impersonator")
    if impersonator:
        user, target = Party(impersonator, impersonator), user
    client = identifier(entry, "clientId")
    return Report(
        recorded=instant(entry, "time"),
        code=name or "unknown",
        kind=kind,
        key=identifier(entry, "id") or identifier(entry, "uid"),
        outcome="4" if failed else "0",
        reason=reason(entry, "error"),
        tenant=identifier(entry, "realmId") or identifier(entry, "realmName"),
        user=user,
        client=Party(client) if client else None,
        address=address(entry, "ipAddress"),
        target=target,
        token=identifier(details, "token_id"),
        session=identifier(entry, "sessionId"),
        details={name: text(details, member_) for name, member_ in _DETAILS.items()},
    )


def _party(entry: Any, details: Any) -> Party | None:
    """Return the user; what somebody typed who is no user may be a password."""
    known = identifier(entry, "userId")
    return Party(known, text(details, "username")) if known else None


def _admin(entry: Any, name: str) -> Report:
    listed, _, verb = name.rpartition("-")
    operation = text(entry, "operationType") or verb
    resource = text(entry, "resourceType") or listed
    path = text(entry, "resourcePath") or ""
    who = member(entry, "authDetails")
    user, client = identifier(who, "userId"), identifier(who, "clientId")
    target, is_person = _target(path)
    return Report(
        recorded=instant(entry, "time"),
        code=f"{resource}-{operation}" if resource else operation or "unknown",
        kind=_admin_kind(resource, operation, path),
        key=identifier(entry, "id") or identifier(entry, "uid"),
        action=_ACTIONS.get(operation, ""),
        outcome="0" if member(entry, "error") is None else "4",
        reason=reason(entry, "error"),
        tenant=identifier(entry, "realmId") or identifier(who, "realmId"),
        user=Party(user, text(who, "username")) if user else None,
        client=Party(client) if client else None,
        address=address(who, "ipAddress"),
        target=target,
        targets_person=is_person,
        changes=_changes(resource, operation, member(entry, "representation")),
        details={"resource-path": path},
    )


def _admin_kind(resource: str, operation: str, path: str) -> Kind:
    if resource == "USER":
        named = f"/{path}"
        found = next((kind for part, kind in _ON_USERS if part in named), None)
        return found or _OF_USERS.get(operation, kinds.OTHER)
    return _RESOURCES.get(resource, kinds.OTHER)


def _target(path: str) -> tuple[Party | None, bool]:
    """Return what the path names: `users/ID/...` a user, `clients/ID/...` something else."""
    parts = path.strip("/").split("/")
    if len(parts) < 2 or not parts[1]:
        return (Party(path) if path else None), False
    return Party(parts[1] if parts[0] == "users" else "/".join(parts[:2])), parts[0] == "users"


def _changes(resource: str, operation: str, representation: Any) -> tuple[Change, ...]:
    """Return which roles or groups were given or taken, and whether a user was switched off.

    The representation is the whole resource, with secrets of clients and users: no more is read.
    """
    if not isinstance(representation, str):
        return ()
    try:
        tree = msgspec.json.decode(representation)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return ()
    if resource in ("REALM_ROLE_MAPPING", "CLIENT_ROLE_MAPPING", "GROUP_MEMBERSHIP"):
        named = [text(row, "name") for row in (items({"rows": tree}, "rows") or [tree])]
        names = clean(", ".join(name for name in named if name))
        what = "groups" if resource == "GROUP_MEMBERSHIP" else "roles"
        if names:
            return (
                Change(what, before=names) if operation == "DELETE" else Change(what, after=names),
            )
    if resource == "USER" and isinstance(enabled := member(tree, "enabled"), bool):
        return (Change("enabled", after=str(enabled).lower()),)
    return ()
