"""What parameters see in each data type, and how numbers are compared."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail.clinic import amount
from caretrail.clinic.elements import ENDLESS, FOREVER, Amount, Ref, Span, elements
from caretrail.errors import ParameterError
from caretrail.search.token import Token

BASE = "http://clinic.test/fhir"
DAY = 86_400_000_000_000
CONCEPT = {"coding": [{"system": "s", "code": "c"}], "text": "both"}


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        ("token", True, [Token(None, "true")]),
        ("token", 3, [Token(None, "3")]),
        ("token", "final", [Token(None, "final")]),
        ("token", {"system": "s", "code": "c", "display": "d"}, [Token("s", "c", "d")]),
        ("token", CONCEPT, [Token("s", "c"), Token(None, None, "both")]),
        ("token", {"text": "only"}, [Token(None, None, "only")]),
        ("token", {"system": "phone", "value": "1"}, [Token(None, "1")]),
        ("token", {"system": "s", "value": "1"}, [Token("s", "1")]),
        ("token", {"extension": []}, []),
        ("string", "x", ["x"]),
        ("string", {"family": "f", "given": ["g", "h"], "use": "official"}, ["f", "g", "h"]),
        ("string", {"line": ["l"], "city": "c", "postalCode": "1"}, ["l", "c", "1"]),
        ("string", 3, []),
        ("uri", "urn:x", ["urn:x"]),
        ("uri", 3, []),
        ("reference", {"reference": f"{BASE}/Patient/1"}, [Ref("Patient/1")]),
        ("reference", {"reference": "http://o/fhir/Patient/1"}, [Ref("http://o/fhir/Patient/1")]),
        ("reference", {"identifier": {"value": "1"}}, [Ref(None, None, Token(None, "1"))]),
        ("reference", {"display": "d"}, [Ref(None, "d")]),
        ("reference", "http://e.org/q|2", [Ref("http://e.org/q|2"), Ref("http://e.org/q")]),
        ("reference", {"resourceType": "Composition", "id": "1"}, [Ref("Composition/1")]),
        ("reference", 3, []),
        ("date", "1970-01-01", [Span(0, DAY)]),
        ("date", {"start": "1970-01-01"}, [Span(0, FOREVER)]),
        ("date", {"end": "1970-01-01"}, [Span(-FOREVER, DAY)]),
        ("date", {"event": ["1970-01-01", "1970-01-02"]}, [Span(0, DAY), Span(DAY, 2 * DAY)]),
        ("date", {"repeat": {"boundsPeriod": {"start": "1970-01-01", "end": "1970"}}}, [Span(0, 365 * DAY)]),
        ("date", {"repeat": {}}, []),
        ("number", 2, [Amount(2, 2)]),
        ("number", False, []),
        ("quantity", {"value": 2, "unit": "u"}, [Amount(2, 2, None, None, "u")]),
        ("quantity", {"value": 2, "comparator": "<"}, [Amount(-ENDLESS, 2)]),
        ("quantity", {"value": 2, "comparator": ">="}, [Amount(2, ENDLESS)]),
        ("quantity", {"low": {"value": 1, "code": "c"}}, [Amount(1, ENDLESS, None, "c")]),
        ("quantity", {"low": {"value": 1}, "high": {"value": 3}}, [Amount(1, 3)]),
        ("quantity", {"value": 5, "currency": "EUR"}, [Amount(5, 5, "urn:iso:std:iso:4217", "EUR", "EUR")]),
        ("quantity", {"origin": {"value": 4}, "period": 10}, [Amount(4, 4)]),
        ("quantity", {"unit": "u"}, []),
    ],
)  # fmt: skip
def test_a_value_is_seen_as(kind: str, value: Any, found: list[Any]) -> None:
    assert elements(kind, value, base=BASE) == found


@pytest.mark.parametrize(
    ("text", "low", "high", "fits"),
    [
        ("5.4", 5.35, 5.35, True),
        ("5.4", 5.45, 5.45, False),
        ("5.40", 5.35, 5.35, False),
        ("100", 99.5, 99.5, True),
        ("1e2", 60, 60, True),
        ("5", 4, 6, False),
        ("ne5", 4, 6, True),
        ("gt5", 4, 6, True),
        ("sa5", 4, 6, False),
        ("sa5", 6, 7, True),
        ("lt5", 4, 6, True),
        ("eb5", 4, 6, False),
        ("eb5", 3, 4, True),
        ("ge5", 5, 5, True),
        ("le5", 5, 5, True),
        ("ap100", 109, 109, True),
        ("ap100", 111, 111, False),
    ],
)
def test_a_number_counts_as_many_digits_as_were_written(
    text: str, low: float, high: float, fits: bool
) -> None:
    value = amount.parse(text)
    assert value.fits(low, high) is fits
    assert value.matches([Amount(low, high, "s", "c", "u")]) is fits
    assert amount.parse(f"{text}|s|c").matches([Amount(low, high, "s", "c", "u")]) is fits
    assert amount.parse(f"{text}||u").matches([Amount(low, high, "s", "c", "u")]) is fits
    assert not amount.parse(f"{text}|s|u").matches([Amount(low, high, "s", "c", "u")])
    assert not amount.parse(f"{text}|t|").matches([Amount(low, high, "s", "c", "u")])


@given(text=st.text(alphabet="0123456789.eE+-|gtx", max_size=12))
def test_what_is_no_number_is_refused_and_nothing_else_happens(text: str) -> None:
    try:
        value = amount.parse(text)
    except ParameterError:
        return
    assert value.low <= value.number <= value.high
