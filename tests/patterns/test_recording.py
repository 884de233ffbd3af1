"""What an exchange leaves: queries, versions, results, batches, failures, rules, redaction."""

from __future__ import annotations

import json
from base64 import b64decode

import pytest

from caretrail.errors import ConfigurationError
from caretrail.fhir import profiles
from caretrail.limits import (
    BUNDLE_ENTRIES_MAX,
    PATIENT_EVENTS_MAX,
    QUERY_BYTES_MAX,
    RELATED_ENTITIES_MAX,
)
from caretrail.patterns import codes
from caretrail.patterns.credential import (
    OAuthToken,
    OpaqueToken,
    Organization,
    SamlAssertion,
    opaque,
    token_of,
)
from caretrail.patterns.exchange import Identity, Message
from caretrail.patterns.observation import Machine, User, identified, reference
from caretrail.patterns.recording import Policy, events
from caretrail.patterns.redaction import FIELDS, Redaction, Treatment
from caretrail.patterns.rules import Rule, Rules
from tests.patterns.exchanges import (
    EXAMPLES,
    bundle,
    claims,
    entities,
    message,
    observation,
    parsed,
    patients,
    replace,
)
from tests.patterns.test_golden import CLAIMS, IDENTITY, exchange

SEARCH = exchange(
    "GET", "Observation", query="patient=Patient/1&code=http://loinc.org|1234&date=ge2020"
)


def query_of(event: dict) -> tuple[str, str]:
    (entity,) = [row for row in event["entity"] if "query" in row]
    return b64decode(entity["query"]).decode(), entity["description"]


def objects(event: dict) -> list[str]:
    return [row["what"]["reference"] for row in entities(event, "2") if "what" in row]


# -- Queries --


def test_a_query_is_raw_as_received_and_minimised_in_clear() -> None:
    """No value that may be a name, a number or a diagnosis stands in clear."""
    (event,) = events(SEARCH)
    raw, clear = query_of(event)
    assert raw == (
        "GET https://fhir.example.org/r4/Observation?patient=Patient/1"
        "&code=http://loinc.org|1234&date=ge2020\nx-request-id: request-1"
    )
    assert clear == "Observation?patient=Patient/1&code&date=ge2020"


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("Patient", "name=Ada&_count=5&birthdate=1980", "Patient?name&_count=5&birthdate"),
        ("Patient", "identifier=urn:mrn|1", "Patient?identifier"),
        ("Observation", "patient.name=Ada", "Observation?patient.name"),
        ("Observation", "patient:identifier=1", "Observation?patient:identifier"),
        ("Observation", "ours=x&_sort=-date", "Observation?ours&_sort=-date"),
        ("Ours", "patient=1", "Ours?patient"),
        ("Observation", "", "Observation"),
    ],
)
def test_values_are_kept_in_clear_only_where_they_tell_nothing(path, query, expected) -> None:
    (event,) = events(exchange("GET", path, query=query))
    assert query_of(event)[1] == expected


def test_a_posted_search_holds_its_form_and_other_bodies_stay_out() -> None:
    (event,) = events(EXAMPLES["search-type (POST)"])
    raw, clear = query_of(event)
    assert raw.endswith("\n\npatient=Patient/1")
    assert clear == "Observation/_search?patient=Patient/1"
    (event,) = events(EXAMPLES["$validate"])
    assert "subject" not in query_of(event)[0]
    (event,) = events(EXAMPLES["$graphql"])
    assert query_of(event)[0].endswith('{"query":"{a}"}')


def test_a_secret_is_not_a_part_of_a_query() -> None:
    seen = exchange("GET", "Observation", query="access_token=abc&code=x&client_secret=d%20e")
    (event,) = events(seen)
    raw, clear = query_of(event)
    assert "?access_token=***&code=x&client_secret=***\n" in raw
    assert "abc" not in clear
    form = Message(
        headers={"content-type": "application/x-www-form-urlencoded"}, body=b"access_token=abc"
    )
    (event,) = events(exchange("POST", "Observation/_search", request=form))
    assert "abc" not in "".join(query_of(event))


def test_a_malicious_query_is_kept_and_does_no_harm() -> None:
    seen = exchange("GET", "Observation", query="a=%00<script>\x01\ud800" + "x" * 100_000)
    (event,) = events(seen)
    parsed(event)
    assert len(query_of(event)[0]) == QUERY_BYTES_MAX


# -- What was touched --


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (exchange("GET", "Observation/7", response=message(observation())), "Observation/7"),
        (exchange("GET", "Observation/7", response=message(None, etag='W/"3"')),
         "Observation/7/_history/3"),
        (exchange("GET", "Observation/7", 304, response=message(None, etag='"3"')),
         "Observation/7/_history/3"),
        (exchange("GET", "Observation/7", response=message(observation(meta={"versionId": "2"}))),
         "Observation/7/_history/2"),
        (exchange("GET", "Observation/7", response=message(observation(meta={"versionId": 2}))),
         "Observation/7"),
        (exchange("GET", "Observation/7", response=message(observation(number="8"))),
         "Observation/7"),
        (exchange("GET", "Observation/7/_history/1"), "Observation/7/_history/1"),
        (exchange("PUT", "Observation/7", response=message(
            None, location="https://fhir.example.org/r4/Observation/7/_history/4")),
         "Observation/7/_history/4"),
        (exchange("PUT", "Observation", response=message(None, content_location="Observation/9")),
         "Observation/9"),
        (exchange("POST", "Observation", 201, response=message(observation(number="5"))),
         "Observation/5"),
        # The deleted resource is found under the name that it had.
        (exchange("DELETE", "Observation/7", 204, response=message(None, etag='W/"5"')),
         "Observation/7"),
    ],
)  # fmt: skip
def test_what_was_touched_is_named_by_its_version(seen, expected) -> None:
    (event,) = events(seen)
    assert objects(event) == [expected]


@pytest.mark.parametrize("status", [201, 422])
def test_a_create_that_names_nothing_says_what_was_tried(status: int) -> None:
    (event,) = events(exchange("POST", "Observation", status, request=message(observation())))
    assert claims(event) == []
    assert query_of(event)[0].startswith("POST https://fhir.example.org/r4/Observation")
    answered = {"resourceType": "OperationOutcome", "id": "1", "issue": [{"code": "x"}]}
    (event,) = events(exchange("POST", "Observation", status, response=message(answered)))
    assert objects(event) == []


def test_criteria_stand_beside_what_they_found_and_no_profile_is_lost() -> None:
    """BALP lets one entity be a System Object; the criteria are another kind."""
    (event,) = events(EXAMPLES["conditional-update"])
    assert claims(event)[0] == "PatientUpdate"
    assert objects(event) == ["Observation/7/_history/3"]
    assert query_of(event)[1] == "Observation?identifier"
    (kind,) = [row["type"]["code"] for row in event["entity"] if "query" in row]
    assert kind == "4"


# -- Results --


def results(count: int, patient: str | None = "Patient/1") -> dict:
    return bundle("searchset", *(observation(str(n), patient) for n in range(count)))


def related(event: dict) -> list[str]:
    return [row["what"]["reference"] for row in entities(event, "Observation")]


def test_results_are_named_each_with_its_own_patient() -> None:
    """The event of one patient names no resource of another; what is nobody's goes to the first."""
    found = bundle(
        "searchset",
        observation("1", "Patient/1", meta={"versionId": "2"}),
        observation("2", "Patient/2"),
        observation("3", None),
        {"resourceType": "OperationOutcome"},
    )
    first, second = events(exchange("GET", "Observation", response=message(found)))
    assert related(first) == ["Observation/1/_history/2", "Observation/3"]
    assert related(second) == ["Observation/2"]
    for event in (first, second):
        assert claims(event) == ["PatientQuery"]


def test_results_can_be_left_out() -> None:
    seen = replace(SEARCH, response=message(results(3)))
    (event,) = events(seen, Policy(results=False))
    assert related(event) == []


def test_more_results_than_an_event_holds_go_on_in_others() -> None:
    count = 2 * RELATED_ENTITIES_MAX + 1
    made = events(replace(SEARCH, response=message(results(count))))
    assert [len(related(event)) for event in made] == [RELATED_ENTITIES_MAX] * 2 + [1]
    assert len({name for event in made for name in related(event)}) == count
    assert [claims(event) for event in made] == [["PatientQuery"], [], []]
    parts = [event["entity"][0].get("detail", [{}])[0].get("valueString") for event in made]
    assert parts == [None, "1/1 more 1/2", "1/1 more 2/2"]


def test_more_patients_than_have_events_of_their_own_are_listed() -> None:
    extra = RELATED_ENTITIES_MAX + 5
    count = PATIENT_EVENTS_MAX + extra
    found = bundle("searchset", *(observation(str(n), f"Patient/{n}") for n in range(count)))
    made = events(exchange("GET", "Observation", response=message(found)), Policy(results=False))
    assert len(patients(made)) == PATIENT_EVENTS_MAX
    listed = [row["what"]["reference"] for event in made for row in entities(event, "Patient")]
    assert listed == [f"Patient/{n}" for n in range(PATIENT_EVENTS_MAX, count)]
    assert len(made) == PATIENT_EVENTS_MAX + 2


@pytest.mark.parametrize(
    "answer",
    [
        Message(headers={"content-type": "application/fhir+xml"}, body=b"<Bundle/>"),
        Message(headers={"content-type": "application/fhir+json"}, body=b"{", is_whole=True),
        Message(headers={"content-type": "application/fhir+json"}, body=b"{}", is_whole=False),
        Message(headers={"content-type": "application/fhir+json"}, is_whole=False),
    ],
)
def test_an_answer_that_was_not_understood_is_said_to_be(answer: Message) -> None:
    (event,) = events(replace(SEARCH, response=answer))
    (note,) = entities(event, "4")
    assert note["name"] == "response body"
    assert claims(event) == ["PatientQuery"]


def test_a_picture_is_nothing_that_had_to_be_understood() -> None:
    picture = Message(headers={"content-type": "image/png"}, body=b"\x89PNG")
    (event,) = events(exchange("GET", "Binary/1", response=picture))
    assert entities(event, "4") == []


def test_labels_that_are_none_are_left_out() -> None:
    rows = [7, {"code": 7}, {"system": 7, "code": "R"}, {"code": "R"}]
    seen = exchange("GET", "Observation/7", response=message(observation(meta={"security": rows})))
    (event,) = events(seen)
    assert entities(event, "2")[0]["securityLabel"] == [{"code": "R"}]
    odd = exchange("GET", "Observation/7", response=message(observation(meta={"security": 7})))
    assert "securityLabel" not in entities(events(odd)[0], "2")[0]


# -- Batches --


def test_the_entries_of_a_batch_share_the_exchange_and_have_their_own_fate() -> None:
    asked = bundle("batch")
    asked["entry"] = [
        {"request": {"method": "GET", "url": "Observation/7"}},
        {"request": {"method": "get", "url": "https://fhir.example.org/r4/Patient?name=A"}},
        {"request": {"method": "PUT", "url": "Patient/1", "ifMatch": 'W/"1"'}},
        {"request": {"method": "POST", "url": "Patient", "ifNoneExist": "identifier=1"}},
        7,
    ]
    answered = bundle("batch-response")
    answered["entry"] = [
        {"response": {"status": "404 Not Found", "outcome": {
            "resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "not-found"}]}}},
        {"response": {"status": "200"}, "resource": bundle("searchset", {"resourceType": "Patient", "id": "3"})},
        {"response": {"status": "412"}},
    ]  # fmt: skip
    whole, *parts = events(exchange("POST", "", request=message(asked), response=message(answered)))
    assert entities(whole, "4")[0]["detail"] == [
        {"type": "entries", "valueString": "5"},
        {"type": "recorded", "valueString": "5"},
    ]
    assert [event["outcome"] for event in parts] == ["4", "0", "4", "0", "0"]
    assert [event["subtype"][0]["code"] for event in parts[:4]] == [
        "read", "search-type", "update", "create"]  # fmt: skip
    assert patients(parts) == ["Patient/3", "Patient/1"]
    assert {event["entity"][0]["what"]["identifier"]["value"] for event in parts} == {"request-1"}
    numbers = [event["entity"][0]["detail"][0]["valueString"] for event in parts]
    assert numbers == [f"{n}/5" for n in range(1, 6)]
    assert parts[0]["entity"][-1]["detail"][0]["valueString"] == "error/not-found"


def test_what_a_transaction_makes_is_known_by_its_new_name() -> None:
    asked = bundle("transaction")
    asked["entry"] = [
        {"fullUrl": "urn:uuid:p", "resource": {"resourceType": "Patient"},
         "request": {"method": "POST", "url": "Patient"}},
        {"fullUrl": "urn:uuid:o", "resource": observation(patient="urn:uuid:p", note=[{"text": "x"}]),
         "request": {"method": "POST", "url": "Observation"}},
    ]  # fmt: skip
    answered = bundle("transaction-response")
    answered["entry"] = [
        {"response": {"status": "201", "location": "Patient/77/_history/1"}},
        {"response": {"status": "201", "location": "Observation/78/_history/1"}},
    ]
    made = events(exchange("POST", "", request=message(asked), response=message(answered)))
    assert patients(made) == ["Patient/77", "Patient/77"]
    assert [claims(event)[:1] for event in made] == [[], ["PatientCreate"], ["PatientCreate"]]


def test_a_bundle_that_cannot_be_read_still_leaves_an_event() -> None:
    body = message(bundle("transaction", *[observation()] * 9)).body[:200]
    (event,) = events(exchange("POST", "", request=Message(body=body, is_whole=False)))
    assert event["subtype"][0]["code"] == "transaction"
    assert entities(event, "4")[0]["detail"][0]["type"] == "not-examined"


def test_entries_without_number_do_not_become_events_without_number() -> None:
    asked = bundle("batch")
    asked["entry"] = [{"request": {"method": "GET", "url": "Patient/1"}}] * (BUNDLE_ENTRIES_MAX + 1)
    made = events(exchange("POST", "", request=message(asked)))
    assert len(made) == BUNDLE_ENTRIES_MAX + 1
    assert entities(made[0], "4")[0]["detail"][1]["valueString"] == str(BUNDLE_ENTRIES_MAX)


# -- Who, why, and in which trace --


def test_breaking_the_glass_is_told_with_its_reason() -> None:
    identity = replace(IDENTITY, purposes=(codes.purpose("BTG"),), reason="unconscious")
    (event,) = events(exchange("GET", "Patient/1", identity=identity))
    assert event["agent"][2]["purposeOfUse"][0]["coding"][0]["code"] == "BTG"
    assert entities(event, "1")[0]["detail"] == [{"type": "reason", "valueString": "unconscious"}]
    assert claims(event) == ["PatientRead"]
    (event,) = events(exchange("GET", "Medication/1", identity=identity))
    assert event["entity"][0]["detail"] == [{"type": "reason", "valueString": "unconscious"}]


def test_who_acts_for_another_is_marked_and_the_other_is_named() -> None:
    identity = replace(
        IDENTITY,
        on_behalf_of=reference("Practitioner/2"),
        organization=identified("urn:oid:1.2.3", display="Hospital"),
    )
    (event,) = events(exchange("GET", "Patient/1", identity=identity))
    user, organization, represented = event["agent"][2:]
    assert [row["code"] for row in user["type"]["coding"]] == ["IRCP", "AGNT"]
    assert organization["type"]["coding"][0]["code"] == "PROV"
    assert represented == {
        "type": {"text": "on behalf of"},
        "who": {"reference": "Practitioner/2"},
        "requestor": False,
    }
    assert claims(event) == ["PatientRead"]


def test_a_trace_has_an_entity_of_its_own() -> None:
    (event,) = events(exchange("GET", "Patient/1", trace_id="a" * 32))
    assert event["entity"][1]["what"]["identifier"] == {
        "system": codes.TRACE_ID,
        "value": "a" * 32,
    }


def test_nobody_is_recorded_as_nobody() -> None:
    (event,) = events(exchange("GET", "Patient/1", 401, identity=Identity(), request_id=None))
    assert len(event["agent"]) == 2
    assert event["agent"][0]["who"] == {"display": "unknown client"}
    assert "XrequestId" not in json.dumps(event)
    (event,) = events(replace(SEARCH, request_id=None))
    assert "x-request-id" not in query_of(event)[0]


def test_a_client_without_an_address_has_no_network_and_claims_nothing() -> None:
    """BALP wants the client's network; none is made up."""
    (event,) = events(exchange("GET", "Patient/1", address=""))
    assert claims(event) == []
    assert "network" not in event["agent"][0]
    both = replace(IDENTITY, credential=OAuthToken(id="t"))
    (event,) = events(exchange("GET", "Patient/1", address="", identity=both))
    assert claims(event) == ["OAUTHaccessTokenUse.Minimal"]


def test_a_client_that_records_names_itself() -> None:
    ward = Machine(who=reference("Device/ward"), address="192.0.2.9")
    (event,) = events(exchange("GET", "Patient/1", by_client=True, client=ward))
    assert event["agent"][0]["who"] == ward.who == event["source"]["observer"]


def test_a_text_that_fhir_cannot_hold_costs_no_event() -> None:
    user = User(who=reference("Practitioner/1"), name="Ada\x00\ud800")
    credential = OAuthToken(id="two words", subject="s", roles=(codes.Code("", "r"),))
    identity = Identity(user=user, credential=credential)
    (event,) = events(exchange("GET", "Patient/1", identity=identity))
    parsed(event)
    assert event["agent"][2]["name"] == "Ada\ufffd?"
    assert event["agent"][2]["policy"] == [f"{codes.JTI}two%20words"]
    assert claims(event) == ["PatientRead", "OAUTHaccessTokenUse.Minimal"]


def test_an_outcome_of_no_sense_is_left_out() -> None:
    issues = [7, {"severity": "PII 123"}, {"severity": "error"}, {"code": "a b"}]
    told = {"resourceType": "OperationOutcome", "issue": issues}
    (event,) = events(exchange("GET", "Patient/1", 400, response=message(told)))
    assert entities(event, "OperationOutcome")[0]["detail"] == [
        {"type": "issue", "valueString": "error"}
    ]
    told = {"resourceType": "OperationOutcome", "issue": 7}
    (event,) = events(exchange("GET", "Patient/1", 499, response=message(told)))
    assert entities(event, "OperationOutcome") == []
    assert event["outcomeDesc"] == "499"


def test_no_answer_without_a_reason_is_a_failure() -> None:
    (event,) = events(exchange("GET", "Patient/1", 0))
    assert (event["outcome"], event["outcomeDesc"]) == ("8", "no answer")
    (event,) = events(exchange("GET", "Patient/1", 0, failure="unreachable"))
    assert event["outcome"] == "12"


# -- Tokens --


def test_claims_become_a_token() -> None:
    token = token_of({**CLAIMS, "patient": "5"})
    assert (token.id, token.issuer, token.subject, token.client) == (
        "9f0c", "https://as.example.org", "user-42", "ward-app")  # fmt: skip
    assert token.organization == Organization(value="urn:oid:1.2.3", name="Synthetic Hospital")
    assert token.purposes == (codes.purpose("TREAT"),)
    assert token.launch_patient == "5"
    assert token.consent is not None
    assert token.consent.home_community == "urn:oid:1.2.3.4"


def test_claims_may_be_few_or_of_no_sense() -> None:
    token = token_of({"sub": 7, "extensions": 7, "purpose_of_use": [7, {}, "", {"code": "TREAT"}]})
    assert token == OAuthToken(id="", subject="7", purposes=(codes.Code("", "TREAT"),))
    (event,) = events(exchange("GET", "Patient/1", identity=Identity(credential=token)))
    assert claims(event) == ["PatientRead"]
    nobody = Identity(credential=OAuthToken(id=""))
    assert len(events(exchange("GET", "Patient/1", identity=nobody))[0]["agent"]) == 2


def test_half_of_a_short_opaque_token_is_kept() -> None:
    assert opaque("abcd") == OpaqueToken(id="cd")
    assert opaque("") == OpaqueToken(id="")
    assert len(opaque("x" * 100).id) == 32


def test_a_users_own_identifier_stands() -> None:
    user = User(who=identified("ours"))
    identity = Identity(user=user, credential=OAuthToken(id="t", subject="theirs"))
    (event,) = events(exchange("GET", "Patient/1", identity=identity))
    assert event["agent"][2]["who"] == user.who


def test_a_comprehensive_credential_with_little_in_it_is_recorded() -> None:
    for credential in (
        SamlAssertion(id="a", subject="s", comprehensive=True),
        OAuthToken(id="t", subject="s", client="c", comprehensive=True),
        OAuthToken(id="t", subject="s", comprehensive=True),
    ):
        (event,) = events(exchange("GET", "Patient/1", identity=Identity(credential=credential)))
        assert profiles.unmet(parsed(event)) == ()
    consent = replace(token_of(CLAIMS, comprehensive=True))
    assert consent.consent is not None
    bare = replace(consent, consent=replace(consent.consent, home_community=None))
    (event,) = events(exchange("GET", "Patient/1", identity=Identity(credential=bare)))
    assert "assigner" not in entities(event, "Consent")[0]["what"]["identifier"]


# -- Rules --


@pytest.mark.parametrize(
    ("rule", "counts"),
    [
        (Rule(include=False, interactions=frozenset(["read"])), [0, 1, 2]),
        (Rule(include=False, types=frozenset(["Patient"])), [0, 0, 3]),
        (Rule(include=False, interactions=frozenset(["batch"])), [1, 1, 2]),
        (Rule(include=False, clients=frozenset(["ward-app"])), [0, 0, 0]),
        (Rule(include=False, clients=frozenset(["other"])), [1, 1, 3]),
        (Rule(include=False), [0, 0, 0]),
        (Rule(include=True), [1, 1, 3]),
    ],
)
def test_a_rule_decides_what_is_recorded(rule: Rule, counts: list[int]) -> None:
    policy = Policy(rules=Rules((rule,)))
    read, search = exchange("GET", "Patient/1"), exchange("GET", "Patient", query="name=A")
    batch = replace(EXAMPLES["batch"], identity=IDENTITY)
    assert [len(events(seen, policy)) for seen in (read, search, batch)] == counts


def test_the_first_rule_that_fits_decides() -> None:
    rows = (
        Rule(include=True, types=frozenset(["Patient"])),
        Rule(include=False, interactions=frozenset(["read", "$validate"])),
    )
    policy = Policy(rules=Rules(rows))
    assert len(events(exchange("GET", "Patient/1"), policy)) == 1
    assert len(events(exchange("GET", "Medication/1"), policy)) == 0
    assert len(events(EXAMPLES["$validate"], policy)) == 0
    assert policy.rules.text() == "include types Patient | exclude interactions $validate, read"
    assert Rules().text() == "include all"
    assert Rule(include=False).text() == "exclude all"


@pytest.mark.parametrize(
    ("identity", "client"),
    [
        (Identity(client=reference("Device/app")), "Device/app"),
        (Identity(client={"display": "x"}), "never"),
        (Identity(credential=OAuthToken(id="t", client="app")), "app"),
        (Identity(), "never"),
    ],
)
def test_a_client_is_known_by_its_reference_or_id(identity: Identity, client: str) -> None:
    policy = Policy(rules=Rules((Rule(include=False, clients=frozenset([client])),)))
    made = events(exchange("GET", "Patient/1", identity=identity), policy)
    assert len(made) == (1 if client == "never" else 0)


# -- Redaction --


KEY = b"k" * 32


def redacted(seen, **treatments: Treatment) -> dict:
    named = {name.replace("__", "."): treatment for name, treatment in treatments.items()}
    (event,) = events(seen, Policy(redaction=Redaction(named, KEY)))
    parsed(event)
    return event


def test_a_field_is_removed_and_the_profile_that_needs_it_is_not_claimed() -> None:
    event = redacted(SEARCH, query__raw=Treatment.REMOVE)
    assert claims(event) == []
    assert "query" not in json.dumps(event["entity"])
    event = redacted(SEARCH, query__text=Treatment.REMOVE, user__name=Treatment.REMOVE)
    assert claims(event) == ["PatientQuery"]
    assert "name" not in event["agent"][2]


def test_a_pseudonym_is_the_same_for_the_same_and_keeps_the_kind() -> None:
    first, second = (
        redacted(seen, user__reference=Treatment.PSEUDONYM) for seen in (SEARCH, SEARCH)
    )
    who = first["agent"][2]["who"]["reference"]
    assert who == second["agent"][2]["who"]["reference"]
    assert who.startswith("Practitioner/")
    assert len(who.rpartition("/")[2]) == 32
    assert first["agent"][1]["who"] == {"reference": "Device/fhir-server"}


@pytest.mark.parametrize(
    ("address", "expected"),
    [("192.0.2.77", "192.0.2.0/24"), ("2001:db8:1:2::3", "2001:db8:1::/48"), ("host", None)],
)
def test_an_address_is_cut_to_its_network(address: str, expected: str | None) -> None:
    event = redacted(replace(SEARCH, address=address), client__address=Treatment.NETWORK)
    assert event["agent"][0].get("network", {}).get("address") == expected
    assert event["agent"][1]["network"]["address"] == "https://fhir.example.org/r4"


def test_every_field_can_be_removed_and_the_observation_stays_as_it_was() -> None:
    policy = Policy(redaction=Redaction(dict.fromkeys(FIELDS, Treatment.REMOVE)))
    for name, seen in EXAMPLES.items():
        plain = events(seen)
        for event in events(seen, policy):
            parsed(event)
        assert events(seen) == plain, name


def test_what_cannot_be_hidden_in_part_is_removed() -> None:
    event = redacted(SEARCH, query__raw=Treatment.PSEUDONYM, user__role=Treatment.PSEUDONYM)
    assert "role" not in event["agent"][2]
    assert claims(event) == []


def test_a_policy_that_cannot_be_followed_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no field"):
        Redaction({"nobody.name": Treatment.REMOVE})
    with pytest.raises(ConfigurationError, match="16 bytes"):
        Redaction({"user.name": Treatment.PSEUDONYM}, b"short")
