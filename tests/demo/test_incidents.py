"""The labelled incidents: 25 stories, each with events that can be found."""

from __future__ import annotations

import json
from collections import Counter
from urllib.parse import parse_qsl

import pytest

from caretrail.demo import hospital, incidents

END = 1_790_000_000_000
COUNT = 4_000


@pytest.fixture(scope="module")
def plan() -> tuple[incidents.Incident, ...]:
    return incidents.plan(seed=1, end_milliseconds=END)


@pytest.fixture(scope="module")
def events() -> list[dict]:
    bodies = hospital.events(seed=1, count=COUNT, end_milliseconds=END)
    return [json.loads(body) for body in bodies]


def key(event: dict) -> str:
    for entity in event.get("entity", ()):
        if entity.get("type", {}).get("code") == "XrequestId":
            return entity["what"]["identifier"]["value"]
    return ""


def found(event: dict, search: str) -> bool:
    """Answer one of the plan's queries, in the few parameters that they use."""
    query = parse_qsl(search.partition("?")[2])
    whos = [agent.get("who", {}).get("reference") for agent in event["agent"]]
    whats = [entity.get("what", {}).get("reference") for entity in event.get("entity", ())]
    addresses = [agent.get("network", {}).get("address") for agent in event["agent"]]
    places = {"agent": whos, "patient": whos + whats, "address": addresses}
    for name, value in query:
        if name == "date":
            bound = value[2:]
            holds = event["recorded"] >= bound if value[:2] == "ge" else event["recorded"] <= bound
        else:
            holds = value in places[name]
        if not holds:
            return False
    return True


def test_there_are_25_incidents_of_many_kinds(plan):
    assert len(plan) == 25
    assert len({incident.kind for incident in plan}) >= 20
    assert len({incident.label for incident in plan}) == 25
    assert plan == incidents.plan(seed=1, end_milliseconds=END)


def test_the_keys_of_an_incident_are_exactly_its_events(plan, events):
    by_key = {key(event): event for event in events}
    used = Counter(one for incident in plan for one in incident.keys)
    assert set(used.values()) == {1}
    for incident in plan:
        mine = [by_key[one] for one in incident.keys]
        times = sorted(event["recorded"] for event in mine)
        assert (times[0], times[-1]) == (incident.start, incident.end)
        agents = {
            agent.get("who", {}).get("reference") for event in mine for agent in event["agent"]
        }
        assert set(incident.users) <= agents
        assert len(mine) >= 2


def test_the_searches_of_an_incident_find_its_events(plan, events):
    by_key = {key(event): event for event in events}
    for incident in plan:
        for one in incident.keys:
            assert any(found(by_key[one], search) for search in incident.searches), incident.label


def test_the_plan_can_be_written_and_read(plan):
    rows = json.loads(incidents.to_json(plan))
    assert [row["label"] for row in rows] == [incident.label for incident in plan]


@pytest.mark.parametrize("seed", range(2, 12))
def test_every_seed_has_a_complete_plan(seed):
    plan = incidents.plan(seed=seed, end_milliseconds=END, days=14)
    assert all(incident.keys and incident.users for incident in plan)
    span = hospital.events(seed=seed, count=2_000, end_milliseconds=END, days=14)
    assert next(span)


def test_a_span_too_short_for_the_stories_is_an_error():
    with pytest.raises(ValueError, match="days"):
        incidents.plan(seed=1, end_milliseconds=END, days=7)
