"""Events with blanks: each pattern is made once of an observation of blanks, then only filled in.

That keeps one place, `patterns`, that knows what a PatientRead looks like, and makes an event in
some microseconds. A blank is `%(name)s`; what fills it must be safe inside a JSON string.
"""

from __future__ import annotations

import json
from base64 import b64encode
from functools import cache, partial
from typing import TYPE_CHECKING, Final

from caretrail.demo.cast import HOST
from caretrail.patterns import codes, rest, security
from caretrail.patterns.codes import Code
from caretrail.patterns.credential import OAuthToken
from caretrail.patterns.observation import Machine, Observation, User, identified, reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from caretrail.demo.cast import Fields
    from caretrail.patterns.observation import Json

STAFF: Final = "staff"
PORTAL: Final = "portal"
SYSTEM: Final = "system"
FHIR_BASE: Final = f"https://fhir.{HOST}/r4"

# What FHIR marks test data with; nobody can take these events for real ones.
_TEST_DATA: Final = {"system": f"{codes.THO}/v3-ActReason", "code": "HTEST"}
_SENSITIVE: Final = (
    Code(f"{codes.THO}/v3-Confidentiality", "R", "restricted"),
    Code(f"{codes.THO}/v3-ActCode", "PSY", "psychiatry disorder information sensitivity"),
)
_CLIENT: Final = Machine(
    who=reference("Device/%(client_id)s"),
    name="%(client_name)s",
    address="%(address)s",
)
_FHIR_SERVER: Final = Machine(
    who=reference("Device/fhir-server"), address=FHIR_BASE, address_type="5"
)
_SIGN_IN: Final = Machine(
    who=reference("Device/sign-in"),
    address=f"https://auth.{HOST}",
    address_type="5",
)
_ELSEWHERE: Final = Machine(
    who=identified("%(destination)s"),
    address="https://%(destination)s",
    address_type="5",
)
_ROLE: Final = Code(f"https://{HOST}/role", "%(role_code)s", "%(role_display)s")
_USERS: Final = {
    STAFF: User(who=reference("Practitioner/%(user_id)s"), name="%(user_name)s", roles=(_ROLE,)),
    PORTAL: User(who=reference("Patient/%(user_id)s"), name="%(user_name)s"),
    SYSTEM: None,
}
_TOKEN: Final = OAuthToken(id="%(jti)s")
_PATIENT: Final = reference("Patient/%(patient_id)s")
_LOG: Final = identified("audit-log", system=f"https://{HOST}/systems")
_CONSENT: Final = reference("Consent/%(consent_id)s")
_ORGANIZATION: Final = reference("Organization/synthetic-hospital", "Synthetic Hospital")


@cache
def interaction(
    code: str,
    *,
    by: str = STAFF,
    about_patient: bool = True,
    failed: bool = False,
    sensitive: bool = False,
) -> str:
    """Return the event of a REST interaction, with blanks."""
    searches = code.startswith("search")
    observed = Observation(
        interaction=code,
        user=_USERS[by],
        patient=_PATIENT if about_patient else None,
        resource=None if searches else reference("%(resource)s"),
        labels=_SENSITIVE if sensitive else (),
        query=b"%(query)s" if searches else None,
        query_text="%(query_text)s" if searches else None,
        credential=_TOKEN,
        **_circumstances(_FHIR_SERVER, failed=failed),
    )
    return _text(rest.event(observed))


# The security events of the play: what they are called in it, and the pattern that makes them.
_SECURITY: Final[dict[str, tuple[Machine, Callable[[Observation], Json]]]] = {
    "login": (_SIGN_IN, security.login),
    "logout": (_SIGN_IN, security.logout),
    "override-started": (
        _FHIR_SERVER,
        partial(security.emergency_override, started=True, reason="%(reason)s"),
    ),
    "override-stopped": (
        _FHIR_SERVER,
        partial(security.emergency_override, started=False, reason="%(reason)s"),
    ),
    "export": (
        _FHIR_SERVER,
        partial(
            security.export,
            destination=_ELSEWHERE,
            patients="%(patients)s",
            media_type="application/fhir+ndjson",
        ),
    ),
    "started": (
        _FHIR_SERVER,
        partial(security.application, started=True, version="4.2.0-demo"),
    ),
    "account-changed": (
        _SIGN_IN,
        partial(
            security.user_attributes_changed,
            account=reference("Practitioner/%(account_id)s"),
            before="%(before)s",
            after="%(after)s",
        ),
    ),
    "log-used": (_FHIR_SERVER, security.audit_log_used),
    "consent": (
        _SIGN_IN,
        partial(security.consent_decision, organization=_ORGANIZATION, consent=_CONSENT),
    ),
    "disclosure": (
        _FHIR_SERVER,
        partial(security.disclosure, recipient=_ELSEWHERE, custodian=_ORGANIZATION),
    ),
}
_ABOUT_PATIENT: Final = ("override-started", "override-stopped", "consent", "disclosure")
_WITH_RESOURCE: Final = {
    "export": reference("%(resource)s"),
    "disclosure": reference("%(resource)s"),
    "log-used": _LOG,
}


@cache
def security_event(name: str, *, failed: bool = False) -> str:
    """Return the event of a row of the security events, with blanks."""
    server, pattern = _SECURITY[name]
    issues_token = not failed and name in ("login", "consent")
    observed = Observation(
        user=None if name == "started" else _USERS[STAFF],
        patient=_PATIENT if name in _ABOUT_PATIENT else None,
        resource=_WITH_RESOURCE.get(name),
        query=b"%(query)s" if name == "log-used" else None,
        query_text="%(query_text)s" if name == "log-used" else None,
        credential=_TOKEN if issues_token else None,
        **_circumstances(server, failed=failed),
    )
    return _text(pattern(observed))


def fill(shape: str, fields: Fields) -> bytes:
    """Return the event: `shape` with its blanks filled in."""
    return (shape % fields).encode()


def encoded(query: str) -> str:
    """Return what fills the blank of a raw query, which an event holds in base64."""
    return b64encode(query.encode()).decode()


def _circumstances(server: Machine, *, failed: bool) -> Json:
    return {
        "recorded": "%(recorded)s",
        "client": _CLIENT,
        "server": server,
        "request_id": "%(request_id)s",
        "purposes": (codes.purpose("%(purpose_code)s"),),
        "outcome": "%(outcome)s" if failed else "0",
        "outcome_text": "%(outcome_text)s" if failed else None,
        "site": "%(site)s",
    }


def _text(event: Json) -> str:
    meta = {**event.pop("meta", {}), "security": [_TEST_DATA]}
    marked = {"resourceType": event.pop("resourceType"), "meta": meta, **event}
    text = json.dumps(marked, ensure_ascii=False, separators=(",", ":"))
    # The pattern has encoded the blank itself; it goes back into the place of its base64.
    return text.replace(encoded("%(query)s"), "%(query)s")
