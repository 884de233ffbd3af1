"""The audit of the audit: one event a request, none of itself, few of a flood (M14, T-03, R-AC-20)."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from caretrail.access.denials import Denials, network
from caretrail.access.rate import Rate
from caretrail.errors import RateError
from caretrail.limits import (
    DENIAL_SECONDS_WINDOW,
    DENIALS_ALL_MAX,
    DENIALS_PEER_MAX,
    DENIALS_PEERS_MAX,
    SOURCES_COUNTED_MAX,
)
from tests.access.guarded import ISSUER, Guarded, GuardedPublished, details, token_of
from tests.api.arr import event, ids, outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def arr(tmp_path: Path) -> Iterator[Guarded]:
    made = Guarded(tmp_path)
    yield made
    made.close()


READS = (
    ("/fhir/AuditEvent?patient=Patient/p1", "search-type", 200, "3"),
    ("/fhir/AuditEvent?patient=Patient/nobody", "search-type", 200, "0"),
    ("/fhir?_type=AuditEvent", "search-system", 200, "3"),
    ("/fhir/Patient/p1/AuditEvent", "search-compartment", 200, "3"),
    ("/fhir/AuditEvent/$stats?_by=type", "$stats", 200, "3"),
    ("/fhir/AuditEvent/{id}", "read", 200, "1"),
    ("/fhir/AuditEvent/{id}/_history/1", "vread", 200, "1"),
    ("/fhir/AuditEvent/{id}/_history", "history-instance", 200, "1"),
    ("/fhir/AuditEvent/{id}/$original", "$original", 200, "1"),
    ("/fhir/AuditEvent/00000000-0000-7000-8000-000000000000", "read", 404, "0"),
    ("/fhir/AuditEvent?date=never", "search-type", 400, "0"),
    ("/fhir/AuditEvent/$gaps", "$gaps", 200, "0"),
)


@pytest.mark.parametrize(("path", "interaction", "status", "rows"), READS)
def test_a_read_leaves_one_event_before_its_answer(
    arr: Guarded, path: str, interaction: str, status: int, rows: str
) -> None:
    for _ in range(3):
        event_id = arr.record(event(entity=[{"what": {"reference": "Patient/p1"}}])).json()["id"]
    answer = arr.ask("auditor", path.replace("{id}", event_id), name="Ann Example")
    assert answer.status_code == status
    (used,) = arr.uses()
    assert arr.repository.size == 4
    told = details(used)
    assert (told["interaction"], told["status"], told["rows"]) == (interaction, str(status), rows)
    assert used["outcome"] == ("0" if status == 200 else "4")
    person, application = used["agent"]
    assert person["who"]["identifier"] == {"system": ISSUER, "value": "ann"}
    assert person["name"] == "Ann Example"
    assert person["network"]["address"] == "192.0.2.7"
    assert person["role"][0]["coding"][0]["code"] == "auditor"
    assert person["policy"] == ["urn:ietf:params:oauth:jti:id-1"]
    assert application["who"]["identifier"]["value"] == "console"
    about = [one["what"]["reference"] for one in used["entity"][1:] if "what" in one]
    assert about == ([f"AuditEvent/{event_id}"] if "{id}" in path else [])


def test_the_query_is_told_without_what_tells_of_somebody(arr: Guarded) -> None:
    query = "patient=Patient/p1&agent-name=Canary&date=ge2026&entity-name=Secret&_count=5"
    arr.ask("auditor", f"/fhir/AuditEvent?{query}")
    media = {"Content-Type": "application/x-www-form-urlencoded"}
    arr.request("POST", "/fhir/AuditEvent/_search", token=token_of("auditor"), content=query.encode(), headers=media)  # fmt: skip
    for used in arr.uses():
        assert "Canary" not in json.dumps(used)
        assert "Secret" not in json.dumps(used)
        (asked,) = [one["description"] for one in used["entity"] if "description" in one]
        assert asked.partition("?")[2] == "patient=Patient/p1&agent-name&date=ge2026&entity-name&_count=5"  # fmt: skip


def test_what_cannot_be_in_a_text_does_not_stop_the_recording(arr: Guarded) -> None:
    answer = arr.ask("auditor", "/fhir/AuditEvent?patient=Patient/%00%1b%0d%0a", name="A\x7fB")
    assert answer.status_code == 200
    (used,) = arr.uses()
    assert "\x00" not in json.dumps(used, ensure_ascii=False)


def test_what_is_not_a_read_leaves_no_event(arr: Guarded) -> None:
    arr.record(event())
    arr.filed("north", event())
    for path in (
        "/fhir/metadata",
        "/health/ready",
        "/metrics",
        "/fhir/SearchParameter",
        "/log/keys",
    ):
        arr.get(path)
    arr.post("/fhir", {"resourceType": "Bundle", "type": "batch", "entry": [{"resource": event()}]})
    assert not arr.uses()


def test_a_batch_with_reads_is_one_request(arr: Guarded) -> None:
    stored = arr.record(event()).json()["id"]
    reads = ["AuditEvent?patient=Patient/p1", f"AuditEvent/{stored}", "AuditEvent/none"]
    entries: list[Any] = [{"request": {"method": "GET", "url": url}} for url in reads]
    answer = arr.post("/fhir", {"resourceType": "Bundle", "type": "batch", "entry": entries})
    assert answer.status_code == 200
    (used,) = arr.uses()
    assert (details(used)["interaction"], details(used)["rows"]) == ("batch", "2")


def test_a_read_that_cannot_be_recorded_is_not_given(arr: Guarded) -> None:
    stored = arr.record(event()).json()["id"]

    async def fails(*_: Any, **__: Any) -> None:
        from caretrail.errors import StoreError

        raise StoreError("the disk is full")

    arr.auditing._record = fails  # type: ignore[method-assign]
    answer = arr.get(f"/fhir/AuditEvent/{stored}")
    assert answer.status_code == 503
    assert "Patient/p1" not in answer.text
    assert arr.get("/fhir/AuditEvent/none").status_code == 404


def test_looking_at_uses_leaves_as_many_as_looks(arr: Guarded) -> None:
    for number in range(1, 4):
        found = arr.ask("auditor", "/fhir/AuditEvent?type=110101")
        assert len(ids(found)) == number - 1
        assert len(arr.uses()) == number
    assert not ids(arr.ask("auditor", "/fhir/AuditEvent?type:not=110101"))


def test_a_use_is_filed_under_the_organisation_of_who_looked(arr: Guarded) -> None:
    arr.ask("auditor", "/fhir/AuditEvent", organisation="north")
    assert len(ids(arr.ask("auditor", "/fhir/AuditEvent", organisation="north"))) == 1
    assert not ids(arr.ask("auditor", "/fhir/AuditEvent", organisation="south"))


def test_a_patient_does_not_find_uses_of_the_log(arr: Guarded) -> None:
    arr.record(event())
    for _ in range(3):
        found = arr.ask("patient", "/fhir/AuditEvent?patient=Patient/p1")
        assert len(ids(found)) == 1
        assert found.json()["total"] == 1


def test_exports_are_told_once_and_their_files_each_time(tmp_path: Path) -> None:
    arr = GuardedPublished(tmp_path)
    try:
        for organisation in ("north", "south"):
            arr.filed(organisation, event())
        token = token_of("auditor", organisation="north")
        headers = {"Prefer": "respond-async"}
        begun = arr.request("GET", "/fhir/$export", token=token, headers=headers)
        assert begun.status_code == 202
        address = begun.headers["content-location"].removeprefix("http://arr.test")
        deadline = time.monotonic() + 60
        while (status := arr.request("GET", address, token=token)).status_code == 202:
            assert time.monotonic() < deadline
            arr.pause(0.05)
        (output,) = status.json()["output"]
        assert output["count"] == 1
        path = output["url"].removeprefix("http://arr.test")
        lines = arr.request("GET", path, token=token).text.splitlines()
        assert len(lines) == 1
        for other in ("auditor", "privacy-officer"):
            assert arr.ask(other, address, sub="somebody else").status_code == 404
        assert [details(one)["interaction"] for one in arr.uses()] == ["$export-file"]
        assert details(arr.uses()[0])["rows"] == "1"
        for narrow in ("_start=1", "_subject=Patient/p1&_outputFormat=application/vnd.caretrail.evidence%2Bzip"):  # fmt: skip
            refused = arr.request("GET", f"/fhir/$export?{narrow}", token=token, headers=headers)
            assert refused.status_code == 400
            assert "with this credential" in outcome(refused)["diagnostics"]
    finally:
        arr.close()


# Refusals.


@pytest.mark.parametrize(
    ("method", "path", "role", "status"),
    [
        ("GET", "/fhir/AuditEvent", "", 401),
        ("GET", "/nothing/Canary", "", 401),
        ("GET", "/fhir/AuditEvent?patient=Canary", "source", 403),
        ("POST", "/fhir/AuditEvent", "patient", 403),
        ("PUT", "/fhir/AuditEvent/1", "auditor", 405),
    ],
)
def test_a_refusal_leaves_one_event(
    arr: Guarded, method: str, path: str, role: str, status: int
) -> None:
    token = token_of(role) if role else ""
    assert arr.request(method, path, token=token).status_code == status
    (used,) = arr.uses()
    assert used["outcome"] == "8"
    assert details(used)["status"] == str(status)
    assert "Canary" not in json.dumps(used)
    assert ("unknown" in json.dumps(used["agent"])) is not bool(role)


def test_an_entry_that_is_refused_leaves_an_event_and_nothing_else(arr: Guarded) -> None:
    entry = {"request": {"method": "GET", "url": "AuditEvent"}}
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [entry, {"resource": event()}]}
    for role, statuses in (("source", ["403", "201"]), ("auditor", ["200", "403"])):
        answer = arr.request("POST", "/fhir", token=token_of(role), json=bundle, headers={"Content-Type": "application/fhir+json"})  # fmt: skip
        found = [one["response"]["status"][:3] for one in answer.json()["entry"]]
        assert found == statuses
    told = [details(one)["status"] for one in arr.uses()]
    assert told == ["403", "403", "200"]  # The last two are of one request: what was read, too.
    bundle["type"] = "transaction"
    answer = arr.request("POST", "/fhir", token=token_of("auditor"), json=bundle, headers={"Content-Type": "application/fhir+json"})  # fmt: skip
    assert answer.status_code == 403
    assert [details(one)["status"] for one in arr.uses()] == ["403", "403", "200", "403"]


def test_a_flood_of_refusals_is_counted_and_told(arr: Guarded) -> None:
    for _ in range(DENIALS_PEER_MAX + 25):
        arr.request("GET", "/fhir/AuditEvent", token="guess")
    assert len(arr.uses()) == DENIALS_PEER_MAX
    arr.runner.run(arr.auditing.close())
    flood = arr.uses()[-1]
    assert details(flood)["attempts"] == "25"
    assert details(flood)["window-seconds"] == str(DENIAL_SECONDS_WINDOW)
    assert flood["agent"][0]["network"]["address"] == "192.0.2.7"


def test_a_flood_is_told_when_its_window_is_over_though_nobody_asks(arr: Guarded) -> None:
    for _ in range(DENIALS_PEER_MAX + 1):
        arr.request("GET", "/fhir/AuditEvent", token="guess")

    async def over() -> None:
        arr.auditing._denials._window_over()
        await asyncio.gather(*arr.auditing._denials._telling)

    arr.runner.run(over())
    assert details(arr.uses()[-1]).get("attempts") is None  # One is not many.
    assert len(arr.uses()) == DENIALS_PEER_MAX + 1


def test_denials_are_bounded_by_peer_by_all_and_by_peers() -> None:
    clock = [0.0]
    denials = Denials(lambda: clock[0])
    told = sum(
        denials.count(f"10.{n >> 8 & 255}.{n & 255}.1") for n in range(DENIALS_PEERS_MAX + 500)
    )
    assert told == DENIALS_ALL_MAX
    assert not denials.ended()
    clock[0] = DENIAL_SECONDS_WINDOW
    floods = denials.ended()
    assert sum(one.attempts for one in floods) + told == DENIALS_PEERS_MAX + 500
    assert len(floods) == DENIALS_PEER_MAX + 1
    assert denials.count("10.0.0.1")


def test_the_addresses_of_a_site_are_one_peer() -> None:
    assert network("2001:db8::1") == network("2001:db8::ffff") != network("2001:db8:0:1::1")
    assert network("192.0.2.1") != network("192.0.2.2")
    assert network("x" * 100) == "x" * 64
    assert not network("")


# Rates.


def test_a_source_that_sends_too_much_waits_and_others_do_not(tmp_path: Path) -> None:
    clock = [0.0]
    arr = Guarded(tmp_path, rate=Rate(2, lambda: clock[0]))
    try:
        statuses = [arr.filed("", event()).status_code for _ in range(21)]
        assert statuses == [201] * 20 + [429]
        answer = arr.filed("", event())
        assert int(answer.headers["retry-after"]) > 0
        assert outcome(answer)["code"] == "throttled"
        assert arr.record(event()).status_code == 201
        clock[0] = 0.5
        assert arr.filed("", event()).status_code == 201
        bundle = {"resourceType": "Bundle", "type": "batch", "entry": [{"resource": event()}] * 30}
        clock[0] = 100.0
        assert arr.post("/fhir", bundle).status_code == 200
        assert arr.post("/fhir", bundle).status_code == 429
    finally:
        arr.close()


def test_rates_of_many_sources_are_bounded() -> None:
    rate = Rate(1, lambda: 0.0)
    for number in range(SOURCES_COUNTED_MAX + 5):
        rate.take(str(number), 10)
    assert len(rate._left) == SOURCES_COUNTED_MAX
    rate.take("0", 10)  # Forgotten, and so it has all it may have.
    with pytest.raises(RateError):
        rate.take("0", 1)
