"""The synthetic hospital: the same arguments give the same valid events, of a real one's size."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from statistics import fmean

import pytest

from caretrail.demo import hospital
from caretrail.fhir import decoding, profiles

END = 1_790_000_000_000  # 2026-09-21T14:13:20Z
COUNT = 4_000


@pytest.fixture(scope="module")
def bodies() -> list[bytes]:
    return list(hospital.events(seed=1, count=COUNT, end_milliseconds=END))


@pytest.fixture(scope="module")
def bench() -> list[bytes]:
    return list(hospital.bench_events(seed=1, count=COUNT, end_milliseconds=END))


def when(body: bytes) -> str:
    return json.loads(body)["recorded"]


def keys(some: list[bytes]) -> list[str]:
    """Return the X-Request-Ids."""
    events = map(json.loads, some)
    return [
        entity["what"]["identifier"]["value"]
        for event in events
        for entity in event.get("entity", ())
        if entity.get("type", {}).get("code") == "XrequestId"
    ]


def test_the_same_arguments_give_the_same_bytes(bodies):
    assert bodies == list(hospital.events(seed=1, count=COUNT, end_milliseconds=END))
    assert bodies != list(hospital.events(seed=2, count=COUNT, end_milliseconds=END))


def test_every_event_is_valid_and_meets_what_it_claims(bodies, bench):
    claiming = 0
    for body in bodies + bench:
        event = decoding.decode(body)
        assert event is not None, body
        assert profiles.unmet(event) == (), body
        claiming += bool(profiles.claimed(event))
    assert claiming > 0.9 * len(bodies + bench)


def test_every_event_is_marked_as_test_data(bodies, bench):
    for body in bodies + bench:
        assert json.loads(body)["meta"]["security"][0]["code"] == "HTEST"


def test_events_have_the_size_that_figures_are_given_for(bodies, bench):
    assert 2_300 <= fmean(map(len, bodies)) <= 2_500
    assert 2_300 <= fmean(map(len, bench)) <= 2_500


def test_events_are_sorted_and_within_their_span(bodies, bench):
    for some, days in ((bodies, 30), (bench, 180)):
        times = [when(body) for body in some]
        assert all(earlier <= later for earlier, later in pairwise(times))
        assert times[0][:10] == {30: "2026-08-22", 180: "2026-03-25"}[days]
        assert times[-1] < "2026-09-21T14:13:20.000Z"


def test_a_request_id_is_never_used_twice(bodies, bench):
    for some in (bodies, bench):
        found = keys(some)
        assert len(found) == len(set(found)) > 0.98 * COUNT


def test_the_mix_is_that_of_a_hospital(bench):
    events = [json.loads(body) for body in bench]
    kinds = Counter(event.get("subtype", [{"code": ""}])[0]["code"] for event in events)
    reading = kinds["read"] + kinds["vread"] + kinds["search-type"]
    assert 0.7 < reading / COUNT < 0.8
    assert 0.01 < (kinds["110122"] + kinds["110123"]) / COUNT < 0.03
    failed = [event for event in events if event["outcome"] != "0"]
    assert 0.005 < len(failed) / COUNT < 0.02
    assert all(event["outcomeDesc"] for event in failed)
    assert len({event["source"].get("site") for event in events}) > 10
    hours = Counter(event["recorded"][11:13] for event in events)
    assert hours["09"] > 3 * hours["03"]


def test_a_slice_of_the_bench_stream_can_be_made_alone(bench):
    part = hospital.bench_events(
        seed=1, start_index=1_500, count=700, total=COUNT, end_milliseconds=END
    )
    assert list(part) == bench[1_500:2_200]


def test_a_small_hospital_has_no_incidents_and_the_asked_for_count():
    few = list(hospital.events(seed=1, count=50, end_milliseconds=END, days=3))
    assert len(few) == 50
