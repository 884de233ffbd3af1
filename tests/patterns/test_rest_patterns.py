"""REST interactions become BALP events that meet exactly what they claim."""

from __future__ import annotations

import json
from base64 import b64decode

import pytest
from msgspec.structs import replace

from caretrail.fhir import audit_event, decoding, profiles
from caretrail.patterns import codes, rest
from caretrail.patterns.credential import OAuthToken
from caretrail.patterns.observation import Machine, Observation, User, identified, reference

SEEN = Observation(
    recorded="2026-10-01T08:15:30.123Z",
    client=Machine(who=identified("ward-ehr"), address="192.0.2.7", name="Ward workstation"),
    server=Machine(
        who=reference("Device/fhir-server"),
        address="https://fhir.hospital.example/r4",
        address_type="5",
    ),
    user=User(
        who=reference("Practitioner/staff-1", "Ada Testfield"),
        name="Ada Testfield",
        roles=(codes.Code("https://hospital.example/role", "nurse", "Nurse"),),
    ),
    patient=reference("Patient/pat-1"),
    resource=reference("Observation/7/_history/3"),
    query=b"GET fhir.hospital.example/r4/Observation?patient=Patient/pat-1",
    query_text="Observation?patient=Patient/pat-1",
    request_id="req-1",
    credential=OAuthToken(id="9f0c"),
    purposes=(codes.purpose("TREAT"),),
    site="Cardiology",
)

WITH_PROFILE = [name for name, pattern in rest.PATTERNS.items() if pattern.profile]


def seen_in(interaction, **changes):
    """A search has a query and nothing that was touched; the others are the other way round."""
    absent = "resource" if interaction.startswith("search") else "query"
    return replace(SEEN, **{"interaction": interaction, absent: None, **changes})


def made(seen: Observation) -> dict:
    return rest.event(seen)


def decoded(event: dict) -> audit_event.AuditEvent:
    parsed = decoding.decode(json.dumps(event).encode())
    assert parsed is not None
    return parsed


def claims(event: dict) -> list[str]:
    urls = event.get("meta", {}).get("profile", [])
    return [url.removeprefix(codes.BASIC_AUDIT) for url in urls]


@pytest.mark.parametrize("interaction", WITH_PROFILE)
@pytest.mark.parametrize("patient", [SEEN.patient, None], ids=["patient", "no patient"])
@pytest.mark.parametrize("user", [SEEN.user, None], ids=["user", "no user"])
@pytest.mark.parametrize("token", [SEEN.credential, None], ids=["token", "no token"])
def test_an_event_meets_the_profiles_that_it_claims(interaction, patient, user, token):
    """All interactions, with and without a patient, a user, a token."""
    seen = seen_in(interaction, patient=patient, user=user, credential=token)
    event = made(seen)
    pattern = rest.PATTERNS[interaction].profile
    expected = [("Patient" if patient else "") + pattern]
    expected += ["OAUTHaccessTokenUse.Minimal"] if token else []
    assert claims(event) == expected
    assert profiles.unmet(decoded(event)) == ()


@pytest.mark.parametrize("interaction", WITH_PROFILE)
def test_the_optional_slices_are_filled(interaction):
    """An optional slice cannot be wrong, only absent: look for user and X-Request-Id."""
    event = decoded(made(seen_in(interaction)))
    filled = profiles.filled(event, event.meta.profile[0])
    assert filled["agent:user"] == 1
    assert filled["entity:transaction"] == 1
    assert profiles.filled(event, event.meta.profile[1])["agent:oUser"] == 1


@pytest.mark.parametrize("outcome", ["4", "8", "12"])
def test_a_failure_has_the_shape_and_claims_its_token_alone(outcome):
    """BALP's REST profiles fix outcome 0; those of the credentials do not."""
    seen = seen_in("read", outcome=outcome, outcome_text="403 Forbidden")
    event = made(seen)
    assert claims(event) == ["OAUTHaccessTokenUse.Minimal"]
    assert profiles.unmet(decoded(event)) == ()
    assert (event["outcome"], event["outcomeDesc"]) == (outcome, "403 Forbidden")
    decoded(event)


@pytest.mark.parametrize("missing", ["resource", "query"])
def test_an_object_that_nobody_could_name_is_no_reason_to_record_nothing(missing):
    """BALP: recording something beats recording nothing."""
    interaction = {"resource": "create", "query": "search-type"}[missing]
    nameless = {"resource": None, "query": None}
    event = made(replace(SEEN, interaction=interaction, **nameless))
    assert claims(event) == ["OAUTHaccessTokenUse.Minimal"]
    assert profiles.unmet(decoded(event)) == ()


def test_the_query_is_kept_as_it_was_received():
    """Raw in base64, understood in clear; and no name beside it (sev-1)."""
    event = made(seen_in("search-type"))
    entity = next(entity for entity in event["entity"] if "query" in entity)
    assert b64decode(entity["query"]) == SEEN.query
    assert entity["description"] == SEEN.query_text
    assert "name" not in entity


def test_a_client_that_records_is_the_observer():
    """Client and server both record: their events differ in the source alone."""
    theirs = made(seen_in("read", by_client=True))
    ours = made(seen_in("read"))
    assert theirs["source"]["observer"] == SEEN.client.who
    assert theirs["source"]["type"] != ours["source"]["type"]
    assert {**theirs, "source": None} == {**ours, "source": None}


def test_a_patient_who_reads_is_marked_as_such():
    """A portal's user is an agent and, as subject, an entity."""
    user = User(who=reference("Patient/pat-1"))
    event = made(seen_in("read", user=user))
    marks = [coding["code"] for coding in event["agent"][2]["type"]["coding"]]
    assert marks == ["IRCP", "UserOauthAgent", "PAT"]
    assert event["entity"][-1]["what"] == user.who


def test_without_a_user_the_purpose_is_the_events():
    """A purpose of use is not lost because nobody could be named."""
    event = made(seen_in("read", user=None, credential=None))
    assert event["purposeOfEvent"][0]["coding"][0]["code"] == "TREAT"


def test_labels_of_the_resource_are_the_entitys():
    """securityLabel copies what the resource was marked with."""
    label = codes.Code(f"{codes.THO}/v3-Confidentiality", "R", "restricted")
    event = made(seen_in("read", labels=(label,)))
    assert event["entity"][1]["securityLabel"] == [label._asdict()]


def test_an_exchange_without_a_request_id_has_no_entity_for_it():
    """The slice is optional, and an empty one would be wrong."""
    event = made(seen_in("read", request_id=None))
    assert len(event["entity"]) == 2
    assert profiles.unmet(decoded(event)) == ()
