"""What SIEMs are told of an event: the mapping, and that no text of an event breaks its form."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caretrail.formats import syslog
from caretrail.formats.patients import bare, without_patients
from caretrail.formats.table import BY_CODE, FORMATS
from caretrail.formats.told import told
from tests.api.arr import event
from tests.fhir.generated_events import events

DCM = "http://dicom.nema.org/resources/ontology/DCM"
LOGIN = event(
    id="e1",
    recorded="2026-03-04T05:06:07.089999+01:00",
    type={"system": DCM, "code": "110114", "display": "User Authentication"},
    subtype=[{"system": DCM, "code": "110122", "display": "Login"}],
    action="E",
    outcome="8",
    outcomeDesc="no such user",
    agent=[
        {
            "who": {"identifier": {"value": "dr1"}},
            "name": "Dr. One",
            "requestor": True,
            "network": {"address": "10.1.2.3", "type": "2"},
            "purposeOfUse": [{"coding": [{"code": "TREAT"}]}],
        },
        {"altId": "robot", "requestor": False, "network": {"address": "pc", "type": "1"}},
    ],
)
del LOGIN["entity"]


def written(code: str, one: dict) -> dict:
    found: dict = json.loads(BY_CODE[code].write(one, "1.0"))
    return found


def test_a_sign_in_is_ocsf_authentication() -> None:
    found = written("ocsf", LOGIN)
    assert (found["class_uid"], found["activity_id"], found["type_uid"]) == (3002, 1, 300201)
    assert (found["status_id"], found["severity_id"]) == (2, 3)
    assert found["time"] == 1772597167089
    assert found["user"] == {"uid": "dr1", "name": "Dr. One"}
    assert found["src_endpoint"] == {"ip": "10.1.2.3"}
    assert found["unmapped"] == {"purpose_of_use": ["TREAT"], "observer": "ward server"}
    assert found["metadata"]["uid"] == "e1"


def test_an_access_is_ocsf_api_activity() -> None:
    found = written("ocsf", event(id="e1", subtype=[{"code": "read"}]))
    assert (found["class_uid"], found["activity_id"], found["type_uid"]) == (6003, 2, 600302)
    assert found["status"] == "Success"
    assert found["api"]["operation"] == "read"
    assert found["actor"]["user"]["uid"] == "Practitioner/dr-1"
    assert found["resources"] == [{"uid": "Patient/p1"}]


def test_what_ocsf_has_no_activity_for_is_other() -> None:
    one = event(type={"code": "110114"}, action="E")
    assert written("ocsf", one)["activity_id"] == 99
    del one["outcome"]
    one["type"] = {"code": "110100"}
    found = written("ocsf", one)
    assert (found["activity_id"], found["activity_name"]) == (99, "110100")
    assert (found["status_id"], found["status"]) == (0, "Unknown")


def test_ecs_has_the_categories_of_its_own_list() -> None:
    found = written("ecs", LOGIN)
    assert found["event"]["category"] == ["authentication"]
    assert found["event"]["type"] == ["start"]
    assert found["event"]["outcome"] == "failure"
    assert found["source"] == {"ip": "10.1.2.3", "address": "10.1.2.3"}
    out = LOGIN | {"subtype": [{"code": "110123"}]}
    assert written("ecs", out)["event"]["type"] == ["end"]
    read = written("ecs", event(id="e2"))
    assert read["event"] | {"provider": ""} == {
        "kind": "event", "id": "e2", "category": ["api"], "type": ["access"],
        "action": "110110", "outcome": "success", "code": "110110", "provider": "",
        "module": "caretrail",
    }  # fmt: skip
    assert read["fhir"] == {"entity": {"reference": ["Patient/p1"]}}
    one = event()
    del one["outcome"], one["action"]
    found = written("ecs", one)
    assert (found["event"]["outcome"], found["event"]["type"]) == ("unknown", ["info"])


def test_cef_escapes_what_would_begin_a_field() -> None:
    nasty = r"a|b=c\d" + "\n\r\x00\u2028CEF:0|"
    agent = [{"requestor": True, "name": nasty}]
    kind = {"code": "x", "display": nasty}
    one = event(id="e1", type=kind, agent=agent, purposeOfEvent=[{"coding": [{"code": "TREAT"}]}])
    line = BY_CODE["cef"].write(one, "1.0").decode()
    assert len(line.splitlines()) == 1
    parts = re.split(r"(?<!\\)(?:\\\\)*\|", line, maxsplit=7)
    assert parts[:4] == ["CEF:0", "CareTrail", "CareTrail", "1.0"]
    assert parts[5] == r"a\|b=c\\d    CEF:0\|"
    assert r"suser=a|b\=c\\d\n\r  CEF:0| dvchost=" in parts[7]
    assert "cs2=TREAT cs2Label=purposeOfUse" in parts[7]
    one = event(agent=[{"requestor": False}])
    del one["outcome"], one["entity"]
    assert "outcome=" not in BY_CODE["cef"].write(one, "1.0").decode()


def test_an_event_without_most_elements_is_told() -> None:
    one = event(agent=[{"requestor": False}], source={"observer": {}})
    del one["entity"]
    found = told(one)
    assert found.user.id == ""
    assert found.objects == ()
    assert not found.is_failure
    assert not found.is_authentication


@settings(max_examples=25)  # Events are large, and each is told four times.
@given(events())
def test_every_event_is_told_in_every_format_on_one_line(one: dict) -> None:
    for row in FORMATS:
        body = row.write(without_patients(one), "1.0")
        assert b"\n" not in body
        assert b"\r" not in body


@given(st.text(), st.binary(max_size=200))
def test_a_syslog_frame_has_the_length_that_it_says(host: str, content: bytes) -> None:
    made = syslog.frame(content, recorded="2016-12-31T23:59:60.1234567Z", host=host, message_id="A")
    length, _, message = made.partition(b" ")
    assert int(length) == len(message)
    assert message.startswith(b"<85>1 2016-12-31T23:59:59.123456Z ")
    assert message.split(b" ", 7)[7] == content


# -- Without patients --

PATIENTS = event(
    text={"status": "generated", "div": "<div>canary</div>"},
    contained=[{"resourceType": "Patient", "id": "canary"}],
    extension=[{"url": "u", "valueString": "canary"}],
    _recorded={"id": "canary"},
    outcomeDesc="canary is not there",
    agent=[
        {"requestor": True, "who": {"reference": "http://x/Patient/canary"}, "name": "canary"},
        {"requestor": False, "role": [{"text": "ward"}], "who": {"reference": "Practitioner/1"}},
    ],
    entity=[
        {"what": {"reference": "Patient/canary"}},
        {"what": {"identifier": {"value": "canary"}, "type": "Patient"}},
        {
            "what": {"display": "canary"},
            "type": {
                "system": "http://terminology.hl7.org/CodeSystem/audit-entity-type",
                "code": "1",
                "display": "Person",
            },
        },
        {
            "what": {"display": "canary"},
            "role": {"system": "http://terminology.hl7.org/CodeSystem/object-role", "code": "1"},
        },
        {
            "what": {"reference": "Observation/7"},
            "name": "canary",
            "description": "canary",
            "query": "Y2FuYXJ5",
            "detail": [{"type": "t", "valueString": "canary"}],
        },
    ],
)


@pytest.mark.parametrize("row", FORMATS, ids=lambda row: row.code)
def test_nothing_of_a_patient_is_left(row) -> None:
    body = row.write(without_patients(PATIENTS), "1.0")
    assert b"canary" not in body
    assert b"Y2FuYXJ5" not in body
    assert b"Observation/7" in body


def test_an_event_of_patients_alone_has_no_entity_then() -> None:
    assert "entity" not in without_patients(event())


def test_words_of_a_code_stay_and_extensions_go() -> None:
    found = bare(PATIENTS)
    assert found["agent"][1]["role"] == [{"text": "ward"}]
    assert not {"text", "contained", "extension", "_recorded"} & found.keys()
