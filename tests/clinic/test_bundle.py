"""Batch and transaction: each entry for itself, or all of them and in one order."""

from __future__ import annotations

import base64
import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.arr import event
from tests.clinic.hospital import BASE, JSON, bundle, entry, issue, observation, patient

if TYPE_CHECKING:
    from tests.clinic.hospital import Hospital

ONE, TWO = "urn:uuid:11111111-1111-4111-8111-111111111111", "urn:uuid:2"


def _statuses(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["response"]["status"][:3] for row in answer.json().get("entry", [])]


def test_a_transaction_makes_references_between_its_entries_real(clinic: Hospital) -> None:
    pulse = observation(subject=ONE, derivedFrom=[{"reference": TWO}], note=[{"text": ONE}])
    sent = bundle(
        "transaction",
        entry("POST", "Observation", pulse, fullUrl=TWO),
        entry("POST", "Patient", patient(photo=[{"url": TWO}]), fullUrl=ONE),
        entry("PUT", "Encounter/e1", {
            "resourceType": "Encounter", "id": "e1", "status": "planned", "class": {"code": "AMB"},
            "subject": {"reference": ONE},
        }),
        entry("GET", "Encounter?subject:Patient.name=mockley"),
    )  # fmt: skip
    answer = clinic.post("", sent)
    assert _statuses(answer) == ["201", "201", "201", "200"]
    rows = answer.json()["entry"]
    first, second = (row["response"]["location"].removeprefix(f"{BASE}/") for row in rows[:2])
    made = clinic.get(first.partition("/_history")[0]).json()
    assert made["subject"]["reference"] == second.partition("/_history")[0]
    assert made["derivedFrom"][0]["reference"] == first.partition("/_history")[0]
    known = clinic.get(second).json()
    assert known["photo"][0]["url"] == first.partition("/_history")[0]
    assert rows[3]["resource"]["total"] == 1
    assert rows[0]["response"]["etag"] == 'W/"1"'
    assert "resource" not in rows[0]


def test_a_transaction_deletes_first_and_reads_last(clinic: Hospital) -> None:
    clinic.put(patient(identifier=[{"value": "1"}]))
    sent = bundle(
        "transaction",
        entry("GET", "Patient?identifier=1"),
        entry("POST", "Patient", patient(identifier=[{"value": "1"}]), ifNoneExist="identifier=1"),
        entry("DELETE", "Patient?identifier=1"),
    )
    answer = clinic.post("", sent, Prefer="return=representation")
    assert _statuses(answer) == ["200", "201", "204"]
    read, made, _ = answer.json()["entry"]
    assert read["resource"]["entry"][0]["resource"]["id"] == made["resource"]["id"]


def test_conditions_are_met_in_transactions(clinic: Hospital) -> None:
    clinic.put(patient(identifier=[{"value": "1"}]))
    patch = base64.b64encode(json.dumps([{"op": "remove", "path": "/gender"}]).encode()).decode()
    binary = {
        "resourceType": "Binary", "contentType": "application/json-patch+json", "data": patch,
    }  # fmt: skip
    sent = bundle(
        "transaction",
        entry("POST", "Patient", patient(), fullUrl=ONE, ifNoneExist="identifier=1"),
        entry("POST", "Observation", observation(subject=ONE)),
        entry("POST", "Observation", observation(subject="Patient?identifier=1")),
        entry("PATCH", "Patient/p1", binary, ifMatch='W/"1"'),
    )
    assert _statuses(clinic.post("", sent)) == ["200", "201", "201", "200"]
    assert len(clinic.found("Observation?subject=Patient/p1")) == 2
    assert "gender" not in clinic.get("Patient/p1").json()
    told = bundle("transaction", entry("PUT", "Patient?identifier=1", patient()))
    answer = clinic.post("", told, Prefer="return=OperationOutcome").json()["entry"]
    assert answer[0]["response"]["outcome"]["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (entry("POST", "Patient", patient(gender=1)), 400),
        (entry("POST", "Observation", observation(subject="urn:uuid:9")), 400),
        (entry("POST", "Observation", observation(subject="Patient?identifier=9")), 412),
        (entry("POST", "Observation", observation(subject="Patient?gender=female")), 412),
        (entry("PUT", "Patient/p1", patient(), ifMatch='W/"9"'), 412),
        (entry("PUT", "Patient/fresh", patient("fresh")), 400),
        (entry("GET", "Patient/never"), 404),
        (entry("GET", "Patient?birthdate=soon"), 400),
        (entry("POST", "Patient"), 400),
        (entry("POST", "Patient/_search", {}), 404),
        (entry("PATCH", "Patient/p1", patient()), 400),
        (entry("PATCH", "Patient/p1", {"resourceType": "Binary", "data": "!"}), 400),
        (entry("POST", "Nothing", patient()), 404),
        (entry("PUT", "Patient?gender=female", patient()), 412),
    ],
)
def test_one_bad_entry_undoes_a_transaction(
    shared: Hospital, bad: dict[str, Any], status: int
) -> None:
    shared.put(patient())
    shared.put(patient("p2"))
    before = shared.get("_history").json()["total"]
    sent = bundle(
        "transaction",
        entry("DELETE", "Patient/gone"),
        entry("PUT", "Patient/fresh", patient("fresh")),
        bad,
    )
    answer = shared.post("", sent)
    assert answer.status_code == status, answer.text
    assert issue(answer)["expression"][0].startswith("Bundle.entry[2]")
    assert shared.get("_history").json()["total"] == before
    assert shared.get("Patient/fresh").status_code == 404


def test_two_entries_that_meet_one_condition_are_refused(clinic: Hospital) -> None:
    numbered = patient(identifier=[{"value": "1"}])
    twice = [entry("POST", "Patient", numbered, ifNoneExist="identifier=1")] * 2
    assert clinic.post("", bundle("transaction", *twice)).status_code == 412
    assert clinic.found("Patient") == []


def test_the_entries_of_a_batch_stand_for_themselves(clinic: Hospital) -> None:
    sent = bundle(
        "batch",
        entry("PUT", "Patient/p1", patient()),
        entry("PUT", "Patient/p2", patient("p2", gender=1)),
        entry("GET", "Patient/p1"),
        entry("GET", f"{BASE}/Patient/p9"),
        entry("HEAD", "Patient/p1", ifNoneMatch='W/"1"'),
        entry("DELETE", "Patient/p1"),
        entry("GET", "Patient/p1/_history"),
        entry("GET", "metadata"),
    )
    answer = clinic.post("", sent)
    assert _statuses(answer) == ["201", "400", "200", "404", "304", "204", "200", "404"]
    assert answer.json()["entry"][1]["response"]["outcome"]["issue"][0]["expression"]
    assert clinic.get("Patient/p1").status_code == 410


@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_events_beside_other_types_are_refused(clinic: Hospital, kind: str) -> None:
    for row in (entry("POST", "AuditEvent", event()), entry("GET", "AuditEvent?_id=1")):
        answer = clinic.post("", bundle(kind, entry("PUT", "Patient/p1", patient()), row))
        assert answer.status_code == 422
        assert issue(answer)["code"] == "business-rule"
    assert clinic.get("Patient/p1").status_code == 404


def test_a_bundle_of_events_goes_to_the_log_and_is_not_recorded_itself(clinic: Hospital) -> None:
    before = len(clinic.events())
    feed = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": event()}] * 2}
    packed = gzip.compress(json.dumps(feed).encode())
    answer = clinic.request("POST", "", packed, **{**JSON, "Content-Encoding": "gzip"})
    assert answer.json()["type"] == "batch-response"
    named = bundle("transaction", entry("POST", "AuditEvent", event(outcome="8")))
    assert _statuses(clinic.post("", named)) == ["201"]
    asked = bundle("batch", entry("GET", "AuditEvent?outcome=8"))
    assert _statuses(clinic.post("", asked)) == ["200"]
    assert len(clinic.events()) == before + 3


def test_a_packed_bundle_of_resources_is_read(clinic: Hospital) -> None:
    sent = gzip.compress(
        json.dumps(bundle("batch", entry("PUT", "Patient/p1", patient()))).encode()
    )
    answer = clinic.request("POST", "", sent, **{**JSON, "Content-Encoding": "gzip"})
    assert _statuses(answer) == ["201"]


@pytest.mark.parametrize(
    "sent",
    [
        bundle("history", entry("PUT", "Patient/p1", patient())),
        bundle("batch", {"resource": patient()}),
        bundle("batch", entry("TURN", "Patient/p1", patient())),
        bundle("batch", {"resource": patient(), "request": {"method": "PUT"}}),
        bundle("batch", {"resource": patient(), "request": {"method": "PUT", "url": 1}}),
        b'{"resourceType":"Bundle","type":"batch","type":"batch","entry":[{"resource":{"resourceType":"Patient"}}]}',
    ],
)  # fmt: skip
def test_what_is_no_bundle_to_process_is_refused(shared: Hospital, sent: Any) -> None:
    assert shared.post("", sent).status_code == 400


def test_a_bundle_has_bounds(clinic: Hospital) -> None:
    rows = [entry("GET", "Patient/p1")] * 101
    answer = clinic.post("", bundle("batch", *rows, entry("DELETE", "Patient/p1")))
    assert _statuses(answer) == ["404"] * 100 + ["413", "204"]
    assert clinic.post("", bundle("batch", *rows * 10)).status_code == 413
    xml = "application/fhir+xml"
    text = b'<Bundle xmlns="http://hl7.org/fhir"><type value="batch"/></Bundle>'
    assert clinic.request("POST", "", text, Content_Type=xml).status_code == 200
