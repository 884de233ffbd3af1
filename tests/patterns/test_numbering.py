"""A source's number is put into an event, and nothing else of it changes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from caretrail.fhir import audit_event
from caretrail.limits import SOURCE_NUMBER_MAX
from caretrail.patterns.claims import settled
from caretrail.patterns.numbering import SOURCE_SEQUENCE, number_of, numbered
from caretrail.patterns.rest import event
from caretrail.search import elements
from tests.patterns.test_rest_patterns import SEEN

OWN = {"url": SOURCE_SEQUENCE, "valueInteger": 7}
OTHER = {"url": "urn:other", "valueString": "x"}


def test_the_repository_reads_the_number() -> None:
    assert SOURCE_SEQUENCE == elements.SOURCE_SEQUENCE
    plain = settled(event(replace(SEEN, interaction="read")))
    body = numbered(plain, 41)
    assert elements.source_sequence(audit_event.read(body)) == 41
    assert body.endswith(plain[1:])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": 1}, [OWN]),
        ({"a": '"extension"'}, [OWN]),
        ({"a": {"extension": [OTHER]}}, [OWN]),
        ({"extension": [], "a": 1}, [OWN]),
        ({"a": 1, "extension": [OTHER]}, [OWN, OTHER]),
    ],
)
def test_other_members_stay(before: dict[str, object], after: list[object]) -> None:
    made = json.loads(numbered(json.dumps(before).encode(), 7))
    assert made.pop("extension") == after
    before.pop("extension", None)
    assert made == before


@given(st.integers(1, 2**63))
def test_a_number_is_an_integer_of_fhir(position: int) -> None:
    number = number_of(position)
    assert 1 <= number <= SOURCE_NUMBER_MAX
    assert number_of(position + SOURCE_NUMBER_MAX) == number


def test_numbers_follow_each_other_and_begin_again() -> None:
    assert [number_of(n) for n in (1, 2, SOURCE_NUMBER_MAX)] == [1, 2, SOURCE_NUMBER_MAX]
    assert number_of(SOURCE_NUMBER_MAX + 1) == 1
