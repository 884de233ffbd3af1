"""What comes in: every accepted form becomes the same R4 event, and everything else is told why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caretrail.errors import InvalidError, TooLargeError
from caretrail.fhir import intake, r5, strict_json, validation, xml
from caretrail.fhir.intake import Form
from caretrail.limits import EVENT_BYTES_MAX

OWN = Path(__file__).parents[1] / "vectors" / "own"
SHARED = Path(__file__).parents[3] / "shared" / "vectors"
MINIMAL = (OWN / "r4-minimal.json").read_bytes()
FULL = (OWN / "r4-full.json").read_bytes()
R5 = (OWN / "r5.json").read_bytes()


def refused(body: bytes, **how: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidError) as caught:
        intake.parse(body, **how)
    return [(issue.code, issue.expression) for issue in caught.value.issues()]


def r4_of(**changes: Any) -> dict[str, Any]:
    return r5.to_r4({**json.loads(R5), **changes})


def r5_agent(**changes: Any) -> Any:
    return r4_of(agent=[{"who": {"display": "a"}, **changes}])["agent"][0]


def r5_entity(**changes: Any) -> Any:
    return r4_of(patient=None, entity=[changes])["entity"][0]


@pytest.mark.parametrize(
    ("body", "xml", "form"),
    [
        (MINIMAL, False, Form.JSON_R4),
        (b"\xef\xbb\xbf" + MINIMAL, False, Form.JSON_R4),
        (FULL, False, Form.JSON_R4),
        ((OWN / "r4-full.xml").read_bytes(), True, Form.XML_R4),
        (R5, False, Form.JSON_R5),
        (xml.from_json(R5), True, Form.XML_R5),
    ],
)
def test_every_form_is_read_the_same_when_it_is_stored(body: bytes, xml: bool, form: Form) -> None:
    taken = intake.parse(body, xml=xml)
    assert taken.form is form
    view = intake.view(body, form)
    assert validation.problems(view) == ()
    assert intake.event_of(body, form).recorded == taken.event.recorded
    assert intake.event_of(body, form).agent[0].requestor == taken.event.agent[0].requestor


def test_the_numbers_of_the_forms_never_change() -> None:
    assert [(form.name, form.value) for form in Form] == [
        ("JSON_R4", 0), ("XML_R4", 1), ("JSON_R5", 2), ("XML_R5", 3),
        ("AUDIT_MESSAGE", 4), ("SYSLOG", 5),
    ]  # fmt: skip


def test_plain_r4_is_viewed_as_the_very_bytes() -> None:
    assert intake.view(FULL, Form.JSON_R4) is FULL
    assert intake.view(b"\xef\xbb\xbf" + FULL, Form.JSON_R4) == FULL


def test_both_formats_of_r5_become_the_same_r4() -> None:
    as_xml = intake.view(xml.from_json(R5), Form.XML_R5)
    assert strict_json.read(as_xml) == strict_json.read(intake.view(R5, Form.JSON_R5))


@pytest.mark.parametrize(
    "path",
    [OWN / "r5.json", *sorted((SHARED / "auditevent").glob("*-r5-*"))],
    ids=lambda path: path.name,
)
def test_published_r5_becomes_valid_r4(path: Path) -> None:
    for release in (None, "5.0"):
        assert intake.parse(path.read_bytes(), release=release).form is Form.JSON_R5


@pytest.mark.parametrize(
    "path",
    [*sorted((SHARED / "auditevent").glob("*-stu3-*")), OWN / "stu3.json", OWN / "dstu2.json"],
    ids=lambda path: path.name,
)
def test_older_releases_are_refused_with_one_issue(path: Path) -> None:
    assert refused(path.read_bytes()) == [("not-supported", "AuditEvent")]
    assert refused(xml.from_json(path.read_bytes()), xml=True) == [("not-supported", "AuditEvent")]


@pytest.mark.parametrize("release", ["3.0", "3.0.2", "1.0", "9"])
def test_the_media_type_may_name_only_r4_and_r5(release: str) -> None:
    assert refused(MINIMAL, release=release) == [("not-supported", "AuditEvent")]


@pytest.mark.parametrize("release", [None, "4.0", "4.0.1", "4.3", "5.0"])
def test_valid_r4_is_r4_whatever_the_media_type_says(release: str | None) -> None:
    assert intake.parse(MINIMAL, release=release).form is Form.JSON_R4


def test_the_problems_of_r5_are_those_of_the_r4_event_it_becomes() -> None:
    body = json.dumps({**json.loads(R5), "recorded": "x", "agent": []}).encode()
    assert refused(body) == [
        ("value", "AuditEvent.recorded"),
        ("required", "AuditEvent.agent"),
    ] or (
        set(refused(body)) == {("value", "AuditEvent.recorded"), ("required", "AuditEvent.agent")}
    )
    assert refused(b'{"resourceType":"AuditEvent"}', release="5.0")
    assert refused(R5.replace(b'"action"', b'"action": "R", "action"')) == [
        ("structure", "AuditEvent")
    ]


@pytest.mark.parametrize("xml", [False, True])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"<", b"[" * 100_000, b"<a>" * 100_000]
)
def test_what_is_no_event_is_refused(body: bytes, xml: bool) -> None:
    assert len(refused(body, xml=xml)) == 1
    assert refused(body, xml=xml, release="5.0")


def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    assert intake.parse(MINIMAL + b" " * (EVENT_BYTES_MAX - len(MINIMAL)))
    with pytest.raises(TooLargeError):
        intake.parse(MINIMAL + b" " * (EVENT_BYTES_MAX - len(MINIMAL) + 1))


def test_r5_agents_keep_what_r4_has_a_place_for() -> None:
    assert r5_agent()["requestor"] is False
    assert "requestor" not in r5_agent(_requestor={"id": "a"})
    kinds = {"10.0.0.1": "2", "[::1]": "2", "fe80::1": "2", "host": "1", "10.0.0": "1"}
    for text, kind in kinds.items():
        assert r5_agent(networkString=text)["network"] == {"address": text, "type": kind}
    assert r5_agent(networkUri="urn:a")["network"]["type"] == "5"
    endpoint = r5_agent(networkReference={"identifier": {"value": "e"}})
    assert endpoint["network"] == {"address": "e", "type": "5"}


def test_what_has_another_shape_in_r5_is_passed_on_for_validation_to_name() -> None:
    assert r5_agent(altId="a", networkReference="b") == {
        "who": {"display": "a"},
        "altId": "a",
        "requestor": False,
        "network": {"address": "b", "type": "5"},
    }
    assert r5_entity(detail=["a"], role=[]) == {"detail": ["a"]}
    assert r5_entity(detail=[{"type": "a"}]) == {"detail": [{"type": "a"}]}
    assert r5.release_of({"type": {}, "agent": [{"who": {}, "userId": {}}]}) is r5.Release.R4
    assert [r5.release_of(tree) for tree in ([], "a", None)] == [r5.Release.R4] * 3


def test_values_that_r4_gave_r5_for_safekeeping_come_back() -> None:
    url = "http://hl7.org/fhir/4.0/StructureDefinition/extension-AuditEvent."
    agent = r5_agent(
        networkString="+41 1",
        extension=[
            {"url": f"{url}agent.network.type", "valueCode": "3"},
            {"url": f"{url}agent.name", "valueString": "Ada"},
            {"url": f"{url}agent.other", "valueString": "kept"},
            {"url": "urn:kept", "valueString": "kept"},
        ],
    )
    assert agent["network"] == {"address": "+41 1", "type": "3"}
    assert agent["name"] == "Ada"
    assert [row["valueString"] for row in agent["extension"]] == ["kept", "kept"]


@pytest.mark.parametrize(
    ("coding", "outcome"),
    [
        ({"code": "0"}, "0"), ({"code": "12"}, "12"), ({"code": "Success"}, "0"),
        ({"code": "warning"}, "4"), ({"code": "fatal"}, "12"), ({"code": "other"}, None), (None, None),
    ],
)  # fmt: skip
def test_r5_outcomes_become_codes_or_extensions(coding: Any, outcome: str | None) -> None:
    event = r4_of(outcome={"code": coding})
    assert event.get("outcome") == outcome
    kept = [row for row in event["extension"] if row["url"].endswith("outcome.code")]
    assert bool(kept) == (coding is not None and outcome is None)


def test_an_r4_outcome_in_an_r5_event_is_passed_on() -> None:
    assert r4_of(outcome="4")["outcome"] == "4"


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"category": None}, {"code": "read"}),
        ({"category": [{"text": "a"}]}, {"display": "a"}),
        ({"category": [{"coding": []}, {"coding": [{"code": "b"}]}]}, {"code": "b"}),
        ({"category": [{"id": "a"}]}, {"code": "read"}),
    ],
)
def test_r5_always_has_a_type(changes: dict[str, Any], kind: dict[str, str]) -> None:
    assert r4_of(**changes)["type"] == kind


def test_without_category_and_code_there_is_no_type() -> None:
    event = r5.to_r4({"resourceType": "AuditEvent", "occurredPeriod": {"start": "2026"}})
    assert event == {"resourceType": "AuditEvent", "period": {"start": "2026"}}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"valueQuantity": {"value": 3, "code": "kg"}}, "3 kg"),
        ({"valueQuantity": {"value": 3}}, "3"),
        ({"valueCodeableConcept": {"text": "t", "coding": [{"code": "c"}]}}, "t"),
        ({"valueBoolean": False}, "false"),
        ({"valueRange": {"high": {"value": 2}}}, " - 2"),
        ({"valueDateTime": "2026"}, "2026"),
        ({"valueDecimal": strict_json.Number("1.50")}, "1.50"),
    ],
)
def test_r5_details_become_text(value: dict[str, Any], text: str) -> None:
    assert r5_entity(detail=[{"type": {"text": "a"}, **value}])["detail"] == [
        {"type": "a", "valueString": text}
    ]


def test_the_patient_is_named_once() -> None:
    patient = {"reference": "Patient/1"}
    event = r4_of(entity=[{"what": patient}], patient=patient)
    assert len(event["entity"]) == 1


def test_a_new_datatype_becomes_text() -> None:
    event = r4_of(extension=[{"url": "urn:a", "valueInteger64": "9007199254740993"}])
    assert event["extension"][0] == {"url": "urn:a", "valueString": "9007199254740993"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from(["", "a", "#a", "2026"]),
    lambda part: st.lists(part, max_size=2)
    | st.dictionaries(
        st.sampled_from(
            ["code", "coding", "text", "detail", "type", "role", "who", "what", "extension", "url",
             "valueQuantity", "value", "site", "networkString", "network", "low", "reference"]
        ),
        part,
        max_size=3,
    ),
    max_leaves=8,
)  # fmt: skip
MEMBERS = ["category", "code", "outcome", "agent", "source", "entity", "patient", "authorization",
           "extension", "basedOn", "occurredDateTime", "severity", "contained", "text"]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=5))
def test_whatever_an_r5_event_holds_is_judged_and_not_a_crash(changes: dict[str, Any]) -> None:
    body = json.dumps({**json.loads(R5), **changes}).encode()
    try:
        taken = intake.parse(body, release="5.0")
    except InvalidError:
        return
    assert intake.event_of(body, taken.form)


@settings(max_examples=300, deadline=None)
@given(JSON)
def test_any_json_has_a_release(tree: object) -> None:
    assert r5.release_of(tree) in r5.Release
