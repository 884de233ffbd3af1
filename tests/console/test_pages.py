"""What the pages show and do, over HTTP against a real server."""

from __future__ import annotations

import time
from io import BytesIO
from typing import TYPE_CHECKING
from urllib.parse import urlencode
from zipfile import ZipFile

import pytest

from caretrail.console.application import PAGES
from tests.console.place import csrf_of, event

if TYPE_CHECKING:
    import httpx

    from tests.console.place import House

pytestmark = pytest.mark.xdist_group("console")
_SECONDS = 120.0


@pytest.mark.parametrize("path", [row.path for row in PAGES if "{" not in row.path])
def test_every_page_has_a_twin_of_the_same_data(house: House, path: str) -> None:
    with house.signed_in() as browser:
        by_name = browser.get(f"/console/{path}.json")
        by_header = browser.get(f"/console/{path}", headers={"accept": "application/json"})
        shown = browser.get(f"/console/{path}", headers={"accept": "text/html"})
    assert by_name.status_code == by_header.status_code == shown.status_code == 200
    assert by_name.json()["title"] == by_header.json()["title"]
    assert set(by_name.json()) == set(by_header.json())
    assert shown.headers["content-type"].startswith("text/html")


def test_the_overview_counts_failures_and_emergencies(house: House) -> None:
    purpose = {
        "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "BTG"}]
    }
    house.post(
        [
            event(3, recorded="2024-02-03T10:00:00Z", purposeOfEvent=[purpose]),
            event(4, recorded="2024-02-03T11:00:00Z", outcome="8"),
            event(5, recorded="2024-02-04T11:00:00Z", outcome="4"),
        ]
    )
    with house.signed_in() as browser:
        found = browser.get("/console/overview.json?from=2024-02-01&to=2024-03-01").json()
    assert (found["total"], found["failed_total"], found["broken_total"]) == (3, 2, 1)
    failed = {one["name"]: one["count"] for one in found["failed"]["outcome"]}
    assert failed == {"Serious failure": 1, "Minor failure": 1}
    (broken,) = found["broken"]
    assert broken["emergency"] is True
    assert [one["count"] for one in found["histogram"]["bars"] if one["count"]] == [2, 1]
    assert {one["name"]: one["is_quiet"] for one in found["sources"]}["Device/fhir-server"] is True


def test_one_page_leaves_one_event_for_what_it_asks(house: House) -> None:
    with house.signed_in("otto") as browser:
        before = house.events("type=110101&agent-name=Otto&_sort=-_lastUpdated&_count=200")
        assert browser.get("/console/search?q=site:%22Ward+3%22&range=all").status_code == 200
        after = house.events("type=110101&agent-name=Otto&_sort=-_lastUpdated&_count=200")
    assert len(after) == len(before) + 1


def test_facets_and_the_picture_lead_to_searches_that_find_as_many(house: House) -> None:
    where = "from=2026-11-01&to=2026-11-03&q=user:Practitioner/nora"
    with house.signed_in() as browser:
        found = browser.get(f"/console/search.json?{where}").json()
        assert found["total"] == 120
        for group in found["facets"]:
            for one in group["values"]:
                narrowed = browser.get(one["href"], headers={"accept": "application/json"}).json()
                assert narrowed["total"] == one["count"], one
        for one in found["histogram"]["bars"]:
            if one["count"]:
                narrowed = browser.get(one["href"], headers={"accept": "application/json"}).json()
                assert narrowed["total"] == one["count"]


def test_pages_of_a_table_go_on_and_back(house: House) -> None:
    json = {"accept": "application/json"}
    where = "from=2026-11-01&to=2026-11-03&q=user:Practitioner/nora&sort=date&count=25"
    with house.signed_in() as browser:
        page = browser.get(f"/console/search.json?{where}").json()
        first, seen = page["events"], []
        while True:
            seen += [one["id"] for one in page["events"]]
            if not page["links"]["next"]:
                break
            page = browser.get(page["links"]["next"], headers=json).json()
        assert len(seen) == len(set(seen)) == 120
        assert page["links"]["previous"]
        assert first[0]["recorded"] < page["events"][-1]["recorded"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("q=colour%3Dred", "There is no field `colour`"),
        ("q=date:never", ""),
        ("range=decade", "A range is one of"),
        ("from=yesterday", "`from` is a date"),
        ("tz=Mars/Olympus", "A time zone has a name"),
    ],
)
def test_what_cannot_be_searched_is_said(house: House, query: str, said: str) -> None:
    with house.signed_in() as browser:
        answer = browser.get(f"/console/search?{query}")
    assert answer.status_code == 400
    assert said in answer.text.replace("&#39;", "'")


def test_an_event_tells_its_neighbours_profiles_and_bytes(house: House) -> None:
    with house.signed_in() as browser:
        found = browser.get(f"/console/events/{house.ids[10]}.json").json()
        titles = {one["title"]: one["events"] for one in found["neighbours"]}
        assert [one["id"] for one in titles["Of the same request"]] == [house.ids[11]]
        assert titles["Of the same patient"]
        assert found["line"]["sentence"].startswith("Nora Test read Observation/o10 of Patient/p1")
        assert found["profiles"]
        original = browser.get(f"/console/events/{house.ids[10]}/original")
    assert original.headers["content-disposition"].startswith("attachment")
    assert b"Observation/o10" in original.content
    assert "sandbox" in original.headers["content-security-policy"]


def test_the_proof_is_computed_and_names_each_step(house: House) -> None:
    with house.signed_in() as browser:
        proof = browser.get(f"/console/events/{house.ids[0]}.json?verify=1").json()["proof"]
    assert proof["holds"] is True
    assert all(one["holds"] for one in proof["checks"])
    assert proof["steps"][-1]["node"] == proof["root"]
    assert proof["signed_by"] == [proof["origin"]]


def test_a_patients_page_says_who_looked(house: House) -> None:
    with house.signed_in() as browser:
        found = browser.get("/console/patients/p1.json?from=2026-11-01&to=2026-11-03").json()
    (nora,) = found["persons"]
    assert (nora["name"], nora["count"], nora["days"]) == ("Nora Test", 60, 2)
    assert nora["relation"].startswith("Only read")
    assert len(found["picture"]["dots"]) == 60


def test_a_users_page_groups_sessions_and_compares(house: House) -> None:
    query = urlencode({"user": "Practitioner/nora", "from": "2026-11-02", "to": "2026-11-03"})
    with house.signed_in() as browser:
        found = browser.get(f"/console/users.json?{query}").json()
    assert found["total"] == 60
    assert [one["count"] for one in found["sessions"]] == [60]
    assert found["usual"]["before"] == 60
    assert {one["name"] for one in found["patients"]} == {"Patient/p1", "Patient/p2"}


def finished(browser: httpx.Client) -> dict[str, object]:
    """Return the newest export, once it is made."""
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        job: dict[str, object] = browser.get("/console/exports.json").json()["jobs"][0]
        if job["state"] != "running":
            return job
        time.sleep(0.1)
    raise AssertionError("the export was not made in time")


def test_an_export_is_made_fetched_by_its_owner_alone_and_deleted(house: House) -> None:
    with house.signed_in() as browser, house.signed_in("otto") as other:
        page = browser.get("/console/exports")
        form = {"csrf": csrf_of(page), "form": "bundle", "q": "patient:Patient/p1"}
        form |= {"from": "2026-11-01", "to": "2026-11-02"}
        answer = browser.post("/console/exports", data=form)
        assert answer.headers["location"] == "/console/exports"
        job = finished(browser)
        assert (job["state"], job["events"]) == ("ready", 30)
        address = f"/console/exports/{job['id']}/{job['file']}"
        assert other.get(address).status_code == 404
        assert not other.get("/console/exports.json").json()["jobs"]
        fetched = browser.get(address)
        assert fetched.headers["content-disposition"].startswith("attachment")
        with ZipFile(BytesIO(fetched.content)) as archive:
            assert "verify.py" in " ".join(archive.namelist())
        cancel = {"csrf": form["csrf"], "job": str(job["id"])}
        assert browser.post("/console/exports/cancel", data=cancel).status_code == 303
        assert not browser.get("/console/exports.json").json()["jobs"]


def test_an_auditor_exports_and_an_administrator_does_not(house: House) -> None:
    with house.signed_in("ada") as browser:
        page = browser.get("/console/integrity")
        assert page.status_code == 200
        form = {"csrf": csrf_of(page), "form": "csv"}
        assert browser.post("/console/exports", data=form).status_code == 403
        lists = browser.get("/console/administration.json").json()["lists"]
    assert any(line.startswith("otto: Otto Test (auditor)") for line in lists["users"])
    assert any(line.startswith("caretrail-console: ") for line in lists["clients"])


def test_a_security_officer_sees_no_patient(house: House) -> None:
    with house.signed_in("sara") as browser:
        for path in ("overview?range=1y", "search?range=1y", "integrity", "coverage"):
            answer = browser.get(f"/console/{path}")
            assert answer.status_code == 200, path
            assert "Patient/p" not in answer.text
            assert "Observation/o" not in answer.text
        assert browser.get(f"/console/events/{house.ids[0]}").status_code == 404
        assert browser.get("/console/exports").status_code == 403
