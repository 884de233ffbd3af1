"""The parts of the console that compute: the bar, lines and sentences, pictures, sessions."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail.console import bar, chart, period, row, timeline, words
from caretrail.console.sessions import Sessions
from caretrail.errors import InvalidError
from caretrail.search import query
from tests.console.place import ACT_REASON, event


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", []),
        ("anna", [("_content", "anna")]),
        ("anna  petra", [("_content", "anna petra")]),
        ("outcome:8", [("outcome", "8")]),
        (
            "anna outcome:8 -type:rest",
            [("_content", "anna"), ("outcome", "8"), ("type:not", "rest")],
        ),
        ('site:"Ward 3"', [("site", "Ward 3")]),
        ("who:Practitioner/7", [("user", "Practitioner/7")]),
        ("agent-name:contains=test", [("agent-name:contains", "test")]),
        ("date=ge2026-11-25T09:00:00Z", [("date", "ge2026-11-25T09:00:00Z")]),
        ("AuditEvent?outcome=4,8&type=rest", [("outcome", "4,8"), ("type", "rest")]),
        ("type:http://x.example|rest", [("type", "http://x.example|rest")]),
        ("http://x.example/a", [("_content", "http://x.example/a")]),
        ("10:30", [("_content", "10:30")]),
        ("wörter", [("_content", "wörter")]),
    ],
)
def test_the_bar_takes_words_fields_and_fhir(text: str, pairs: list[tuple[str, str]]) -> None:
    assert bar.read(text) == pairs


@pytest.mark.parametrize("text", ["colour=red", "outcome:", "-outcome:not=8"])
def test_what_the_bar_cannot_mean_is_said(text: str) -> None:
    with pytest.raises(InvalidError):
        bar.read(text)


@given(st.text(max_size=60))
def test_the_bar_never_fails_otherwise(text: str) -> None:
    try:
        found = bar.read(text)
    except InvalidError:
        return
    assert all(isinstance(name, str) and value for name, value in found)


@given(st.text(min_size=1, max_size=30).filter(lambda one: "\x00" not in one))
def test_a_value_that_is_narrowed_by_comes_back(value: str) -> None:
    """The facets' links write the bar, and the bar has to read what they mean."""
    assert bar.read(bar.said("site", value)) == [("site", value)]


def test_a_sentence_says_who_what_whose_and_what_for() -> None:
    concept = {"coding": [{"system": ACT_REASON, "code": "TREAT"}]}
    line = row.line(event(6, purposeOfEvent=[concept]))
    assert line["sentence"] == (
        "Nora Test read Observation/o6 of Patient/p1 with Ward app, for treatment."
    )
    failed = row.line(event(6, outcome="8", outcomeDesc="forbidden"))
    assert failed["sentence"] == (
        "Nora Test tried to read Observation/o6 of Patient/p1 with Ward app;"
        " it ended as: serious failure (forbidden)"
    )
    login = {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "110122"}
    assert row.line(event(6, subtype=[login], entity=[]))["sentence"] == (
        "Nora Test signed in with Ward app."
    )
    assert row.line(event(6, subtype=[login]))["kind"] == "Login"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["agent", "entity", "who", "what", "reference", "role", "coding", "code", "type",
                 "subtype", "policy", "network", "address", "detail", "identifier", "value",
                 "purposeOfUse", "purposeOfEvent", "source", "observer", "site", "name"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["agent", "entity", "type", "subtype", "source"]), _JSON))
def test_a_line_is_made_of_whatever_is_shown(shown: dict[str, Any]) -> None:
    """A view may take elements out; what is left is text."""
    line = row.line(shown)
    assert isinstance(line["sentence"], str)
    assert all(isinstance(one, str) for one in line["purposes"])


@given(st.integers(0, 10**12))
def test_a_scale_ends_at_a_round_number_that_holds_all(highest: int) -> None:
    end = chart.nice(highest)
    assert end >= highest
    assert end <= max(4, 2 * highest + 1)


def test_a_session_ends_when_nobody_is_there() -> None:
    now = [0.0]
    sessions = Sessions(idle_seconds=900, clock=lambda: now[0])
    began, _ = sessions.begin()
    _, cookie = sessions.rise(began, bearer="x")
    now[0] += 890
    assert sessions.find(cookie) is not None
    now[0] += 890
    # A table that follows the log is nobody.
    assert sessions.find(cookie, is_present=False) is not None
    now[0] += 20
    assert sessions.find(cookie) is None
    assert sessions.find("") is None


def test_a_session_ends_after_a_shift() -> None:
    now = [0.0]
    sessions = Sessions(idle_seconds=900, clock=lambda: now[0])
    _, cookie = sessions.rise(sessions.begin()[0], bearer="x")
    while now[0] < 12 * 3600 - 600:
        now[0] += 600
        assert sessions.find(cookie) is not None
    now[0] += 600
    assert sessions.find(cookie) is None


def test_a_pause_parts_sessions_and_nights_are_after_hours() -> None:
    lines = [
        row.line(event(0, recorded=f"2026-11-24T{clock}:00Z"))
        for clock in ("22:10", "21:50", "12:00", "11:45", "11:20", "03:00")
    ]
    assert [len(group) for group in timeline.sessions(lines)] == [2, 3, 1]
    after = [timeline.is_after_hours(at, UTC) for one in lines if (at := timeline.instant(one))]
    assert after == [True, True, False, False, False, True]
    assert timeline.week(lines, UTC)[1][11] == 2


def test_an_instant_is_shown_as_the_clock_of_a_zone_does() -> None:
    assert period.local("2026-11-25T23:30:00Z", "Europe/Berlin") == "2026-11-26 00:30:00"
    assert period.local("2026-07-01T23:30:00+02:00", "UTC") == "2026-07-01 21:30:00"
    assert period.local("not a time", "UTC") == "not a time"
    with pytest.raises(InvalidError):
        period.zone_of("Mars/Olympus")
    with pytest.raises(InvalidError):
        period.zone_of("../../etc/passwd")


def test_what_the_bar_offers_a_search_takes() -> None:
    for field in bar.fields():
        name = bar.ALIASES.get(field["name"], field["name"])
        value = {"date": "2026", "_lastUpdated": "2026", "sequence": "1"}.get(name, "x")
        assert len(query.parse([(name, value)], strict=True, base="http://x").clauses) == 1


def test_every_outcome_has_a_word() -> None:
    assert words.value("outcome", "http://hl7.org/fhir/audit-event-outcome|8") == "Serious failure"
    assert words.value("type", "urn:x|unknown", "Display") == "Display"
    assert words.value("site", "Ward 3") == "Ward 3"
