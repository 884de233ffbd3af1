"""FHIR XML and JSON: one resource, two formats, and nothing that XML could be abused for."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from caretrail.errors import InvalidError
from caretrail.fhir import strict_json, validation, xml
from caretrail.limits import NESTING_DEPTH_MAX
from tests.fhir.generated_events import events

OWN = Path(__file__).parents[1] / "vectors" / "own"
SHARED = Path(__file__).parents[3] / "shared" / "vectors"
FULL = (OWN / "r4-full.json").read_bytes()
PUBLISHED = [
    *sorted(OWN.glob("r4-*.json")),
    *sorted((SHARED / "balp").rglob("*AuditEvent-*.json")),
    *sorted((SHARED / "auditevent").glob("*-r4-*.json")),
]
VALID = [path for path in PUBLISHED if not validation.problems(path.read_bytes())]
FOREIGN_XML = [OWN / "r4-full.xml", *sorted((SHARED / "auditevent").glob("*.xml"))]
HEAD = b'<AuditEvent xmlns="http://hl7.org/fhir">'
XHTML = "http://www.w3.org/1999/xhtml"


def read(body: str | bytes) -> Any:
    return strict_json.read(xml.to_json(body.encode() if isinstance(body, str) else body))


def event(content: str) -> Any:
    return read(f'<AuditEvent xmlns="http://hl7.org/fhir">{content}</AuditEvent>')


def refused(body: bytes) -> tuple[str, str]:
    with pytest.raises(InvalidError) as caught:
        xml.to_json(body)
    (issue,) = caught.value.issues()
    return issue.code, issue.expression


@settings(max_examples=150, deadline=None)
@given(events())
def test_json_to_xml_to_json_is_the_same_tree(tree: dict[str, Any]) -> None:
    body = strict_json.encode(tree)
    for pretty in (False, True):
        assert strict_json.read(xml.to_json(xml.from_json(body, pretty=pretty))) == tree


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.name)
def test_a_published_event_survives_both_ways(path: Path) -> None:
    body = path.read_bytes()
    again = xml.to_json(xml.from_json(body, pretty=True))
    assert strict_json.read(again) == strict_json.read(body)


def test_our_xml_vector_is_our_json_vector() -> None:
    assert read((OWN / "r4-full.xml").read_bytes()) == strict_json.read(FULL)
    assert xml.from_json(FULL, pretty=True) == (OWN / "r4-full.xml").read_bytes().rstrip()


@pytest.mark.parametrize("path", FOREIGN_XML, ids=lambda path: path.name)
def test_foreign_xml_is_read(path: Path) -> None:
    found = {issue.expression for issue in validation.problems(xml.to_json(path.read_bytes()))}
    # HL7's own vector of a query that is no base64 also has a name beside it (sev-1).
    noted = {"AuditEvent.entity[0].query", "AuditEvent.entity[0]"}
    assert found == (noted if path.name.startswith("034") else set())


def test_an_event_is_written_in_the_order_of_its_definition() -> None:
    tree = json.loads(FULL)
    written = xml.from_json(json.dumps(dict(reversed(tree.items()))).encode()).decode()
    places = [written.index(f"<{name}") for name in ("id", "meta", "type", "recorded", "agent")]
    assert places == sorted(places)


def test_elements_in_another_order_are_read() -> None:
    assert event('<agent><name value="a"/></agent><id value="x"/><agent id="b"/>') == {
        "resourceType": "AuditEvent",
        "agent": [{"name": "a"}, {"id": "b"}],
        "id": "x",
    }


def test_what_is_wrong_in_xml_is_left_for_validation_to_name() -> None:
    tree = event(
        '<foo value="a"/><foo value="true"/><recorded value=""/><outcome/><type value="rest"/>'
        '<agent><requestor value="yes"/><network><a/></network></agent><action><code value="R"/></action>'
    )
    issues = validation.problems(strict_json.encode(tree))
    assert {issue.expression for issue in issues} >= {
        "AuditEvent.foo",
        "AuditEvent.recorded",
        "AuditEvent.outcome",
        "AuditEvent.agent[0].requestor",
        "AuditEvent.agent[0].network._a",
        "AuditEvent.action",
        "AuditEvent.source",
        "AuditEvent.type.value",
    }


def test_the_place_of_a_schema_is_passed_over() -> None:
    schema = (
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="urn:a a.xsd"'
    )
    assert read(
        f'<AuditEvent xmlns="http://hl7.org/fhir" {schema}><id value="a"/></AuditEvent>'
    ) == {
        "resourceType": "AuditEvent",
        "id": "a",
    }


def test_kinds_of_json_come_from_the_table() -> None:
    extensions = "".join(
        f'<extension url="urn:a"><value{of} value="{text}"/></extension>'
        for of, text in (("Boolean", "true"), ("Integer", "-7"), ("Decimal", "1.50"), ("String", "1"),
                         ("Decimal", "7"), ("Integer", "+7"), ("Boolean", "1"), ("Decimal", "-0"))
    )  # fmt: skip
    values = [
        next(v for k, v in row.items() if k != "url") for row in event(extensions)["extension"]
    ]
    number = strict_json.Number
    assert values == [True, -7, number("1.50"), "1", 7, "+7", "1", number("-0")]


def test_white_space_in_values_survives() -> None:
    body = b'{"resourceType":"AuditEvent","outcomeDesc":"a\\tb\\nc\\r\\n \\"d\\" <&>"}'
    assert read(xml.from_json(body)) == json.loads(body)


def test_what_xml_cannot_write_is_replaced() -> None:
    body = b'{"resourceType":"AuditEvent","outcomeDesc":"a\\ufffeb","a b":1,"text":{"div":"<div"}}'
    assert read(xml.from_json(body)) == {
        "resourceType": "AuditEvent",
        "outcomeDesc": "a\ufffdb",
        "text": {"div": f'<div xmlns="{XHTML}">&lt;div</div>'},
    }


@pytest.mark.parametrize(
    "div",
    [
        f'<div xmlns="{XHTML}"/>',
        f'<div xmlns="{XHTML}"  >a<div>b</div ><br/>/></div\n>',
        f"<div\txmlns='{XHTML}'><!-- ü --><![CDATA[<div/>]]>&#228;</div>",
    ],
)
def test_xhtml_is_kept_as_it_was_written(div: str) -> None:
    assert event(f'<text><status value="empty"/>{div}</text>')["text"]["div"] == div


def test_a_prefix_that_is_declared_further_out_comes_along() -> None:
    tree = read(
        f'<f:AuditEvent xmlns:f="http://hl7.org/fhir" xmlns:h="{XHTML}" xmlns:o="urn:o">'
        "<f:text><h:div><h:b>x</h:b></h:div></f:text></f:AuditEvent>"
    )
    assert tree["text"]["div"] == f'<h:div xmlns:h="{XHTML}"><h:b>x</h:b></h:div>'


def test_a_bundle_is_read_with_its_events() -> None:
    entry = FULL.decode()
    bundle = f"""{{"resourceType":"Bundle","id":"b","type":"batch","total":1,
        "link":[{{"relation":"self","url":"urn:a"}}],
        "entry":[{{"fullUrl":"urn:b","resource":{entry},
        "request":{{"method":"POST","url":"AuditEvent"}}}}]}}""".encode()
    assert read(xml.from_json(bundle)) == strict_json.read(bundle)


def test_other_resources_are_written_in_the_order_given() -> None:
    body = (
        b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"value",'
        b'"expression":["a","b"]}]}'
    )
    assert xml.from_json(body) == (
        b'<?xml version="1.0" encoding="UTF-8"?><OperationOutcome xmlns="http://hl7.org/fhir">'
        b'<issue><severity value="error"/><code value="value"/><expression value="a"/>'
        b'<expression value="b"/></issue></OperationOutcome>'
    )
    parameters = (
        b'{"resourceType":"Parameters","parameter":[{"name":"a","valueBoolean":true},'
        b'{"name":"b","resource":{"resourceType":"Patient","id":"p"}}]}'
    )
    assert (
        b'<name value="b"/><resource><Patient><id value="p"/></Patient></resource>'
        in xml.from_json(parameters)
    )


def test_a_contained_resource_is_read_as_far_as_xml_tells() -> None:
    tree = event(
        '<contained><Patient><id value="p"/><name><given value="A"/></name><active value="true"/>'
        '<multipleBirthInteger value="2"/><birthDate value="2020"/></Patient></contained>'
        '<contained><Zoo><identifier><value value="1"/></identifier><cage><name value="a"/></cage>'
        "<cage/></Zoo></contained>"
    )
    assert tree["contained"] == [
        {
            "resourceType": "Patient",
            "id": "p",
            "name": [{"given": ["A"]}],
            "active": True,
            "multipleBirthInteger": 2,
            "birthDate": "2020",
        },
        {
            "resourceType": "Zoo",
            "identifier": [{"value": "1"}],
            "cage": [{"name": "a"}, None],
            "_cage": [None, {}],
        },
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", ("structure", "")),
        (b"<a", ("structure", "")),
        (b"<AuditEvent/>", ("structure", "")),
        (HEAD + b"</AuditEvent>x", ("structure", "")),
        (HEAD + b"<agent>text</agent></AuditEvent>", ("structure", "AuditEvent.agent")),
        (HEAD + b'<agent><who xmlns="urn:x"/></agent></AuditEvent>', ("structure", "AuditEvent.agent")),
        (HEAD + b'<agent type="a"/></AuditEvent>', ("structure", "AuditEvent.agent")),
        (HEAD + b"<a>&nbsp;</a></AuditEvent>", ("structure", "")),
        (HEAD + b"<contained><A/><B/></contained></AuditEvent>", ("structure", "")),
        (HEAD + b"<a>" * 100_000, ("too-long", "")),
        (b'<div xmlns="http://www.w3.org/1999/xhtml"/>', ("structure", "")),
        (b'<?xml version="1.0" encoding="latin1"?>' + HEAD + b"</AuditEvent>", ("structure", "")),
        (b'<?xml version="1.0" encoding="x-none"?>' + HEAD + b"</AuditEvent>", ("structure", "")),
        (HEAD.decode().encode("utf-16"), ("structure", "")),
        ((HEAD + b"<text/></AuditEvent>").decode().encode("utf-16-le"), ("structure", "")),
        (HEAD + b"\xff</AuditEvent>", ("structure", "")),
    ],
)  # fmt: skip
def test_what_is_no_fhir_xml_is_refused(body: bytes, expected: tuple[str, str]) -> None:
    assert refused(body) == expected


@pytest.mark.parametrize(
    "declaration",
    [
        b'<!DOCTYPE a SYSTEM "http://example.org/a.dtd">',
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        b'<!DOCTYPE a [<!ENTITY % x SYSTEM "http://example.org/x"> %x;]>',
        b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>',
    ],
)
def test_no_entity_is_ever_declared(declaration: bytes) -> None:
    body = declaration + HEAD + b'<outcomeDesc value="&x;&b;"/></AuditEvent>'
    assert refused(body) == ("structure", "")


def test_depth_is_bounded_inside_and_outside_of_xhtml() -> None:
    for opening in (b"<a>", b'<text><div xmlns="http://www.w3.org/1999/xhtml">' + b"<b>" * 80):
        assert refused(HEAD + opening * NESTING_DEPTH_MAX)[0] == "too-long"


@pytest.mark.parametrize(
    "body",
    [
        HEAD + b"<a>" * 330_000,
        HEAD + b"<a/>" * 250_000 + b"</AuditEvent>",
        HEAD[:-1] + b"".join(b' a%d="1"' % n for n in range(80_000)) + b"/>",
        HEAD[:-1] + b"".join(b' xmlns:a%d="1"' % n for n in range(60_000)) + b"/>",
        HEAD
        + b'<text><div xmlns="http://www.w3.org/1999/xhtml"/></text>' * 15_000
        + b"</AuditEvent>",
        HEAD + b'<outcomeDesc value="' + b"&#10;" * 200_000 + b'"/></AuditEvent>',
    ],
)
def test_a_mebibyte_of_mischief_takes_about_a_second(body: bytes) -> None:
    began = time.process_time()
    with suppress(InvalidError):
        xml.to_json(body)
    # It takes about one, and several under coverage; a quadratic step would take a minute.
    assert time.process_time() - began < 8
