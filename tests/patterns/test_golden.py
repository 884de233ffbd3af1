"""For each of the 19 BALP profiles an exchange whose event fills every slice that can be known.

An optional slice of an open slicing cannot be wrong, only absent, so conformance is not enough:
each slice is looked for (BALP 13, 21). The events themselves are kept beside the tests.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from caretrail.fhir import profiles
from caretrail.patterns import codes, security
from caretrail.patterns.claims import settled
from caretrail.patterns.credential import (
    ConsentToken,
    OAuthToken,
    Organization,
    SamlAssertion,
    opaque,
    token_of,
)
from caretrail.patterns.exchange import Exchange, Identity
from caretrail.patterns.observation import Machine, Observation, User, identified, reference
from caretrail.patterns.recording import events
from tests.patterns.exchanges import SERVER, bundle, claims, message, observation, parsed, replace

GOLDEN = Path(__file__).parent / "golden"
NURSE = codes.Code("https://hospital.example/role", "nurse", "Nurse")
USER = User(who=reference("Practitioner/1"), name="Ada Testfield", roles=(NURSE,))
TREATMENT = (codes.purpose("TREAT"),)
IDENTITY = Identity(user=USER, client=identified("ward-app"), purposes=TREATMENT)
LABEL = {"system": f"{codes.THO}/v3-Confidentiality", "code": "R", "display": "restricted"}


def exchange(method: str, path: str, status: int = 200, **rest) -> Exchange:
    return Exchange(
        **{
            "method": method,
            "path": path,
            "status": status,
            "end": "2026-11-24T09:30:00.000Z",
            "server": SERVER,
            "address": "192.0.2.7",
            "identity": IDENTITY,
            "request_id": "request-1",
            "site": "fhir.example.org",
            **rest,
        }
    )


def resource(patient: str | None) -> dict:
    return observation("7", patient, meta={"versionId": "3", "security": [LABEL]})


def crud(patient: str | None) -> dict[str, Exchange]:
    """Return the five patterns' exchanges, about a patient or about none."""
    asked, answered = message(resource(patient)), message(resource(patient))
    path, gone = "Observation/7", "Patient/1" if patient else "Practitioner/1"
    found = bundle("searchset", resource(patient))
    found["meta"] = {"security": [LABEL]}
    created = message(resource(patient), location="Observation/7/_history/3")
    return {
        "Create": exchange("POST", "Observation", 201, request=asked, response=created),
        "Read": exchange("GET", path, response=answered),
        "Update": exchange("PUT", path, request=asked, response=answered),
        "Delete": exchange("DELETE", gone, 204),
        "Query": exchange("GET", "Observation", query="status=final", response=message(found)),
    }


def signed(credential) -> Exchange:
    identity = Identity(credential=credential, purposes=TREATMENT)
    return exchange(
        "GET", "Observation/7", response=message(resource("Patient/1")), identity=identity
    )


CLAIMS = {
    "iss": "https://as.example.org",
    "sub": "user-42",
    "jti": "9f0c",
    "client_id": "ward-app",
    "extensions": {
        "ihe_iua": {
            "subject_name": "Ada Testfield",
            "subject_organization": "Synthetic Hospital",
            "subject_organization_id": "urn:oid:1.2.3",
            "subject_role": [NURSE._asdict()],
            "purpose_of_use": ["TREAT"],
            "home_community_id": "urn:oid:1.2.3.4",
            "national_provider_identifier": "1234567893",
            "person_id": "provider-1",
        },
        "ihe_bppc": {"doc_id": "consent-1", "acp": "urn:oid:1.2.3.5", "patient_id": "1^^^&1.2&ISO"},
    },
}
SAML = SamlAssertion(
    id="_assertion-1",
    issuer="https://sts.example.org",
    subject="05086900124",
    subject_id="Ada Testfield",
    assurance=codes.Code(f"{codes.THO}/v3-ObservationValue", "LOAAP4"),
    npi="1234567893",
    provider="provider-1",
    organization=Organization(value="urn:oid:1.2.3", name="Synthetic Hospital"),
    home_community="urn:oid:1.2.3.4",
    roles=(NURSE,),
    purposes=TREATMENT,
    consent=ConsentToken(
        document="consent-1",
        policy="urn:oid:1.2.3.5",
        patient="1^^^&1.2&ISO",
        home_community="urn:oid:1.2.3.4",
    ),
)
SEEN = Observation(
    recorded="2026-11-24T09:30:00.000Z",
    client=Machine(who=identified("ward-app"), address="192.0.2.7"),
    server=SERVER,
    user=USER,
    patient=reference("Patient/1"),
    resource=reference("DocumentReference/1"),
    query=b"POST https://as.example.org/token\n\ngrant_type=authorization_code",
    request_id="request-1",
    purposes=TREATMENT,
    outcome="0",
    site="fhir.example.org",
)
ELSEWHERE = Machine(who=identified("insurer"), address="https://insurer.example", address_type="5")
HOSPITAL = reference("Organization/1", "Synthetic Hospital")
PATIENT = reference("Patient/1")


def made() -> dict[str, dict]:
    """Return the event of each profile, by the profile's name."""
    found = {name: events(seen)[0] for name, seen in crud(None).items()}
    found |= {f"Patient{name}": events(seen)[0] for name, seen in crud("Patient/1").items()}
    oauth = "OAUTHaccessTokenUse"
    minimal = token_of(CLAIMS)
    found[f"{oauth}.Minimal"] = events(signed(minimal))[0]
    found[f"{oauth}.Comprehensive"] = events(signed(token_of(CLAIMS, comprehensive=True)))[0]
    found[f"{oauth}.Opaque"] = events(signed(opaque("secret-part.".ljust(64, "x"))))[0]
    saml = "SAMLaccessTokenUse"
    found[f"{saml}.Minimal"] = events(signed(SAML))[0]
    found[f"{saml}.Comprehensive"] = events(signed(replace(SAML, comprehensive=True)))[0]
    found["IHE.IUA.71"] = security.token_request(SEEN)
    decided = replace(SEEN, credential=minimal)
    found["AuthZconsent"] = security.consent_decision(
        decided, organization=HOSPITAL, consent=reference("Consent/1")
    )
    parties = {"custodian": HOSPITAL, "authorizer": PATIENT}
    found["PrivacyDisclosure.Source"] = security.disclosure(SEEN, recipient=ELSEWHERE, **parties)
    found["PrivacyDisclosure.Recipient"] = security.disclosure_received(
        SEEN, sender=ELSEWHERE, **parties
    )
    return found


EVENTS = made()
# A profile's own slice that no event can fill (BALP 13, 5).
IMPOSSIBLE = {"IHE.IUA.71": {"entity:token-response"}}


def url_of(name: str) -> str:
    return codes.PROFILES + (name if name.startswith("IHE.") else f"IHE.BasicAudit.{name}")


def test_every_profile_of_balp_has_its_event() -> None:
    assert {url_of(name) for name in EVENTS} == {row.url for row in profiles.PROFILES}


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_claims_its_profile_and_meets_it(name: str) -> None:
    event = parsed(EVENTS[name])
    assert url_of(name) in profiles.claimed(event)
    assert profiles.unmet(event) == ()
    assert profiles.problems(event, url_of(name)) == ()
    assert json.loads(settled(EVENTS[name])) == EVENTS[name]


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_fills_every_slice_of_its_profile(name: str) -> None:
    filled = profiles.filled(parsed(EVENTS[name]), url_of(name))
    empty = {slice_ for slice_, count in filled.items() if not count}
    assert empty == IMPOSSIBLE.get(name, set())


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_the_one_that_was_read_by_people(name: str) -> None:
    """A change of a golden event is seen and judged; delete the file to write it anew."""
    file = GOLDEN / f"{name}.json"
    if not file.exists():
        file.write_text(json.dumps(EVENTS[name], indent=1) + "\n", encoding="utf-8")
        pytest.fail(f"{file.name} was written: read it, then commit it")
    assert json.loads(file.read_text(encoding="utf-8")) == EVENTS[name]


@pytest.mark.parametrize(
    "name", [name for name in EVENTS if name not in ("AuthZconsent", "IHE.IUA.71")]
)
def test_elements_that_must_be_supported_are_there(name: str) -> None:
    """BALP's mustSupport binds the source: source, and the user's name, role and purpose."""
    event = EVENTS[name]
    assert event["source"]["site"]
    assert event["source"]["observer"]
    (user,) = [agent for agent in event["agent"] if agent["requestor"] and "purposeOfUse" in agent]
    assert user["purposeOfUse"]
    if "TokenUse" in name and not name.endswith("Opaque"):
        assert user["who"]["identifier"]["system"].startswith("https://")
        assert len(user["policy"]) == 1
        assert user["role"]


def test_labels_are_copied_from_the_resource_and_the_search_set() -> None:
    for name in ("Read", "Query", "Update"):
        (main,) = [row for row in EVENTS[name]["entity"] if row["type"]["code"] == "2"]
        assert main["securityLabel"] == [LABEL]


def test_an_opaque_token_is_never_there_whole() -> None:
    text = json.dumps(EVENTS["OAUTHaccessTokenUse.Opaque"])
    assert "secret-part" not in text
    assert '"' + "x" * 32 + '"' in text


def test_a_credential_joins_each_rest_pattern() -> None:
    """Delete calls its client 110150 as OAuth Comprehensive does: it has to be the same agent."""
    credentials = {
        "OAUTHaccessTokenUse.Minimal": token_of(CLAIMS),
        "OAUTHaccessTokenUse.Comprehensive": token_of(CLAIMS, comprehensive=True),
        "OAUTHaccessTokenUse.Opaque": opaque("x" * 64),
        "SAMLaccessTokenUse.Minimal": SAML,
        "SAMLaccessTokenUse.Comprehensive": replace(SAML, comprehensive=True),
    }
    for pattern, seen in crud("Patient/1").items():
        for profile, credential in credentials.items():
            identity = Identity(user=USER, credential=credential)
            (event,) = events(replace(seen, identity=identity))
            assert claims(event) == [f"Patient{pattern}", profile]
            filled = profiles.filled(parsed(event), url_of(f"Patient{pattern}"))
            assert filled["agent:user"] == 1
            own = profiles.filled(parsed(event), url_of(profile))
            assert own.get("agent:oUser", own.get("agent:user")) == 1


def test_a_client_that_acts_for_itself_has_a_token_and_no_user() -> None:
    """OAuth client credentials: the subject of the token is its client."""
    own = OAuthToken(id="t", subject="ward-app", client="ward-app")
    (event,) = events(signed(own))
    assert claims(event) == ["PatientRead", "OAUTHaccessTokenUse.Minimal"]
    assert event["agent"][2]["who"] == event["agent"][0]["who"]
    (event,) = events(signed(replace(own, comprehensive=True)))
    assert claims(event) == ["PatientRead", "OAUTHaccessTokenUse.Comprehensive"]
    assert event["agent"][0]["policy"] == [codes.JTI + "t"]
    assert len(event["agent"]) == 2
