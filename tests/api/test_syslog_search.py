"""ITI-82: frames that came by syslog, by their headers; and the events that they are (ITI-81)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from caretrail.api import syslog_search
from caretrail.fhir.intake import Form
from caretrail.repository import Sender, Submission
from caretrail.storage.sqlite import verify
from tests.api.arr import Arr, event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MESSAGE = (
    '<AuditMessage><EventIdentification EventActionCode="R" EventDateTime="2026-11-25T09:00:0{n}Z"'
    ' EventOutcomeIndicator="0"><EventID csd-code="110112" codeSystemName="DCM"'
    ' originalText="Query"/></EventIdentification><ActiveParticipant UserID="u{n}"'
    ' UserIsRequestor="true"/><AuditSourceIdentification AuditSourceID="pacs"/>'
    '<ParticipantObjectIdentification ParticipantObjectID="{n}^^^&amp;1.2.3&amp;ISO"'
    ' ParticipantObjectTypeCode="1" ParticipantObjectTypeCodeRole="1"><ParticipantObjectIDTypeCode'
    ' csd-code="2" codeSystemName="RFC-3881" originalText="Patient Number"/>'
    "</ParticipantObjectIdentification></AuditMessage>"
)
FRAMES = [
    f"<8{n}>1 2026-11-25T10:00:0{n}Z host{n} app {n} IHE+RFC-3881 - \ufeff{MESSAGE}".replace(
        "{n}", str(n)
    ).encode()
    for n in range(3)
]
PLAIN = b'<13>1 2026-11-25T12:00:00Z host1 sshd - - [x@1 k="v"] half \xc3 a char \x07'
ALL = [*FRAMES, PLAIN]
DAY = "date=ge2026-11-25&date=lt2026-11-26"


@pytest.fixture(scope="module")
def arr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arr]:
    made = Arr(tmp_path_factory.mktemp("syslog"))
    sent = [Submission(body, Form.SYSLOG, None) for body in ALL]
    made.runner.run(made.repository.append(sent, sender=Sender("pacs")))
    made.post("/fhir/AuditEvent", event(recorded="2026-11-25T11:00:00Z"))
    yield made
    made.close()


def found(arr: Arr, query: str) -> list[dict[str, Any]]:
    answer = arr.get(f"/fhir/syslogsearch?{DAY}&{query}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["totalCount"] == len(body["syslogMessages"])
    rows: list[dict[str, Any]] = body["syslogMessages"]
    return rows


def test_frames_are_found_by_every_field(arr: Arr) -> None:
    rows = found(arr, "")
    assert [row["Hostname"] for row in rows] == ["host0", "host1", "host2", "host1"]
    for query, hosts in {
        "hostname=host1": ["host1", "host1"],
        "hostname=host0,host2": ["host0", "host2"],
        "app-name=sshd": ["host1"],
        "pri=80&hostname=host0": ["host0"],
        "pri=80&hostname=host1": [],
        "version=1&procid=2": ["host2"],
        "msg-id=IHE%2BRFC-3881": ["host0", "host1", "host2"],
        "msg=UserID%3D%22u2": ["host2"],
    }.items():
        assert [row["Hostname"] for row in found(arr, query)] == hosts, query
    assert rows[0]["Msg"] == FRAMES[0].partition(b"\xef\xbb\xbf")[2].decode()
    assert rows[3] | {"Received": "", "AuditEvent": ""} == {
        "Pri": "13", "Version": "1", "Timestamp": "2026-11-25T12:00:00Z", "Hostname": "host1",
        "App-name": "sshd", "Structured-data": '[x@1 k="v"]', "Msg": "half \ufffd a char \x07",
        "Received": "", "AuditEvent": "",
    }  # fmt: skip


def test_the_answer_is_xml_where_that_is_asked_for(arr: Arr) -> None:
    for asked in (
        arr.get(f"/fhir/syslogsearch?{DAY}&_format=xml"),
        arr.get(f"/fhir/syslogsearch?{DAY}", accept="application/xml"),
    ):
        root = ET.fromstring(asked.content)
        assert root.get("totalCount") == "4"
        assert root[0].findtext("Pri") == "80"
        assert root[0].findtext("Msg") == FRAMES[0].partition(b"\xef\xbb\xbf")[2].decode()
        assert root[3].findtext("Msg") == "half \ufffd a char \ufffd"


def test_what_cannot_be_asked_is_said(arr: Arr, monkeypatch: pytest.MonkeyPatch) -> None:
    assert arr.get("/fhir/syslogsearch?hostname=a").status_code == 400
    wrong = arr.get(f"/fhir/syslogsearch?{DAY}&host=a")
    assert wrong.status_code == 400
    assert "hostname" in wrong.json()["issue"][0]["diagnostics"]
    monkeypatch.setattr(syslog_search, "SEARCH_COUNT_MAX", 2)
    assert arr.get(f"/fhir/syslogsearch?{DAY}").status_code == 400
    monkeypatch.setattr(syslog_search, "SEARCH_SECONDS_MAX", -1.0)
    assert arr.get(f"/fhir/syslogsearch?{DAY}").status_code == 400
    assert arr.request("GET", f"/fhir/syslogsearch?{DAY}", token="").status_code == 401


def test_events_of_frames_are_found_and_their_originals_are_the_frames(arr: Arr) -> None:
    for n, body in enumerate(FRAMES):
        page = arr.get(f"/fhir/AuditEvent?patient.identifier=urn:oid:1.2.3|{n}").json()
        (entry,) = page["entry"]
        assert entry["resource"]["recorded"] == f"2026-11-25T09:00:0{n}Z"
        address = f"/fhir/AuditEvent/{entry['resource']['id']}"
        assert arr.get(address).json() == entry["resource"]
        assert arr.get(address, accept="application/fhir+xml").content.count(b"<AuditEvent ") == 1
        kept = arr.get(f"{address}/$original")
        assert kept.content == body
        assert kept.headers["content-type"] == "application/octet-stream"
    assert arr.get("/fhir/AuditEvent?flag=unparsed").json()["total"] == 1


def test_a_log_with_frames_stands_up_to_verification(tmp_path: Path) -> None:
    made = Arr(tmp_path)
    sent = [Submission(body, Form.SYSLOG, None) for body in [*ALL, b"\xff", b"<85>1 - - - - - - x"]]
    sent.append(Submission(MESSAGE.replace("{n}", "7").encode(), Form.AUDIT_MESSAGE, None))
    stored = made.runner.run(made.repository.append(sent, sender=Sender("pacs")))
    without_time = made.get(f"/fhir/AuditEvent/{stored[-2].id}").json()
    assert without_time["recorded"] == without_time["meta"]["lastUpdated"]
    original = made.get(f"/fhir/AuditEvent/{stored[-1].id}/$original")
    assert original.headers["content-type"] == "application/xml"
    made.close()
    assert not verify(tmp_path).findings
