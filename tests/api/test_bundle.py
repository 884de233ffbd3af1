"""POST of a Bundle: batch, transaction, collection."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from caretrail.errors import ThrottledError
from tests.api.arr import BASE, XML, Arr, event, ids, now, outcome, xml_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.repository import Refused

CREATE = {"method": "POST", "url": "AuditEvent"}
BAD = event(outcome="5")


def bundle(kind: str, *entries: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def create(resource: Any, **request: str) -> dict[str, Any]:
    return {"resource": resource, "request": CREATE | request}


def total(arr: Arr) -> int:
    found: int = arr.get("/fhir/AuditEvent?_total=accurate").json()["total"]
    return found


def statuses(answer: Any) -> list[str]:
    return [entry["response"]["status"] for entry in answer.json()["entry"]]


@pytest.fixture
def quarantined(arr: Arr, monkeypatch: pytest.MonkeyPatch) -> list[Refused]:
    kept: list[Refused] = []

    async def keep(rows: Sequence[Refused], **_: object) -> None:
        kept.extend(rows)

    monkeypatch.setattr(arr.repository, "quarantine", keep)
    return kept


@pytest.mark.parametrize("path", ["/fhir", "/fhir/"])
@pytest.mark.parametrize("kind", ["batch", "transaction", "collection"])
def test_entries_are_answered_in_their_order(arr: Arr, kind: str, path: str) -> None:
    entries = [create(event(action=action)) for action in "CRUD"]
    answer = arr.post(path, bundle(kind, *entries))
    assert answer.status_code == 200
    expected = "transaction-response" if kind == "transaction" else "batch-response"
    assert answer.json()["type"] == expected
    assert statuses(answer) == ["201 Created"] * 4
    for entry, action in zip(answer.json()["entry"], "CRUD", strict=True):
        response = entry["response"]
        assert response["etag"] == 'W/"1"'
        assert re.fullmatch(r"\d{4}-.*Z", response["lastModified"])
        assert response["location"].startswith(f"{BASE}/AuditEvent/")
        assert arr.get(response["location"]).json()["action"] == action


@pytest.mark.parametrize("kind", ["batch", "transaction", "collection"])
def test_an_entry_without_a_request_is_a_create(arr: Arr, kind: str) -> None:
    entries = [{"resource": event()}, {"fullUrl": "urn:uuid:1", "resource": event(action="C")}]
    assert statuses(arr.post("/fhir", bundle(kind, *entries))) == ["201 Created"] * 2
    assert total(arr) == 2


@pytest.mark.parametrize("url", ["AuditEvent", "/AuditEvent", "AuditEvent/", f"{BASE}/AuditEvent"])
def test_the_url_of_a_create_has_several_spellings(arr: Arr, url: str) -> None:
    assert statuses(arr.post("/fhir", bundle("batch", create(event(), url=url)))) == ["201 Created"]


def test_a_bad_entry_leaves_the_others_alone_and_is_kept(
    arr: Arr, quarantined: list[Refused]
) -> None:
    answer = arr.post("/fhir", bundle("batch", create(event()), create(BAD), create(event())))
    assert answer.status_code == 200
    assert statuses(answer) == ["201 Created", "400 Bad Request", "201 Created"]
    told = answer.json()["entry"][1]["response"]["outcome"]
    assert told["issue"][0]["expression"] == ["AuditEvent.outcome"]
    assert total(arr) == 2
    (kept,) = quarantined
    assert json.loads(kept.body) == BAD
    assert kept.issues


def test_quarantine_keeps_what_was_refused(arr: Arr) -> None:
    assert statuses(arr.post("/fhir", bundle("collection", {"resource": BAD}))) == [
        "400 Bad Request"
    ]


def test_a_transaction_with_a_bad_entry_records_nothing(
    arr: Arr, quarantined: list[Refused]
) -> None:
    entries = [create(event()), create(BAD), create(event(action="X"))]
    answer = arr.post("/fhir", bundle("transaction", *entries))
    assert answer.status_code == 400
    places = {row["expression"][0] for row in answer.json()["issue"]}
    assert places == {"Bundle.entry[1].resource.outcome", "Bundle.entry[2].resource.action"}
    assert total(arr) == 0
    assert not quarantined


def test_a_bundle_that_cannot_be_queued_is_throttled_whole(
    arr: Arr, quarantined: list[Refused], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object, **__: object) -> None:
        raise ThrottledError("the queue is full: send it again later")

    monkeypatch.setattr(arr.repository, "append", full)
    answer = arr.post("/fhir", bundle("batch", create(event()), create(BAD)))
    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    assert not quarantined


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"method": "PUT", "url": "AuditEvent/1"}, 405),
        ({"method": "PATCH", "url": "AuditEvent/1"}, 405),
        ({"method": "DELETE", "url": "AuditEvent?patient=1"}, 405),
        ({"method": "POST", "url": "Patient"}, 404),
        ({"method": "POST", "url": "AuditEvent/1"}, 404),
        ({"method": "post", "url": "AuditEvent"}, 405),
    ],
)
def test_an_entry_can_only_create_events(
    arr: Arr, quarantined: list[Refused], request_: dict[str, str], status: int
) -> None:
    entry = {"resource": event(), "request": request_}
    answer = arr.post("/fhir", bundle("batch", entry, create(event())))
    assert statuses(answer)[0].startswith(str(status))
    assert statuses(answer)[1] == "201 Created"
    whole = arr.post("/fhir", bundle("transaction", entry, create(event())))
    assert whole.status_code == status
    assert whole.json()["issue"][0]["expression"] == ["Bundle.entry[0]"]
    assert total(arr) == 1
    assert len(quarantined) == 1


def test_an_entry_without_a_resource_creates_nothing(arr: Arr) -> None:
    answer = arr.post("/fhir", bundle("batch", {"request": CREATE}, {}))
    assert statuses(answer) == ["400 Bad Request"] * 2


def test_a_batch_may_read_and_search(arr: Arr) -> None:
    event_id = arr.record(event()).json()["id"]
    urls = [
        f"AuditEvent/{event_id}",
        "AuditEvent?patient=Patient/p1",
        "AuditEvent/none",
        "Patient/1",
    ]
    urls.append(f"/AuditEvent/{event_id}/_history/1")
    entries = [{"request": {"method": "GET", "url": url}} for url in urls]
    answer = arr.post("/fhir", bundle("batch", create(event(action="C")), *entries)).json()["entry"]
    got = [entry["response"]["status"] for entry in answer]
    assert got == ["201 Created", "200 OK", "200 OK", "404 Not Found", "404 Not Found", "200 OK"]
    assert answer[1]["resource"]["id"] == event_id
    assert answer[2]["resource"]["total"] == 2


def test_a_batch_may_read_only_a_few_times(arr: Arr) -> None:
    entries = [{"request": {"method": "GET", "url": "AuditEvent"}}] * 12
    assert (
        statuses(arr.post("/fhir", bundle("batch", *entries)))
        == ["200 OK"] * 10 + ["400 Bad Request"] * 2
    )


@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_a_condition_that_finds_an_event_answers_with_it(arr: Arr, kind: str) -> None:
    location = arr.record(event()).headers["location"]
    known = create(event(action="U"), ifNoneExist="patient=Patient/p1")
    new = create(event(action="D"), ifNoneExist="patient=Patient/nobody")
    answer = arr.post("/fhir", bundle(kind, known, new, create(event(action="C"))))
    assert statuses(answer) == ["200 OK", "201 Created", "201 Created"]
    assert answer.json()["entry"][0]["response"]["location"] == location
    assert total(arr) == 3


@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_a_condition_that_finds_several_is_refused(arr: Arr, kind: str) -> None:
    arr.record(event())
    arr.record(event(action="U"))
    entry = create(event(), ifNoneExist="patient=Patient/p1")
    answer = arr.post("/fhir", bundle(kind, create(event(action="D")), entry))
    if kind == "batch":
        assert statuses(answer) == ["201 Created", "412 Precondition Failed"]
    else:
        assert answer.status_code == 412
        assert answer.json()["issue"][0]["expression"] == ["Bundle.entry[1]"]
    assert total(arr) == (3 if kind == "batch" else 2)


def test_a_condition_that_cannot_be_read_is_the_entrys_own_problem(arr: Arr) -> None:
    entry = create(event(), ifNoneExist="nonsense=1")
    answer = arr.post("/fhir", bundle("batch", entry, create(event())))
    assert statuses(answer) == ["400 Bad Request", "201 Created"]
    whole = arr.post("/fhir", bundle("transaction", entry))
    assert whole.status_code == 400
    assert outcome(whole)["expression"] == ["Bundle.entry[0]"]


def test_other_conditions_and_unread_members_are_passed_over(arr: Arr) -> None:
    entry = create(event(), ifMatch='W/"1"', ifNoneMatch="*")
    sent = bundle("batch", entry | {"link": [], "search": {"mode": "match"}})
    sent |= {"id": "b1", "meta": {"tag": []}, "timestamp": "2026-01-01T00:00:00Z", "total": 1}
    assert statuses(arr.post("/fhir", sent)) == ["201 Created"]


@pytest.mark.parametrize("content", [bundle("batch"), {"resourceType": "Bundle", "type": "batch"}])
def test_an_empty_bundle_has_an_empty_answer(arr: Arr, content: Any) -> None:
    answer = arr.post("/fhir", content)
    assert answer.json() == {"resourceType": "Bundle", "type": "batch-response"}


@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_a_thousand_entries_are_taken_and_one_more_is_not(arr: Arr, kind: str) -> None:
    entries = [{"resource": event(recorded=f"2026-03-04T05:06:07.{n:03}Z")} for n in range(1000)]
    answer = arr.post("/fhir", bundle(kind, *entries))
    assert statuses(answer) == ["201 Created"] * 1000
    assert total(arr) == 1000
    more = arr.post("/fhir", bundle(kind, *entries, {"resource": event()}))
    assert more.status_code == 413
    assert total(arr) == 1000


def test_the_original_of_an_entry_is_its_slice(arr: Arr) -> None:
    slices = [json.dumps(event(), indent=indent).encode() for indent in (None, 1, 4)]
    entries = b" , ".join(b'{ "resource" :  ' + one + b"  }" for one in slices)
    sent = b'\xef\xbb\xbf{"resourceType":"Bundle", "entry" : [' + entries + b'],"type":"batch"}'
    answer = arr.post("/fhir", sent)
    for entry, one in zip(answer.json()["entry"], slices, strict=True):
        original = entry["response"]["location"].replace("_history/1", "$original")
        assert arr.get(original).content == one


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b'{"resourceType":"Bundle","type":"batch","type":"batch"}', "Bundle"),
        (
            b'{"resourceType":"Bundle","type":"batch","entry":[{"resource":{},"resource":{}}]}',
            "Bundle.entry[0]",
        ),
        (b'{"resourceType":"Bundle","type":"batch","entry":[],"entry":[]}', "Bundle"),
        (b'{"resourceType":"Bundle","type":"batch","entries":[]}', "Bundle"),
        (
            b'{"resourceType":"Bundle","type":"batch","entry":[{},{"request":{"method":"POST","url":"AuditEvent","url":"x"}}]}',
            "Bundle.entry[1].request",
        ),
        (b'{"resourceType":"Bundle","type":7}', "Bundle.type"),
        (b'{"resourceType":"Bundle"}', "Bundle"),
        (b'{"resourceType":"AuditEvent"}', "Bundle.resourceType"),
        (b'{"resourceType":"Bundle","type":"batch","entry":{}}', "Bundle.entry"),
        (
            b'{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET"}}]}',
            "Bundle.entry[0].request",
        ),
        (b'{"resourceType":"Bundle","type":"searchset"}', "Bundle.type"),
        (b"[]", "Bundle"),
        (b"{", None),
        (b"", None),
        (b'{"resourceType":"Bundle","type":"batch"} x', None),
        (b'{"resourceType":"Bundle","type":"\xff"}', None),
    ],
)
def test_a_bundle_that_is_none_is_refused_with_the_place(
    arr: Arr, content: bytes, place: str | None
) -> None:
    answer = arr.post("/fhir", content)
    assert answer.status_code == 400
    assert outcome(answer).get("expression", [None]) == [place]


def test_names_that_look_twice_but_are_not_are_taken(arr: Arr) -> None:
    sent = json.dumps(bundle("batch", {"fullUrl": "urn:x:Q", "resource": event()}))
    assert arr.post("/fhir", sent.replace("x:Q", r"x:\u0022").encode()).status_code == 200


def test_two_entries_of_one_full_url_are_refused(arr: Arr) -> None:
    entry = {"fullUrl": "urn:uuid:1", "resource": event()}
    answer = arr.post("/fhir", bundle("batch", entry, entry))
    assert answer.status_code == 400
    assert "bdl-7" in outcome(answer)["diagnostics"]


def test_a_bundle_that_nests_without_end_is_refused(arr: Arr) -> None:
    deep = b'{"resourceType":"Bundle","type":"batch","entry":[{"resource":' + b"[" * 500_000
    assert arr.post("/fhir", deep).status_code in (400, 413)


@pytest.mark.parametrize(
    ("prefer", "resource", "told"),
    [
        ("", False, False),
        ("return=representation", True, False),
        ("return=OperationOutcome", False, True),
    ],
)
def test_entries_come_back_as_preferred(arr: Arr, prefer: str, resource: bool, told: bool) -> None:
    answer = arr.post("/fhir", bundle("batch", create(event(recorded=now()))), Prefer=prefer)
    (entry,) = answer.json()["entry"]
    assert ("resource" in entry, "outcome" in entry["response"]) == (resource, told)


def test_what_the_repository_noticed_is_told_with_the_entry(arr: Arr) -> None:
    claimed = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.Read"
    answer = arr.post("/fhir", bundle("batch", create(event(meta={"profile": [claimed]}))))
    assert statuses(answer) == ["201 Created"]
    assert answer.json()["entry"][0]["response"]["outcome"]["issue"][0]["severity"] == "warning"


def xml_bundle(kind: str, *resources: bytes, root: bytes = b'xmlns="http://hl7.org/fhir"') -> bytes:
    entries = b"".join(
        b'<entry><fullUrl value="urn:x:%d"/><resource>\n %b </resource>' % (at, one)
        + b'<request><method value="POST"/><url value="AuditEvent"/></request></entry>'
        for at, one in enumerate(resources)
    )
    head = b'<?xml version="1.0" encoding="UTF-8"?><!-- feed --><Bundle %b>' % root
    return head + b'<type value="%b"/>' % kind.encode() + entries + b"</Bundle>"


@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_a_bundle_in_xml_is_taken_and_answered_in_xml(arr: Arr, kind: str) -> None:
    bare = xml_event().replace(b' xmlns="http://hl7.org/fhir"', b"")
    sent = xml_bundle(kind, xml_event(), bare)
    answer = arr.request("POST", "/fhir", content=sent, headers=XML)
    assert answer.status_code == 200
    assert answer.content.count(b'<status value="201 Created"/>') == 2
    locations = re.findall(rb'<location value="([^"]+)"', answer.content)
    for location in locations:
        # The declaration of the namespace is all that an entry did not have itself.
        original = arr.get(location.decode().replace("_history/1", "$original"))
        assert original.content == xml_event()
        assert arr.get(location.decode(), Accept="application/fhir+json").json()["action"] == "R"


def test_prefixes_of_an_xml_bundle_go_with_its_entries(arr: Arr) -> None:
    sent = b"""<f:Bundle xmlns:f="http://hl7.org/fhir" xmlns:y='urn:&quot;'><f:type value="batch"/>
    <f:entry><f:resource><f:AuditEvent><f:type><f:code value="1"/></f:type>
    <f:recorded value="2026-01-01T00:00:00Z"/><f:agent><f:requestor value="true"/></f:agent>
    <f:source><f:observer><f:display value="x"/></f:observer></f:source></f:AuditEvent></f:resource></f:entry></f:Bundle>"""
    answer = arr.request("POST", "/fhir", content=sent, headers=XML)
    assert b"201 Created" in answer.content


def test_conditions_of_an_xml_bundle_are_honoured(arr: Arr) -> None:
    arr.record(event())
    condition = b'<ifNoneExist value="patient=Patient/p1"/></request>'
    sent = xml_bundle("transaction", xml_event()).replace(b"</request>", condition)
    answer = arr.request("POST", "/fhir", content=sent, headers=XML)
    assert b'<status value="200 OK"/>' in answer.content
    assert total(arr) == 1


def test_a_bad_entry_in_xml_has_its_own_answer(arr: Arr, quarantined: list[Refused]) -> None:
    bad = b"<AuditEvent/>"
    answer = arr.request(
        "POST", "/fhir", content=xml_bundle("batch", bad, xml_event()), headers=XML
    )
    assert answer.content.count(b"201 Created") == 1
    assert answer.content.count(b"400 Bad Request") == 1
    assert quarantined[0].body == b'<AuditEvent xmlns="http://hl7.org/fhir"/>'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<Bundle",
        b"<Bundle/>",
        b'<Bundle xmlns="http://hl7.org/fhir"/>',
        b'<Bundle xmlns="http://hl7.org/fhir"><type value="searchset"/></Bundle>',
        b'<Patient xmlns="http://hl7.org/fhir"/>',
        b'<!DOCTYPE x [<!ENTITY a "b">]><Bundle xmlns="http://hl7.org/fhir"><type value="&a;"/></Bundle>',
        '<?xml version="1.0" encoding="UTF-16"?><Bundle xmlns="http://hl7.org/fhir"/>'.encode(
            "utf-16"
        ),
        b'<?xml version="1.0" encoding="ISO-8859-1"?><Bundle xmlns="http://hl7.org/fhir"/>',
        xml_bundle("batch", xml_event() + xml_event()),
        xml_bundle("batch").replace(
            b"</Bundle>", b"<entry><fullUrl value='a'/><fullUrl value='a'/></entry></Bundle>"
        ),
    ],
)
def test_what_is_no_bundle_in_xml_is_refused(arr: Arr, content: bytes) -> None:
    answer = arr.request("POST", "/fhir", content=content, headers=XML)
    assert answer.status_code == 400
    assert b"<OperationOutcome" in answer.content
    assert total(arr) == 0


def test_ids_of_a_bundle_are_found_by_search(arr: Arr) -> None:
    answer = arr.post("/fhir", bundle("collection", {"resource": event()}))
    location = answer.json()["entry"][0]["response"]["location"]
    assert ids(arr.get("/fhir/AuditEvent"))[0] in location
