"""Microsoft Entra ID: sign-in logs and audit logs, of Microsoft Graph and of diagnostic settings.

Graph lists them as `value`. Diagnostic settings (Event Hubs, storage) write `records`, which have
the log as `properties` and its `category` beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

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

# Error codes of the token service that say that a session or its refresh token came to its end.
_EXPIRED: Final = frozenset([50132, 50133, 50173, 70008, 70043, 70044, 700082])
_UNATTENDED: Final = (
    "NonInteractiveUserSignInLogs",
    "ServicePrincipalSignInLogs",
    "ManagedIdentitySignInLogs",
)
_ACTIVITIES: Final[dict[str, Kind]] = {
    **dict.fromkeys(
        ["Add user", "Create user", "Invite external user"], kinds.USER_CREATED
    ),
    **dict.fromkeys(["Delete user", "Hard Delete user"], kinds.USER_DELETED),
    **dict.fromkeys(
        ["Disable account", "Enable account", "Restore user", "Update user"], kinds.USER_CHANGED
    ),
    **dict.fromkeys(
        ["Change password (self-service)", "Change user password", "Reset password (by admin)",
         "Reset password (self-service)", "Reset user password",
         "Set force change user password"],
        kinds.PASSWORD_CHANGED,
    ),
    **dict.fromkeys(
        ["Self-service password reset flow activity progress"], kinds.PASSWORD_RESET_ASKED
    ),
    **dict.fromkeys(
        ["Admin deleted security info", "Admin registered security info",
         "Admin updated security info", "Disable Strong Authentication",
         "Enable Strong Authentication", "User changed default security info",
         "User deleted security info", "User registered all required security info",
         "User registered security info", "User updated security info"],
        kinds.FACTOR_CHANGED,
    ),
    "Unlock user account (self-service)": kinds.UNLOCKED,
    "Update StsRefreshTokenValidFrom Timestamp": kinds.TOKEN_REVOKED,
    "Revoke user sessions": kinds.SESSION_ENDED,
    **dict.fromkeys(
        ["Add OAuth2PermissionGrant", "Add delegated permission grant", "Consent to application"],
        kinds.CONSENT,
    ),
    **dict.fromkeys(
        ["Remove OAuth2PermissionGrant", "Remove delegated permission grant", "Revoke consent"],
        kinds.CONSENT_WITHDRAWN,
    ),
    **dict.fromkeys(
        ["Add app role assignment grant to user", "Add app role assignment to group",
         "Add app role assignment to service principal", "Add member to group",
         "Add member to role", "Add owner to group", "Remove app role assignment from group",
         "Remove app role assignment from service principal",
         "Remove app role assignment from user", "Remove member from group",
         "Remove member from role", "Remove owner from group"],
        kinds.ROLES_CHANGED,
    ),
    "Issue an access token to the application": kinds.TOKEN_ISSUED,
    "Issue an id_token to the application": kinds.TOKEN_ISSUED,
    "Issue an authorization code to the application": kinds.AUTHORIZATION,
    "Validate local account credentials": kinds.LOGIN,
}  # fmt: skip
# Of the many others that change something, by their category.
_CATEGORIES: Final = {
    "ApplicationManagement": kinds.CLIENT_CHANGED,
    "AuthorizationPolicy": kinds.CONFIGURATION_CHANGED,
    "DirectoryManagement": kinds.CONFIGURATION_CHANGED,
    "GroupManagement": kinds.ROLES_CHANGED,
    "Policy": kinds.CONFIGURATION_CHANGED,
    "PolicyManagement": kinds.CONFIGURATION_CHANGED,
    "RoleManagement": kinds.ROLES_CHANGED,
    "UserManagement": kinds.USER_CHANGED,
}
_ACTIONS: Final = {"Add": "C", "Assign": "C", "Update": "U", "Delete": "D", "Unassign": "D"}
# Properties whose values are no secrets and say what a reader asks for first; of others the name.
_SHOWN: Final = frozenset(
    ["AccountEnabled", "AppRole.Value", "ConsentAction.Permissions", "ConsentContext.IsAdminConsent",
     "DelegatedPermissionGrant.Scope", "Group.DisplayName", "Role.DisplayName",
     "Role.WellKnownObjectName"]
)  # fmt: skip


def entries(tree: Any) -> list[Any]:
    """Return the logs in what was sent: a list, one, or those of `value` or `records`."""
    for name in ("records", "value"):
        if isinstance(member(tree, name), list):
            return items(tree, name)
    return tree if isinstance(tree, list) else [tree]


def read(entry: Any) -> Report:
    """Return what one log tells. Raises InvalidError when it has no time."""
    inner = member(entry, "properties")
    log = inner if isinstance(inner, dict) else entry
    category = text(entry, "category") or ""
    if member(log, "activityDisplayName") is not None or category == "AuditLogs":
        return _audit(log, entry)
    return _sign_in(log, entry, category)


def _sign_in(log: Any, entry: Any, category: str) -> Report:
    user, app = identifier(log, "userId"), identifier(log, "appId")
    code = member(log, "status", "errorCode")
    if not isinstance(code, int):
        found = str(member(entry, "resultType") or "0")
        code = int(found) if found.isdecimal() and len(found) < 10 else 0
    tenant = identifier(entry, "tenantId") or identifier(log, "tenantId")
    principal = identifier(log, "servicePrincipalId")
    name = text(entry, "operationName") or "Sign-in activity"
    return Report(
        recorded=instant(log if member(log, "createdDateTime") else entry, _time_of(log)),
        code=name,
        kind=_sign_in_kind(log, category, code),
        key=identifier(log, "id"),
        outcome="4" if code else "0",
        reason=f"AADSTS{code}" if code else None,
        tenant=tenant or identifier(log, "homeTenantId"),
        user=_user(user, text(log, "userDisplayName") or text(log, "userPrincipalName")),
        client=Party(app, text(log, "appDisplayName"))
        if app
        else Party(principal, text(log, "servicePrincipalName"))
        if principal
        else None,
        address=address(log, "ipAddress") or address(entry, "callerIpAddress"),
        token=identifier(log, "uniqueTokenIdentifier"),
        session=identifier(log, "correlationId"),
        details={
            "category": category,
            "client-app": text(log, "clientAppUsed"),
            "conditional-access": text(log, "conditionalAccessStatus"),
            "requirement": text(log, "authenticationRequirement"),
            "resource": text(log, "resourceDisplayName"),
            "risk": text(log, "riskLevelDuringSignIn"),
            "user-agent": text(log, "userAgent"),
        },
    )


def _time_of(log: Any) -> str:
    return "createdDateTime" if member(log, "createdDateTime") else "time"


def _sign_in_kind(log: Any, category: str, code: int) -> Kind:
    if code in _EXPIRED:
        return kinds.SESSION_EXPIRED
    if member(log, "incomingTokenType") == "refreshToken":
        return kinds.TOKEN_REFRESHED
    types = items(log, "signInEventTypes")
    if category in _UNATTENDED or member(log, "isInteractive") is False:
        return kinds.TOKEN_ISSUED
    return kinds.TOKEN_ISSUED if types and "interactiveUser" not in types else kinds.LOGIN


def _user(known: str | None, name: str | None) -> Party | None:
    """Return the user; what somebody typed who is no user may be a password."""
    is_one = known is not None and set(known) - set("0-")
    return Party(known, name) if known is not None and is_one else None


def _audit(log: Any, entry: Any) -> Report:
    name = text(log, "activityDisplayName") or text(entry, "operationName") or "unknown"
    operation = text(log, "operationType") or ""
    user, app = member(log, "initiatedBy", "user"), member(log, "initiatedBy", "app")
    targets = [row for row in items(log, "targetResources") if identifier(row, "id")]
    target = next((row for row in targets if member(row, "type") == "User"), None)
    target = target or next(iter(targets), None)
    known = identifier(target, "id")
    client = identifier(app, "appId") or identifier(app, "servicePrincipalId")
    result = text(log, "result") or ""
    is_timed = member(log, "activityDateTime") is not None
    return Report(
        recorded=instant(log, "activityDateTime") if is_timed else instant(entry, "time"),
        code=name,
        kind=_audit_kind(name, text(log, "category") or "", operation),
        key=identifier(log, "id"),
        action=_ACTIONS.get(operation, ""),
        outcome={"failure": "4", "timeout": "8"}.get(result, "0"),
        reason=reason(log, "resultReason") or result or None,
        tenant=identifier(entry, "tenantId"),
        user=_user(
            identifier(user, "id"), text(user, "displayName") or text(user, "userPrincipalName")
        ),
        client=Party(client, text(app, "displayName") or text(app, "servicePrincipalName"))
        if client
        else None,
        address=address(user, "ipAddress"),
        target=Party(known, text(target, "displayName") or text(target, "userPrincipalName"))
        if known
        else None,
        targets_person=member(target, "type") == "User",
        changes=tuple(_changes(log)),
        session=identifier(log, "correlationId"),
        details={"category": text(log, "category"), "service": text(log, "loggedByService")},
    )


def _audit_kind(name: str, category: str, operation: str) -> Kind:
    found = _ACTIVITIES.get(name)
    if found is None and category == "RoleManagement":
        return kinds.ROLES_CHANGED
    if found is None and operation in _ACTIONS:
        found = _CATEGORIES.get(category)
    return found or kinds.OTHER


def _changes(log: Any) -> list[Change]:
    found = {}
    for target in items(log, "targetResources"):
        for row in items(target, "modifiedProperties"):
            name = text(row, "displayName")
            if name and name not in found:
                is_shown = name in _SHOWN
                before = _value(row, "oldValue") if is_shown else None
                after = _value(row, "newValue") if is_shown else None
                found[name] = Change(name, before, after)
    return list(found.values())


def _value(row: Any, name: str) -> str | None:
    """Return a value without the quotation marks and brackets of its own JSON."""
    value = text(row, name)
    return value.strip('[]"') or None if value else None
