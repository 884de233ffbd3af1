"""What is counted by the day, and which searches that answers."""

from __future__ import annotations

from contextlib import suppress
from itertools import combinations
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail.errors import InvalidError
from caretrail.fhir import intake
from caretrail.search import counts
from caretrail.search.index import ORGANISATION, terms
from caretrail.search.plan import compile_query
from caretrail.search.query import parse
from caretrail.search.record import NO_FLAGS, Record
from caretrail.search.term import And, Not, Or, Prefix, Scan, Term
from tests.search import strategies as world
from tests.search.strategies import SYSTEMS

if TYPE_CHECKING:
    from caretrail.search.term import Node

BASE = "http://us.example/fhir"


# Searches for codes that many events have, with one value and with several.
COMMON = st.tuples(
    st.sampled_from(
        ["action", "outcome", "type", "subtype", "purpose", "agent-role", "entity-type"]
    ),
    st.lists(
        st.sampled_from(["R", "C", "0", "4", "rest", "110114", "1", "a", f"{SYSTEMS[1]}|rest"]),
        min_size=1,
        max_size=3,
    ).map(",".join),
)


def node(name: str, value: str) -> Node | None:
    return compile_query(parse([(name, value)], strict=True, base=BASE, now=0)).node


def record(event: dict[str, Any]) -> Record:
    body = msgspec.json.encode(event)
    taken = intake.parse(body)
    return Record(taken.event, "1", 0, 0, NO_FLAGS, "s", "north", body, taken.form)


def fits(wanted: Node | None, found: set[str]) -> bool:
    match wanted:
        case Term(text):
            return text in found
        case Prefix(text):
            return any(term.startswith(text) for term in found)
        case Or(nodes):
            return any(fits(one, found) for one in nodes)
        case _:
            raise AssertionError(wanted)


@given(events=st.lists(world.event, min_size=1, max_size=6), pair=COMMON)
def test_the_sum_of_counters_is_how_many_fit(
    events: list[dict[str, Any]], pair: tuple[str, str]
) -> None:
    asked = node(*pair)
    counters = counts.summed(asked)
    found = []
    for event in events:
        with suppress(InvalidError):
            found.append(terms(record(event)))
    if counters:
        summed = sum(len(counts.names(one).intersection(counters)) for one in found)
        assert summed == sum(fits(asked, one) for one in found)


@pytest.mark.parametrize(
    ("name", "value", "counters"),
    [
        ("outcome", "0", 1),
        ("outcome", "4,8,12", 3),
        ("outcome", "4,4", 1),
        ("type", "http://dicom.nema.org/resources/ontology/DCM|110114", 1),
        ("type", "http://dicom.nema.org/resources/ontology/DCM|110114,rest", 0),
        ("subtype", "read", 1),
        ("subtype", "read,vread", 0),  # An event may have both.
        ("outcome:not", "0", 0),
        ("patient", "Patient/1", 0),
        ("agent-name", "ann", 0),
    ],
)
def test_which_searches_counters_answer(name: str, value: str, counters: int) -> None:
    assert len(counts.summed(node(name, value))) == counters


def test_what_is_no_node_of_one_parameter_is_not_summed() -> None:
    assert not counts.summed(None)
    assert not counts.summed(Or(()))
    outcome, action = node("outcome", "0"), node("action", "R")
    assert outcome is not None
    assert action is not None
    for one in (And((outcome, action)), Or((outcome, action)), Not(outcome), Scan("oc", bool)):
        assert not counts.summed(one)
    assert counts.summed(Term(f"{ORGANISATION}north")) == ("ognorth",)
    assert not counts.summed(Prefix(ORGANISATION))


def test_a_name_says_whether_it_is_of_a_code_or_of_a_term() -> None:
    ours = counts.names({"oc0123456789ab01234567", f"{ORGANISATION}abcdefghijkl", "pa0123"})
    assert ours == {"oc0123456789ab01234567", "oc0123456789ab", "ogabcdefghijkl"}
    assert [one for one in sorted(ours) if counts.is_prefix(one)] == ["oc0123456789ab"]
    assert all(one != other for one, other in combinations(ours, 2))
