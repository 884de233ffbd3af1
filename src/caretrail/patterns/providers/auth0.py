"""Auth0: tenant logs, as its log streams post them and its management API lists them.

A log has a `type` of a few letters, such as `s` for a login and `fp` for a wrong password. A stream
wraps each log as `data`, an event bus once more as `detail`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from caretrail.patterns import kinds
from caretrail.patterns.providers.reading import address, identifier, instant, member, text
from caretrail.patterns.providers.report import Change, Party, Report

if TYPE_CHECKING:
    from caretrail.patterns.kinds import Kind


def _rows(kind: Kind, succeeded: str, failed: str = "", reason: str | None = None) -> Any:
    yield from ((name, (kind, "0", None)) for name in succeeded.split())
    yield from ((name, (kind, "4", reason or "failed")) for name in failed.split())


# By type: the kind, the outcome and why; Auth0's own descriptions quote what somebody typed.
_TYPES: Final[dict[str, tuple[Kind, str, str | None]]] = dict(
    [
        *_rows(kinds.LOGIN, "s ssa scoa sens", "f fc fco fcoa fens fsa"),
        *_rows(kinds.LOGIN, "", "fp", "wrong password"),
        *_rows(kinds.LOGIN, "", "fu", "unknown user"),
        *_rows(kinds.LOGIN, "", "pwd_leak signup_pwd_leak", "leaked password"),
        *_rows(
            kinds.FACTOR,
            "gd_auth_succeed gd_recovery_succeed gd_start_auth mfar gd_send_pn gd_send_sms"
            " gd_send_voice gd_send_email",
            "gd_auth_failed gd_auth_email_verification gd_recovery_failed",
        ),
        *_rows(kinds.FACTOR, "", "gd_auth_rejected", "rejected by the user"),
        *_rows(
            kinds.FACTOR,
            "",
            "gd_otp_rate_limit_exceed gd_recovery_rate_limit_exceed",
            "too many tries",
        ),
        *_rows(kinds.LOGOUT, "slo", "flo"),
        *_rows(
            kinds.SESSION_ENDED,
            "oidc_backchannel_logout_succeeded universal_logout_succeeded",
            "oidc_backchannel_logout_failed universal_logout_failed",
        ),
        *_rows(
            kinds.TOKEN_ISSUED,
            "seacft seccft secte sede seoobft seotpft sepft sepkotpft sepkoobft sercft"
            " ciba_exchange_succeeded sd",
            "feacft feccft fecte fede feoobft feotpft fepft fepotpft fercft ciba_exchange_failed"
            " fd",
        ),
        *_rows(kinds.TOKEN_REFRESHED, "sertft", "fertft"),
        *_rows(kinds.TOKEN_REFRESHED, "", "ferrt", "refresh token used twice"),
        *_rows(kinds.TOKEN_REVOKED, "srrt"),
        *_rows(
            kinds.AUTHORIZATION,
            "ciba_start_succeeded pushed_authorization_request_succeeded",
            "fdeac fdeaz fdecc ciba_start_failed par_failed",
        ),
        *_rows(kinds.CONSENT, "scc", "fcc"),
        *_rows(kinds.USER_CREATED, "ss sui", "fs fui"),
        *_rows(kinds.USER_CHANGED, "sce scpn scu sv", "fce fcpn fcu fv"),
        *_rows(kinds.USER_DELETED, "sdu du", "fdu"),
        *_rows(kinds.LOCKED_OUT, "limit_wc limit_sul"),
        *_rows(kinds.UNLOCKED, "ublkdu"),
        *_rows(kinds.PASSWORD_CHANGED, "scp", "fcp"),
        *_rows(kinds.PASSWORD_RESET_ASKED, "scpr", "fcpr"),
        *_rows(
            kinds.FACTOR_CHANGED,
            "gd_enrollment_complete gd_unenroll gd_update_device_account gd_start_enroll",
            "gd_enrollment_failed",
        ),
        *_rows(kinds.CONFIGURATION_CHANGED, "gd_tenant_update"),
        *_rows(kinds.ATTACK, "limit_mu limit_delegation api_limit limit_ui pla"),
    ]
)
_API: Final = ("sapi", "fapi", "mgmt_api_read")
_ACTIONS: Final = {"GET": "R", "POST": "C", "PUT": "U", "PATCH": "U", "DELETE": "D"}
# Of what the management API did, by its path; the first that fits.
_PATHS: Final = (
    (r"/users/[^/]+/(?:roles|permissions|organizations)", kinds.ROLES_CHANGED),
    (r"/users/[^/]+/(?:multifactor|authenticat|enrollments|recovery)\S*", kinds.FACTOR_CHANGED),
    (r"/users/[^/]+/(?:sessions|revoke-access)", kinds.SESSION_ENDED),
    (r"/users/[^/]+/refresh-tokens", kinds.TOKEN_REVOKED),
    (r"/users/[^/]+/identities\S*", kinds.USER_CHANGED),
    (r"/guardian/enrollments/\S*", kinds.FACTOR_CHANGED),
    (r"/sessions/\S*", kinds.SESSION_ENDED),
    (r"/(?:refresh-tokens|device-credentials|blacklists/tokens)\S*", kinds.TOKEN_REVOKED),
    (r"/grants\S*", kinds.CONSENT_WITHDRAWN),
    (r"/user-blocks\S*", kinds.UNLOCKED),
    (r"/tickets/password-change", kinds.PASSWORD_RESET_ASKED),
    (r"/(?:roles|organizations)\S*", kinds.ROLES_CHANGED),
    (r"/(?:clients|client-grants|resource-servers)\S*", kinds.CLIENT_CHANGED),
)
_RULES: Final = tuple((re.compile(rf"/api/v2{path}/?"), kind) for path, kind in _PATHS)
_OF_USERS: Final = {
    "POST": kinds.USER_CREATED,
    "PATCH": kinds.USER_CHANGED,
    "PUT": kinds.USER_CHANGED,
    "DELETE": kinds.USER_DELETED,
}
_ON_USER: Final = re.compile(r"/api/v2/users/([^/]+)(?:/.*)?")
_USERS: Final = re.compile(r"/api/v2/users(?:/[^/]+)?/?")


def entries(tree: Any) -> list[Any]:
    """Return the logs in what was sent: a list of them, or one, each wrapped or not."""
    return [_unwrapped(row) for row in (tree if isinstance(tree, list) else [tree])]


def _unwrapped(row: Any) -> Any:
    for name in ("detail", "data", "data"):
        inner = member(row, name)
        if isinstance(inner, dict):
            row = {"log_id": member(row, "log_id"), **inner}
    return row


def read(entry: Any) -> Report:
    """Return what one log tells. Raises InvalidError when it has no time."""
    name = text(entry, "type") or "unknown"
    kind, outcome, why = _TYPES.get(name, (kinds.OTHER, "4" if _failed(name) else "0", None))
    known, client = identifier(entry, "user_id"), identifier(entry, "client_id")
    report: dict[str, Any] = {
        "recorded": instant(entry, "date"),
        "code": name,
        "kind": kind,
        "key": identifier(entry, "log_id") or identifier(entry, "_id"),
        "outcome": outcome,
        "reason": why,
        "tenant": identifier(entry, "tenant_name") or identifier(entry, "hostname"),
        "user": Party(known, text(entry, "user_name")) if known else None,
        "client": Party(client, text(entry, "client_name")) if client else None,
        "address": address(entry, "ip"),
        "session": identifier(entry, "details", "session_id"),
        "details": {
            "connection": text(entry, "connection"),
            "strategy": text(entry, "strategy"),
            "user-agent": text(entry, "user_agent"),
        },
    }
    return Report(**(report | _api(entry) if name in _API else report))


def _failed(name: str) -> bool:
    """Tell whether a type that has no row is of a failure, by the way Auth0 names them."""
    return name.endswith(("_failed", "_failure")) or name == "fapi"


def _api(entry: Any) -> dict[str, Any]:
    """Return what an operation of the management API did; of its body one switch is read."""
    request = member(entry, "details", "request")
    method = str(member(request, "method") or "").upper()
    path = str(member(request, "path") or "").partition("?")[0]
    found = _ON_USER.fullmatch(path)
    blocked = member(request, "body", "blocked")
    named = identifier({"id": unquote(found[1])}, "id") if found else None
    actor = identifier(request, "auth", "user", "user_id")
    made: dict[str, Any] = {
        "kind": _api_kind(method, path),
        "action": _ACTIONS.get(method, "E"),
        "target": Party(named) if named else None,
        "targets_person": found is not None,
    }
    if isinstance(blocked, bool):
        made["changes"] = (Change("blocked", after=str(blocked).lower()),)
    if actor:
        made["user"] = Party(actor, text(request, "auth", "user", "name"))
    return made


def _api_kind(method: str, path: str) -> Kind:
    if method not in _ACTIONS or method == "GET":
        return kinds.OTHER
    if _USERS.fullmatch(path):
        return _OF_USERS[method]
    return next(
        (kind for rule, kind in _RULES if rule.fullmatch(path)), kinds.CONFIGURATION_CHANGED
    )
