"""What is done with resources is in the log of the same process before its answer leaves."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest

from tests.clinic.hospital import Hospital, bundle, entry, issue, observation, patient

COVERAGE = Path(__file__).parents[2] / "docs" / "reference" / "coverage.md"
BALP = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
REST = "http://hl7.org/fhir/restful-interaction"
GENDER = [{"op": "remove", "path": "/gender"}]


def _row(name: str) -> dict[str, str]:
    """Return the cells of an interaction in the reference of what is recorded, by status."""
    text = COVERAGE.read_text(encoding="utf-8")
    lines = [re.split(r" \| ", line.strip("| ")) for line in text.splitlines()]
    (heads,) = [line for line in lines if line[0] == "interaction"]
    (cells,) = [line for line in lines if line[0] == name]
    return dict(zip(heads, cells, strict=True))


def _told(event: dict[str, Any]) -> str:
    """Return an event in the words of that reference."""
    profiles = [url.removeprefix(BALP) for url in event.get("meta", {}).get("profile", ())]
    named = [name for name in profiles if not name.startswith("OAUTH")]
    codes = [row["code"] for row in event["subtype"] if row.get("system") == REST]
    others = [row["code"] for row in event["subtype"] if row.get("system") != REST]
    what = named[0] if named else " ".join(["rest", *codes, *others])
    return f"{what}: {event['action']} {event['outcome']}"


@pytest.mark.parametrize(
    ("name", "status", "method", "path", "body"),
    [
        ("read", "ok", "GET", "Patient/p1", None),
        ("read", "404", "GET", "Patient/p9", None),
        ("vread", "ok", "GET", "Patient/p1/_history/1", None),
        ("create", "ok", "POST", "Observation", observation()),
        ("create", "400", "POST", "Observation", {"resourceType": "Observation"}),
        ("update", "ok", "PUT", "Observation/o1", observation()),
        ("conditional-update", "ok", "PUT", "Observation?identifier=1", observation()),
        ("conditional-update", "412", "PUT", "Patient?gender=female", patient()),
        ("patch", "ok", "PATCH", "Patient/p1", GENDER),
        ("conditional-patch", "ok", "PATCH", "Patient?_id=p1", GENDER),
        ("delete", "ok", "DELETE", "Observation/o7", None),
        ("delete", "ok", "DELETE", "Patient/p1", None),
        ("search-type", "ok", "GET", "Observation?patient=Patient/p1", None),
        ("search-type", "400", "GET", "Patient?birthdate=x", None),
        ("search-compartment", "ok", "GET", "Patient/p1/Observation", None),
        ("search-system", "ok", "GET", "?_type=Patient&_id=p1", None),
        ("history-instance", "ok", "GET", "Patient/p1/_history", None),
        ("history-type", "ok", "GET", "Patient/_history", None),
        ("history-system", "ok", "GET", "_history", None),
        ("capabilities", "ok", "GET", "metadata", None),
        ("$everything", "ok", "GET", "Patient/p1/$everything", None),
    ],
)
def test_an_interaction_leaves_the_event_that_the_reference_tells(
    clinic: Hospital, name: str, status: str, method: str, path: str, body: Any
) -> None:
    clinic.put(patient())
    if name != "conditional-update" or status == "412":
        clinic.put(observation("o7"))
    if status == "412":
        clinic.put(patient("p2"))
    before = {event["id"] for event in clinic.events()}
    answer = clinic.request(method, path, body, X_Request_Id="request-1")
    assert str(answer.status_code) == status or (answer.is_success and status == "ok"), answer.text
    fresh = [event for event in clinic.events() if event["id"] not in before]
    wanted = _row(name)[status]
    assert wanted in {_told(event) for event in fresh}
    assert fresh == clinic.events("request-id=request-1")
    if wanted.startswith("Patient"):
        found = clinic.events("request-id=request-1&patient=Patient/p1")
        assert len(found) == len(fresh)


def test_a_transaction_leaves_an_event_for_the_whole_and_one_for_each_entry(
    clinic: Hospital,
) -> None:
    sent = bundle("transaction", entry("PUT", "Patient/p1", patient()), entry("GET", "Patient/p1"))
    clinic.post("", sent, X_Request_Id="request-1")
    told = {_told(event) for event in clinic.events("request-id=request-1")}
    assert told == {"rest transaction: E 0", "PatientUpdate: U 0", "PatientRead: R 0"}


def test_a_refused_mixture_is_recorded(clinic: Hospital) -> None:
    sent = bundle("transaction", entry("PUT", "Patient/p1", patient()), entry("GET", "AuditEvent"))
    clinic.post("", sent, X_Request_Id="request-1")
    told = {_told(event) for event in clinic.events("request-id=request-1")}
    assert "rest transaction: E 4" in told


def test_who_asked_is_named_as_the_gate_knows_him(clinic: Hospital) -> None:
    clinic.get("Patient", X_Request_Id="request-1")
    (found,) = clinic.events("request-id=request-1")
    assert "token" in str([agent.get("who") for agent in found["agent"]])
    assert clinic.server.secret not in str(found)
    clinic.request("GET", "Patient", token="wrong-token-of-nobody", X_Request_Id="request-2")
    (refused,) = clinic.events("request-id=request-2")
    assert refused["outcome"] == "4"


def test_reads_of_the_log_are_not_the_clinics_to_record(clinic: Hospital) -> None:
    count = len(clinic.events())
    assert len(clinic.events()) == count
    clinic.get("SearchParameter")
    clinic.get("Patient/p1/AuditEvent")
    clinic.form("_search", "_type=AuditEvent")
    clinic.get("?_type=AuditEvent")
    assert len(clinic.events()) == count


def test_what_cannot_be_recorded_is_not_given(tmp_path: Path) -> None:
    clinic = Hospital(tmp_path)
    clinic.put(patient())
    clinic.runner.run(clinic.server.repository.close())
    answer = clinic.get("Patient/p1")
    assert answer.status_code == 503
    assert issue(answer)["diagnostics"].startswith("access-unrecorded")
    with contextlib.suppress(OSError):  # The repository is closed already.
        clinic.close()
    clinic.runner.close()


def test_who_moves_a_resource_has_changed_the_data_of_two_patients(clinic: Hospital) -> None:
    clinic.put(observation())
    clinic.put(observation(subject="Patient/p2"), X_Request_Id="request-1")
    for name in ("p1", "p2"):
        assert len(clinic.events(f"request-id=request-1&patient=Patient/{name}")) == 1
    assert len(clinic.events("request-id=request-1")) == 2


def test_an_entry_of_a_bundle_names_its_own_patients_only(clinic: Hospital) -> None:
    clinic.put(observation())
    sent = bundle(
        "batch", entry("DELETE", "Observation/o1"), entry("PUT", "Patient/p2", patient("p2"))
    )
    clinic.post("", sent, X_Request_Id="request-1")
    assert clinic.events("request-id=request-1&patient=Patient/p1") == []
    assert len(clinic.events("request-id=request-1&patient=Patient/p2")) == 1
