"""Which entries an event says were erased is read back as it was said."""

from __future__ import annotations

import msgspec
import pytest

from caretrail.fhir import intake
from caretrail.patterns import erasure, own
from caretrail.patterns.erasure import Erased
from caretrail.patterns.own import Log

LOG = Log("caretrail/a", "2026-11-24T10:00:00Z")


def read(event: object) -> Erased | None:
    return erasure.read(intake.parse(msgspec.json.encode(event)).event)


def erased(*entries: int) -> dict[str, object]:
    return own.erased(LOG, entries=entries, policy="ten years", requester="r", approver="a")


def test_runs_and_single_entries_are_named() -> None:
    assert read(erased(5, 3, 4, 9)) == Erased(((3, 5), (9, 9)), "ten years")


@pytest.mark.parametrize(
    ("first", "last", "all_of_them"),
    [(3, 5, True), (4, 4, True), (9, 9, True), (2, 3, False), (5, 6, False), (3, 9, False)],
)
def test_a_run_is_covered_only_as_a_whole(first: int, last: int, *, all_of_them: bool) -> None:
    found = read(erased(3, 4, 5, 9))
    assert found is not None
    assert found.covers(first, last) is all_of_them


def test_runs_that_meet_cover_what_spans_them() -> None:
    assert Erased(((4, 6), (1, 3)), "").covers(2, 5)


@pytest.mark.parametrize("text", ["x", "1-", "-1", "1-x"])
def test_what_names_no_entry_names_none(text: str) -> None:
    event = own.erased(LOG, entries=[7], policy="p", requester="r", approver="a")
    for row in event["entity"][0]["detail"]:
        if row["type"] == erasure.ENTRY:
            row["valueString"] = text
    assert read(event) is None


def test_an_event_that_deletes_nothing_names_none() -> None:
    assert read(own.started(LOG, version="1", size=0, configuration="x", clean=True)) is None
