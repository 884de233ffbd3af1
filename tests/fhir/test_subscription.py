"""Subscription as the R5 backport shapes it: what is read of it, and what a message has."""

from __future__ import annotations

from typing import Any

import pytest

from caretrail.errors import UnprocessableError
from caretrail.fhir import subscription
from caretrail.fhir.subscription import TOPIC, Note

GUIDE = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"


def wanted(**members: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "watch the ward",
        "criteria": TOPIC,
        "channel": {"type": "rest-hook", "endpoint": "https://hook.example/x"},
    }
    return found | members


def channel(**members: Any) -> dict[str, Any]:
    return {"type": "rest-hook", "endpoint": "https://hook.example/x"} | members


def content(code: str) -> dict[str, Any]:
    return {"extension": [{"url": f"{GUIDE}backport-payload-content", "valueCode": code}]}


def criteria(*texts: Any) -> dict[str, Any]:
    url = f"{GUIDE}backport-filter-criteria"
    return {"extension": [{"url": url, "valueString": text} for text in texts]}


FULL = wanted(
    end="2027-01-01T00:00:00Z",
    _criteria=criteria("AuditEvent?type=rest", "AuditEvent?action=R&outcome=8"),
    channel=channel(
        payload="application/fhir+json",
        _payload=content("id-only"),
        header=["Authorization: Bearer secret"],
    ),
)


def test_a_small_one_is_of_all_events_and_empty() -> None:
    found = subscription.read(wanted())
    assert found == ((), "https://hook.example/x", "empty", (), None, "watch the ward")


def test_filters_content_headers_and_end_are_read() -> None:
    found = subscription.read(FULL)
    assert found.filters == ("type=rest", "action=R&outcome=8")
    assert found.content == "id-only"
    assert found.headers == (("authorization", "Bearer secret"),)
    assert found.end == 1_798_761_600_000


def test_a_search_alone_is_taken_as_r4_has_it() -> None:
    assert subscription.read(wanted(criteria="AuditEvent?action=R")).filters == ("action=R",)


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"criteria": 3}, "criteria"),
        ({"criteria": "Patient?name=x"}, "criteria"),
        ({"_criteria": criteria("Patient?name=x")}, "criteria"),
        ({"_criteria": criteria(3)}, "criteria"),
        ({"channel": channel(type="email")}, "channel.type"),
        ({"channel": {"type": "rest-hook"}}, "channel.endpoint"),
        ({"channel": channel(payload="text/plain")}, "channel.payload"),
        ({"channel": channel(_payload=content("full-resource"))}, "channel.payload"),
        ({"channel": channel(header="x: y")}, "channel.header"),
        ({"channel": channel(header=["x: y\r\nz: w"])}, "channel.header"),
        ({"channel": channel(header=[3])}, "channel.header"),
        ({"channel": channel(header=["Host: other"])}, "channel.header"),
        ({"channel": channel(header=["a: b"] * 21)}, "channel.header"),
        ({"reason": None}, "reason"),
        ({"end": "tomorrow"}, "end"),
        ({"end": 3}, "end"),
    ],
)
def test_what_is_wrong_is_told_by_its_place(wrong: dict[str, Any], place: str) -> None:
    with pytest.raises(UnprocessableError) as met:
        subscription.read(wanted(**wrong))
    assert [row.expression for row in met.value.issues()] == [f"Subscription.{place}"]


def test_something_else_is_no_subscription() -> None:
    for tree in ([], {"resourceType": "Patient"}):
        with pytest.raises(UnprocessableError):
            subscription.read(tree)


def test_it_is_served_without_its_headers() -> None:
    found = subscription.resource(
        subscription.read(FULL), subscription_id="s1", status="active", end="2027-01-01T00:00:00Z"
    )
    assert "secret" not in str(found)
    assert found["_criteria"]["extension"][1]["valueString"] == "AuditEvent?action=R&outcome=8"
    assert subscription.read(found) == subscription.read(FULL)._replace(headers=())
    plain = subscription.resource(
        subscription.read(wanted()), subscription_id="s1", status="error", end="e", error="failed"
    )
    assert "_criteria" not in plain
    assert plain["error"] == "failed"


def parts(one: dict[str, Any]) -> dict[str, Any]:
    rows = one["entry"][0]["resource"]["parameter"]
    return {row["name"]: next(v for k, v in row.items() if k != "name") for row in rows}


@pytest.mark.parametrize(("code", "count"), [("id-only", 2), ("empty", 0)])
def test_a_message_has_references_or_nothing(code: str, count: int) -> None:
    asked = subscription.read(wanted(channel=channel(_payload=content(code))))
    found = subscription.message(
        asked,
        base="http://arr/fhir",
        subscription_id="s1",
        kind="event-notification",
        at="2026-01-01T00:00:00Z",
        ids=("b", "s"),
        notes=[Note(5, "e5", "2026-01-01T00:00:00Z"), Note(6, "e6", "2026-01-01T00:00:01Z")],
        total=6,
    )
    assert found["type"] == "history"
    assert len(found["entry"]) == 1 + count
    told = parts(found)
    assert (told["type"], told["status"], told["topic"]) == ("event-notification", "active", TOPIC)
    assert told["events-since-subscription-start"] == "6"
    assert ("notification-event" in told) is bool(count)
    if count:
        assert found["entry"][1]["fullUrl"] == "http://arr/fhir/AuditEvent/e5"
        assert told["notification-event"][0] == {"name": "event-number", "valueString": "6"}
    assert all("resource" not in entry for entry in found["entry"][1:])
