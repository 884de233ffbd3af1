"""What can happen around sign-in and rights: one table of kinds (DICOM PS3.15 A.5, IHE IUA).

Identity providers and token endpoints call the same thing by many names. Each name leads to one of
these rows, which says by which codes the event is found.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from caretrail.patterns import codes
from caretrail.patterns.codes import Code, security_event


class Kind(NamedTuple):
    """A row: AuditEvent.type, subtypes and action, and whether a token is what it is about.

    Of a token the agents are those of IUA: client, authorization server and user.
    """

    name: str
    type: Code
    subtypes: tuple[Code, ...]
    action: str = "E"
    is_token: bool = False


def _sign_in(name: str, *subtypes: Code) -> Kind:
    return Kind(name, codes.USER_AUTHENTICATION, subtypes)


def _token(name: str, *subtypes: Code) -> Kind:
    return Kind(name, codes.USER_AUTHENTICATION, subtypes, is_token=True)


def _change(name: str, *subtypes: Code, action: str = "U") -> Kind:
    return Kind(name, codes.SECURITY_ALERT, subtypes, action)


_ATTRIBUTES: Final = codes.USER_ATTRIBUTES_CHANGED
_ROLES: Final = codes.SECURITY_ROLES_CHANGED
_CONFIGURATION: Final = codes.SECURITY_CONFIGURATION

LOGIN: Final = _sign_in("login", codes.LOGIN)
FACTOR: Final = _sign_in(
    "second-factor", codes.LOGIN, security_event("second-factor", "Second Factor")
)
LOGOUT: Final = _sign_in("logout", codes.LOGOUT)
SESSION_EXPIRED: Final = _sign_in(
    "session-expired", codes.LOGOUT, security_event("session-expired", "Session Expired")
)
SESSION_ENDED: Final = _sign_in(
    "session-ended", codes.LOGOUT, security_event("session-ended", "Session Ended by Another")
)
AUTHORIZATION: Final = _token(
    "authorization", security_event("authorization", "Authorization Request")
)
TOKEN_ISSUED: Final = _token("token-issued", codes.TOKEN_REQUEST)
TOKEN_REFRESHED: Final = _token(
    "token-refreshed", codes.TOKEN_REQUEST, security_event("token-refresh", "Token Refresh")
)
TOKEN_REVOKED: Final = _token(
    "token-revoked", security_event("token-revocation", "Token Revocation")
)
TOKEN_INTROSPECTED: Final = _token("token-introspected", codes.TOKEN_INTROSPECTION)
METADATA: Final = Kind(
    "server-metadata", codes.APPLICATION_ACTIVITY, (codes.SERVER_METADATA,), is_token=True
)
CONSENT: Final = _change("consent", codes.CONSENT_DECISION, action="E")
CONSENT_WITHDRAWN: Final = _change(
    "consent-withdrawn",
    codes.CONSENT_DECISION,
    security_event("consent-withdrawn", "Consent Withdrawn"),
    action="D",
)
USER_CREATED: Final = _change("user-created", _ATTRIBUTES, action="C")
USER_CHANGED: Final = _change("user-changed", _ATTRIBUTES)
USER_DELETED: Final = _change("user-deleted", _ATTRIBUTES, action="D")
ROLES_CHANGED: Final = _change("roles-changed", _ROLES)
LOCKED_OUT: Final = _change("locked-out", _ATTRIBUTES, security_event("lock-out", "Lock-out"))
UNLOCKED: Final = _change(
    "unlocked", _ATTRIBUTES, security_event("lock-out-ended", "Lock-out Ended")
)
PASSWORD_CHANGED: Final = _change(
    "password-changed", _ATTRIBUTES, security_event("password-change", "Password Change")
)
PASSWORD_RESET_ASKED: Final = _change(
    "password-reset-asked",
    _ATTRIBUTES,
    security_event("password-reset", "Password Reset Asked for"),
    action="E",
)
FACTOR_CHANGED: Final = _change(
    "second-factor-changed",
    _ATTRIBUTES,
    security_event("second-factor-change", "Second Factor Change"),
)
CLIENT_CHANGED: Final = _change(
    "client-changed", _CONFIGURATION, security_event("client-change", "Client Change")
)
CONFIGURATION_CHANGED: Final = _change("configuration-changed", _CONFIGURATION)
IMPERSONATION: Final = _change(
    "impersonation",
    codes.RESTRICTED_FUNCTION,
    security_event("impersonation", "Impersonation"),
    action="E",
)
ATTACK: Final = _change(
    "suspected-attack", security_event("suspected-attack", "Suspected Attack"), action="E"
)
# What has no row of its own is an event all the same.
OTHER: Final = Kind("other", codes.APPLICATION_ACTIVITY, ())

KINDS: Final = (
    LOGIN, FACTOR, LOGOUT, SESSION_EXPIRED, SESSION_ENDED, AUTHORIZATION, TOKEN_ISSUED,
    TOKEN_REFRESHED, TOKEN_REVOKED, TOKEN_INTROSPECTED, METADATA, CONSENT, CONSENT_WITHDRAWN,
    USER_CREATED, USER_CHANGED, USER_DELETED, ROLES_CHANGED, LOCKED_OUT, UNLOCKED,
    PASSWORD_CHANGED, PASSWORD_RESET_ASKED, FACTOR_CHANGED, CLIENT_CHANGED,
    CONFIGURATION_CHANGED, IMPERSONATION, ATTACK, OTHER,
)  # fmt: skip
