"""Jobs, disclosures and the recording's own events."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from caretrail.limits import RELATED_ENTITIES_MAX
from caretrail.patterns import jobs, security
from tests.patterns.exchanges import claims, entities, parsed, patients
from tests.patterns.test_golden import ELSEWHERE, SEEN


def job_events(*arguments, **options) -> list[dict]:
    return list(map(json.loads, jobs.job_events(*arguments, **options)))


START = "2026-11-24T09:00:00.000Z"
ALONE = replace(SEEN, patient=None, resource=None, query=None)


def test_a_job_has_a_name_a_period_and_an_event_a_patient() -> None:
    made = job_events(
        ALONE,
        name="nightly",
        start=START,
        patients=["Patient/1", "Patient/2"],
        touched=["Observation/7", "odd"],
    )
    assert patients(made) == ["Patient/1", "Patient/2"]
    for event in made:
        parsed(event)
        assert event["period"] == {"start": START, "end": SEEN.recorded}
        (job,) = entities(event, "2")
        assert job["role"]["code"] == "20"
        assert job["what"]["identifier"]["value"] == "nightly"
    assert [row["what"]["reference"] for row in made[0]["entity"][-2:]] == ["Observation/7", "odd"]
    parts = [event["entity"][0]["detail"][0]["valueString"] for event in made]
    assert parts == ["1/2", "2/2"]


def test_what_a_job_touched_goes_on_in_further_events() -> None:
    touched = [f"Observation/{n}" for n in range(RELATED_ENTITIES_MAX + 1)]
    made = job_events(ALONE, name="nightly", start=START, patients=[], touched=touched)
    assert [len(entities(event, "Observation")) for event in made] == [RELATED_ENTITIES_MAX, 1]
    (event,) = job_events(ALONE, name="nightly", start=START, patients=[], touched=[])
    assert "detail" not in event["entity"][0]


@pytest.mark.parametrize("started", [True, False])
def test_a_change_of_the_recording_is_a_security_alert(started: bool) -> None:
    event = security.audit_recording(SEEN, started=started, reason="noise", scope="exclude all")
    parsed(event)
    assert event["subtype"][0]["code"] == ("110134" if started else "110133")
    details = {row["type"]: row["valueString"] for row in entities(event, "2")[0]["detail"]}
    assert details == {"reason": "noise", "scope": "exclude all"}


def test_a_refused_token_has_the_shape_and_no_profile() -> None:
    """IHE.IUA.71 is for a token that was issued."""
    refused = security.token_request(replace(SEEN, outcome="4", outcome_text="invalid_grant"))
    assert claims(refused) == []
    parsed(refused)
    assert claims(security.token_request(replace(SEEN, query=None))) == []


def test_a_disclosure_may_know_neither_custodian_nor_authorizer() -> None:
    event = security.disclosure(SEEN, recipient=ELSEWHERE)
    assert claims(event) == ["PrivacyDisclosure.Source"]
    assert len(event["agent"]) == 3
