"""`$export`, from the kick-off to the file, on the real application."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from caretrail.errors import NotFoundError
from caretrail.limits import EXPORT_JOBS_MAX, EXPORT_RESULTS_MAX
from tests.api.arr import TOKEN, Published, event, outcome
from tests.exporting.world import checked, disclosed, exports

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

ASYNC = {"Prefer": "respond-async"}
EVIDENCE = "application/vnd.caretrail.evidence+zip"

TABLES = [
    ("csv", "text/csv", b"entry,id,recorded,"),
    ("text/csv", "text/csv", b"entry,id,recorded,"),
    ("parquet", "application/vnd.apache.parquet", b"PAR1"),
]


def fill(arr: Published, count: int = 6) -> None:
    for n in range(count):
        entity = [{"what": {"reference": f"Patient/p{n % 2}"}}]
        assert arr.record(event(id=f"e{n}", entity=entity)).status_code == 201


def begin(arr: Published, query: str = "", path: str = "/fhir/$export") -> str:
    """Begin an export and return its status address below the host."""
    answer = arr.request("GET", f"{path}?{query}", headers=ASYNC)
    assert answer.status_code == 202, answer.text
    return answer.headers["content-location"].removeprefix("http://arr.test")


def wait(arr: Published, address: str) -> httpx.Response:
    for _ in range(400):
        answer = arr.get(address)
        if answer.status_code != 202:
            return answer
        assert answer.headers["x-progress"]
        assert int(answer.headers["retry-after"]) > 0
        arr.pause(0.02)
    raise AssertionError("the export does not end")


def fetch(arr: Published, manifest: dict[str, Any]) -> bytes:
    (output,) = manifest["output"]
    assert output["type"] == "AuditEvent"
    answer = arr.get(output["url"].removeprefix("http://arr.test"))
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["cache-control"] == "no-store"
    return answer.content


def lines(data: bytes) -> list[dict[str, Any]]:
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


@pytest.mark.parametrize("path", ["/fhir/$export", "/fhir/AuditEvent/$export"])
def test_every_event_is_exported_as_it_is_served(published: Published, path: str) -> None:
    fill(published)
    address = begin(published, "_type=AuditEvent", path)
    answer = wait(published, address)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["expires"].endswith("GMT")
    manifest = answer.json()
    assert manifest["request"] == f"http://arr.test{path}?_type=AuditEvent"
    assert manifest["requiresAccessToken"] is True
    assert manifest["error"] == []
    assert manifest["transactionTime"].endswith("Z")
    events = lines(fetch(published, manifest))
    assert manifest["output"][0]["count"] == len(events)
    for one in events:
        assert published.get(f"/fhir/AuditEvent/{one['id']}").json() == one
    assert len(published.get("/fhir/AuditEvent?entity:missing=false").json()["entry"]) >= 6


def test_filters_and_since_decide_together(published: Published) -> None:
    fill(published)
    first = published.get("/fhir/AuditEvent?_sort=sequence&patient=Patient/p1&_count=1").json()
    since = first["entry"][0]["resource"]["meta"]["lastUpdated"].replace("Z", "+00:00")
    for filters, since_when, wanted in (
        (["AuditEvent?patient=Patient/p1"], "", ["e1", "e3", "e5"]),
        (["AuditEvent?patient=Patient/p1", "AuditEvent?patient=Patient/p0"], "", None),
        (["AuditEvent?patient=Patient/p1"], since, ["e3", "e5"]),
    ):
        pairs = [("_typeFilter", one) for one in filters]
        pairs += [("_since", since_when)] if since_when else []
        manifest = wait(published, begin(published, urlencode(pairs))).json()
        events = lines(fetch(published, manifest))
        if wanted is None:
            assert len(events) == 6
        else:
            assert len(events) == len(wanted)


def test_parameters_may_come_in_the_body(published: Published) -> None:
    fill(published)
    resource = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "_type", "valueCode": "AuditEvent"},
            {"name": "_typeFilter", "valueString": "AuditEvent?patient=Patient/p1"},
        ],
    }
    form = urlencode({"_typeFilter": "AuditEvent?patient=Patient/p1"})
    for answer in (
        published.post("/fhir/$export", resource, Prefer="respond-async"),
        published.form("/fhir/AuditEvent/$export", form, Prefer="respond-async"),
    ):
        assert answer.status_code == 202
        address = answer.headers["content-location"].removeprefix("http://arr.test")
        manifest = wait(published, address).json()
        assert "p1" not in manifest["request"]
        assert len(lines(fetch(published, manifest))) == 3


@pytest.mark.parametrize(("asked", "media", "begins"), TABLES)
def test_a_table_is_asked_for_by_its_form(
    published: Published, asked: str, media: str, begins: bytes
) -> None:
    fill(published)
    query = urlencode({"_typeFilter": "AuditEvent?patient=Patient/p1", "_outputFormat": asked})
    manifest = wait(published, begin(published, query)).json()
    assert manifest["outputFormat"] == media
    assert manifest["output"][0]["count"] == 3
    data = fetch(published, manifest)
    assert data.startswith(begins)
    assert data.count(b"Patient/p1") >= 3 or begins == b"PAR1"


def test_nothing_found_is_no_file(published: Published) -> None:
    query = urlencode({"_typeFilter": "AuditEvent?patient=Patient/nobody"})
    assert wait(published, begin(published, query)).json()["output"] == []


def test_evidence_about_a_subject_holds(published: Published) -> None:
    fill(published)
    pairs = {"_outputFormat": EVIDENCE, "_subject": "Patient/p1"}
    # A client that forgets to encode the plus sign is understood.
    for query in (urlencode(pairs), urlencode(pairs).replace("%2B", "+")):
        manifest = wait(published, begin(published, query)).json()
        bundle = fetch(published, manifest)
        assert manifest["outputFormat"] == EVIDENCE
        assert checked(bundle).holds()
        assert manifest["output"][0]["count"] == len(disclosed(bundle)) == 3


def test_why_an_export_failed_is_told_at_its_address(published: Published) -> None:
    pairs = {"_outputFormat": EVIDENCE, "_typeFilter": "AuditEvent?patient=Patient/nobody"}
    address = begin(published, urlencode(pairs))
    answer = wait(published, address)
    assert answer.status_code == 422
    assert "no event fits" in outcome(answer)["diagnostics"]
    assert published.request("DELETE", address).status_code == 202


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("_type=Patient", "_type is AuditEvent"),
        ("_elements=id", "nothing else"),
        ("patient=Patient/p1", "nothing else"),
        ("_since=yesterday", ""),
        ("_since=2026-01-01&_since=2027-01-01", "given once"),
        ("_outputFormat=text/html", "_outputFormat is"),
        ("_subject=Patient/p1", "_outputFormat="),
        (f"_outputFormat={EVIDENCE}&_subject=p1", "Type/id"),
        (f"_outputFormat={EVIDENCE}&_start=x", "whole number"),
        ("_typeFilter=Patient?name=x", ""),
        ("_typeFilter=AuditEvent?_count=1", "shape a page"),
    ],
)
def test_a_kick_off_that_cannot_be_met_is_refused(
    published: Published, query: str, said: str
) -> None:
    answer = published.request("GET", f"/fhir/$export?{query}", headers=ASYNC)
    assert answer.status_code == 400
    assert said in outcome(answer)["diagnostics"]
    assert "p1" not in answer.text


def test_without_prefer_there_is_a_hint(published: Published) -> None:
    answer = published.get("/fhir/$export")
    assert answer.status_code == 400
    assert "Prefer: respond-async" in outcome(answer)["diagnostics"]


@pytest.mark.parametrize("content", [b"{}", b"[]", b'{"resourceType":"Parameters","parameter":1}'])
def test_a_body_that_is_no_parameters_is_refused(published: Published, content: bytes) -> None:
    answer = published.post("/fhir/$export", content, Prefer="respond-async")
    assert answer.status_code == 400


def test_a_deleted_export_is_gone_with_its_files(published: Published) -> None:
    fill(published)
    address = begin(published)
    manifest = wait(published, address).json()
    url = manifest["output"][0]["url"].removeprefix("http://arr.test")
    folder = published.folder / "exports"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(list(folder.iterdir())) == 1
    assert published.request("DELETE", address).status_code == 202
    for method, path in (("GET", address), ("DELETE", address), ("GET", url)):
        assert published.request(method, path).status_code == 404
    assert list(folder.iterdir()) == []


def test_a_cancelled_export_is_recorded_once_like_any_other(published: Published) -> None:
    fill(published)

    async def at_once() -> None:
        headers = {**ASYNC, "Authorization": f"Bearer {TOKEN}"}
        begun = await published.client.get("/fhir/$export", headers=headers)
        gone = await published.client.delete(begun.headers["content-location"], headers=headers)
        assert (begun.status_code, gone.status_code) == (202, 202)

    for _ in range(3):
        published.runner.run(at_once())
    wait(published, begin(published))
    told = published.runner.run(exports(published))  # type: ignore[arg-type]
    assert len(told) == 4
    assert {row["requester"] for row in told} == {"officer"}
    assert len(list((published.folder / "exports").iterdir())) == 1


def test_files_expire(tmp_path: Path) -> None:
    arr = Published(tmp_path, seconds_kept=0.3)
    try:
        fill(arr)
        address = begin(arr)
        manifest = wait(arr, address).json()
        arr.pause(0.5)
        assert arr.get(address).status_code == 404
        url = manifest["output"][0]["url"].removeprefix("http://arr.test")
        assert arr.get(url).status_code == 404
        assert list((arr.folder / "exports").iterdir()) == []
    finally:
        arr.close()


def test_a_restart_leaves_nothing_of_an_export(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "exports"
    left = folder / ("a-_Z" * 8)
    left.mkdir(parents=True)
    (left / "AuditEvent.ndjson").write_text("{}")
    (folder / "of-somebody-else").mkdir()
    Published(tmp_path).close()
    assert [one.name for one in folder.iterdir()] == ["of-somebody-else"]


def test_too_many_exports_are_told_to_come_later(published: Published) -> None:
    fill(published)

    async def crowd() -> list[httpx.Response]:
        headers = {**ASYNC, "Authorization": f"Bearer {TOKEN}"}
        return [
            await published.client.get("/fhir/$export", headers=headers)
            for _ in range(EXPORT_JOBS_MAX + 1)
        ]

    *first, last = published.runner.run(crowd())
    assert [answer.status_code for answer in first] == [202] * EXPORT_JOBS_MAX
    assert last.status_code == 503
    assert int(last.headers["retry-after"]) > 0
    for answer in first:
        address = answer.headers["content-location"].removeprefix("http://arr.test")
        assert wait(published, address).status_code == 200
    for _ in range(EXPORT_RESULTS_MAX - EXPORT_JOBS_MAX):
        wait(published, begin(published))
    answer = published.request("GET", "/fhir/$export", headers=ASYNC)
    assert answer.status_code == 503
    assert "delete" in outcome(answer)["diagnostics"]


def test_every_address_of_an_export_asks_for_the_credential(published: Published) -> None:
    fill(published)
    address = begin(published)
    manifest = wait(published, address).json()
    url = manifest["output"][0]["url"].removeprefix("http://arr.test")
    for method, path in (
        ("GET", "/fhir/$export"),
        ("POST", "/fhir/AuditEvent/$export"),
        ("GET", address),
        ("DELETE", address),
        ("GET", url),
    ):
        assert published.request(method, path, token="", headers=ASYNC).status_code == 401
    assert published.get(url).status_code == 200


def test_addresses_say_nothing_of_patients_and_cannot_be_guessed(published: Published) -> None:
    fill(published)
    query = urlencode({"_typeFilter": "AuditEvent?patient=Patient/p1"})
    addresses = [begin(published, query) for _ in range(2)]
    for address in addresses:
        manifest = wait(published, address).json()
        assert "p1" not in address + manifest["output"][0]["url"]
        assert len(address.rpartition("/")[2]) >= 32
    assert len(set(addresses)) == 2


def test_another_caller_does_not_see_the_export(published: Published) -> None:
    address = begin(published)
    wait(published, address)
    job = published.exports.find(address.rpartition("/")[2], "officer")
    assert job.has_ended
    with pytest.raises(NotFoundError):
        published.exports.find(job.id, "somebody else")


def test_a_file_is_sent_to_head_without_its_content(published: Published) -> None:
    fill(published)
    manifest = wait(published, begin(published)).json()
    url = manifest["output"][0]["url"].removeprefix("http://arr.test")
    answer = published.request("HEAD", url)
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) > 0
    assert answer.content == b""
    assert answer.headers["content-type"] == "application/fhir+ndjson"
    assert published.get(url + "x").status_code == 404


def test_progress_is_told_while_it_runs(published: Published) -> None:
    fill(published)

    async def first_look() -> httpx.Response:
        headers = {**ASYNC, "Authorization": f"Bearer {TOKEN}"}
        begun = await published.client.get("/fhir/$export", headers=headers)
        return await published.client.get(begun.headers["content-location"], headers=headers)

    answer = published.runner.run(first_look())
    assert answer.status_code == 202
    assert answer.headers["x-progress"]
    assert answer.content == b""


def test_an_arr_without_exports_says_so(arr: Any) -> None:
    answer = arr.request("GET", "/fhir/$export", headers=ASYNC)
    assert answer.status_code == 404
