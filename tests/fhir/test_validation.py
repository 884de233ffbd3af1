"""The slow path: every problem by name and place, and no problem where there is none."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from caretrail.fhir import audit_event, primitives, validation
from caretrail.limits import EVENT_BYTES_MAX, ISSUES_MAX

OWN = Path(__file__).parents[1] / "vectors" / "own"
SHARED = Path(__file__).parents[3] / "shared" / "vectors"
BASE = json.loads((OWN / "r4-read.json").read_bytes())

# What the README of the vectors lists for each file; every other one is valid.
NOTED = {
    "007": {"AuditEvent.recorded", "AuditEvent.source"},
    "035": {"AuditEvent.entity[4].detail[0].value"},
    "036": {"AuditEvent.entity[4].detail[0].value", "AuditEvent.entity[13].detail[0].value"},
    "039": {"AuditEvent.entity[4].detail[0].value"},
    "042": {"AuditEvent.entity[4].detail[0].value"},
    "043": {"AuditEvent.recorded", "AuditEvent.type", "AuditEvent.agent", "AuditEvent.source"},
}
FOREIGN = [
    *sorted((SHARED / "balp").rglob("*AuditEvent-*.json")),
    *sorted((SHARED / "auditevent").glob("*-r4-*.json")),
    *sorted(OWN.glob("r4-*.json")),
]
WHY = {"extension": [{"url": "urn:why", "valueCode": "masked"}]}
DIV = '<div xmlns="http://www.w3.org/1999/xhtml">%s</div>'


@pytest.mark.parametrize("path", FOREIGN, ids=lambda path: path.name)
def test_a_published_event_has_exactly_the_problems_noted_for_it(path: Path) -> None:
    body = path.read_bytes()
    problems = validation.problems(body)
    assert {issue.expression for issue in problems} == NOTED.get(path.name[:3], set())
    if not problems:
        audit_event.read(body)


def problems(**changes: Any) -> list[tuple[str, str]]:
    """Judge the base event with members replaced, or left out where None is given."""
    tree = {name: value for name, value in {**BASE, **changes}.items() if value is not None}
    issues = validation.problems(json.dumps(tree).encode())
    return [(issue.code, issue.expression.removeprefix("AuditEvent.")) for issue in issues]


def agent(**changes: Any) -> list[tuple[str, str]]:
    return problems(agent=[{"requestor": True, **changes}])


def entity(**changes: Any) -> list[tuple[str, str]]:
    return problems(entity=[changes])


def extended(**extension: Any) -> list[tuple[str, str]]:
    return problems(extension=[extension])


def contained(reference: str = "#p", **resource: Any) -> list[tuple[str, str]]:
    return problems(
        contained=[{"resourceType": "Patient", "id": "p", **resource}],
        entity=[{"what": {"reference": reference}}],
    )


@pytest.mark.parametrize(
    "found",
    [
        problems(),
        problems(period={"start": "2026-03", "end": "2026-03-01"}),
        problems(period={"start": "2026-01-02", "end": "2026-01-02T00:30:00+14:00"}),
        problems(period={"start": "2026-01-01T10:00:00Z", "end": "2026-01-01T11:00:00+01:00"}),
        problems(implicitRules="urn:a", language="de", modifierExtension=[{"url": "urn:a", **WHY}]),
        problems(_action={"id": "a"}),
        problems(action=None, _action=WHY),
        agent(policy=["urn:a", None], _policy=[None, WHY]),
        agent(_policy=[WHY]),
        agent(network={**WHY, "address": "a"}),
        agent(extension=[{"url": "urn:unknown", "valueAge": {"value": 3, "comparator": "<"}}]),
        extended(url="urn:a", _valueString=WHY),
        extended(url="urn:a", valueMoney={"value": 1.5, "currency": "CHF"}),
        extended(url="urn:a", valueTiming={"repeat": {"when": ["MORN"], "boundsPeriod": {"start": "2026"}}}),
        entity(query="R0VU\n IC9Q"),
        entity(detail=[{"type": "a", "_valueString": WHY}]),
        contained(),
        contained(extension=[{"url": "urn:a", "valueReference": {"reference": "#"}}]),
        contained(given=[None, "a"], _given=[WHY, None], whatever={"x": [1, True]}),
        problems(contained=[{"resourceType": "Device", "partOf": {"reference": "#"}}]),
        problems(text={"status": "additional", "div": DIV % "a <b>b</b> <img src='#x'/>"}),
    ],
)  # fmt: skip
def test_what_fhir_allows_is_no_problem(found: list[tuple[str, str]]) -> None:
    assert found == []


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (problems(type=None), ("required", "type")),
        (problems(agent=None), ("required", "agent")),
        (problems(source={}), ("required", "source.observer")),
        (problems(agent=[{"who": {"display": "a"}}]), ("required", "agent[0].requestor")),
        (problems(recorded=None, _recorded=WHY), ("required", "recorded")),
        (problems(recorded="2026-01-02T03:04:05"), ("value", "recorded")),
        (problems(recorded=1), ("structure", "recorded")),
        (problems(outcome=0), ("structure", "outcome")),
        (problems(outcome="1"), ("code-invalid", "outcome")),
        (problems(action="X"), ("code-invalid", "action")),
        (problems(outcomeDesc=""), ("value", "outcomeDesc")),
        (problems(outcomeDesc="\u0000"), ("value", "outcomeDesc")),
        (problems(type={"coding": [{"code": "a"}]}), ("structure", "type.coding")),
        (problems(type=[{"code": "a"}]), ("structure", "type")),
        (problems(subtype={"code": "a"}), ("structure", "subtype")),
        (problems(subtype=[]), ("structure", "subtype")),
        (problems(subtype=[None]), ("structure", "subtype[0]")),
        (problems(subtype=[{}]), ("invariant", "subtype[0]")),
        (problems(subtype=["rest"]), ("structure", "subtype[0]")),
        (problems(purposeOfEvent=[{"code": "a"}]), ("structure", "purposeOfEvent[0].code")),
        (problems(severity="a"), ("structure", "severity")),
        (problems(_type=WHY), ("structure", "_type")),
        (problems(_action="a"), ("structure", "action")),
        (problems(_action={}), ("invariant", "action")),
        (problems(action=None, _action={"id": "a"}), ("invariant", "action")),
        (problems(_resourceType=WHY), ("structure", "_resourceType")),
        (problems(**{"Ada Example": 1}), ("structure", "AuditEvent")),
        (problems(period={"start": "2026-02", "end": "2026-01-31"}), ("invariant", "period")),
        (
            problems(period={"start": "2026-01-01T10:00:01Z", "end": "2026-01-01T11:00:00+01:00"}),
            ("invariant", "period"),
        ),
        (
            problems(period={"start": "2026-01-01T10:00:00Z", "end": "2026-01-01T1"}),
            ("value", "period.end"),
        ),
        (problems(text={"status": "x", "div": DIV % "a"}), ("code-invalid", "text.status")),
        (problems(text={"status": "empty"}), ("required", "text.div")),
        (agent(network={"type": "6"}), ("code-invalid", "agent[0].network.type")),
        (agent(policy=[None]), ("structure", "agent[0].policy[0]")),
        (agent(policy="urn:a"), ("structure", "agent[0].policy")),
        (agent(policy=["a b"]), ("value", "agent[0].policy[0]")),
        (agent(policy=["urn:a"], _policy=[None, WHY]), ("structure", "agent[0].policy")),
        (agent(policy=["urn:a"], _policy=WHY), ("structure", "agent[0].policy")),
        (agent(_policy=[None]), ("structure", "agent[0].policy[0]")),
        (agent(altId=None, _altId=None), ("structure", "agent[0].altId")),
        (agent(name=["a"]), ("structure", "agent[0].name")),
        (agent(media={"code": " a"}), ("value", "agent[0].media.code")),
        (agent(media={"userSelected": "true"}), ("structure", "agent[0].media.userSelected")),
        (agent(who="Ada"), ("structure", "agent[0].who")),
        (agent(who={"reference": "#a"}), ("invariant", "agent[0].who.reference")),
        (agent(who={"identifier": {"use": "x"}}), ("code-invalid", "agent[0].who.identifier.use")),
        (agent(userId={"value": "a"}), ("structure", "agent[0].userId")),
        (entity(name="a", query="AAEC"), ("invariant", "entity[0]")),
        (entity(query="AAE"), ("value", "entity[0].query")),
        (entity(query="AA-_"), ("value", "entity[0].query")),
        (entity(), ("invariant", "entity[0]")),
        (entity(id="a"), ("invariant", "entity[0]")),
        (entity(detail=[{"type": "a"}]), ("required", "entity[0].detail[0].value")),
        (entity(detail=[{"type": "a", "value": "b"}]), ("structure", "entity[0].detail[0].value")),
        (
            entity(detail=[{"type": "a", "valueString": "b", "valueBase64Binary": "AAEC"}]),
            ("structure", "entity[0].detail[0].value"),
        ),
        (extended(valueString="a"), ("required", "extension[0].url")),
        (extended(url="urn:a"), ("invariant", "extension[0]")),
        (extended(url="urn:a", valueString="a", **WHY), ("invariant", "extension[0]")),
        (extended(url="urn:a", valueInteger=2**31), ("value", "extension[0].value")),
        (extended(url="urn:a", valueInteger=1.0), ("value", "extension[0].value")),
        (extended(url="urn:a", valuePositiveInt=0), ("value", "extension[0].value")),
        (extended(url="urn:a", valueDecimal="1"), ("structure", "extension[0].value")),
        (extended(url="urn:a", valueDate="2023-02-29"), ("value", "extension[0].value")),
        (extended(url="urn:a", valueTime="24:00:00"), ("value", "extension[0].value")),
        (extended(url="urn:a", valueUuid="urn:uuid:A"), ("value", "extension[0].value")),
        (extended(url="urn:a", valueOid="urn:oid:3.1"), ("value", "extension[0].value")),
        (extended(url="urn:a", valueFoo="a"), ("structure", "extension[0].valueFoo")),
        (contained("#q"), ("invariant", "contained[0]")),
        (contained(contained=[{"resourceType": "Device"}]), ("invariant", "contained[0]")),
        (contained(meta={"versionId": "1"}), ("invariant", "contained[0].meta")),
        (contained(meta={"security": [{"code": "R"}]}), ("invariant", "contained[0].meta")),
        (contained(resourceType="a b"), ("required", "contained[0]")),
        (contained(id="a b"), ("value", "contained[0].id")),
        (contained(name=[]), ("structure", "contained[0].name")),
        (contained(name=[None]), ("structure", "contained[0].name")),
        (contained(name={}), ("invariant", "contained[0].name")),
        (contained(name=""), ("value", "contained[0].name")),
        (contained(name=None), ("structure", "contained[0].name")),
        (contained("#x"), ("invariant", "entity[0].what.reference")),
        (contained(owner={"reference": "#x"}), ("invariant", "contained[0].owner.reference")),
        (contained(text={"div": "<div"}), ("invariant", "contained[0].text.div")),
        (contained(**{"a b": 1}), ("structure", "contained[0]")),
        (problems(contained=["a"]), ("structure", "contained[0]")),
    ],
)  # fmt: skip
def test_a_broken_rule_is_named_at_its_element(
    found: list[tuple[str, str]], expected: tuple[str, str]
) -> None:
    assert expected in found


@pytest.mark.parametrize(
    ("div", "words"),
    [
        ("plain", "well-formed"),
        ("<div>a</div>", "namespace"),
        (DIV % "<script>a</script>", "basic elements"),
        (DIV % "<p onclick='a'>a</p>", "event attributes"),
        (DIV % "<a href=' java\nscript:a'>a</a>", "event attributes"),
        (DIV % " <br/> ", "txt-2"),
        (DIV % "&nbsp;", "well-formed"),
        (f"<?xml version='1.0'?>{DIV % 'a'}", "well-formed"),
        (f"<!DOCTYPE div [<!ENTITY a 'a'>]>{DIV % '&a;'}", "well-formed"),
        (f"{DIV % 'a'}<!-- <!DOCTYPE a> -->b", "well-formed"),
    ],
)
def test_a_narrative_may_only_be_harmless_text(div: str, words: str) -> None:
    tree = {**BASE, "text": {"status": "generated", "div": div}}
    issues = validation.problems(json.dumps(tree).encode())
    assert [issue.expression for issue in issues] == ["AuditEvent.text.div"]
    assert words in issues[0].diagnostics


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "structure"),
        (b"[]", "structure"),
        (b"{}", "required"),
        (b'{"resourceType":"Patient"}', "structure"),
        (b'{"resourceType":{"a":1}}', "structure"),
        (b"[" * 100_000, "too-long"),
    ],
)
def test_what_is_no_event_is_one_problem(body: bytes, code: str) -> None:
    assert [issue.code for issue in validation.problems(body)] == [code]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"outcome": 0}, "must be a string in JSON, not a number"),
        ({"type": {"coding": []}}, "not a CodeableConcept"),
        ({"category": []}, "category is R5"),
        ({"participant": []}, "participant is DSTU2"),
    ],
)
def test_common_mistakes_are_told_in_plain_words(changes: dict[str, Any], words: str) -> None:
    issues = validation.problems(json.dumps({**BASE, **changes}).encode())
    assert any(words in issue.diagnostics for issue in issues)


def test_a_string_is_no_longer_than_a_mebibyte() -> None:
    longest = "a" * primitives.STRING_CHARACTERS_MAX
    assert primitives.problem("string", longest) is None
    problem = primitives.problem("markdown", longest + "a")
    assert problem is not None
    assert problem.code == "too-long"


def test_a_value_is_never_repeated() -> None:
    tree = {**BASE, "recorded": "Ada-1", "action": "Ada-2", "Ada Example": 1, "outcome": ["Ada-3"]}
    tree["agent"] = [{"requestor": "Ada-4", "who": {"reference": "#Ada-5"}}]
    issues = validation.problems(json.dumps(tree).encode())
    assert len(issues) == 6
    assert not any("Ada" in issue.diagnostics + issue.expression for issue in issues)


def test_the_last_issue_says_that_there_were_more() -> None:
    body = json.dumps({**BASE, "agent": [{}] * (ISSUES_MAX * 3)}).encode()
    issues = validation.problems(body)
    assert len(issues) == ISSUES_MAX + 1
    assert issues[-1].code == "incomplete"
    twice = b'{"resourceType":"AuditEvent",' + b'"x":[%s]}' % b",".join([b'{"a":1,"a":2}'] * 200)
    assert len(validation.problems(twice)) == ISSUES_MAX + 1


HEAD = json.dumps({**BASE, "entity": None}).encode().replace(b', "entity": null', b"")[:-1]


@pytest.mark.parametrize(
    "tail",
    [
        b'"entity":[' + b",".join([b"{}"] * 300_000) + b"]",
        b'"entity":[{"query":"' + b"A " * 480_000 + b'"}]',
        b'"entity":[{"type":{"code":"' + b"a " * 480_000 + b'"}}]',
        b'"extension":[{"url":"urn:a","valueOid":"urn:oid:1' + b".1" * 480_000 + b'x"}]',
        b'"contained":[' + b",".join([b'{"resourceType":"A","id":"x"}'] * 33_000) + b"]",
        b'"period":{"start":"2026-01-02T03:04:05.' + b"9" * 900_000 + b'Z","end":"2026"}',
        b'"text":{"status":"generated","div":"' + b"<b>" * 300_000 + b'"}',
        b'"entity":[{"detail":[' + b",".join([b'{"type":"a","valueString":"b"}'] * 32_000) + b"]}]",
    ],
)
def test_a_mebibyte_is_judged_in_about_a_second(tail: bytes) -> None:
    body = HEAD + b"," + tail + b"}"
    assert len(body) <= EVENT_BYTES_MAX
    began = time.process_time()
    validation.problems(body)
    # It takes about one, and several under coverage; a quadratic step would take a minute.
    assert time.process_time() - began < 8
