"""Who may ask for what: every route of the table, and what is not in it."""

from __future__ import annotations

import pytest

from caretrail.api.router import ROUTES, Route
from tests.api.arr import TOKEN, Arr, event, outcome

PRIVATE = [route for route in ROUTES if not route.public]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


@pytest.mark.parametrize("route", PRIVATE, ids=name)
@pytest.mark.parametrize(
    "credential",
    ["", "Bearer", "Bearer ", f"Bearer x{TOKEN}", f"Basic {TOKEN}", TOKEN, "bearer\xff"],
)
def test_a_route_is_closed_without_the_credential(arr: Arr, route: Route, credential: str) -> None:
    headers = {b"authorization": credential.encode("latin-1")} if credential else {}
    answer = arr.request(route.method, route.path.replace("{id}", "1"), token="", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert outcome(answer)["code"] == "login"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nothing",
        "/fhir/Nothing",
        "/fhir/AuditEvent/x/y/z",
        "/fhir/metadata/x",
        "/log",
        "/health",
    ],
)
def test_an_unknown_address_is_closed_as_well(arr: Arr, method: str, path: str) -> None:
    answer = arr.request(method, path, token="", content=b"x" * 10, headers={"Content-Type": "no"})
    assert answer.status_code == 401


def test_a_body_is_not_read_without_the_credential(arr: Arr) -> None:
    async def endless():  # type: ignore[no-untyped-def]
        raise AssertionError("the body was read")
        yield b""

    answer = arr.request("POST", "/fhir/AuditEvent", token="", content=endless())
    assert answer.status_code == 401
    assert answer.headers["connection"] == "close"


def test_the_scheme_of_the_credential_is_in_any_case(arr: Arr) -> None:
    headers = {"Authorization": f"bEARER {TOKEN}"}
    assert arr.request("GET", "/fhir/AuditEvent", token="", headers=headers).status_code == 200


def test_two_credentials_are_none(arr: Arr) -> None:
    answer = arr.runner.run(
        arr.client.get("/fhir/AuditEvent", headers=[("Authorization", f"Bearer {TOKEN}")] * 2)
    )
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "path", ["/fhir/metadata", "/fhir/metadata/", "/health/live", "/health/ready"]
)
def test_what_is_public_needs_no_credential(arr: Arr, path: str) -> None:
    assert arr.request("GET", path, token="").status_code == 200


def test_a_public_place_without_anything_is_not_found(arr: Arr) -> None:
    path = "/fhir/.well-known/smart-configuration"
    assert arr.request("GET", path, token="").status_code == 404
    assert arr.request("GET", "/health/nothing", token="").status_code == 404


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES}))
def test_another_method_is_told_which_ones_there_are(arr: Arr, path: str) -> None:
    known = {route.method for route in ROUTES if route.path == path}
    allowed = known | ({"HEAD"} if "GET" in known else set())
    for method in set(METHODS) - allowed:
        answer = arr.request(method, path.replace("{", "").replace("}", ""))
        assert answer.status_code == 405
        assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["", "/{id}", "?patient=Patient/p1", "/{id}/_history/1"])
def test_an_event_is_changed_by_no_method(arr: Arr, method: str, path: str) -> None:
    event_id = arr.record(event()).json()["id"]
    answer = arr.request(
        method, "/fhir/AuditEvent" + path.replace("{id}", event_id), json=event(action="D")
    )
    assert answer.status_code == 405
    assert "never changed" in outcome(answer)["diagnostics"]
    assert arr.get(f"/fhir/AuditEvent/{event_id}").json()["action"] == "R"


@pytest.mark.parametrize(
    "path", ["/fhir/Patient", "/fhir/Patient/1", "/fhir/AuditEvents", "/x", "//fhir"]
)
def test_an_unknown_address_is_not_found(arr: Arr, path: str) -> None:
    answer = arr.runner.run(
        arr.client.get("http://arr.test" + path, headers={"Authorization": f"Bearer {TOKEN}"})
    )
    assert answer.status_code == 404
    assert outcome(answer)["code"] == "not-found"


def test_the_table_has_each_address_and_method_once() -> None:
    keys = [(route.method, route.path) for route in ROUTES]
    assert len(keys) == len(set(keys))
