"""`metadata`, the definitions, `$stats`, health and metrics."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from caretrail.access.decision import Gate
from caretrail.api.operations import OPERATIONS
from caretrail.api.router import ROUTES
from caretrail.fhir.profiles import PROFILES
from caretrail.search.parameters import PARAMETERS
from caretrail.statistics import Stats, Value
from caretrail.transport.asgi import Application
from tests.api.arr import BASE, Arr, event

if TYPE_CHECKING:
    from typing import Any


def test_metadata_says_what_the_tables_say(arr: Arr) -> None:
    statement = arr.get("/fhir/metadata").json()
    assert (statement["kind"], statement["fhirVersion"]) == ("instance", "4.0.1")
    assert statement["implementation"]["url"] == BASE
    assert {"json", "xml", "application/fhir+json", "application/fhir+xml"} <= set(
        statement["format"]
    )
    (rest,) = statement["rest"]
    resource = rest["resource"][0]
    assert {row["code"] for row in resource["interaction"]} >= {"create", "read", "search-type"}
    assert [row["name"] for row in resource["searchParam"]] == [row.code for row in PARAMETERS]
    assert resource["supportedProfile"] == [row.url for row in PROFILES]
    assert resource["conditionalCreate"] is True
    assert {row["name"] for row in resource["operation"]} == {row.code for row in OPERATIONS}
    for said in ("UTC", "any server", "-date"):
        assert said in rest["documentation"]


def test_metadata_is_also_there_in_xml(arr: Arr) -> None:
    answer = arr.get("/fhir/metadata", Accept="application/fhir+xml")
    assert answer.status_code == 200
    assert b"<CapabilityStatement" in answer.content


@pytest.mark.parametrize("kind", ["SearchParameter", "OperationDefinition"])
def test_each_definition_is_listed_and_reads(arr: Arr, kind: str) -> None:
    listed = [entry["resource"] for entry in arr.get(f"/fhir/{kind}").json()["entry"]]
    for one in listed:
        assert arr.get(f"/fhir/{kind}/{one['id']}").json() == one
    assert len({one["id"] for one in listed}) == len(listed)
    assert arr.get(f"/fhir/{kind}/unknown").status_code == 404


def test_what_metadata_refers_to_is_defined(arr: Arr) -> None:
    resource = arr.get("/fhir/metadata").json()["rest"][0]["resource"][0]
    for kind, rows in (("SearchParameter", "searchParam"), ("OperationDefinition", "operation")):
        listed = arr.get(f"/fhir/{kind}").json()["entry"]
        urls = {entry["resource"]["url"] for entry in listed}
        assert {row["definition"] for row in resource[rows]} == urls


def test_every_operation_of_the_routes_is_defined() -> None:
    routed = {
        route.path.rpartition("$")[2].partition("/")[0] for route in ROUTES if "$" in route.path
    }
    assert routed == {row.code for row in OPERATIONS}


def parameter(resource: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [row for row in resource["parameter"] if row["name"] == name]


def test_statistics_count_by_value_and_by_time(arr: Arr) -> None:
    for day in (1, 1, 3):
        arr.record(event(recorded=f"2026-03-0{day}T08:00:00Z"))
    arr.record(event(recorded="2026-03-03T08:00:00Z", outcome="8"))
    query = "_by=outcome,agent&_interval=day&patient=Patient/p1"
    found = arr.get(f"/fhir/AuditEvent/$stats?{query}").json()
    assert found["resourceType"] == "Parameters"
    assert parameter(found, "total")[0]["valueInteger"] == 4
    counts = [row["part"][1]["valueInteger"] for row in parameter(found, "bucket")]
    assert [one for one in counts if one] == [2, 2]
    codes = [row["part"][0]["valueCode"] for row in parameter(found, "facet")]
    assert codes == ["outcome", "agent"]
    assert arr.form("/fhir/AuditEvent/$stats", query).json() == found


def test_statistics_name_values_as_people_know_them(
    arr: Arr, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def counted(*_: object, **__: object) -> Stats:
        return Stats(None, True, [], {"type": [Value("DCM|110110", "Patient Record", 3)]})

    monkeypatch.setattr(arr.repository, "stats", counted)
    found = arr.get("/fhir/AuditEvent/$stats?_by=type").json()
    assert [row["name"] for row in found["parameter"]] == ["estimated", "facet"]
    assert found["parameter"][1]["part"][1]["part"] == [
        {"name": "value", "valueString": "DCM|110110"},
        {"name": "display", "valueString": "Patient Record"},
        {"name": "count", "valueInteger": 3},
    ]


@pytest.mark.parametrize(
    "query",
    ["_by=nonsense", "_interval=second", "date=x", "_by=" + ",".join(f"a{n}" for n in range(20))],
)
def test_statistics_refuse_what_they_cannot_count(arr: Arr, query: str) -> None:
    assert arr.get(f"/fhir/AuditEvent/$stats?{query}").status_code == 400


def test_health_tells_the_state_of_each_part(arr: Arr) -> None:
    assert arr.get("/health/live").json() == {"status": "ok"}
    ready = arr.get("/health/ready")
    assert ready.headers["content-type"] == "application/json"
    for part in ("store", "queue", "clock", "integrity", "authentication"):
        assert ready.json()[part]["status"] == "ok"


def test_a_repository_that_takes_no_posts_is_not_ready(
    arr: Arr, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arr.repository, "health", lambda: {"accepting": False})
    assert arr.get("/health/ready").status_code == 503


def test_a_server_without_authentication_says_so(arr: Arr) -> None:
    trial = arr.service._replace(gate=Gate(None))
    arr.client._transport.app = Application(trial)  # type: ignore[attr-defined]
    ready = arr.request("GET", "/health/ready", token="").json()
    assert "no credential" in ready["authentication"]["status"]
    assert arr.request("GET", "/fhir/AuditEvent", token="").status_code == 200


def test_metrics_are_handed_out_to_those_with_a_credential(arr: Arr) -> None:
    counted = arr.service._replace(metrics=lambda: b"events_total 7\n")
    arr.client._transport.app = Application(counted)  # type: ignore[attr-defined]
    assert arr.get("/metrics", Accept="text/plain").status_code == 200
    answer = arr.get("/metrics", Accept="application/openmetrics-text")
    assert answer.text == "events_total 7\n"
    assert answer.headers["content-type"].startswith("text/plain")


def test_each_request_is_told_to_the_metrics(arr: Arr) -> None:
    seen: list[tuple[str, int]] = []
    application = Application(
        arr.service, on_request=lambda what, status, seconds: seen.append((what, status))
    )
    arr.client._transport.app = application  # type: ignore[attr-defined]
    arr.record(event())
    arr.get("/fhir/AuditEvent/none")
    arr.get("/nothing")
    assert seen == [("create", 201), ("read", 404), ("none", 404)]


def test_the_server_may_start_and_stop_the_application(arr: Arr) -> None:
    asked = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    told: list[str] = []

    async def receive() -> Any:
        return next(asked)

    async def send(message: Any) -> None:
        told.append(message["type"])

    asyncio.run(arr.application({"type": "lifespan"}, receive, send))
    assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
