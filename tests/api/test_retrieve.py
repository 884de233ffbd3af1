"""ITI-81: read, history and search."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl, urlsplit

import pytest

from caretrail.limits import QUERY_BYTES_MAX
from caretrail.transport.asgi import Application
from tests.api.arr import BASE, Arr, event, ids, links, outcome, xml_event


def record(arr: Arr, count: int = 1) -> list[str]:
    """Record events of different patients; return their ids."""
    found = []
    for number in range(count):
        patient = {"what": {"reference": f"Patient/p{number}"}}
        answer = arr.record(event(recorded=f"2026-03-04T05:06:{number:02}Z", entity=[patient]))
        found.append(answer.json()["id"])
    return found


def test_an_event_reads_as_it_was_sent(arr: Arr) -> None:
    (event_id,) = record(arr)
    answer = arr.get(f"/fhir/AuditEvent/{event_id}")
    assert answer.status_code == 200
    assert answer.headers["etag"] == 'W/"1"'
    assert answer.headers["content-type"] == "application/fhir+json; charset=utf-8"
    assert list(answer.json())[:3] == ["resourceType", "id", "meta"]


def test_the_only_version_reads_the_same_and_no_other_is_there(arr: Arr) -> None:
    (event_id,) = record(arr)
    read = arr.get(f"/fhir/AuditEvent/{event_id}").json()
    assert arr.get(f"/fhir/AuditEvent/{event_id}/_history/1").json() == read
    assert arr.get(f"/fhir/AuditEvent/{event_id}/_history/2").status_code == 404


def test_the_history_has_one_version(arr: Arr) -> None:
    (event_id,) = record(arr)
    bundle = arr.get(f"/fhir/AuditEvent/{event_id}/_history").json()
    assert bundle["type"] == "history"
    (entry,) = bundle["entry"]
    assert entry["request"] == {"method": "POST", "url": "AuditEvent"}
    assert entry["response"]["etag"] == 'W/"1"'
    assert entry["resource"]["id"] == event_id


def test_head_is_a_read_without_a_body(arr: Arr) -> None:
    (event_id,) = record(arr)
    for path in (f"/fhir/AuditEvent/{event_id}", "/fhir/AuditEvent", "/health/live"):
        got, head = (
            arr.get(path, Accept_Encoding="identity"),
            arr.request("HEAD", path, headers={"Accept-Encoding": "identity"}),
        )
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == got.headers["content-length"]


@pytest.mark.parametrize("tag", ['W/"1"', '"1"', "*", 'W/"0", W/"1"'])
def test_a_client_that_has_the_event_is_told_so(arr: Arr, tag: str) -> None:
    (event_id,) = record(arr)
    answer = arr.get(f"/fhir/AuditEvent/{event_id}", If_None_Match=tag)
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == 'W/"1"'


def test_a_client_that_has_another_tag_gets_the_event(arr: Arr) -> None:
    (event_id,) = record(arr)
    modified = arr.get(f"/fhir/AuditEvent/{event_id}").headers["last-modified"]
    path = f"/fhir/AuditEvent/{event_id}"
    assert arr.get(path, If_None_Match='W/"2"', If_Modified_Since=modified).status_code == 200
    assert arr.get(path, If_Modified_Since=modified).status_code == 304
    assert arr.get(path, If_Modified_Since="Thu, 01 Jan 1970 00:00:00 GMT").status_code == 200
    assert arr.get(path, If_Modified_Since="yesterday").status_code == 200


def test_the_original_is_what_was_sent_to_the_byte(arr: Arr) -> None:
    sent = json.dumps(event(), indent=7).encode()
    event_id = arr.record(sent).json()["id"]
    answer = arr.get(f"/fhir/AuditEvent/{event_id}/$original", Accept="application/fhir+xml")
    assert answer.content == sent
    assert answer.headers["content-type"] == "application/fhir+json; fhirVersion=4.0"
    assert arr.get(f"/fhir/AuditEvent/{event_id}/%24original").content == sent


def test_a_client_that_has_the_original_is_told_so(arr: Arr) -> None:
    (event_id,) = record(arr)
    path = f"/fhir/AuditEvent/{event_id}/$original"
    assert arr.get(path, If_None_Match='W/"1"').status_code == 304


def test_included_events_are_marked_and_not_counted(arr: Arr) -> None:
    target = arr.record(event()).json()["id"]
    about = {"what": {"reference": f"AuditEvent/{target}"}}
    source = arr.record(event(entity=[about])).json()["id"]
    answer = arr.get(f"/fhir/AuditEvent?_id={source}&_include=AuditEvent:entity")
    assert ids(answer) == [source]
    assert answer.json()["total"] == 1
    modes = {row["resource"]["id"]: row["search"]["mode"] for row in answer.json()["entry"]}
    assert modes == {source: "match", target: "include"}


def test_the_original_of_an_event_in_xml_is_xml(arr: Arr) -> None:
    location = arr.post(
        "/fhir/AuditEvent", xml_event(), Content_Type="application/fhir+xml"
    ).headers["location"]
    answer = arr.get(location.replace("_history/1", "$original"), Accept="application/fhir+json")
    assert answer.content == xml_event()
    assert answer.headers["content-type"] == "application/fhir+xml; fhirVersion=4.0"


@pytest.mark.parametrize("event_id", ["unknown", "a b", "%2e%2e", "x" * 65, "'--", "%00"])
def test_an_unknown_id_is_not_found(arr: Arr, event_id: str) -> None:
    for path in (event_id, f"{event_id}/_history", f"{event_id}/$original"):
        assert arr.get(f"/fhir/AuditEvent/{path}").status_code == 404


def test_a_search_answers_with_a_searchset(arr: Arr) -> None:
    first, second = record(arr, 2)
    answer = arr.get("/fhir/AuditEvent")
    bundle = answer.json()
    assert (bundle["type"], bundle["total"]) == ("searchset", 2)
    assert ids(answer) == [second, first]
    assert bundle["entry"][0]["fullUrl"] == f"{BASE}/AuditEvent/{second}"
    assert bundle["entry"][0]["resource"] == arr.get(f"/fhir/AuditEvent/{second}").json()


def test_a_search_that_finds_nothing_has_no_entries(arr: Arr) -> None:
    bundle = arr.get("/fhir/AuditEvent?patient=Patient/nobody").json()
    assert bundle["total"] == 0
    assert "entry" not in bundle


def test_pages_follow_each_other_by_their_links(arr: Arr) -> None:
    made = record(arr, 5)
    page = arr.get("/fhir/AuditEvent?_count=2&date=ge2026-03-01&_format=json")
    seen = [ids(page)]
    while "next" in links(page):
        page = arr.get(links(page)["next"])
        assert page.json()["total"] == 5
        seen.append(ids(page))
    assert [one for page_ids in seen for one in page_ids] == made[::-1]
    back = arr.get(links(page)["previous"])
    assert ids(back) == seen[-2]
    assert ids(arr.get(links(page)["first"])) == seen[0]
    assert "_format=json" in links(back)["self"]


def test_a_foreign_page_link_is_refused(arr: Arr) -> None:
    record(arr)
    assert arr.get("/fhir/AuditEvent?_page=bm90IG91cnM").status_code == 410


def test_self_has_only_what_was_applied_and_a_warning_tells_the_rest(arr: Arr) -> None:
    record(arr)
    answer = arr.get("/fhir/AuditEvent?nonsense=1&patient=Patient/p0&type=%7C110110,a%2Bb%26c")
    pairs = parse_qsl(urlsplit(links(answer)["self"]).query)
    assert pairs == [("patient", "Patient/p0"), ("type", "|110110,a+b&c")]
    notes = [
        row["resource"] for row in answer.json()["entry"] if row["search"]["mode"] == "outcome"
    ]
    assert notes[0]["issue"][0]["severity"] == "warning"


def test_strict_handling_refuses_an_unknown_parameter(arr: Arr) -> None:
    answer = arr.get("/fhir/AuditEvent?nonsense=1", Prefer="handling=strict")
    assert answer.status_code == 400
    assert outcome(answer)["code"] == "not-supported"


@pytest.mark.parametrize(
    "query",
    [
        "date=2026-13",
        "date=yesterday",
        "_count=-1",
        "_summary=some",
        "patient:exact=p1",
        "type=%FF",
    ],
)
def test_a_value_that_cannot_be_used_is_refused(arr: Arr, query: str) -> None:
    assert arr.get(f"/fhir/AuditEvent?{query}").status_code == 400


def test_parameters_of_url_and_form_count_together(arr: Arr) -> None:
    first, _ = record(arr, 2)
    answer = arr.form("/fhir/AuditEvent/_search?date=2026-03-04", "patient=Patient%2Fp0")
    assert ids(answer) == [first]
    assert len(parse_qsl(urlsplit(links(answer)["self"]).query)) == 2
    assert answer.headers["content-type"].startswith("application/fhir+json")


def test_a_form_may_be_empty_but_nothing_else(arr: Arr) -> None:
    record(arr)
    assert arr.request("POST", "/fhir/AuditEvent/_search").json()["total"] == 1
    assert arr.post("/fhir/AuditEvent/_search", {}).status_code == 415
    assert arr.form("/fhir/AuditEvent/_search", "type=\xe4").status_code == 400


def test_a_form_may_ask_for_a_format(arr: Arr) -> None:
    answer = arr.form("/fhir/AuditEvent/_search", "_format=xml")
    assert answer.headers["content-type"].startswith("application/fhir+xml")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/fhir/Patient/p0/AuditEvent", 1),
        ("/fhir/Patient/nobody/AuditEvent", 0),
        ("/fhir/Practitioner/dr-1/AuditEvent", 2),
        ("/fhir/Device/dr-1/AuditEvent", 0),
    ],
)
def test_a_compartment_has_its_events(arr: Arr, path: str, found: int) -> None:
    record(arr, 2)
    answer = arr.get(f"{path}?date=2026")
    assert answer.json()["total"] == found
    assert arr.get(links(answer)["self"]).json()["total"] == found
    assert arr.form(f"{path}/_search", "").json()["total"] == found


def test_an_id_cannot_widen_a_compartment(arr: Arr) -> None:
    record(arr, 2)
    assert arr.get("/fhir/Patient/p0,p1/AuditEvent").status_code == 404
    assert arr.get("/fhir/Location/p0/AuditEvent").status_code == 404


def test_a_search_over_all_types_names_the_one(arr: Arr) -> None:
    record(arr)
    assert arr.get("/fhir?_type=AuditEvent").json()["total"] == 1
    assert arr.form("/fhir/_search", "_type=AuditEvent").json()["total"] == 1
    assert arr.get("/fhir?_type=Patient").status_code == 400
    assert arr.get("/fhir").status_code == 400


def test_a_count_has_no_entries(arr: Arr) -> None:
    record(arr, 3)
    for query in ("_summary=count", "_count=0"):
        bundle = arr.get(f"/fhir/AuditEvent?{query}").json()
        assert bundle["total"] == 3
        assert "entry" not in bundle


def test_a_summary_has_what_fhir_marks_for_it(arr: Arr) -> None:
    arr.record(
        event(
            language="en",
            text={
                "status": "generated",
                "div": "<div xmlns='http://www.w3.org/1999/xhtml'>x</div>",
            },
            meta={"tag": [{"code": "mine"}]},
        )
    )
    whole = arr.get("/fhir/AuditEvent").json()["entry"][0]["resource"]
    part = arr.get("/fhir/AuditEvent?_summary=true").json()["entry"][0]["resource"]
    assert part["meta"]["tag"][0] == {"code": "mine"}
    assert part["meta"]["tag"][1]["code"] == "SUBSETTED"
    assert part["agent"] == [{"who": {"reference": "Practitioner/dr-1"}, "requestor": True}]
    assert part["entity"] == whole["entity"]
    assert part["source"] == whole["source"]
    assert part.keys() == whole.keys() - {"language", "text"}


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("_summary=text", {"text"}),
        ("_summary=data", {"action", "outcome", "entity"}),
        ("_elements=action,agent.who", {"action"}),
        ("_elements=AuditEvent.outcome", {"outcome"}),
    ],
)
def test_a_part_always_has_what_is_mandatory(arr: Arr, query: str, kept: set[str]) -> None:
    text = {"status": "generated", "div": "<div xmlns='http://www.w3.org/1999/xhtml'>x</div>"}
    event_id = arr.record(event(text=text)).json()["id"]
    part = arr.get(f"/fhir/AuditEvent?{query}").json()["entry"][0]["resource"]
    always = {"resourceType", "id", "meta", "type", "recorded", "agent", "source"}
    assert part.keys() == always | kept
    assert part["meta"]["tag"][0]["code"] == "SUBSETTED"
    assert arr.get(f"/fhir/AuditEvent/{event_id}?{query}").json() == part


def test_no_summary_is_the_whole_event(arr: Arr) -> None:
    record(arr)
    whole = arr.get("/fhir/AuditEvent").json()["entry"]
    assert arr.get("/fhir/AuditEvent?_summary=false").json()["entry"] == whole


def test_strict_iti_81_wants_a_date(arr: Arr) -> None:
    strict = arr.service._replace(require_date=True)
    arr.client._transport.app = Application(strict)  # type: ignore[attr-defined]
    answer = arr.get("/fhir/AuditEvent?patient=Patient/p0")
    assert answer.status_code == 400
    assert outcome(answer)["code"] == "required"
    assert arr.get("/fhir/AuditEvent?date=ge2020").status_code == 200


def test_a_form_that_is_too_long_is_refused(arr: Arr) -> None:
    query = "patient=" + "a" * QUERY_BYTES_MAX
    assert arr.form("/fhir/AuditEvent/_search", query).status_code == 413
    assert arr.get("/fhir/AuditEvent?" + "&".join(["a=1"] * 2000)).status_code == 400


def test_a_large_answer_is_compressed_for_those_who_take_it(arr: Arr) -> None:
    record(arr, 3)
    assert arr.get("/fhir/AuditEvent", Accept_Encoding="gzip").headers["content-encoding"] == "gzip"
    for accepted in ("identity", "gzip;q=0", "gzip; q=0.0", "br"):
        answer = arr.get("/fhir/AuditEvent", Accept_Encoding=accepted)
        assert "content-encoding" not in answer.headers
        assert answer.json()["total"] == 3


def test_a_search_in_xml_is_a_bundle_in_xml(arr: Arr) -> None:
    record(arr, 2)
    answer = arr.get("/fhir/AuditEvent?_format=application/fhir%2Bxml")
    assert answer.headers["content-type"] == "application/fhir+xml; charset=utf-8"
    assert answer.content.count(b"<AuditEvent") == 2
    assert b'xmlns="http://hl7.org/fhir"' in answer.content
