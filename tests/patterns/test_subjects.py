"""The patient is found in the URL, the search, the token, the bodies, and no one else is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail.patterns import subjects
from caretrail.patterns.credential import OAuthToken
from caretrail.patterns.exchange import Identity, Message
from caretrail.patterns.recording import events
from caretrail.patterns.tables.patient_compartment import PATIENT_COMPARTMENT
from caretrail.patterns.tables.resource_types import RESOURCE_TYPES
from caretrail.patterns.tables.search_parameters import SEARCH_PARAMETERS
from tests.patterns.exchanges import bundle, message, observation, patients, replace
from tests.patterns.test_golden import exchange

BASE = "https://fhir.example.org/r4"
NO_ONE = replace(exchange("GET", "", 200), identity=Identity())
PATIENT = {"resourceType": "Patient", "id": "9"}


def about(method: str, path: str, status: int = 200, **rest) -> list[str]:
    return patients(events(exchange(method, path, status, **rest)))


def found(resource: object) -> list[str]:
    return [
        what.get("reference") or what["identifier"]["value"]
        for what in subjects.of_resource(resource, BASE)
    ]


def searched(kind: str, *parameters: tuple[str, str]) -> list[str]:
    return [
        what.get("reference") or what["identifier"]["value"]
        for what in subjects.of_search(kind, parameters, BASE)
    ]


def test_the_tables_are_those_of_r4() -> None:
    """Counts of the published definitions; a few rows that everybody knows."""
    assert len(RESOURCE_TYPES) == 146
    assert len(PATIENT_COMPARTMENT) == 67
    assert SEARCH_PARAMETERS.keys() - RESOURCE_TYPES == {"DomainResource", "Resource"}
    assert PATIENT_COMPARTMENT["Observation"] == (
        ("subject", ("subject",)),
        ("performer", ("performer",)),
    )
    assert ("patient", "reference", "Condition.subject.where(resolve() is Patient)", "Patient") in [
        (code, kind, expression, targets.split()[-1])
        for code, kind, expression, targets in SEARCH_PARAMETERS["Condition"]
        if code == "patient"
    ]
    assert sum(map(len, SEARCH_PARAMETERS.values())) == 1708


def test_every_parameter_of_the_compartment_is_a_search_parameter() -> None:
    for kind, rows in PATIENT_COMPARTMENT.items():
        codes = {row[0] for row in SEARCH_PARAMETERS[kind]}
        assert {code for code, _ in rows} <= codes


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (PATIENT, ["Patient/9"]),
        (observation(), ["Patient/1"]),
        (observation(patient="Patient/1/_history/4"), ["Patient/1"]),
        (observation(patient=f"{BASE}/Patient/1"), ["Patient/1"]),
        (observation(patient="https://other/Patient/1"), ["https://other/Patient/1"]),
        (observation(patient="Group/1"), []),
        (observation(patient="#contained"), []),
        (observation(patient="urn:uuid:7"), []),
        # Who performed it is not its subject, unless nobody else is.
        (observation(performer=[{"reference": "Patient/2"}]), ["Patient/1"]),
        (observation(patient=None, performer=[{"reference": "Patient/2"}]), ["Patient/2"]),
        (
            {"resourceType": "Appointment", "participant": [
                {"actor": {"reference": "Practitioner/1"}}, {"actor": {"reference": "Patient/3"}}]},
            ["Patient/3"],
        ),
        (
            {"resourceType": "Coverage", "beneficiary": {"reference": "Patient/4"},
             "subscriber": {"reference": "Patient/5"}},
            ["Patient/5", "Patient/4"],
        ),
        ({"resourceType": "Ours", "patient": {"reference": "Patient/6"}}, ["Patient/6"]),
        (
            {"resourceType": "Observation",
             "subject": {"type": "Patient", "identifier": {"system": "urn:mrn", "value": "m1"}}},
            ["m1"],
        ),
        (bundle("document", PATIENT, observation()), ["Patient/9", "Patient/1"]),
        (
            {"resourceType": "Parameters", "parameter": [
                {"name": "a", "resource": observation()},
                {"name": "b", "valueReference": {"reference": "Patient/7"}},
                {"name": "c", "part": [{"name": "d", "resource": PATIENT}]}]},
            ["Patient/1", "Patient/7", "Patient/9"],
        ),
        (bundle("batch", {"resourceType": "Medication", "id": "1"}), []),
        ({"resourceType": "Patient"}, []),
    ],
)  # fmt: skip
def test_a_resource_says_whom_it_is_about(resource: dict, expected: list[str]) -> None:
    assert found(resource) == expected


@pytest.mark.parametrize(
    "resource",
    [
        None,
        7,
        {},
        {"resourceType": 7},
        {"resourceType": "Bundle", "entry": 7},
        {"resourceType": "Bundle", "entry": [7, {}, {"resource": 7}]},
        {"resourceType": "Parameters", "parameter": [{"valueReference": 7}, {"part": 7}]},
        {"resourceType": "Observation", "subject": 7},
        {"resourceType": "Observation", "subject": {"reference": 7}},
        {"resourceType": "Observation", "subject": {"type": "Patient", "identifier": 7}},
        {"resourceType": "Observation", "subject": {"type": "Patient", "identifier": {"value": 7}}},
        {"resourceType": "Patient", "id": 7},
    ],
)
def test_what_is_no_resource_is_about_nobody(resource: object) -> None:
    assert found(resource) == []


def test_nesting_without_end_is_given_up() -> None:
    resource: dict = PATIENT
    for _ in range(50):
        resource = bundle("collection", resource)
    assert found(resource) == []
    part: dict = {"name": "x", "resource": PATIENT}
    for _ in range(50):
        part = {"name": "x", "part": [part]}
    assert found({"resourceType": "Parameters", "parameter": [part]}) == []


@pytest.mark.parametrize(
    ("kind", "name", "value", "expected"),
    [
        ("Observation", "patient", "1", ["Patient/1"]),
        ("Observation", "patient", "Patient/1,Patient/2", ["Patient/1", "Patient/2"]),
        ("Observation", "patient", f"{BASE}/Patient/1", ["Patient/1"]),
        ("Observation", "subject", "Patient/1", ["Patient/1"]),
        ("Observation", "subject", "1", []),  # It may be a group.
        ("Observation", "subject:Patient", "1", ["Patient/1"]),
        ("Observation", "subject:Group", "1", []),
        ("Observation", "subject", "Device/1", []),
        ("Observation", "patient:missing", "true", []),
        ("Observation", "patient.name", "Ada", []),
        ("Observation", "patient._id", "1", ["Patient/1"]),
        ("Observation", "patient.identifier", "urn:mrn|m1", ["m1"]),
        ("Observation", "subject:Patient.identifier", "m1", ["m1"]),
        ("Observation", "patient:identifier", "urn:mrn|m1,urn:mrn|", ["m1"]),
        ("Observation", "subject.identifier", "m1", []),
        ("Observation", "encounter.patient", "Patient/1", ["Patient/1"]),
        ("Observation", "encounter.patient", "1", []),
        ("Observation", "code", "Patient/1", []),
        ("Patient", "_id", "1,2", ["Patient/1", "Patient/2"]),
        ("Observation", "_id", "1", []),
        ("Appointment", "actor", "Patient/1", ["Patient/1"]),
        ("", "patient", "1", ["Patient/1"]),
        ("", "subject", "Patient/1", ["Patient/1"]),
        ("Ours", "subject", "1", []),
    ],
)
def test_a_search_says_whom_it_is_about(kind, name, value, expected) -> None:
    assert searched(kind, (name, value)) == expected


def test_the_patient_of_the_url_is_known_even_from_a_failure() -> None:
    assert about("GET", "Patient/1", 403) == ["Patient/1"]
    assert about("DELETE", "Patient/1", 204) == ["Patient/1"]
    assert about("GET", "Patient/1/Observation", 404) == ["Patient/1"]
    assert about("GET", "Patient/1/$everything", 500) == ["Patient/1"]
    assert about("GET", "Patient/1/_history") == ["Patient/1"]
    assert about("GET", "Patient/%20", 404) == []


def test_a_new_patient_is_the_one_that_was_made() -> None:
    """An id that the client sends with a create is not the one it gets (FHIR, create)."""
    made = message(location="Patient/77/_history/1")
    assert about("POST", "Patient", 201, request=message(PATIENT), response=made) == ["Patient/77"]
    assert about("POST", "Patient", 422, request=message(PATIENT)) == []


def test_what_is_sent_and_what_comes_back_say_who_it_is() -> None:
    sent = message(observation())
    assert about("POST", "Observation", 201, request=sent) == ["Patient/1"]
    assert about("PUT", "Observation/7", 200, request=sent) == ["Patient/1"]
    assert about("POST", "Observation/$validate", 200, request=sent) == ["Patient/1"]
    assert about("GET", "Observation/7", response=sent) == ["Patient/1"]
    assert about("PATCH", "Observation/7", response=sent) == ["Patient/1"]


def test_there_is_one_event_for_each_patient_in_the_order_of_the_answer() -> None:
    found = bundle("searchset", *(observation(str(n), f"Patient/{n % 3}") for n in range(6)))
    made = events(exchange("GET", "Observation", response=message(found)))
    assert patients(made) == ["Patient/0", "Patient/1", "Patient/2"]
    parts = [event["entity"][0]["detail"][0]["valueString"] for event in made]
    assert parts == ["1/3", "2/3", "3/3"]


def test_a_number_that_found_somebody_is_the_one_who_was_found() -> None:
    asked = {"query": "patient.identifier=urn:mrn|m1"}
    found = message(bundle("searchset", observation()))
    assert about("GET", "Observation", response=found, **asked) == ["Patient/1"]
    assert about("GET", "Observation", response=message(bundle("searchset")), **asked) == ["m1"]


def test_a_search_by_form_is_understood() -> None:
    form = Message(
        headers={"content-type": "application/x-www-form-urlencoded"},
        body=b"subject=Patient%2F1&code=x",
    )
    assert about("POST", "Observation/_search", request=form, query="_count=5") == ["Patient/1"]
    assert about("POST", "Observation/_search", request=form) == ["Patient/1"]


def test_the_tokens_patient_counts_where_nothing_else_is_known() -> None:
    """SMART App Launch: a token in the context of one patient."""
    token = OAuthToken(id="t", launch_patient="5")
    identity = Identity(credential=token)
    assert about("GET", "Observation", query="code=1", identity=identity) == ["Patient/5"]
    named = Identity(launch_patient="Patient/6")
    assert about("GET", "Observation", query="code=1", identity=named) == ["Patient/6"]
    other = message(observation(patient="Patient/1"))
    assert about("GET", "Observation/7", response=other, identity=identity) == ["Patient/1"]


def test_the_application_knows_best() -> None:
    seen = exchange(
        "GET", "Observation/7", response=message(observation()), patients=("Patient/8",)
    )
    assert patients(events(seen)) == ["Patient/8"]


def test_a_graph_is_searched_for_patients() -> None:
    answer = {"data": {
        "Patient": {"resourceType": "Patient", "id": "1"},
        "list": [{"subject": {"reference": "Patient/2"}}, {"subject": {"reference": "Group/3"}},
                 {"patient": "Patient/4"}, 7],
    }}  # fmt: skip
    assert about("POST", "$graphql", response=message(answer)) == ["Patient/1", "Patient/2"]
    deep: object = {"subject": {"reference": "Patient/2"}}
    for _ in range(200):
        deep = [deep]
    assert about("POST", "$graphql", response=message({"data": deep})) == []


def test_the_lines_of_an_export_are_read() -> None:
    lines = b"\n".join(json.dumps(observation(p, f"Patient/{p}")).encode() for p in "12")
    kind = {"content-type": "application/fhir+ndjson"}
    whole = Message(headers=kind, body=lines + b"\n")
    assert about("GET", "f", interaction="export-file", response=whole) == [
        "Patient/1",
        "Patient/2",
    ]
    cut = Message(headers=kind, body=lines, is_whole=False)
    (event,) = events(exchange("GET", "f", interaction="export-file", response=cut))
    assert patients([event]) == ["Patient/1"]
    assert event["entity"][-1]["name"] == "response body"
    broken = Message(headers=kind, body=b"{\n" + lines)
    assert len(about("GET", "f", interaction="export-file", response=broken)) == 2


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8)
        | st.sampled_from(["Patient/1", "Patient", "Bundle", "Parameters", "Observation"]),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["resourceType", "id", "entry", "resource", "subject", "reference",
                             "parameter", "part", "meta", "security", "issue", "response",
                             "request", "location", "url", "method", "identifier", "type"]),
            inner,
            max_size=4,
        ),
        max_leaves=12,
    )
)  # fmt: skip
def test_no_body_keeps_an_exchange_from_being_recorded(tree: object) -> None:
    body = Message(headers={"content-type": "application/json"}, body=json.dumps(tree).encode())
    for method, path, status in (
        ("GET", "Observation/7", 200),
        ("GET", "Observation", 200),
        ("POST", "", 200),
        ("PUT", "Observation/7", 422),
        ("POST", "$graphql", 200),
    ):
        seen = exchange(method, path, status, request=body, response=body)
        assert events(seen)
    batch = b'{"type":"batch","resourceType":"Bundle","entry":' + json.dumps(tree).encode() + b"}"
    whole = exchange("POST", "", request=Message(body=batch), response=body)
    assert events(whole)
