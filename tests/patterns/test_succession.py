"""What the log's own events say of its signers is read back as it was said."""

from __future__ import annotations

import pytest

from caretrail.fhir import intake
from caretrail.patterns import own, succession
from caretrail.patterns.own import Log
from caretrail.patterns.succession import KeysChanged, Recovered

LOG = Log("caretrail/a", "2026-11-24T10:00:00Z")


def read(event: object) -> object:
    import msgspec

    return succession.read(intake.parse(msgspec.json.encode(event)).event)


def test_a_rotation_names_its_keys_and_size() -> None:
    event = own.key_changed(LOG, keys=["a+1+x", "a+2+y"], since=12)
    assert read(event) == KeysChanged(12, ("a+1+x", "a+2+y"))


def test_a_recovery_names_who_the_log_was() -> None:
    event = own.recovered(LOG, origin="caretrail/b", checkpoint=None, size=7)
    assert read(event) == Recovered("caretrail/a", "caretrail/b", 7)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "01", "9" * 20, "many"])
def test_a_size_that_is_none_is_one_at_which_nobody_signs(text: str) -> None:
    event = own.key_changed(LOG, keys=["a+1+x"], since=12)
    for row in event["entity"][0]["detail"]:
        if row["type"] == "key-since":
            row["valueString"] = text or "-"
    assert read(event) == KeysChanged(0, ("a+1+x",))


@pytest.mark.parametrize(
    "who",
    [
        {"display": "somebody"},
        {"identifier": {"system": "urn:other", "value": "caretrail/a"}},
        {"identifier": {"system": own.ORIGIN_SYSTEM}},
    ],
)
def test_a_recovery_by_an_observer_that_is_no_log_gives_no_name(who: object) -> None:
    event = own.recovered(LOG, origin="caretrail/b", checkpoint=None, size=7)
    event["source"]["observer"] = who
    assert read(event) == Recovered("", "caretrail/b", 7)


def test_other_events_change_nothing() -> None:
    assert read(own.started(LOG, version="1", size=0, configuration="x", clean=True)) is None
    event = own.stopped(LOG, version="1")
    del event["entity"]
    assert read(event) is None
    event = own.stopped(LOG, version="1")
    del event["entity"][0]["detail"]
    assert read(event) is None
