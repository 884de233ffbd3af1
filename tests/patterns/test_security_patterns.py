"""Security and privacy events are valid R4, carry DICOM's codes and meet BALP where it has a say."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from caretrail.fhir import decoding, profiles
from caretrail.patterns import codes, security
from caretrail.patterns.observation import Machine, identified, reference
from tests.patterns.test_rest_patterns import SEEN

ELSEWHERE = Machine(
    who=identified("insurer.example"), address="https://insurer.example", address_type="5"
)
ACCOUNT = reference("Practitioner/staff-2")
HOSPITAL = reference("Organization/synthetic-hospital")
CONSENT = reference("Consent/1")
EVENTS = {
    "login": (security.login(SEEN), "110114", "110122"),
    "failed login": (
        security.login(
            replace(SEEN, outcome="4", outcome_text="the password is wrong", credential=None)
        ),
        "110114",
        "110122",
    ),
    "logout": (security.logout(SEEN), "110114", "110123"),
    "override started": (
        security.emergency_override(SEEN, started=True, reason="unconscious"),
        "110113",
        "110127",
    ),
    "override stopped": (
        security.emergency_override(SEEN, started=False, reason="unconscious"),
        "110113",
        "110138",
    ),
    "export": (
        security.export(SEEN, destination=ELSEWHERE, patients="12", media_type="application/pdf"),
        "110106",
        None,
    ),
    "start": (security.application(SEEN, started=True, version="1"), "110100", "110120"),
    "stop": (security.application(SEEN, started=False, version="1"), "110100", "110121"),
    "gap": (
        security.gap(
            SEEN,
            since="2026-03-01T08:00:00.000Z",
            until="2026-03-01T08:01:00.000Z",
            exchanges=2,
            reason="full",
        ),
        "110113",
        "110133",
    ),
    "account changed": (
        security.user_attributes_changed(SEEN, account=ACCOUNT, before="nurse", after="admin"),
        "110113",
        "110137",
    ),
    "log used": (security.audit_log_used(SEEN), "110101", None),
    "permit": (
        security.consent_decision(SEEN, organization=HOSPITAL, consent=CONSENT),
        "110113",
        "AuthZ-Consent",
    ),
    "deny": (
        security.consent_decision(
            replace(SEEN, outcome="8", outcome_text="the consent was withdrawn", credential=None),
            organization=HOSPITAL,
            consent=CONSENT,
        ),
        "110113",
        "AuthZ-Consent",
    ),
    "disclosure": (
        security.disclosure(SEEN, recipient=ELSEWHERE, custodian=HOSPITAL),
        "110106",
        "disclose",
    ),
}


@pytest.mark.parametrize(("event", "code", "subtype"), EVENTS.values(), ids=EVENTS)
def test_an_event_is_valid_and_meets_what_it_claims(event, code, subtype):
    """Decoded on the fast path; consent and disclosure claim their BALP profile."""
    parsed = decoding.decode(json.dumps(event).encode())
    assert parsed is not None
    assert parsed.type.code == code
    assert [coding.code for coding in parsed.subtype or ()] == ([subtype] if subtype else [])
    assert profiles.unmet(parsed) == ()
    claims = subtype in ("AuthZ-Consent", "disclose")
    assert len(profiles.claimed(parsed)) == (1 if claims else 0)


def test_the_reason_for_breaking_the_glass_is_kept():
    """A review needs the words that were given."""
    entity = EVENTS["override started"][0]["entity"][0 + 1]
    assert entity["detail"] == [{"type": "reason", "valueString": "unconscious"}]


def test_a_change_of_an_account_says_before_and_after():
    """Who was what, and is what now."""
    entity = EVENTS["account changed"][0]["entity"][-1]
    assert entity["what"] == ACCOUNT
    assert [row["valueString"] for row in entity["detail"]] == ["nurse", "admin"]


def test_a_permit_names_the_token_that_it_issued():
    """The profile has no place for the X-Request-Id, but one for the token."""
    entities = EVENTS["permit"][0]["entity"]
    assert entities[-1]["what"]["identifier"]["value"] == codes.JTI + "9f0c"
    assert len(EVENTS["deny"][0]["entity"]) == 2


@pytest.mark.parametrize("name", ["login", "override started", "export", "log used", "disclosure"])
def test_the_exchange_can_be_named_in_every_event(name):
    """X-Request-Id joins the events of one HTTP exchange."""
    assert EVENTS[name][0]["entity"][0]["what"]["identifier"]["value"] == "req-1"


def test_without_a_patient_an_override_has_no_patient_entity():
    """What is not known is left out."""
    event = security.emergency_override(replace(SEEN, patient=None), started=True, reason="x")
    assert len(event["entity"]) == 1
