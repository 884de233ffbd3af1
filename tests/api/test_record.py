"""ITI-20: POST of one AuditEvent."""

from __future__ import annotations

import gzip
import json
import re
import tracemalloc

import pytest

from caretrail.limits import EVENT_BYTES_MAX
from tests.api.arr import BASE, TOKEN, XML, Arr, event, now, outcome, xml_event

KEYED = event(id="sender-7")
CLAIMING = event(
    meta={"profile": ["https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.Read"]}
)


def test_a_create_answers_201_with_the_address_of_the_version(arr: Arr) -> None:
    answer = arr.record(event())
    assert answer.status_code == 201
    place = re.fullmatch(
        rf"{BASE}/AuditEvent/([0-9a-f-]{{36}})/_history/1", answer.headers["location"]
    )
    assert place is not None
    assert answer.headers["etag"] == 'W/"1"'
    assert answer.headers["last-modified"].endswith(" GMT")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["id"] == place[1]
    assert answer.json() == arr.get(f"/fhir/AuditEvent/{place[1]}").json()


def test_the_servers_own_version_replaces_the_senders(arr: Arr) -> None:
    sent = event(id="mine", meta={"versionId": "9", "tag": [{"code": "kept"}]})
    got = arr.record(sent).json()
    assert got["id"] != "mine"
    assert got["meta"]["versionId"] == "1"
    assert got["meta"]["tag"] == [{"code": "kept"}]


def test_an_event_without_anything_to_notice_has_no_flags(arr: Arr) -> None:
    assert "x-caretrail-flags" not in arr.record(event(recorded=now())).headers


def test_minimal_has_no_body(arr: Arr) -> None:
    answer = arr.record(event(), Prefer="return=minimal")
    assert (answer.status_code, answer.content) == (201, b"")
    assert answer.headers["content-length"] == "0"
    assert "content-type" not in answer.headers


def test_representation_is_the_resource(arr: Arr) -> None:
    answer = arr.record(event(), Prefer="return=representation")
    assert answer.json()["resourceType"] == "AuditEvent"


def test_an_operation_outcome_says_that_all_is_well(arr: Arr) -> None:
    answer = arr.record(event(), Prefer="return=OperationOutcome")
    assert answer.status_code == 201
    assert outcome(answer)["severity"] == "information"


def test_an_operation_outcome_warns_of_each_rule_of_a_profile_that_is_not_met(arr: Arr) -> None:
    answer = arr.record(CLAIMING, Prefer="return=OperationOutcome")
    assert answer.status_code == 201
    assert "profile-unmet" in answer.headers["x-caretrail-flags"]
    warnings = [row for row in answer.json()["issue"] if row["severity"] == "warning"]
    assert any(row.get("expression", [""])[0].startswith("AuditEvent.") for row in warnings)


def test_the_same_event_with_a_key_of_its_own_is_stored_once(arr: Arr) -> None:
    first, second = arr.record(KEYED), arr.record(KEYED)
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.headers["location"] == first.headers["location"]
    assert arr.get("/fhir/AuditEvent").json()["total"] == 1


def test_a_condition_that_finds_nothing_lets_the_event_in(arr: Arr) -> None:
    answer = arr.record(event(), If_None_Exist="patient=Patient/p1")
    assert answer.status_code == 201


def test_a_condition_that_finds_one_event_answers_with_that_event(arr: Arr) -> None:
    first = arr.record(event())
    second = arr.record(event(action="U"), If_None_Exist="AuditEvent?patient=Patient/p1")
    assert second.status_code == 200
    assert second.headers["location"] == first.headers["location"]
    assert second.json()["action"] == "R"


def test_a_condition_that_finds_several_events_is_refused(arr: Arr) -> None:
    arr.record(event())
    arr.record(event(action="U"))
    answer = arr.record(event(action="D"), If_None_Exist="patient=Patient/p1")
    assert answer.status_code == 412


def test_a_condition_that_cannot_be_read_is_refused(arr: Arr) -> None:
    assert arr.record(event(), If_None_Exist="no-such-parameter=1").status_code == 400
    assert arr.get("/fhir/AuditEvent").json()["total"] == 0


def test_what_is_no_event_is_refused_with_the_element(arr: Arr) -> None:
    answer = arr.record(event(outcome="5", action="X"))
    assert answer.status_code == 400
    places = {row["expression"][0] for row in answer.json()["issue"]}
    assert {"AuditEvent.outcome", "AuditEvent.action"} <= places


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"{}", b'"text"', b"null"])
def test_what_is_no_json_object_is_refused(arr: Arr, content: bytes) -> None:
    assert arr.record(content).status_code == 400


@pytest.mark.parametrize("kind", ["application/fhir+xml", "text/xml; charset=UTF-8"])
def test_an_event_in_xml_is_taken_and_served_in_both_formats(arr: Arr, kind: str) -> None:
    answer = arr.post("/fhir/AuditEvent", xml_event(), Content_Type=kind)
    assert answer.status_code == 201
    assert answer.headers["content-type"].startswith("application/fhir+xml")
    assert answer.content.startswith(b"<AuditEvent") or b"<AuditEvent" in answer.content[:100]
    assert answer.headers["x-caretrail-flags"].split(",").count("converted") == 1
    read = arr.get(answer.headers["location"], Accept="application/fhir+json").json()
    assert read["entity"] == [{"what": {"reference": "Patient/p1"}}]


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/fhir+turtle",
        "application/fhir+json; charset=utf-16",
        "application/fhir+json; fhirVersion=2.0",
        "application/x-www-form-urlencoded",
        "",
        "application/json/json",
    ],
)
def test_other_media_types_are_refused(arr: Arr, kind: str) -> None:
    answer = arr.record(event(), Content_Type=kind)
    assert answer.status_code == 415
    assert outcome(answer)["code"] == "not-supported"


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "text/json",
        "APPLICATION/FHIR+JSON;charset=UTF-8",
        'application/fhir+json; fhirVersion="4.0"',
        "application/fhir+json;fhirVersion=4.0.1",
    ],
)
def test_the_usual_names_of_json_are_taken(arr: Arr, kind: str) -> None:
    assert arr.record(event(), Content_Type=kind).status_code == 201


def test_an_old_release_is_refused_clearly(arr: Arr) -> None:
    answer = arr.record(event(), Content_Type="application/fhir+json; fhirVersion=3.0")
    assert answer.status_code in (400, 415, 422)


def test_a_format_that_cannot_be_given_is_refused_before_anything_is_stored(arr: Arr) -> None:
    answer = arr.record(event(), Accept="application/pdf")
    assert answer.status_code == 406
    assert arr.get("/fhir/AuditEvent").json()["total"] == 0


def test_a_gzip_body_is_inflated(arr: Arr) -> None:
    body = gzip.compress(json.dumps(event()).encode())
    answer = arr.record(body, Content_Encoding="gzip")
    assert answer.status_code == 201


def test_a_gzip_body_of_several_members_is_inflated(arr: Arr) -> None:
    body = json.dumps(event()).encode()
    pieces = gzip.compress(body[:50]) + gzip.compress(body[50:])
    assert arr.record(pieces, Content_Encoding="gzip").status_code == 201


@pytest.mark.parametrize("cut", [5, 30])
def test_a_gzip_body_that_is_cut_short_is_refused(arr: Arr, cut: int) -> None:
    body = gzip.compress(json.dumps(event()).encode())
    assert arr.record(body[:-cut], Content_Encoding="gzip").status_code == 400


def test_what_is_not_gzip_is_refused(arr: Arr) -> None:
    assert arr.record(event(), Content_Encoding="gzip").status_code == 400


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "deflate", "zstd", ""])
def test_other_codings_are_refused(arr: Arr, coding: str) -> None:
    assert arr.record(event(), Content_Encoding=coding).status_code == 415


@pytest.mark.parametrize("path", ["/fhir/AuditEvent", "/fhir"])
def test_a_gzip_bomb_is_refused_and_takes_no_memory(arr: Arr, path: str) -> None:
    bomb = gzip.compress(bytes(10 * 1024 * 1024), 9) + gzip.compress(bytes(90 * 1024 * 1024), 9)
    tracemalloc.start()
    answer = arr.post(path, bomb, Content_Encoding="gzip")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.status_code == 413
    assert peak < (4 if path.endswith("AuditEvent") else 24) * 1024 * 1024


def test_an_event_over_the_limit_is_refused(arr: Arr) -> None:
    answer = arr.record(b" " * (EVENT_BYTES_MAX + 1))
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"


def test_a_create_that_asks_for_gzip_is_answered_as_it_is(arr: Arr) -> None:
    answer = arr.record(event(outcomeDesc="x" * 5000), Accept_Encoding="gzip")
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("host", ["", "a b", "evil.test/path", 'x"y', "a" * 300, "user@host"])
def test_a_host_that_is_none_does_not_get_into_links(arr: Arr, host: str) -> None:
    assert arr.record(event(), Host=host).status_code == 400


def test_a_public_url_is_used_in_every_link(arr: Arr) -> None:
    from caretrail.transport.asgi import Application

    service = arr.service._replace(public_url="https://audit.hospital.example/")
    arr.client._transport.app = Application(service)  # type: ignore[attr-defined]
    location = arr.record(event()).headers["location"]
    assert location.startswith("https://audit.hospital.example/fhir/AuditEvent/")
    bundle = arr.get("/fhir/AuditEvent").json()
    assert bundle["link"][0]["url"] == "https://audit.hospital.example/fhir/AuditEvent"
    assert bundle["entry"][0]["fullUrl"] == location.removesuffix("/_history/1")


def test_a_busy_repository_tells_when_to_come_back(
    arr: Arr, monkeypatch: pytest.MonkeyPatch
) -> None:
    from caretrail.errors import ThrottledError

    async def full(*_: object, **__: object) -> None:
        raise ThrottledError("the queue is full: send it again later")

    monkeypatch.setattr(arr.repository, "append", full)
    answer = arr.record(event())
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert outcome(answer)["code"] == "throttled"


def test_a_fault_of_ours_tells_nothing_of_the_event(
    arr: Arr, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("Patient/p1 was read\nby nobody")

    monkeypatch.setattr(arr.repository, "append", broken)
    answer = arr.record(event())
    assert answer.status_code == 500
    assert "p1" not in answer.text
    (logged,) = [row for row in caplog.records if row.name == "caretrail.api.router"]
    assert "p1" not in str(vars(logged))
    assert logged.error == "RuntimeError"  # type: ignore[attr-defined]


def test_control_characters_reach_neither_logs_nor_answers(
    arr: Arr, caplog: pytest.LogCaptureFixture
) -> None:
    evil = "x%0d%0aSet-Cookie:%20a=b%00%1b[31m"
    answers = [
        arr.get(f"/fhir/AuditEvent/{evil}"),
        arr.get(f"/fhir/{evil}"),
        arr.get(f"/fhir/AuditEvent?{evil}={evil}"),
        arr.get(f"/fhir/Patient/{evil}/AuditEvent"),
        arr.record(event(id="a\r\nb\x1b[31m")),
        arr.get("/fhir/AuditEvent", Accept="\x1b[31m", Prefer="handling=\x1b"),
        arr.record(event(), If_None_Exist="_id=\x1b[31m"),
    ]
    for answer in answers:
        assert not re.search(rb"[\x00-\x08\x0b-\x1f]", answer.content)
        assert "set-cookie" not in answer.headers
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", caplog.text)


def test_the_token_is_in_no_answer_and_no_log(arr: Arr, caplog: pytest.LogCaptureFixture) -> None:
    wrong = arr.request("GET", "/fhir/AuditEvent", token=TOKEN + "x")
    assert wrong.status_code == 401
    assert TOKEN not in wrong.text + str(wrong.headers) + caplog.text


def test_xml_errors_are_told_in_xml(arr: Arr) -> None:
    answer = arr.post("/fhir/AuditEvent", b"<AuditEvent/>", Content_Type=XML["Content-Type"])
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("application/fhir+xml")
    assert b"<OperationOutcome" in answer.content
