"""The fast path: what it accepts is valid, and nothing hides from it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caretrail.fhir import audit_event, decoding, strict_json, validation
from tests.fhir.generated_events import events

OWN = Path(__file__).parents[1] / "vectors" / "own"
SHARED = Path(__file__).parents[3] / "shared" / "vectors"
PLAIN = [
    (OWN / "r4-minimal.json").read_bytes(),
    (OWN / "r4-read.json").read_bytes(),
    *(path.read_bytes() for path in sorted((SHARED / "balp").glob("AuditEvent-*.json"))[::8]),
]
PLAIN = [body for body in PLAIN if decoding.decode(body) is not None]
MEMBER = re.compile(rb'"((?:[^"\\]|\\.)*)"\s*:')


def event(**changes: Any) -> bytes:
    return json.dumps({**json.loads(PLAIN[1]), **changes}).encode()


def changed(old: str, new: str) -> bytes:
    body = PLAIN[1]
    assert old.encode() in body
    return body.replace(old.encode(), new.encode(), 1)


@settings(max_examples=150, deadline=None)
@given(events())
def test_what_the_fast_path_accepts_is_valid_and_read_the_same(tree: dict[str, Any]) -> None:
    body = strict_json.encode(tree)
    decoded = decoding.decode(body)
    assert validation.problems(body) == ()
    read = audit_event.read(body)
    assert decoded is None or decoded == read


# Values that a careless decoder would let through, for any element of a plain event.
ODD = st.sampled_from(
    [
        None, True, 0, 1.5, "", " ", " a", "a ", "a b", "#x", "# ", [], {}, [None], [{}], [""], "\u0000",
        "\ud800", "\u00a0", "2023-02-29T00:00:00Z", "2026-01-02T03:04:05+14:30",
        "٢٠٢٦-01-02T03:04:05Z", "A", "A===", "AA A", "AAA=", "R", "13", {"id": "a"},
        {"system": "a b"}, {"reference": "#x"}, {"code": "a "}, {"start": "2026"}, {"use": "x"},
    ]
)  # fmt: skip


def _places(tree: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree)
    found = [place]
    for key, part in parts:
        found += _places(part, (*place, key)) if isinstance(part, (dict, list)) else [(*place, key)]
    return found


@settings(max_examples=400, deadline=None)
@given(st.data(), st.sampled_from(PLAIN), ODD)
def test_the_fast_path_is_never_milder_than_validation(
    data: st.DataObject, body: bytes, value: Any
) -> None:
    tree = json.loads(body)
    place = data.draw(st.sampled_from(_places(tree)[1:]))
    owner = tree
    for key in place[:-1]:
        owner = owner[key]
    names = [place[-1], "reference", "code", "type", "period", "use", "id", "extension", "query"]
    key = data.draw(st.sampled_from(names)) if isinstance(owner, dict) else place[-1]
    owner[key] = value
    changed_body = json.dumps(tree, ensure_ascii=data.draw(st.booleans())).encode(
        errors="surrogatepass"
    )
    valid = validation.problems(changed_body) == ()
    assert valid or decoding.decode(changed_body) is None
    if valid:
        assert audit_event.read(changed_body)


def _escaped(name: bytes, at: int) -> bytes:
    """Write one letter of a name as an escape: the name stays the same."""
    at %= len(name)
    return name[:at] + b"\\u%04x" % name[at] + name[at + 1 :]


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(PLAIN))
def test_a_second_member_of_the_same_name_never_passes(data: st.DataObject, body: bytes) -> None:
    """Insert one anywhere, with odd white space, escapes, and strings that would make up for it."""
    members = list(MEMBER.finditer(body))
    chosen = data.draw(st.sampled_from(members))
    name = chosen[1]
    if data.draw(st.booleans()):
        name = _escaped(name, data.draw(st.integers(0, 40)))
    value = data.draw(
        st.sampled_from([b"null", b'"x"', b"true", b"0", b"{}", b"[]", b'[{"code":"a"}]', b'"\\""'])
    )
    space = data.draw(st.sampled_from([b"", b" ", b"\n\t", b"\r"]))
    twin = b'"' + name + b'"' + space + b":" + space + value + space + b","
    mutant = body[: chosen.start()] + twin + body[chosen.start() :]
    if data.draw(st.booleans()):
        # Quotation marks written as escapes: fewer in the bytes than in the event.
        mark = data.draw(st.sampled_from([rb"\u0022", rb"\"", rb"\u0022\u0022"]))
        mutant = re.sub(rb'("display"\s*:\s*")', lambda found: found[1] + mark, mutant, count=1)
    assert decoding.decode(mutant) is None
    assert any("more than once" in issue.diagnostics for issue in validation.problems(mutant))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2026-01-02T03:04:05Z", "2023-02-29T03:04:05Z"),
        ("2026-01-02T03:04:05Z", "2026-02-30T03:04:05Z"),
        ("2026-01-02T03:04:05Z", "٢٠٢٦-01-02T03:04:05Z"),
        ('"code": "rest"', '"code": "rest "'),
        ('"system": "urn:example"', '"system": " urn:example"'),
        ('"display": "clinic"', '"reference": "#clinic"'),
        ('"reference": "Patient/1"', '"reference": "#p"'),
        ('"value": "7"', '"value": "7", "period": {"start": "2027", "end": "2026"}'),
        ('"value": "7"', '"value": "7", "assigner": {}'),
    ],
)
def test_what_only_validation_can_judge_is_left_to_it(old: str, new: str) -> None:
    body = changed(old, new)
    assert decoding.decode(body) is None
    assert validation.problems(body)


@pytest.mark.parametrize(
    "changes",
    [
        {"period": {"start": "2026"}},
        {"extension": [{"url": "urn:a", "valueBoolean": True}]},
        {"modifierExtension": [{"url": "urn:a", "valueBoolean": True}]},
        {"meta": {"lastUpdated": "2026-01-02T03:04:05Z"}},
        {"language": "de"},
        {"agent": [{"requestor": True, "media": {"code": "110030"}}]},
        {"source": {"observer": {"identifier": {"type": {"coding": [{"code": "a"}]}}}}},
        {"outcomeDesc": 'a "quoted" {}'},
        {"outcomeDesc": "\t"},
        {"contained": [{"resourceType": "Device", "owner": {"reference": "#"}}]},
        {"source": {"observer": {"identifier": {"value": "a", "period": {"start": "2026"}}}}},
    ],
)
def test_what_is_rare_but_valid_is_accepted_by_one_of_the_two(changes: dict[str, Any]) -> None:
    body = event(**changes)
    assert validation.problems(body) == ()
    read = audit_event.read(body)
    assert read.recorded == "2026-01-02T03:04:05Z"
    assert decoding.decode(body) in (None, read)


@pytest.mark.parametrize(
    "entity",
    [
        {"name": "a", "query": "AAEC"},
        {"query": "AAECA"},
        {"detail": [{"type": "a"}]},
        {"detail": [{"type": "a", "valueString": "a", "valueBase64Binary": "AAEC"}]},
        {"detail": [{"type": "a", "valueBase64Binary": "AAECA"}]},
    ],
)
def test_the_rules_of_an_entity_hold_on_the_fast_path(entity: dict[str, Any]) -> None:
    assert decoding.decode(event(entity=[entity])) is None


def test_an_extension_is_kept_as_it_was_written() -> None:
    extension = b'[{"url":"urn:a","valueDecimal":1.50}]'
    body = changed('"requestor": true', f'"requestor": true, "extension": {extension.decode()}')
    assert decoding.decode(body) is None
    agent = audit_event.read(body).agent[0]
    assert agent.extension is not None
    assert bytes(agent.extension) == extension


def test_what_is_valid_but_has_no_place_in_the_structures_is_read_without_it() -> None:
    body = event(
        agent=[
            {
                "_requestor": {"extension": [{"url": "urn:why", "valueCode": "unknown"}]},
                "policy": [None, "urn:a"],
                "_policy": [{"extension": [{"url": "urn:why", "valueCode": "masked"}]}, None],
            }
        ],
        entity=[
            {
                "query": "R0VU IC9Q",
                "detail": [
                    {
                        "_type": {"extension": [{"url": "urn:why", "valueCode": "unknown"}]},
                        "valueString": "a",
                    }
                ],
            }
        ],
    )
    assert validation.problems(body) == ()
    read = audit_event.read(body)
    assert read.agent[0].requestor is False
    assert read.agent[0].policy == ("urn:a",)
    assert read.entity is not None
    assert (read.entity[0].query, read.entity[0].detail) == ("R0VUIC9Q", None)
