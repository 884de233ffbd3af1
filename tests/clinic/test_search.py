"""Searches, one kind of parameter after the other, over one small hospital."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.clinic.hospital import BASE, Hospital, entry, issue, observation, patient

if TYPE_CHECKING:
    from collections.abc import Iterator

CANONICAL = "http://example.org/fhir/ValueSet/colours"
RESOURCES: list[dict[str, Any]] = [
    patient(
        "p1",
        identifier=[
            {
                "system": "urn:n", "value": "17",
                "type": {"coding": [{"system": "urn:kinds", "code": "MR"}], "text": "Chart"},
            }
        ],
        telecom=[{"system": "email", "value": "ase@example.org", "use": "home"}],
        address=[{"city": "Mockham", "line": ["1 Test Street"]}],
        generalPractitioner=[{"reference": "Practitioner/d1"}],
        managingOrganization={"reference": "Organization/h1"},
        meta={
            "tag": [{"system": "urn:tags", "code": "trial"}],
            "profile": ["http://example.org/fhir/StructureDefinition/mine"],
            "security": [{"code": "R"}],
        },
    ),
    patient("p2", name=[{"text": "Example Dummyson"}], gender="male", deceasedDateTime="2020-05"),
    {"resourceType": "Practitioner", "id": "d1", "name": [{"family": "Trialstone"}]},
    {"resourceType": "Organization", "id": "h1", "name": "Mock Hospital", "partOf": {"reference": "Organization/h0"}},
    {"resourceType": "Organization", "id": "h0", "name": "Mock Trust"},
    {
        "resourceType": "Encounter", "id": "e1", "status": "finished", "class": {"code": "AMB"},
        "subject": {"reference": "Patient/p1"},
        "period": {"start": "2026-03-01", "end": "2026-03-10"},
    },
    {
        "resourceType": "Encounter", "id": "e2", "status": "in-progress", "class": {"code": "IMP"},
        "subject": {"identifier": {"system": "urn:n", "value": "17"}, "display": "Åse M."},
        "period": {"start": "2026-03-09"},
    },
    observation("o1", encounter={"reference": f"{BASE}/Encounter/e1"}),
    observation(
        "o2", "Patient/p2", effectiveDateTime="2026-03-05", valueQuantity={"value": 5.4, "unit": "mg"}
    ),
    observation(
        "o3",
        "http://other.test/fhir/Patient/p1",
        effectivePeriod={"start": "2026-04-01"},
        component=[
            {"code": {"coding": [{"code": "sys"}]}, "valueQuantity": {"value": 120}},
            {"code": {"coding": [{"code": "dia"}]}, "valueQuantity": {"value": 80}},
        ],
    ),
    {
        "resourceType": "ValueSet", "id": "v1", "url": CANONICAL, "version": "2", "status": "active",
        "title": "Colours",
    },
    {
        "resourceType": "RiskAssessment", "id": "r1", "status": "final",
        "subject": {"reference": "Patient/p1"}, "prediction": [{"probabilityDecimal": 0.25}],
    },
]  # fmt: skip
del RESOURCES[9]["effectiveDateTime"], RESOURCES[9]["valueQuantity"]


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    made = Hospital(tmp_path_factory.mktemp("clinic"))
    try:
        for resource in RESOURCES:
            answer = made.put(resource)
            assert answer.status_code == 201, answer.text
        yield made
    finally:
        made.close()


def _names(found: list[str]) -> str:
    return " ".join(sorted(one.partition("/")[2] for one in found))


@pytest.mark.parametrize(
    ("path", "names"),
    [
        # token
        ("Patient?gender=female", "p1"),
        ("Patient?gender=female,male", "p1 p2"),
        ("Patient?gender=|female", "p1"),
        ("Patient?gender:not=female", "p2"),
        ("Patient?gender:missing=true", ""),
        ("Patient?identifier=17", "p1"),
        ("Patient?identifier=urn:n|17", "p1"),
        ("Patient?identifier=urn:n|", "p1"),
        ("Patient?identifier=|17", ""),
        ("Patient?identifier:of-type=urn:kinds|MR|17", "p1"),
        ("Patient?identifier:of-type=urn:kinds|SS|17", ""),
        ("Patient?identifier:text=char", "p1"),
        ("Patient?identifier:missing=true", "p2"),
        ("Patient?email=ase@example.org", "p1"),
        ("Patient?deceased=true", "p2"),
        ("Patient?_tag=urn:tags|trial", "p1"),
        ("Patient?_security=R", "p1"),
        ("Observation?code=http://loinc.org|8867-4", "o1 o2 o3"),
        ("Observation?code:text=pul", "o1 o2 o3"),
        ("Patient?_id=p1,p9", "p1"),
        ("Patient?_id:not=p1", "p2"),
        # string
        ("Patient?family=MOCK", "p1"),
        ("Patient?given=ase", "p1"),
        ("Patient?name=dummy", ""),
        ("Patient?name:contains=dummy", "p2"),
        ("Patient?family:exact=Mockley", "p1"),
        ("Patient?family:exact=mockley", ""),
        ("Patient?address=1 test", "p1"),
        ("Patient?address-city=mockham&gender=female", "p1"),
        # date
        ("Patient?birthdate=1970", "p1 p2"),
        ("Patient?birthdate=1970-02-04", ""),
        ("Patient?birthdate=lt1970-02-03", ""),
        ("Patient?death-date=2020", "p2"),
        ("Encounter?date=ge2026-03-11", "e2"),
        ("Encounter?date=le2026-03-05", "e1"),
        ("Encounter?date=sa2026-03-08", "e2"),
        ("Encounter?date=2026", "e1"),
        ("Encounter?date=ap2026-03-09", "e1 e2"),
        ("Observation?date=2026-03-04T05:06:07Z", "o1"),
        ("Observation?date=ge2026-03&date=lt2026-03-05", "o1"),
        ("Patient?_lastUpdated=ge2026", "p1 p2"),
        ("Patient?_lastUpdated=lt2026", ""),
        # number and quantity
        ("RiskAssessment?probability=gt0.2", "r1"),
        ("RiskAssessment?probability=0.25", "r1"),
        ("RiskAssessment?probability=0.3", "r1"),
        ("RiskAssessment?probability=0.30", ""),
        ("Observation?value-quantity=5.4", "o2"),
        ("Observation?value-quantity=5", "o2"),
        ("Observation?value-quantity=5.40", "o2"),
        ("Observation?value-quantity=ne5.4", "o1"),
        ("Observation?value-quantity=5.4||mg", "o2"),
        ("Observation?value-quantity=lt80|http://unitsofmeasure.org|/min", "o1"),
        ("Observation?value-quantity=72.5||beats/minute", "o1"),
        # composite
        ("Observation?code-value-quantity=8867-4$gt70", "o1"),
        ("Observation?component-code-value-quantity=sys$gt100", "o3"),
        ("Observation?component-code-value-quantity=dia$gt100", ""),
        ("Observation?combo-code-value-quantity=dia$80", "o3"),
        ("Observation?component-code-value-quantity:missing=false", "o3"),
        # reference
        ("Observation?subject=Patient/p1", "o1"),
        ("Observation?subject=p1", "o1"),
        ("Observation?subject:Patient=p1", "o1"),
        (f"Observation?subject={BASE}/Patient/p1", "o1"),
        ("Observation?subject=http://other.test/fhir/Patient/p1", "o3"),
        ("Observation?patient=p1", "o1"),
        ("Observation?encounter=Encounter/e1", "o1"),
        ("Encounter?subject:identifier=urn:n|17", "e2"),
        ("Encounter?subject:text=ase", "e2"),
        ("Encounter?subject:missing=false", "e1 e2"),
        # uri
        (f"ValueSet?url={CANONICAL}", "v1"),
        ("ValueSet?url:below=http://example.org/fhir", "v1"),
        ("ValueSet?url:below=http://example.org/fh", ""),
        (f"ValueSet?url:above={CANONICAL}/red", "v1"),
        ("Patient?_profile=http://example.org/fhir/StructureDefinition/mine", "p1"),
        # chains
        ("Observation?subject:Patient.family=mock", "o1"),
        ("Observation?subject.name=mock", "o1"),
        ("Observation?patient.gender=male", "o2"),
        ("Observation?patient.general-practitioner.family=trial", "o1"),
        ("Observation?encounter.class=AMB", "o1"),
        ("Patient?organization.partof.name=mock trust", "p1"),
        ("Patient?_has:Observation:patient:code=8867-4", "p1 p2"),
        ("Patient?_has:Observation:patient:value-quantity=gt50", "p1"),
        ("Practitioner?_has:Patient:general-practitioner:_has:Observation:patient:code=8867-4", "d1"),
        ("Patient?_has:Encounter:patient:_id=e1&gender=female", "p1"),
        # compartments, and all types
        ("Patient/p1/Observation", "o1"),
        ("Patient/p1/Observation?code=none", ""),
        ("Patient/p1/*", "e1 o1 r1"),
        ("?_type=Patient,Encounter&_id=p1,e1,o1", "e1 p1"),
        ("?_tag=trial", "p1"),
    ],
)  # fmt: skip
def test_a_search_finds(clinic: Hospital, path: str, names: str) -> None:
    assert _names(clinic.found(path)) == names


@pytest.mark.parametrize(
    "path",
    [
        "Patient?birthdate=soon",
        "Patient?birthdate:exact=1970",
        "Patient?name:of-type=x",
        "Patient?gender:missing=perhaps",
        "Patient?_has:Nothing:patient:code=1",
        "Patient?_has:Observation=1",
        "Patient?gender.code=1",
        "Patient?link:Nothing.name=x",
        "Observation?focus.name=x",
        "Observation?code-value-quantity=8867-4",
        "Observation?value-quantity=much",
        "Observation?value-quantity=1|mg",
        "Patient?_count=-1",
        "Patient?_summary=most",
        "Patient?_total=all",
        "Patient?_sort=a,b,name,name,name,name,name",
        "Patient?_summary=text&_elements=name",
        "Patient?_include=Nothing:x",
        "Patient?_include:sometimes=Patient:link",
        "Patient?_revinclude=Observation:*",
        "Patient?gender=,",
        "Patient?organization.partof.partof.partof.partof.partof.name=x",
    ],
)
def test_what_cannot_be_searched_for_is_refused(clinic: Hospital, path: str) -> None:
    answer = clinic.get(path)
    assert answer.status_code == 400
    assert issue(answer)["diagnostics"]


def test_an_unknown_parameter_is_left_out_and_named_or_refused(clinic: Hospital) -> None:
    bundle = clinic.get("Patient?nonsense=1&gender=male&location.near=1").json()
    assert bundle["total"] == 1
    assert bundle["link"][0]["url"] == f"{BASE}/Patient?gender=male"
    assert [row["search"]["mode"] for row in bundle["entry"]] == ["match", "outcome"]
    strict = clinic.get("Patient?nonsense=1", Prefer="handling=strict")
    assert strict.status_code == 400
    assert "nonsense" not in strict.text


def test_a_search_is_posted_as_well(clinic: Hospital) -> None:
    answer = clinic.form("Patient/_search?gender=female", "family=mockley")
    assert answer.json()["total"] == 1
    assert clinic.form("Patient/p1/Observation/_search", "code=8867-4").json()["total"] == 1
    assert clinic.form("_search", "_type=Patient&_id=p1").json()["total"] == 1
    assert clinic.form("_search?_type=Patient", "_id=p1").json()["total"] == 1
    assert clinic.post("Patient/_search", {}).status_code == 415


def _others(clinic: Hospital, path: str) -> str:
    rows = clinic.get(path).json()["entry"]
    return _names([
        row["fullUrl"].removeprefix(f"{BASE}/") for row in rows if row["search"]["mode"] == "include"
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("Observation?_id=o1&_include=Observation:subject", "p1"),
        ("Observation?_id=o1&_include=Observation:*", "e1 p1"),
        ("Observation?_id=o1&_include=Observation:encounter&_include=Observation:subject:Patient", "e1 p1"),
        ("Observation?_id=o1&_include=Observation:subject:Group", ""),
        ("Observation?_id=o1&_include=*", "e1 p1"),
        ("Observation?_id=o1&_include=Observation:subject&_include:iterate=Patient:general-practitioner", "d1 p1"),
        ("Patient?_id=p1&_include=Patient:organization&_include:iterate=Organization:partof", "h0 h1"),
        ("Patient?_id=p1&_revinclude=Observation:subject", "o1"),
        ("Patient?_id=p1&_revinclude=Observation:patient&_revinclude=Encounter:subject", "e1 o1"),
        ("Practitioner?_revinclude=Patient:general-practitioner&_revinclude:iterate=Observation:patient", "o1 p1"),
    ],
)  # fmt: skip
def test_a_page_brings_along_what_is_asked_for(clinic: Hospital, path: str, names: str) -> None:
    assert _others(clinic, path) == names


def test_everything_of_a_patient_is_his_compartment_and_what_it_refers_to(clinic: Hospital) -> None:
    assert _names(clinic.found("Patient/p1/$everything")) == "e1 o1 p1 r1"
    assert _others(clinic, "Patient/p1/$everything") == "d1 h1"
    assert clinic.get("Patient/p9/$everything").status_code == 404
    answer = clinic.form("Patient/p1/$everything", "_count=2").json()
    assert (answer["total"], len(answer["link"])) == (4, 2)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("Observation?_sort=date", ["o1", "o2", "o3"]),
        ("Observation?_sort=-date", ["o3", "o2", "o1"]),
        ("Observation?_sort=value-quantity", ["o2", "o1", "o3"]),
        ("Observation?_sort=-value-quantity", ["o1", "o2", "o3"]),
        ("Patient?_sort=identifier", ["p1", "p2"]),
        ("Patient?_sort=-identifier", ["p1", "p2"]),
        ("Patient?_sort=-gender,name", ["p2", "p1"]),
        ("Encounter?_sort=_id", ["e1", "e2"]),
        ("Encounter?_sort=-_lastUpdated", ["e2", "e1"]),
        ("Observation?_sort=subject,-date", ["o3", "o1", "o2"]),
        ("Patient?_sort=family", ["p1", "p2"]),
        ("Observation", ["o3", "o2", "o1"]),
    ],
)
def test_results_are_sorted_and_what_lacks_the_element_comes_last(
    clinic: Hospital, path: str, names: list[str]
) -> None:
    assert [one.partition("/")[2] for one in clinic.found(path)] == names
    walked, url = [], f"{path}{'&' if '?' in path else '?'}_count=1"
    while url:
        page = clinic.get(url).json()
        assert page["total"] == len(names)
        walked += [row["resource"]["id"] for row in page["entry"]]
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), "")
    assert walked == names


def test_a_page_link_serves_its_own_search_only(clinic: Hospital) -> None:
    page = clinic.get("Observation?_count=1&code=8867-4").json()
    link = next(row["url"] for row in page["link"] if row["relation"] == "next")
    assert clinic.get(link).status_code == 200
    assert clinic.get(link.replace("Observation", "Encounter")).status_code == 410
    assert clinic.get(link.replace("8867-4", "8867-5")).status_code == 410
    assert clinic.get(link[:-1]).status_code == 410


def test_parts_are_given_and_marked(clinic: Hospital) -> None:
    (row,) = clinic.get("Patient?_id=p1&_elements=name,Patient.birthDate").json()["entry"]
    found = row["resource"]
    assert {"name", "birthDate"} < set(found)
    assert "address" not in found
    assert found["meta"]["tag"][-1]["code"] == "SUBSETTED"
    assert found["meta"]["tag"][0]["code"] == "trial"
    summary = clinic.get("Patient/p1?_summary=true").json()
    assert "generalPractitioner" not in summary
    assert "gender" in summary
    assert "name" not in clinic.get("Patient/p1?_summary=text").json()
    assert "name" in clinic.get("Patient/p1?_summary=data").json()
    count = clinic.get("Patient?_summary=count").json()
    assert (count["total"], "entry" in count) == (2, False)
    assert "entry" not in clinic.get("Patient?_count=0").json()
    assert "total" not in clinic.get("Patient?_total=none").json()


def test_the_capability_statement_says_what_there_is(clinic: Hospital) -> None:
    statement = clinic.get("metadata").json()
    (rest,) = statement["rest"]
    rows = {row["type"]: row for row in rest["resource"]}
    assert len(rows) == 145
    assert {"AuditEvent", "SearchParameter", "Patient", "VisionPrescription"} < rows.keys()
    assert rows["Patient"]["operation"][0]["name"] == "everything"
    assert not rows["AuditEvent"]["updateCreate"]
    codes = {row["name"] for row in rows["Observation"]["searchParam"]}
    assert {"code", "combo-code-value-quantity", "_lastUpdated"} < codes


def test_a_search_in_a_bundle_is_answered_there(clinic: Hospital) -> None:
    asked = {"resourceType": "Bundle", "type": "batch", "entry": [entry("GET", "Patient?_id=p1")]}
    (answer,) = clinic.post("", asked).json()["entry"]
    assert answer["resource"]["total"] == 1
