"""Every act is one event: conforming where BALP has a profile, DICOM's codes where it has none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from caretrail.access.server.clients import Client
from caretrail.access.server.events import Events, Seen
from caretrail.access.server.people import Person
from caretrail.fhir import decoding, profiles
from caretrail.patterns import codes

GOLDEN: Final = Path(__file__).parent / "golden"
IUA, CONSENT = f"{codes.PROFILES}IHE.IUA.71", f"{codes.BASIC_AUDIT}AuthZconsent"
SEEN: Final = Seen("192.0.2.7", 1_790_000_000_123)
NURSE: Final = Person(
    "8f14e45f-ceea-467f-a83e-7d3b1f1b2c3d",
    "nurse",
    "Nurse Test",
    ("auditor",),
    organisation="Ward 7",
)
APP: Final = Client("chart-viewer", "Chart Viewer", "none")
CLAIMS: Final = {
    "iss": "https://caretrail.example/auth",
    "sub": NURSE.id,
    "client_id": APP.id,
    "jti": "token-1",
    "scope": "patient/AuditEvent.rs",
}
OWN: Final = CLAIMS | {"sub": APP.id, "scope": "system/AuditEvent.c"}
FORM: Final = {
    "grant_type": "authorization_code",
    "client_id": APP.id,
    "code": "secret-code",
    "code_verifier": "secret-verifier",
    "redirect_uri": "https://app.example/callback",
}
SAY: Final = Events(
    origin="caretrail/00112233445566778899aabbccddeeff",
    issuer="https://caretrail.example/auth",
    organisation="Synthetic Hospital",
)
DECISION: Final[dict[str, Any]] = {"consent": "consent-1", "scope": "patient/AuditEvent.rs"}
EVENTS: Final[dict[str, dict[str, Any]]] = {
    "login": SAY.signed_in(SEEN, NURSE, by="password and one-time password"),
    "login-failed": SAY.not_signed_in(SEEN, NURSE, reason="wrong password"),
    "login-unknown": SAY.not_signed_in(SEEN, None, reason="unknown user name"),
    "locked": SAY.locked(SEEN, NURSE),
    "logout": SAY.signed_out(SEEN, NURSE, reason="the person signed out"),
    "session-expired": SAY.signed_out(SEEN, NURSE, reason="the session was idle for too long"),
    "user-added": SAY.changed(SEEN, "root", None, NURSE, what="added"),
    "user-changed": SAY.changed(SEEN, NURSE, NURSE, NURSE._replace(has_totp=True), what="enrolled"),
    "roles-changed": SAY.changed(
        SEEN, "root", NURSE, NURSE._replace(roles=("privacy-officer",)), what="other roles"
    ),
    "client-added": SAY.configured(
        SEEN, "root", what="client chart-viewer", action="C", before="none", after=APP.state
    ),
    "token-issued": SAY.token_issued(SEEN, APP, NURSE, FORM, claims=CLAIMS),
    "token-issued-to-a-client": SAY.token_issued(
        SEEN, APP, None, {"grant_type": "client_credentials"}, claims=OWN
    ),
    "token-refreshed": SAY.token_issued(
        SEEN,
        APP,
        NURSE,
        {"grant_type": "refresh_token", "refresh_token": "secret"},
        claims=CLAIMS,
    ),
    "token-refused": SAY.token_refused(SEEN, APP.id, None, FORM, reason="invalid_grant"),
    "token-revoked": SAY.token_revoked(
        SEEN, APP.id, NURSE, tokens=["token-1", "token-2"], reason="the client asked for it"
    ),
    "token-stolen": SAY.token_revoked(
        SEEN,
        APP.id,
        NURSE,
        tokens=["token-1"],
        reason="a refresh token was used twice",
        outcome="4",
    ),
    "introspected": SAY.introspected(SEEN, APP, CLAIMS),
    "introspected-unknown": SAY.introspected(SEEN, APP, None),
    "launched": SAY.launched(SEEN, APP, launch="0011223344556677", patient="p1"),
    "consent-permitted": SAY.decided(SEEN, APP, NURSE, patient="p1", permitted=True, **DECISION),
    "consent-refused": SAY.decided(SEEN, APP, NURSE, patient="p1", permitted=False, **DECISION),
    "role-permitted": SAY.decided(SEEN, APP, NURSE, patient="", permitted=True, **DECISION),
    "override-started": SAY.override(SEEN, NURSE, patient="p1", started=True, reason="unconscious"),
    "override-stopped": SAY.override(
        SEEN, NURSE, patient="p1", started=False, reason="the time was over"
    ),
}
PROFILES: Final = {
    "token-issued": IUA,
    "token-issued-to-a-client": IUA,
    "token-refreshed": IUA,
    "consent-permitted": CONSENT,
    "consent-refused": CONSENT,
}
# No event can fill the first (BALP 13, 5); a client that acts for itself has no user; the token
# is issued after the decision.
EMPTY: Final = {
    "token-issued": {"entity:token-response"},
    "token-refreshed": {"entity:token-response"},
    "token-issued-to-a-client": {"entity:token-response", "agent:user"},
    "consent-permitted": {"entity:token"},
    "consent-refused": {"entity:token"},
}


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_valid_and_claims_what_it_meets(name: str) -> None:
    parsed = decoding.decode(json.dumps(EVENTS[name]).encode())
    assert parsed is not None
    assert list(profiles.claimed(parsed)) == ([PROFILES[name]] if name in PROFILES else [])
    assert profiles.unmet(parsed) == ()


@pytest.mark.parametrize("name", PROFILES)
def test_every_slice_of_the_profile_is_filled(name: str) -> None:
    """An optional slice that is mistyped would merely be absent (BALP 13, 21)."""
    parsed = decoding.decode(json.dumps(EVENTS[name]).encode())
    assert parsed is not None
    assert profiles.problems(parsed, PROFILES[name]) == ()
    filled = profiles.filled(parsed, PROFILES[name])
    assert {slice_ for slice_, count in filled.items() if not count} == EMPTY[name]


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_the_one_that_was_read_by_people(name: str) -> None:
    """A change of a golden event is seen and judged; delete the file to write it anew."""
    file = GOLDEN / f"{name}.json"
    if not file.exists():
        file.write_text(json.dumps(EVENTS[name], indent=1) + "\n", encoding="utf-8")
        pytest.fail(f"{file.name} was written: read it, then commit it")
    assert json.loads(file.read_text(encoding="utf-8")) == EVENTS[name]


@pytest.mark.parametrize("name", EVENTS)
def test_the_log_is_the_one_that_says_so(name: str) -> None:
    event = EVENTS[name]
    assert event["source"]["observer"]["identifier"]["system"] == "urn:caretrail:origin"
    assert event["recorded"] == "2026-09-21T14:13:20.123Z"
    assert "secret" not in json.dumps(event)


def test_what_a_stranger_says_cannot_forge_a_line() -> None:
    """T-01: control characters of a client's id stay out, and its length is bounded."""
    event = SAY.token_refused(SEEN, "x\r\n\x1b[31m" + "y" * 5000, None, FORM, reason="invalid")
    value = event["agent"][0]["who"]["identifier"]["value"]
    assert value.startswith("x[31my")
    assert len(value) <= 200
    empty = SAY.token_refused(SEEN, "\n", None, FORM, reason="invalid")
    assert empty["agent"][0]["who"]["identifier"]["value"] == "unknown"
