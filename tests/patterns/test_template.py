"""An event that is filled into a template is, byte by byte, the one that is made anew."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caretrail.patterns import codes, rest, template
from caretrail.patterns.claims import settled
from caretrail.patterns.credential import opaque
from caretrail.patterns.observation import Machine, Observation, User, identified, reference
from caretrail.patterns.recording import Policy, record
from caretrail.patterns.redaction import Redaction, Treatment
from tests.patterns.exchanges import EXAMPLES, SERVER, replace

CLIENT = Machine(who=identified("ward-app"), address="192.0.2.7")
NURSE = User(who=reference("Practitioner/1"), name="Ada Testfield")
TEXTS = st.one_of(
    st.none(),
    st.text(max_size=12),
    st.sampled_from(["a\nb", 'quo"ted', "back\\slash", "half \ud800", " ", "blank-text-4b1f", "é"]),
)
REFERENCES = st.one_of(
    st.none(),
    st.builds("{}/{}".format, st.sampled_from(["Patient", "Observation", "x"]),
              st.from_regex(r"[A-Za-z0-9._-]{1,8}(/_history/[0-9]{1,2})?", fullmatch=True)).map(reference),
    st.sampled_from([
        reference("https://other.example/Patient/1"),
        reference("Patient/1", "A name"),
        identified("4711"),
        reference("Patient/blank-patient-4b1f"),
    ]),
)  # fmt: skip
OBSERVATIONS = st.fixed_dictionaries(
    {
        "recorded": st.one_of(
            st.datetimes(min_value=dt.datetime(1999, 1, 1)).map(
                lambda at: f"{at.isoformat(timespec='milliseconds')}Z"
            ),
            st.sampled_from(["2026-11-24T09:30:00Z", "2026-11-24T09:30:00.000+01:00"]),
        ),
        "client": st.just(CLIENT),
        "server": st.just(SERVER),
        "interaction": st.sampled_from(["read", "search-type", "create", "operation", "unknown"]),
        "operation": st.sampled_from([None, "$everything"]),
        "user": st.sampled_from([None, NURSE, User(who={"display": "half \ud800"})]),
        "credential": st.sampled_from([None, opaque("a-token-of-some-length-or-other-1234")]),
        "resource": REFERENCES,
        "patient": REFERENCES,
        "labels": st.sampled_from([(), (codes.purpose("TREAT"),)]),
        "query": st.one_of(st.none(), st.binary(max_size=12), st.just(b"blank-query-4b1f")),
        "query_text": TEXTS,
        "request_id": TEXTS,
        "trace_id": st.sampled_from([None, "", "0af7651916cd43dd8448eb211c80319c"]),
        "part": st.sampled_from([None, "1/2"]),
        "related": st.sampled_from([(), ({"what": reference("Observation/1")},)]),
        "reason": TEXTS,
        "outcome": st.sampled_from(["0", "8"]),
        "outcome_text": st.sampled_from([None, "500 Internal Server Error"]),
    }
).map(lambda members: Observation(**members))


def thrice(seen: Observation) -> list[bytes]:
    """Return the event as it is made the first time, the second, and from its template."""
    return [template.event_bytes(seen) for _ in range(3)]


@settings(max_examples=300, deadline=None)
@given(OBSERVATIONS)
def test_every_observation_has_the_event_that_it_has_without_templates(seen: Observation) -> None:
    assert thrice(seen) == [settled(rest.event(seen))] * 3


@settings(max_examples=300, deadline=None)
@given(OBSERVATIONS, OBSERVATIONS)
def test_what_one_event_holds_never_shows_in_another(one: Observation, other: Observation) -> None:
    """Both have the same template, or none."""
    names = ("request_id", "query_text", "query", "resource", "patient", "recorded")
    changed = replace(one, **{name: getattr(other, name) for name in names})
    thrice(one)
    assert thrice(changed) == [settled(rest.event(changed))] * 3


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_the_coverage_page_are_the_same_each_time(name: str) -> None:
    first, second, third = (record(EXAMPLES[name], Policy()) for _ in range(3))
    assert first == second == third


def test_few_templates_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "EVENT_SHAPES_MAX", 3)
    template._templates.clear()
    template._met.clear()
    seen = Observation(recorded="2026-11-24T09:30:00.000Z", client=CLIENT, server=SERVER)
    for number in range(10):
        one = msgspec.structs.replace(seen, interaction="read", site=f"Ward {number}")
        assert thrice(one) == [settled(rest.event(one))] * 3
        assert len(template._templates) <= 3
        assert len(template._met) <= 3


def test_a_policy_that_hides_is_applied_to_each_event() -> None:
    exchange = EXAMPLES["read"]
    assert exchange.address.encode() in record(exchange, Policy())[0]
    policy = Policy(redaction=Redaction({"client.address": Treatment.REMOVE}))
    for _ in range(3):
        assert exchange.address.encode() not in record(exchange, policy)[0]
