"""Create, read, vread, update, patch, delete and history, as clients see them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.clinic.hospital import BASE, issue, observation, patient

if TYPE_CHECKING:
    from tests.clinic.hospital import Hospital

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_a_created_resource_is_read_under_an_id_of_the_servers_own(clinic: Hospital) -> None:
    made = clinic.post("Patient", patient("mine"))
    assert made.status_code == 201
    name = made.json()["id"]
    assert UUID7.fullmatch(name)
    assert made.headers["location"] == f"{BASE}/Patient/{name}/_history/1"
    assert made.headers["etag"] == 'W/"1"'
    read = clinic.get(f"Patient/{name}")
    assert read.json() == made.json()
    assert read.headers["last-modified"] == made.headers["last-modified"]
    assert clinic.get("Patient/mine").status_code == 404


def test_an_update_under_a_new_id_creates_and_every_version_stays(clinic: Hospital) -> None:
    assert clinic.put(patient()).status_code == 201
    assert clinic.put(patient(gender="male")).status_code == 200
    assert clinic.request("DELETE", "Patient/p1").status_code == 204
    assert clinic.put(patient(gender="other")).status_code == 201
    genders = [clinic.get(f"Patient/p1/_history/{n}") for n in (1, 2, 3, 4)]
    assert [one.status_code for one in genders] == [200, 200, 410, 200]
    assert [genders[n].json()["gender"] for n in (0, 1, 3)] == ["female", "male", "other"]
    assert clinic.get("Patient/p1/_history/5").status_code == 404
    assert clinic.get("Patient/p1/_history/x").status_code == 404
    history = clinic.get("Patient/p1/_history").json()
    assert [entry["request"]["method"] for entry in history["entry"]] == [
        "PUT", "DELETE", "PUT", "PUT",
    ]  # fmt: skip
    assert history["total"] == 4


def test_a_deleted_resource_is_gone_and_found_no_more(clinic: Hospital) -> None:
    clinic.put(patient())
    assert clinic.found("Patient?gender=female") == ["Patient/p1"]
    assert clinic.request("DELETE", "Patient/p1").status_code == 204
    assert clinic.request("DELETE", "Patient/p1").status_code == 204
    assert clinic.request("DELETE", "Patient/never").status_code == 204
    assert issue(clinic.get("Patient/p1"))["code"] == "deleted"
    assert clinic.found("Patient?gender=female") == []


def test_numbers_and_unknown_letters_stay_as_they_were_sent(clinic: Hospital) -> None:
    sent = json.dumps(observation(valueQuantity={"value": 0})).replace(
        '"value": 0', '"value": 7.10'
    )
    made = clinic.request("PUT", "Observation/o1", sent.encode())
    assert made.status_code == 201, made.text
    assert '"value":7.10' in clinic.get("Observation/o1").text


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_who_changes_a_version_that_is_not_current_is_told(clinic: Hospital, method: str) -> None:
    clinic.put(patient())
    clinic.put(patient(gender="male"))
    bodies: dict[str, Any] = {
        "PUT": patient(),
        "PATCH": [{"op": "remove", "path": "/gender"}],
        "DELETE": None,
    }
    late = clinic.request(method, "Patient/p1", bodies[method], If_Match='W/"1"')
    assert late.status_code == 412
    assert issue(late)["code"] == "conflict"
    now = clinic.request(method, "Patient/p1", bodies[method], If_Match='W/"2"')
    assert now.status_code in (200, 204)


def test_a_client_that_has_the_version_gets_no_content(clinic: Hospital) -> None:
    made = clinic.put(patient())
    assert clinic.get("Patient/p1", If_None_Match='W/"1"').status_code == 304
    assert clinic.get("Patient/p1", If_None_Match='W/"2"').status_code == 200
    since = made.headers["last-modified"]
    assert clinic.get("Patient/p1", If_Modified_Since=since).status_code == 304
    assert clinic.get("Patient/p1", If_Modified_Since="yesterday").status_code == 200
    assert clinic.put(patient(), If_None_Match="*").status_code == 412


def test_a_client_says_how_much_of_an_answer_it_wants(clinic: Hospital) -> None:
    assert clinic.put(patient(), Prefer="return=minimal").content == b""
    told = clinic.put(patient(), Prefer="return=OperationOutcome").json()
    assert told["resourceType"] == "OperationOutcome"
    assert clinic.put(patient(), Prefer="return=representation").json()["id"] == "p1"


def test_a_patch_changes_a_part(clinic: Hospital) -> None:
    clinic.put(patient())
    change = [{"op": "add", "path": "/name/0/given/-", "value": "Bela"}]
    changed = clinic.request("PATCH", "Patient/p1", change)
    assert changed.json()["name"] == [{"family": "Mockley", "given": ["Åse", "Bela"]}]
    assert clinic.found("Patient?given=bela") == ["Patient/p1"]


def test_a_patch_copies_what_it_has_changed_itself(clinic: Hospital) -> None:
    clinic.put(patient())
    change = [
        {"op": "replace", "path": "/name/0/family", "value": "Test"},
        {"op": "copy", "from": "/name/0", "path": "/name/-"},
        {"op": "remove", "path": "/name/0"},
    ]
    names = clinic.request("PATCH", "Patient/p1", change).json()["name"]
    assert [one["family"] for one in names] == ["Test"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ([{"op": "test", "path": "/gender", "value": "male"}], 422),
        ([{"op": "remove", "path": "/nowhere"}], 422),
        ([{"op": "replace", "path": "/id", "value": "p2"}], 422),
        ([{"op": "replace", "path": "", "value": 1}], 422),
        # Each one doubles the list: thirty of them would be gigabytes.
        ([{"op": "copy", "from": "/name", "path": "/name/-"}] * 30, 413),
        ([{"op": "copy", "from": "/nowhere", "path": "/name/-"}], 422),
        # A tree that is too deep to be copied.
        (
            [
                *({"op": "add", "path": "/x" * depth, "value": {}} for depth in range(1, 700)),
                {"op": "copy", "from": "/x", "path": "/y"},
            ],
            422,
        ),
        ([{"op": "add", "path": "/name", "value": "Ada"}], 400),
        ([{"op": "turn", "path": "/name"}], 400),
        ({"op": "remove", "path": "/gender"}, 400),
        ([1], 400),
        (b"[", 400),
    ],
)
def test_a_patch_that_cannot_be_is_refused(shared: Hospital, change: Any, status: int) -> None:
    before = shared.put(patient("kept")).headers["etag"]
    assert shared.request("PATCH", "Patient/kept", change).status_code == status
    assert shared.get("Patient/kept").headers["etag"] == before


def test_a_patch_has_its_media_type(clinic: Hospital) -> None:
    clinic.put(patient())
    kind = "application/fhir+json"
    assert clinic.request("PATCH", "Patient/p1", [], Content_Type=kind).status_code == 415


def test_conditions_choose_one_resource(clinic: Hospital) -> None:
    numbered = patient("a", identifier=[{"system": "urn:n", "value": "1"}])
    bare = {name: value for name, value in numbered.items() if name != "id"}
    made = clinic.post("Patient", bare, If_None_Exist="identifier=urn:n|1")
    again = clinic.post("Patient", bare, If_None_Exist="identifier=urn:n|1")
    assert (made.status_code, again.status_code) == (201, 200)
    assert again.json() == made.json()
    changed = clinic.request("PUT", "Patient?identifier=urn:n|1", bare | {"gender": "other"})
    assert (changed.status_code, changed.json()["id"]) == (200, made.json()["id"])
    other = clinic.request("PUT", "Patient?identifier=urn:n|1", numbered)
    assert other.status_code == 400
    fresh = clinic.request("PUT", "Patient?identifier=urn:n|2", numbered)
    assert (fresh.status_code, fresh.json()["id"]) == (201, "a")
    change = [{"op": "remove", "path": "/gender"}]
    assert clinic.request("PATCH", "Patient?identifier=urn:n|3", change).status_code == 404
    several = clinic.request("PATCH", "Patient?identifier=urn:n|1", change)
    assert several.status_code == 412
    assert issue(several)["code"] == "multiple-matches"
    assert clinic.request("DELETE", "Patient?family=mockley").status_code == 412
    assert clinic.request("DELETE", "Patient?_id=a").status_code == 204
    assert clinic.request("PATCH", "Patient?identifier=urn:n|1", change).status_code == 200
    assert clinic.request("DELETE", "Patient?family=mockley").status_code == 204
    assert clinic.request("DELETE", "Patient?family=mockley").status_code == 204


@pytest.mark.parametrize("condition", ["", "?", "nonsense=1", "_sort=name"])
def test_a_condition_that_says_nothing_changes_nothing(shared: Hospital, condition: str) -> None:
    shared.put(patient("kept"))
    assert shared.request("DELETE", f"Patient?{condition}").status_code == 400
    assert shared.get("Patient/kept").status_code == 200


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (patient(gendre="female"), "Patient"),
        (patient(name={"family": "x"}), "Patient.name"),
        (patient(active="yes"), "Patient.active"),
        (patient(birthDate="1970-99"), "Patient.birthDate"),
        (patient(link=[{"type": "seealso"}]), "Patient.link[0].other"),
        (patient(name=[{"given": ["Ada", 2]}]), "Patient.name[0].given[1]"),
        (patient(deceasedBoolean=True, deceasedDateTime="2020"), "Patient.deceased"),
        (patient(name=[]), "Patient.name"),
        (patient(name=[{"given": ["Ada", {}]}]), "Patient.name[0].given[1]"),
        (patient(contact=[{"name": None}]), "Patient.contact[0].name"),
        (patient(meta="new"), "Patient.meta"),
        (patient(resourceType="Observation", id="p1"), "resourceType"),
        (patient(contained=[{"resourceType": "Nothing"}]), "Patient.contained"),
    ],
)
def test_what_is_no_r4_resource_is_refused_with_its_place(
    shared: Hospital, body: dict[str, Any], place: str
) -> None:
    answer = shared.request("PUT", "Patient/p1", body)
    assert answer.status_code == 400
    assert issue(answer)["expression"][0].startswith(place)
    assert shared.get("Patient/p1").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "Patient/p2", patient("p1"), 400),
        ("PUT", "Patient/p%20", patient("p "), 400),
        ("POST", "Patient", b'{"resourceType":"Patient","id":"1","id":"2"}', 400),
        ("POST", "Patient", b"{", 400),
        ("POST", "Nothing", patient(), 404),
        ("POST", "Parameters", {"resourceType": "Parameters"}, 404),
        ("POST", "Patient/p1", patient(), 405),
        ("PUT", "AuditEvent/p1", patient(), 405),
        ("GET", "Patient/p1/x/y/z", None, 404),
    ],
)
def test_other_nonsense_is_refused(
    shared: Hospital, method: str, path: str, body: Any, status: int
) -> None:
    assert shared.request(method, path, body).status_code == status


def test_only_json_is_spoken(clinic: Hospital) -> None:
    xml = "application/fhir+xml"
    made = clinic.request(
        "PUT", "Patient/p1", b"<Patient/>", Content_Type=xml, Accept="application/json"
    )
    assert made.status_code == 415
    clinic.put(patient())
    assert clinic.get("Patient/p1", Accept=xml).status_code == 406


def test_without_the_token_nothing_is_told(clinic: Hospital) -> None:
    clinic.put(patient())
    for path in ("Patient/p1", "Patient", "Nothing/x"):
        assert clinic.request("GET", path, token="").status_code == 401
    assert clinic.request("GET", "metadata", token="").status_code == 200


def test_histories_go_from_page_to_page(clinic: Hospital) -> None:
    for number in range(5):
        clinic.put(patient(f"p{number % 2}"))
    seen, url = [], "Patient/_history?_count=2"
    while url:
        page = clinic.get(url).json()
        assert page["total"] == 5
        seen += [entry["resource"]["id"] for entry in page["entry"]]
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), "")
    assert seen == ["p0", "p1", "p0", "p1", "p0"]
    clinic.put(observation())
    assert clinic.get("_history").json()["total"] == 6
    assert clinic.get("_history?_since=2999-01-01").json()["total"] == 0
    assert clinic.get("_history?_since=now").status_code == 400
    assert clinic.get("Patient/_history?_page=AAAA").status_code == 410
    assert clinic.get("Patient/never/_history").status_code == 404


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.floats(-9, 9), st.text(max_size=4)
)
NAMES = st.sampled_from((
    "name", "given", "family", "identifier", "value", "system", "type", "coding", "code", "text", "id", "period",
    "start", "link", "other", "reference", "meta", "tag", "birthDate", "deceasedDateTime", "contained",
    "resourceType", "extension", "url", "valueQuantity", "_birthDate", "telecom", "address", "photo",
))  # fmt: skip
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(members=st.dictionaries(NAMES, TREES, max_size=4))
def test_whatever_is_sent_is_kept_or_refused(shared: Hospital, members: dict[str, Any]) -> None:
    for body in (patient("any"), observation("any")):
        kind = body["resourceType"]
        sent = body | members | {"resourceType": kind, "id": "any"}
        answer = shared.request("PUT", f"{kind}/any", sent)
        assert answer.status_code in (200, 201, 400, 422), answer.text
