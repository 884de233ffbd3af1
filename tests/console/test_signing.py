"""Who gets in to the console, how, and what he sees: over HTTP against a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.console.place import csrf_of

if TYPE_CHECKING:
    from tests.console.place import House

pytestmark = pytest.mark.xdist_group("console")

PAGES = ("overview", "search", "events/x", "no-such-page")


@pytest.mark.parametrize("path", PAGES)
def test_without_a_session_every_address_leads_to_the_sign_in(house: House, path: str) -> None:
    with house.browser() as browser:
        answer = browser.get(f"/console/{path}")
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/console/sign-in?goal=")
        twin = browser.get(f"/console/{path}", headers={"accept": "application/json"})
        assert twin.status_code == 401
        assert twin.json() == {"title": "Sign in first"}


def test_the_token_of_the_folder_signs_in_and_is_not_kept_by_the_browser(house: House) -> None:
    with house.signed_in() as browser:
        assert browser.get("/console/overview").status_code == 200
        assert house.token() not in str(browser.cookies.jar)
        (login, *_) = house.events("subtype=110122&_sort=-_lastUpdated&_count=200")
        assert "a bearer token" in str(login)


def test_a_wrong_token_is_refused_and_recorded(house: House) -> None:
    before = len(house.events("type=110101&outcome=8&_count=200"))
    with house.browser() as browser:
        page = browser.get("/console/sign-in")
        answer = browser.post("/console/sign-in", data={"csrf": csrf_of(page), "token": "wrong"})
        assert answer.status_code == 401
        assert "not good here" in answer.text
        assert browser.get("/console/overview").status_code == 303
    assert len(house.events("type=110101&outcome=8&_count=200")) == before + 1


def test_an_auditor_signs_in_with_the_issuer_and_out_again(house: House) -> None:
    with house.signed_in("otto") as browser:
        page = browser.get("/console/search?q=Observation/o1&range=all")
        assert page.status_code == 200
        assert "Otto Test" in page.text
        answer = browser.post("/console/sign-out", data={"csrf": csrf_of(page)})
        assert answer.status_code == 303
        assert "/auth/" in answer.headers["location"]
        gone = browser.get(answer.headers["location"])
        assert gone.status_code == 303
        assert gone.headers["location"] == f"{house.address}/console/sign-in"
        assert browser.get("/console/overview").status_code == 303
        assert browser.get("/auth/account").status_code == 303


def test_what_an_auditor_reads_is_recorded_with_his_name(house: House) -> None:
    with house.signed_in("otto") as browser:
        assert browser.get(f"/console/events/{house.ids[3]}").status_code == 200
    (used, *_) = house.events("type=110101&agent-name=Otto&_sort=-date&_count=50")
    assert used["agent"][0]["name"] == "Otto Test"
    asked = house.events("type=110101&agent-name=Otto&_sort=-date&_count=50")
    about = [one for one in asked if house.ids[3] in str(one["entity"])]
    assert len(about) == 1


def test_an_administrator_sees_no_event(house: House) -> None:
    with house.signed_in("ada") as browser:
        for path in ("overview", "search?range=all", f"events/{house.ids[0]}"):
            answer = browser.get(f"/console/{path}")
            assert answer.status_code == 403
            assert "Nora" not in answer.text
            assert "Observation/o" not in answer.text


def test_a_patient_sees_his_own_events_and_no_others(house: House) -> None:
    """IDOR: the id of another patient's event is good for nothing (T-20)."""
    with house.signed_in("pat", way="patient") as browser:
        found = browser.get("/console/search.json?from=2026-11-01&to=2026-11-03").json()
        assert found["total"] == 60
        assert {one["name"] for row in found["events"] for one in row["patients"]} == {"Patient/p1"}
        mine, others = house.ids[0], house.ids[1]
        assert browser.get(f"/console/events/{mine}").status_code == 200
        for path in (f"events/{others}", f"events/{others}/original", f"events/{others}?verify=1"):
            answer = browser.get(f"/console/{path}")
            assert answer.status_code in (403, 404)
            assert "Nora" not in answer.text
        assert browser.get("/console/overview").status_code == 403


def test_a_session_is_another_one_after_the_sign_in(house: House) -> None:
    """Session fixation: a cookie that somebody has planted is worth nothing afterwards."""
    with house.browser() as browser:
        page = browser.get("/console/sign-in")
        planted = browser.cookies["caretrail-console"]
        form = {"csrf": csrf_of(page), "token": house.token()}
        browser.post("/console/sign-in", data=form)
        assert browser.cookies["caretrail-console"] != planted
    cookies = {"cookie": f"caretrail-console={planted}"}
    answer = httpx.get(f"{house.address}/console/overview", headers=cookies, timeout=60)
    assert answer.status_code == 303


@pytest.mark.parametrize(
    ("headers", "csrf"),
    [
        ({"origin": "https://evil.example"}, True),
        ({"sec-fetch-site": "cross-site"}, True),
        ({}, False),
    ],
)
def test_a_form_of_another_site_does_nothing(
    house: House, headers: dict[str, str], csrf: bool
) -> None:
    with house.signed_in() as browser:
        page = browser.get("/console/overview")
        form = {"csrf": csrf_of(page)} if csrf else {"csrf": "x"}
        assert browser.post("/console/sign-out", data=form, headers=headers).status_code == 403
        assert browser.get("/console/overview").status_code == 200


@pytest.mark.parametrize(
    "goal", ["https://evil.example/", "//evil.example/", "/fhir", "/console/\\x"]
)
def test_a_sign_in_leads_nowhere_else(house: House, goal: str) -> None:
    with house.browser() as browser:
        page = browser.get("/console/sign-in", params={"goal": goal})
        form = {"csrf": csrf_of(page), "token": house.token()}
        assert browser.post("/console/sign-in", data=form).headers["location"] == "/console/"


def test_the_answer_to_a_sign_in_is_taken_once_and_by_its_own_browser(house: House) -> None:
    with house.browser() as browser:
        page = browser.get("/console/sign-in")
        form = {"csrf": csrf_of(page), "as": "staff"}
        browser.post("/console/sign-in/issuer", data=form)
        wrong = browser.get("/console/callback?code=x&state=y")
        assert wrong.status_code == 401
        again = browser.get("/console/callback?code=x&state=y")
        assert again.status_code == 401
    with house.browser() as stranger:
        assert stranger.get("/console/callback?code=x&state=y").status_code == 401


@pytest.mark.parametrize("path", ["sign-in", "overview", "static/style.css"])
def test_headers_keep_pages_out_of_frames_caches_and_guesses(house: House, path: str) -> None:
    with house.signed_in() as browser:
        headers = browser.get(f"/console/{path}").headers
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    if "static" in path:
        return
    policy = headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["cache-control"] == "no-store"
