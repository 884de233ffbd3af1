"""JSON as it was written: what other readers pass over is named."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail.errors import InvalidError
from caretrail.fhir import strict_json
from caretrail.limits import ISSUES_MAX, NESTING_DEPTH_MAX


def told(body: bytes) -> list[tuple[str, str]]:
    return [(issue.code, issue.expression) for issue in strict_json.parse(body).issues]


def test_a_repeated_name_is_told_with_the_path_of_its_object() -> None:
    body = rb'{"resourceType":"AuditEvent","agent":[{},{"a":1,"\u0061":2}],"b":1,"b":1}'
    assert told(body) == [("structure", "AuditEvent"), ("structure", "AuditEvent.agent[1]")]


def test_a_name_that_could_be_a_patient_is_not_repeated() -> None:
    issues = strict_json.parse(b'{"Ada Example":1,"Ada Example":[{"x":1,"x":2}]}').issues
    assert not any("Ada" in issue.diagnostics + issue.expression for issue in issues)


@pytest.mark.parametrize("text", ["1.0", "1e5", "0.10", "-0", "1E+2", "1" * 30, "-0.0"])
def test_a_number_keeps_its_written_form(text: str) -> None:
    body = b'{"value":%s}' % text.encode()
    assert strict_json.encode(strict_json.parse(body).tree) == body


def test_numbers_are_equal_when_they_are_written_alike() -> None:
    first, second = strict_json.Number("1.0"), strict_json.Number("1.00")
    assert first == strict_json.Number("1.0") != second
    assert len({first, strict_json.Number("1.0"), second}) == 2
    assert repr(first) == "Number('1.0')"


def test_only_trees_of_json_are_written() -> None:
    with pytest.raises(TypeError):
        strict_json.encode(object())


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{", b'{"a":1}x', b'{"a":1,}', b"{'a':1}", b'{"a":NaN}', b"-Infinity", b'"a\x01"',
        b'{"a":01}', b"// a\n{}", b'"\\x"', b"\xff", b'"\xed\xa0\x80"', b"\xff\xfe{\x00}\x00",
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidError) as caught:
        strict_json.parse(body)
    assert [issue.code for issue in caught.value.issues()] == ["structure"]


def test_half_a_surrogate_pair_is_told_in_names_and_values() -> None:
    assert told(rb'{"resourceType":"A","a":"\ud800","b":["\udc00x"],"\ud800":"\ud83d\ude00"}') == [
        ("structure", "A.a"),
        ("structure", "A.b[0]"),
        ("structure", "A"),
    ]


def test_a_byte_order_mark_is_tolerated() -> None:
    assert strict_json.parse(b"\xef\xbb\xbf{}").tree == {}
    assert strict_json.read(b"\xef\xbb\xbf[1]") == [1]


@pytest.mark.parametrize(
    ("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"\\"]":', b"}]")]
)
def test_depth_is_refused_before_descending(opening: bytes, closing: bytes) -> None:
    depth = NESTING_DEPTH_MAX // (opening.count(b"[") + opening.count(b"{"))
    assert strict_json.parse(opening * depth + b"1" + closing * depth)
    for levels in (depth + 1, 100_000):
        with pytest.raises(InvalidError, match="deeper"):
            strict_json.parse(opening * levels + b"1" + closing * levels)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b'"' + b'\\"' * 500_000,
        b'"' + b"\\" * 1_000_000,
        b"{" + b",".join(b'"a%d":1' % (n // 2) for n in range(90_000)) + b"}",
        b"9" * 1_000_000,
    ],
)
def test_a_mebibyte_of_mischief_takes_about_a_second(body: bytes) -> None:
    began = time.process_time()
    try:
        issues = len(strict_json.parse(body).issues)
    except InvalidError:
        issues = 1
    assert issues <= ISSUES_MAX + 1
    # It takes a tenth, and more under coverage; a quadratic step would take a minute.
    assert time.process_time() - began < 5


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.text(st.characters(codec="utf-8")),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text("ab_Ä", max_size=3), part),
    max_leaves=10,
)


@given(VALUES)
def test_what_is_written_is_read_back(tree: object) -> None:
    assert strict_json.parse(strict_json.encode(tree)) == (tree, ())
