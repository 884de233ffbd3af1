"""Audit messages to events and back: others' samples, every row of the table, every deviation."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caretrail import originals
from caretrail.dicom import audit_message, coded, document, frame
from caretrail.dicom.audit_message import Beside
from caretrail.dicom.objects import EXTENSION
from caretrail.dicom.table import LOST, ROWS, Lost, Row
from caretrail.dicom.writer import write
from caretrail.errors import InvalidError
from caretrail.fhir import intake, strict_json
from caretrail.fhir.intake import Form
from caretrail.search.matches import matches
from caretrail.search.query import parse
from caretrail.search.record import NO_FLAGS, Flag, Record
from tests.fhir.generated_events import events

SAMPLES: Final = sorted((Path(__file__).parents[3] / "shared/vectors/dicom").glob("0*"))
RECEIVED: Final = 1_700_000_000_000
BESIDE: Final = Beside("2026-01-01T00:00:00.000Z", "host", "app")
DCM: Final = coded.DCM
PLAIN: Final = (
    '<AuditMessage><EventIdentification EventActionCode="R" EventOutcomeIndicator="0"'
    ' EventDateTime="2026-11-25T09:00:00Z"><EventID csd-code="110112" codeSystemName="DCM"'
    ' originalText="Query"/></EventIdentification><ActiveParticipant UserID="u"'
    ' UserIsRequestor="true"/><AuditSourceIdentification AuditSourceID="s"/>'
    '<ParticipantObjectIdentification ParticipantObjectID="o">'
    '<ParticipantObjectIDTypeCode csd-code="110182" codeSystemName="DCM" originalText="Node ID"/>'
    "</ParticipantObjectIdentification></AuditMessage>"
)


def mapped(text: str | bytes) -> audit_message.Mapped:
    body = text if isinstance(text, bytes) else text.encode()
    root = document.read(body).root
    found = audit_message.to_event(audit_message.message_of(root), BESIDE)
    intake.parse(msgspec.json.encode(found.event))  # It is valid R4.
    return found


def event_of(text: str | bytes) -> dict[str, Any]:
    return mapped(text).event


def of(parts: str) -> str:
    """Return a message with these parts, and the least of others that makes it whole."""
    for name, least in (
        ("EventIdentification", "<EventIdentification/>"),
        ("ActiveParticipant", '<ActiveParticipant UserID="u" UserIsRequestor="false"/>'),
        ("AuditSourceIdentification", '<AuditSourceIdentification AuditSourceID="s"/>'),
    ):
        if f"<{name}" not in parts:
            parts += least
    return f"<AuditMessage>{parts}</AuditMessage>"


def changed(old: str, new: str) -> audit_message.Mapped:
    assert old in PLAIN
    return mapped(PLAIN.replace(old, new, 1))


def at(tree: Any, path: str) -> list[Any]:
    """Return all values at a path, whatever repeats on the way."""
    found = [tree]
    for name in path.split("."):
        found = [row for one in found if isinstance(one, dict) and name in one
                 for row in (one[name] if isinstance(one[name], list) else [one[name]])]  # fmt: skip
    return found


# Samples of others.


def sample(path: Path) -> tuple[bytes, Form]:
    body = path.read_bytes()
    if path.suffix != ".syslog":
        return body, Form.AUDIT_MESSAGE
    return (body.partition(b" ")[2] if body[:1].isdigit() else body), Form.SYSLOG


@pytest.mark.skipif(not SAMPLES, reason="needs ../shared")
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name[:3])
def test_every_sample_of_others_becomes_a_valid_event_and_comes_back(path: Path) -> None:
    body, form = sample(path)
    found = originals.of(body, form, received_ms=RECEIVED)
    view = originals.view(body, form, received_ms=RECEIVED)
    assert intake.parse(view).event == found.event
    assert originals.event_of(body, form, received_ms=RECEIVED) == found.event
    if path.name[:3] == "040":
        assert found.flags is Flag.UNPARSED
        return
    assert Flag.UNPARSED not in found.flags
    event = msgspec.json.decode(view)
    again = event_of(write(event))
    differing = {name for name in event if event[name] != again.get(name)}
    # Without a source, and without texts of codes, the message that is made has defaults.
    allowed = {"source", "entity"} if Flag.DEVIANT in found.flags else set()
    assert differing <= allowed


@pytest.mark.skipif(not SAMPLES, reason="needs ../shared")
def test_the_samples_show_what_atna_asks_for() -> None:
    """Look at one of each kind: RFC 3881's spelling, a namespace, a template, a study."""
    names = {path.name[:3]: originals.view(*sample(path), received_ms=RECEIVED) for path in SAMPLES}
    old = msgspec.json.decode(names["038"])
    assert old["type"] == {"system": DCM, "code": "110112", "display": "Query"}
    patient = old["entity"][0]["what"]["identifier"]
    assert (patient["system"], patient["value"]) == (
        "urn:oid:1.3.6.1.4.1.21367.2005.13.20.3000", "fc133984036647e"
    )  # fmt: skip
    assert msgspec.json.decode(names["001"])["type"]["code"] == "110112"
    assert msgspec.json.decode(names["004"])["recorded"] == "2023-11-14T22:13:20.000Z"
    swiss = msgspec.json.decode(names["050"])
    assert swiss["recorded"] == "2025-01-21T11:05:39.3842263+01:00"
    assert [one["coding"][0]["code"] for one in swiss["agent"][3]["role"]] == ["HCP", "223366009"]


# The table.


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.message)
def test_a_row_of_the_table_holds_there_and_back(row: Row) -> None:
    event = event_of(of(row.sample))
    if row.element:
        assert at(event, row.element), event
    again = event_of(write(event))
    lost = not row.element or any(event[name] != again.get(name) for name in event)
    # A name becomes a description only once, and stays one.
    if "beside" not in row.message:
        assert lost == bool(row.loss)
    if not row.loss:
        assert write(again) == write(event)


@pytest.mark.parametrize("row", LOST, ids=lambda row: row.element)
def test_what_a_message_has_no_place_for_is_named(row: Lost) -> None:
    event = event_of(PLAIN)
    *path, _ = row.element.split(".")
    holder: Any = event
    for name in path:
        holder = holder[name][0] if isinstance(holder[name], list) else holder[name]
    holder |= msgspec.json.decode(f"{{{row.sample}}}")
    intake.parse(msgspec.json.encode(event))
    assert not at(event_of(write(event)), row.element)


@settings(max_examples=40)
@given(events())
def test_every_event_becomes_a_message_that_becomes_a_valid_event(event: dict[str, Any]) -> None:
    message = write(msgspec.json.decode(strict_json.encode(event)))
    assert document.read(message).is_sound
    assert len(event_of(message)["agent"]) == len(event["agent"])


def test_the_way_back_fills_what_a_message_needs() -> None:
    event = {
        "resourceType": "AuditEvent", "type": {"code": "rest"}, "recorded": "2026-01-01T00:00:00Z",
        "agent": [{"requestor": True, "who": {"reference": "Practitioner/1", "display": "x"}},
                  {"requestor": False, "name": "only \x85 a name"}, {"requestor": False}],
        "source": {"observer": {}, "type": [{"system": "urn:x", "code": "y"}]},
        "entity": [{"what": {"reference": "Patient/1"}, "type": {"code": "1"}},
                   {"description": "d", "detail": [{"type": "t", "valueString": "é"}]},
                   {"extension": [{"url": f"{EXTENSION}SOPClass", "valueReference": {"extension": [{"url": "urn:x"}]}}]},
                   {"extension": [{"url": f"{EXTENSION}NumberOfInstances", "valueInteger": 2}]}],
    }  # fmt: skip
    text = write(event).decode()
    assert 'UserID="Practitioner/1"' in text
    assert 'UserID="only \x85 a name"' in text
    assert '<ActiveParticipant UserID="" UserIsRequestor="false"/>' in text
    assert 'AuditSourceID="unknown"' in text
    assert 'ParticipantObjectID="Patient/1"' in text
    assert 'csd-code="12" codeSystemName="RFC-3881"' in text
    assert f'value="{base64.b64encode("é".encode()).decode()}"' in text
    assert '<SOPClass NumberOfInstances="2"/>' in text


# What senders do beyond the standard (atna.md, 6.1).


def test_a_message_by_the_standard_has_no_deviations() -> None:
    assert mapped(PLAIN).deviations == frozenset()


@pytest.mark.parametrize(
    ("old", "new", "rule", "path", "values"),
    [
        ('csd-code="110112"', 'code="110112"', "", "type.code", ["110112"]),
        ('csd-code="110112"', 'csd-code="110112" code="9"', "csd-code", "type.code", ["110112"]),
        ('originalText="Query"', 'displayName="Q"', "", "type.display", ["Q"]),
        ('codeSystemName="DCM"', 'codeSystem="1.2.840.10008.2.16.4"', "", "type.system", [DCM]),
        ('codeSystemName="DCM"', "", "", "type.system", [DCM]),
        ('codeSystemName="DCM"', 'codeSystemName="99 X"', "", "type.system", ["urn:caretrail:code-system:99%20X"]),
        ('codeSystemName="DCM"', 'codeSystemName="urn:x:y"', "", "type.system", ["urn:x:y"]),
        ('csd-code="110112" codeSystemName="DCM"', 'csd-code="a   b"', "", "type", [{"code": "a b", "display": "Query"}]),
        ('csd-code="110112" codeSystemName="DCM" originalText="Query"', "", "EventID", "type.code", ["message"]),
        ('<EventID csd-code="110112" codeSystemName="DCM" originalText="Query"/>', "<EventID>110112</EventID>", "", "type", [{"system": DCM, "code": "110112"}]),
        ('EventActionCode="R"', 'EventActionCode="r"', "EventActionCode", "action", []),
        ('EventOutcomeIndicator="0"', 'EventOutcomeIndicator="1"', "EventOutcomeIndicator", "outcome", []),
        ("2026-11-25T09:00:00Z", "2026-11-25T09:00:00", "EventDateTime", "recorded", ["2026-11-25T09:00:00Z"]),
        ("2026-11-25T09:00:00Z", "2026-11-25t09:00:00.1234567z", "EventDateTime", "recorded", ["2026-11-25T09:00:00.1234567Z"]),
        ("2026-11-25T09:00:00Z", "2026-11-25T09:00:00+0100", "EventDateTime", "recorded", ["2026-11-25T09:00:00+01:00"]),
        ("2026-11-25T09:00:00Z", "2026-02-30T09:00:00Z", "EventDateTime", "recorded", [BESIDE.recorded]),
        ("2026-11-25T09:00:00Z", "0000-02-20T09:00:00Z", "EventDateTime", "recorded", [BESIDE.recorded]),
        ("2026-11-25T09:00:00Z", "$DateTime$", "EventDateTime", "recorded", [BESIDE.recorded]),
        ('EventDateTime="2026-11-25T09:00:00Z"', "", "EventDateTime", "recorded", [BESIDE.recorded]),
        ('UserIsRequestor="true"', "", "UserIsRequestor", "agent.requestor", [True]),
        ('UserIsRequestor="true"', 'UserIsRequestor="0"', "", "agent.requestor", [False]),
        ('UserIsRequestor="true"/>', '/><ActiveParticipant UserID="v"/>', "UserIsRequestor", "agent.requestor", [False, False]),
        ('UserID="u"', 'UserID="" UserName="n"', "UserID", "agent.who.display", ["n"]),
        ('UserID="u"', 'UserID=""', "UserID", "agent.who", []),
        ('UserID="u"', 'UserID="u" NetworkAccessPointTypeCode="9"', "NetworkAccessPointTypeCode", "agent.network", []),
        ('UserID="u"', 'UserID="u" AlternativUserID="a"', "", "agent.altId", ["a"]),
        ('<ActiveParticipant UserID="u" UserIsRequestor="true"/>', "", "ActiveParticipant", "agent", [{"requestor": False}]),
        ('UserIsRequestor="true"/>', 'UserIsRequestor="true"><MediaType csd-code="110033" codeSystemName="DCM"/></ActiveParticipant>', "", "agent.media.code", ["110033"]),
        ('<AuditSourceIdentification AuditSourceID="s"/>', "", "AuditSourceIdentification", "source.observer.identifier.value", ["host"]),
        ('AuditSourceID="s"', 'AuditSourceID="" code="4"', "AuditSourceID", "source.type.code", ["4"]),
        ('AuditSourceID="s"', 'AuditSourceID="s" code=""', "", "source.type", []),
        ('AuditSourceID="s"', 'AuditSourceID="s" AuditSourceTypeCode="1 9"', "", "source.type.code", ["1", "9"]),
        ('AuditSourceID="s"/>', 'AuditSourceID="s"><AuditSourceTypeCode code="3" codeSystemName="DCM"/></AuditSourceIdentification>', "", "source.type.system", [coded.SOURCE_TYPE]),
        ('AuditSourceID="s"/>', 'AuditSourceID="s"><AuditSourceTypeCode>5</AuditSourceTypeCode><AuditSourceTypeCode/></AuditSourceIdentification>', "", "source.type.code", ["5"]),
        ('AuditSourceID="s"/>', 'AuditSourceID="s"><AuditSourceTypeCode csd-code="1" code="2"/></AuditSourceIdentification>', "csd-code", "source.type.code", ["1"]),
        ('AuditSourceID="s"/>', 'AuditSourceID="s"><AuditSourceTypeCode csd-code="AS" codeSystemName="L"/></AuditSourceIdentification>', "", "source.type.system", ["urn:caretrail:code-system:L"]),
        ('AuditSourceID="s"/>', 'AuditSourceID="s"/><AuditSourceIdentification AuditSourceID=""/>', "AuditSourceIdentification", "extension", []),
        ('ParticipantObjectID="o"', "", "ParticipantObjectID", "entity.what.identifier.type.coding.code", ["110182"]),
        ('<ParticipantObjectIDTypeCode csd-code="110182" codeSystemName="DCM" originalText="Node ID"/>', "", "ParticipantObjectIDTypeCode", "entity.what.identifier", [{"value": "o"}]),
        ('ParticipantObjectID="o"><ParticipantObjectIDTypeCode csd-code="110182" codeSystemName="DCM" originalText="Node ID"/>', ">", "ParticipantObjectID", "entity", []),
        ('ParticipantObjectID="o"><ParticipantObjectIDTypeCode csd-code="110182" codeSystemName="DCM" originalText="Node ID"/>', 'ParticipantObjectID="o" ParticipantObjectIDTypeCode="2">', "", "entity.what.identifier.type.coding", [{"system": coded.RFC_3881, "code": "2"}]),
        ('csd-code="110182" codeSystemName="DCM"', 'csd-code="ITI-18" code="1"', "csd-code", "entity.what.identifier.type.coding.system", [coded.IHE_TRANSACTIONS]),
        ('ParticipantObjectID="o"', 'ParticipantObjectID="o" ParticipantObjectSensitivity="a  b"', "", "entity.securityLabel", [{"display": "a  b"}]),
        ("</ParticipantObjectIdentification>", "<ParticipantObjectQuery>not base64</ParticipantObjectQuery></ParticipantObjectIdentification>", "ParticipantObjectQuery", "entity.query", ["bm90IGJhc2U2NA=="]),
        ("</ParticipantObjectIdentification>", "<ParticipantObjectQuery> AA EC\n</ParticipantObjectQuery></ParticipantObjectIdentification>", "", "entity.query", ["AAEC"]),
        ("</ParticipantObjectIdentification>", '<ParticipantObjectDetail value="AAEC"/></ParticipantObjectIdentification>', "ParticipantObjectDetail", "entity.detail.type", ["unknown"]),
        ("</ParticipantObjectIdentification>", "<SOPClass>1.2</SOPClass><Accession/></ParticipantObjectIdentification>", "", "entity.extension.valueReference.identifier.value", ["urn:oid:1.2"]),
        ("</ParticipantObjectIdentification>", '<SOPClass NumberOfInstances="many"/></ParticipantObjectIdentification>', "NumberOfInstances", "entity.extension", []),
        ("</ParticipantObjectIdentification>", '<SOPClass NumberOfInstances="9999999999"/><SOPClass/></ParticipantObjectIdentification>', "", "entity.extension", []),
        ("</ParticipantObjectIdentification>", '<ContainsSOPClass UID="1.2" NumberOfInstances="9"/></ParticipantObjectIdentification>', "", "entity.extension.valueInteger", [9]),
        ("</ParticipantObjectIdentification>", '<Encrypted>yes</Encrypted><Anonymized Anonymized="1"/></ParticipantObjectIdentification>', "", "entity.extension.valueBoolean", [True]),
    ],
)  # fmt: skip
def test_a_deviation_is_taken_as_it_is_meant_or_named(
    old: str, new: str, rule: str, path: str, values: list[Any]
) -> None:
    found = changed(old, new)
    assert at(found.event, path) == values
    assert rule in found.deviations if rule else not found.deviations


def test_names_are_looked_at_without_their_namespaces() -> None:
    plain = event_of(PLAIN)
    assert event_of(PLAIN.replace("<AuditMessage", '<AuditMessage xmlns="urn:x"')) == plain
    prefixed = PLAIN.replace("<", "<a:").replace("<a:/", "</a:")
    assert event_of(prefixed.replace("<a:AuditMessage", '<a:AuditMessage xmlns:a="urn:x"')) == plain
    assert event_of(prefixed) == plain


def test_a_wrapper_of_one_message_is_looked_into_and_of_more_it_is_not() -> None:
    assert event_of(f"<w>{PLAIN}</w>") == event_of(PLAIN)
    for text in (f"<w>{PLAIN}{PLAIN}</w>", "<IHEYr4><ActorConfig/></IHEYr4>"):
        with pytest.raises(InvalidError, match="AuditMessage"):
            mapped(text)


@pytest.mark.parametrize(
    ("cx", "system", "value"),
    [
        ("1^^^&1.2.3&ISO", "urn:oid:1.2.3", "1"),
        ("1^^^NAME&1.2.3&ISO", "urn:oid:1.2.3", "1"),
        ("1^^^NAME", None, "1^^^NAME"),
        ("1^^^&1.2.3&ISO^PI", None, "1^^^&1.2.3&ISO^PI"),
    ],
)
def test_a_patient_is_found_by_his_identifier(cx: str, system: str | None, value: str) -> None:
    new = f'ParticipantObjectID="{cx.replace("&", "&amp;")}" ParticipantObjectTypeCode="1" ParticipantObjectTypeCodeRole="1"'
    body = PLAIN.replace('ParticipantObjectID="o"', new).encode()
    event = originals.of(body, Form.AUDIT_MESSAGE, received_ms=RECEIVED).event
    record = Record(event, "x", 0, RECEIVED, NO_FLAGS, "p", "", body, Form.AUDIT_MESSAGE)

    def finds(**asked: str) -> bool:
        pairs = [(name.replace("_", "."), text) for name, text in asked.items()]
        return matches(record, parse(pairs, strict=True, base="http://x", now=RECEIVED))

    assert finds(patient_identifier=f"{system}|{value}" if system else value)
    assert finds(entity_identifier=value)
    assert not finds(patient_identifier="urn:oid:9.9|1")
    assert finds(agent_identifier="u", source_identifier="s")
    assert finds(type=f"{DCM}|110112", outcome="0", action="R")
    assert (
        write(msgspec.json.decode(msgspec.json.encode(event)))
        .decode()
        .count(cx.replace("&", "&amp;"))
    )


# XML that is not as it should be.


def test_what_senders_do_wrong_is_set_right_and_told() -> None:
    def read(text: bytes) -> tuple[str, bool]:
        found = document.read(text)
        return found.root.attributes["UserID"], found.is_sound

    whole = b'<a UserID="%s"/>'
    assert read(b"\0\n\xef\xbb\xbf \r\n" + whole % b"x" + b"\0\0") == ("x", True)
    assert read(b'<?xml version="1.0" encoding="ISO-8859-1"?>' + whole % "ü".encode()) == (
        "ü",
        True,
    )
    assert read(whole % b"\xfc") == ("ü", False)
    assert read(whole % b"A&B &amp; &#65;") == ("A&B & A", False)
    assert read(whole % b"\x07") == ("\ufffd", False)
    assert read(whole % b"x" + b"</b>") == ("x", False)
    assert read(b'<a UserID="x"><b>half \xc3') == ("x", False)


def test_of_a_message_that_was_cut_off_what_is_there_is_taken() -> None:
    cut = PLAIN[: PLAIN.index("<ParticipantObjectIDTypeCode") + 10].encode()
    found = originals.of(cut, Form.AUDIT_MESSAGE, received_ms=RECEIVED)
    assert found.flags is Flag.DEVIANT
    assert found.event.entity is not None
    whole = PLAIN.replace("</ParticipantObjectIdentification>", "<ParticipantObjectName>Half")
    event = originals.of(whole.encode()[:-20], Form.AUDIT_MESSAGE, received_ms=RECEIVED).event
    assert event.entity is not None
    assert event.entity[0].name is None


_LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><AuditMessage x="&b;"/>'


@pytest.mark.parametrize(
    "text",
    [
        _LAUGHS,
        '<!DOCTYPE a SYSTEM "file:///etc/passwd"><AuditMessage/>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "http://127.0.0.1:9/x">]><AuditMessage>&x;</AuditMessage>',
        '<!DOCTYPE a [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x"> %p;]><AuditMessage/>',
        "<?xml version='1.0'?><!DOCTYPE AuditMessage><AuditMessage/>",
        "<a>" * 100,
        "<AuditMessage>" + "<a/>" * 20_001,
        "no XML",
        "",
    ],
)
def test_what_is_dangerous_or_no_xml_is_not_read_and_its_frame_is_kept(text: str) -> None:
    with pytest.raises(InvalidError):
        document.read(text.encode())
    body = b"<85>1 2026-11-25T09:00:00Z h a - - - " + text.encode()
    found = originals.of(body, Form.SYSLOG, received_ms=RECEIVED)
    assert found.flags is Flag.UNPARSED
    assert found.event.type.code == "message"


def test_an_entity_that_nobody_declared_is_text() -> None:
    """XInclude and references are not followed either."""
    text = PLAIN.replace('UserID="u"', 'UserID="&x; &#38;"').replace(
        "</AuditMessage>", '<xi:include href="file:///etc/passwd"/></AuditMessage>'
    )
    assert at(event_of(text), "agent.who.identifier.value") == ["&x; &"]


# Frames.


@pytest.mark.parametrize(
    ("sent", "fields", "message"),
    [
        (b"<85>1 2026-01-01T00:00:00Z h a p m - x y", ("85", "1", "2026-01-01T00:00:00Z", "h", "a", "p", "m", ""), b"x y"),
        (b"<0>1 - - - - - -", ("0", "1", "", "", "", "", "", ""), b""),
        (b'<1>1 - h a - - [x@1 k="a\\"\\]b" l=""][y] \xef\xbb\xbfz', ("1", "1", "", "h", "a", "", "", '[x@1 k="a\\"\\]b" l=""][y]'), b"\xef\xbb\xbfz"),
        (b"<34>Oct 11 22:14:15 mymachine su[7]: failed", ("34", "", "", "mymachine", "su", "7", "", ""), b"failed"),
        (b"<34>Oct  1 22:14:15 mymachine su: failed", ("34", "", "", "mymachine", "su", "", "", ""), b"failed"),
        (b"<34>anything", ("34", "", "", "", "", "", "", ""), b"anything"),
        (b"anything", ("", "", "", "", "", "", "", ""), b"anything"),
        (b"<85>1 - \xfc - - - - x", ("85", "1", "", "\xfc", "", "", "", ""), b"x"),
    ],
)  # fmt: skip
def test_a_frame_is_taken_apart(sent: bytes, fields: tuple[str, ...], message: bytes) -> None:
    found = frame.parse(sent)
    assert tuple(found) == (*fields, message)


def test_a_frame_without_a_message_is_an_event_of_its_header() -> None:
    body = b"<13>1 2026-01-01T00:00:00.25+01:00 10.0.0.7 sshd 812 ID1 - Accepted key for root"
    event = msgspec.json.decode(originals.view(body, Form.SYSLOG, received_ms=RECEIVED))
    assert event["recorded"] == "2026-01-01T00:00:00.25+01:00"
    assert event["agent"] == [{"who": {"identifier": {"value": "sshd"}}, "requestor": False,
                               "network": {"address": "10.0.0.7", "type": "2"}}]  # fmt: skip
    assert event["source"] == {"observer": {"identifier": {"value": "10.0.0.7"}}}
    details = {one["type"]: one["valueString"] for one in event["entity"][0]["detail"]}
    assert details == {"PRI": "13", "VERSION": "1", "TIMESTAMP": "2026-01-01T00:00:00.25+01:00",
                       "PROCID": "812", "MSGID": "ID1"}  # fmt: skip
    named = msgspec.json.decode(originals.view(b"<1>1 - h - - - -", Form.SYSLOG, received_ms=0))
    assert named["agent"][0]["network"] == {"address": "h", "type": "1"}
    bare = msgspec.json.decode(originals.view(b"\xff", Form.SYSLOG, received_ms=0))
    assert bare["recorded"] == "1970-01-01T00:00:00.000Z"
    assert bare["source"] == {"observer": audit_message.ABSENT}
    assert "entity" not in bare


def test_what_a_message_lacks_its_frame_says() -> None:
    head = b"<85>1 2026-01-01T00:00:00Z host app - - - "
    event = msgspec.json.decode(
        originals.view(head + b"<AuditMessage/>", Form.SYSLOG, received_ms=RECEIVED)
    )
    assert event["recorded"] == "2026-01-01T00:00:00Z"
    assert event["source"] == {"observer": {"identifier": {"value": "host"}}}


_MARKUP = st.text(
    alphabet='<>/="&; \n\tAaß\x01\x85\ud7ff\ufffe\U0001f600', max_size=20
) | st.sampled_from(
    ["<AuditMessage>", "</AuditMessage>", PLAIN, PLAIN[:300], "<!DOCTYPE x>", "<![CDATA[", "]]>",
     '<EventIdentification EventActionCode="', '<EventID csd-code="', "<85>1 - ", "- - - - - "]
)  # fmt: skip


@given(st.lists(_MARKUP | st.binary(max_size=8), max_size=12))
def test_any_bytes_are_an_event_and_the_same_one_when_they_are_read_again(
    parts: list[str | bytes],
) -> None:
    body = b"".join(
        one if isinstance(one, bytes) else one.encode("utf-8", "replace") for one in parts
    )
    found = originals.of(body, Form.SYSLOG, received_ms=RECEIVED)
    view = originals.view(body, Form.SYSLOG, received_ms=RECEIVED)
    assert intake.parse(view).event == found.event


_ATTRIBUTE_TEXT = st.text(max_size=12) | st.sampled_from(
    [
        "110112",
        "DCM",
        "1^^^&1.2&ISO",
        "true",
        "2",
        "4",
        "R",
        "2026-01-01T00:00:00Z",
        "AAEC",
        " x  y ",
    ]
)
_NAMES = (  # noqa: SIM905 - a table of words.
    "EventIdentification EventID EventTypeCode EventOutcomeDescription PurposeOfUse"
    " ActiveParticipant RoleIDCode UserIDTypeCode MediaIdentifier MediaType"
    " AuditSourceIdentification AuditSourceTypeCode ParticipantObjectIdentification"
    " ParticipantObjectIDTypeCode ParticipantObjectName ParticipantObjectQuery"
    " ParticipantObjectDetail ParticipantObjectDescription MPPS Accession SOPClass Instance"
    " ParticipantObjectContainsStudy StudyIDs Encrypted Anonymized"
).split()
_ATTRIBUTES = (  # noqa: SIM905 - a table of words.
    "EventActionCode EventDateTime EventOutcomeIndicator csd-code code codeSystemName originalText"
    " UserID AlternativeUserID UserName UserIsRequestor UserTypeCode NetworkAccessPointID"
    " NetworkAccessPointTypeCode AuditEnterpriseSiteID AuditSourceID ParticipantObjectID"
    " ParticipantObjectTypeCode ParticipantObjectTypeCodeRole ParticipantObjectDataLifeCycle"
    " ParticipantObjectSensitivity type value UID Number NumberOfInstances"
).split()


def _tree(node: document.Node, texts: Any) -> document.Node:
    node.attributes, node.text, node.children = texts
    return node


_NODES = st.recursive(
    st.builds(
        lambda name, attributes, text: _tree(document.Node(name, {}), (attributes, text, [])),
        st.sampled_from(_NAMES),
        st.dictionaries(st.sampled_from(_ATTRIBUTES), _ATTRIBUTE_TEXT, max_size=6),
        _ATTRIBUTE_TEXT.map(str.strip),
    ),
    lambda children: st.builds(
        lambda name, attributes, nodes: _tree(document.Node(name, {}), (attributes, "", nodes)),
        st.sampled_from(_NAMES),
        st.dictionaries(st.sampled_from(_ATTRIBUTES), _ATTRIBUTE_TEXT, max_size=6),
        st.lists(children, max_size=4),
    ),
    max_leaves=12,
)


@given(st.lists(_NODES, max_size=5))
def test_any_message_is_valid_r4_and_the_way_back_is_well_formed(
    nodes: list[document.Node],
) -> None:
    root = _tree(document.Node("AuditMessage", {}), ({}, "", nodes))
    event = audit_message.to_event(_as_read(root), BESIDE).event
    intake.parse(msgspec.json.encode(event))
    assert document.read(write(event)).is_sound


def _as_read(node: document.Node) -> document.Node:
    """Return the tree with texts that XML can hold, as a parser gives them."""
    clean = str.maketrans(dict.fromkeys([*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF], "?"))
    node.attributes = {name: text.translate(clean) for name, text in node.attributes.items()}
    node.text = node.text.translate(clean)
    node.children = [_as_read(child) for child in node.children]
    return node


@pytest.mark.parametrize("name", ["DCM", "99 X/é", "2.16.756.5", "urn:x:y", "IHE Transactions"])
def test_the_name_of_a_code_system_comes_back(name: str) -> None:
    assert coded.name_of(coded.system_of(name)) == name
