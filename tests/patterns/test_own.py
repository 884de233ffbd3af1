"""The log's own facts: valid R4, by the log's origin, and erasures that can be read again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail.fhir import intake, validation
from caretrail.fhir.audit_event import AuditEvent, Detail, Entity, read
from caretrail.patterns import erasure, own
from caretrail.patterns.own import ALERT, ORIGIN_SYSTEM, Log

LOG = Log("caretrail/00", "2026-11-24T12:00:00.000Z")
FACTS: dict[str, tuple[dict[str, Any], str, str, dict[str, str]]] = {
    "start": (
        own.started(LOG, version="1", size=7, configuration="ab", clean=True),
        "110120",
        "0",
        {"version": "1", "tree-size": "7", "configuration": "ab", "stopped-before": "clean"},
    ),
    "start after a kill": (
        own.started(LOG, version="1", size=7, configuration="ab", clean=False),
        "110120",
        "0",
        {"stopped-before": "unclean"},
    ),
    "a node": (
        own.node_refused(LOG, address="192.0.2.7", reason="certificate has expired"),
        "110126",
        "8",
        {"tls-error": "certificate has expired"},
    ),
    "nodes": (
        own.node_refused(LOG, address="", reason="many", attempts=7, seconds=60),
        "110126",
        "8",
        {"attempts": "7", "window-seconds": "60"},
    ),
    "stop": (own.stopped(LOG, version="1"), "110121", "0", {"version": "1"}),
    "first settings": (
        own.configured(LOG, settings={"port": "1", "store": ""}, before=None, account="root"),
        "110129",
        "0",
        {"account": "root", "setting:port": "1"},
    ),
    "other settings": (
        own.configured(
            LOG,
            settings={"port": "1", "host": "", "store": "x"},
            before={"port": "2", "host": "h", "store": "x"},
            account="root",
        ),
        "110129",
        "0",
        {
            "before:port": "2",
            "after:port": "1",
            "before:host": "h",
            "after:host": own.UNSET,
            "setting:store": "x",
        },
    ),
    "other version": (
        own.software_changed(LOG, before="1", after="2"),
        "110131",
        "0",
        {"before:version": "1", "after:version": "2"},
    ),
    "recording stopped": (
        own.recording(LOG, started=False, scope="reads", reason="a setting"),
        "110133",
        "0",
        {"scope": "reads", "reason": "a setting"},
    ),
    "recording started": (
        own.recording(LOG, started=True, scope="reads", reason="a setting"),
        "110134",
        "0",
        {},
    ),
    "clock step": (
        own.clock_stepped(
            LOG, before="2026-11-24T10:00:00Z", after="2026-11-24T11:00:00Z", milliseconds=3_600_000
        ),
        "clock-step",
        "4",
        {"milliseconds": "3600000"},
    ),
    "gap": (
        own.gap(LOG, since="2026-11-24T10:00:00Z", until="2026-11-24T11:00:00Z"),
        "110133",
        "4",
        {"gap-since": "2026-11-24T10:00:00Z", "gap-until": "2026-11-24T11:00:00Z"},
    ),
    "key change": (
        own.key_changed(LOG, keys=["k+1+a"], since=9),
        "110129",
        "0",
        {"key-since": "9", "key": "k+1+a"},
    ),
    "new store": (
        own.checkpoint_store_accepted(LOG, size=3),
        "110129",
        "4",
        {"checkpoint-store": "new", "tree-size": "3"},
    ),
    "recovery": (
        own.recovered(LOG, origin="caretrail/ff", checkpoint=None, size=3),
        "110129",
        "4",
        {
            "recovered-origin": "caretrail/ff",
            "recovered-checkpoint": "none is known",
            "recovered-size": "3",
        },
    ),
    "erasure": (
        own.erased(LOG, entries=[4, 5, 6, 9], policy="p", requester="r", approver=""),
        "110135",
        "0",
        {"policy": "p", "requester": "r", "caretrail-entries": "4-6", "caretrail-entry": "9"},
    ),
    "retention": (
        own.retention_run(LOG, before="2016-01-01T00:00:00Z", policy="p", events=5, held=0),
        "110135",
        "0",
        {"recorded-before": "2016-01-01T00:00:00Z", "events": "5", "events-held": "0"},
    ),
    "data key": (
        own.data_key_destroyed(LOG, month="2015-03", policy="p", requester="r", approver="a"),
        "110129",
        "0",
        {"data-key-destroyed": "2015-03", "policy": "p", "requester": "r", "approver": "a"},
    ),
    "hold": (
        own.hold(LOG, number=2, query="patient=Patient/1", reason="why", placed=False),
        "110135",
        "0",
        {"hold": "2", "state": "lifted", "query": "patient=Patient/1", "reason": "why"},
    ),
    "export": (
        own.exported(LOG, query="date=2026", events=3, media_type="application/zip", requester="r"),
        "",
        "0",
        {"query": "date=2026", "events": "3", "format": "application/zip", "requester": "r"},
    ),
    "verification": (
        own.verified(LOG, size=9, findings=0, seconds=1),
        "",
        "0",
        {"verified-size": "9", "findings": "0", "seconds": "1"},
    ),
    "feed": (
        own.handed_on(LOG, feed="siem", kind="ocsf", events=3, until=9),
        "",
        "0",
        {"feed": "siem", "format": "ocsf", "events": "3", "until-entry": "9"},
    ),
    "alert": (
        own.alerted(LOG, reference="r-1", kind="gap", subject="ehr", state="begun"),
        ALERT.code,
        "4",
        {"alert": "gap", "reference": "r-1", "state": "begun", "subject": "ehr"},
    ),
    "alert that ended": (
        own.alerted(LOG, reference="r-1", kind="disk", subject="", state="ended"),
        ALERT.code,
        "0",
        {"alert": "disk", "reference": "r-1", "state": "ended"},
    ),
    "verification with findings": (
        own.verified(LOG, size=9, findings=2, seconds=1),
        "",
        "8",
        {"findings": "2"},
    ),
}


@pytest.mark.parametrize("name", FACTS)
def test_a_fact_is_an_event_of_the_log(name: str) -> None:
    made, subtype, outcome, details = FACTS[name]
    body = json.dumps(made).encode()
    assert validation.problems(body) == ()
    event = intake.parse(body).event
    observer = event.source.observer.identifier
    assert observer is not None
    assert (observer.system, observer.value) == (ORIGIN_SYSTEM, LOG.origin)
    assert event.recorded == LOG.recorded
    assert ((event.subtype or ())[0].code if event.subtype else "") == subtype
    assert event.outcome == outcome
    (entity,) = event.entity or ()
    found = {row.type: row.valueString for row in entity.detail or ()}
    assert found.items() >= details.items()


@given(entries=st.sets(st.integers(0, 400), min_size=1))
def test_an_erasure_names_its_entries_and_no_others(entries: set[int]) -> None:
    made = own.erased(LOG, entries=entries, policy="p", requester="r", approver="a")
    found = erasure.read(read(json.dumps(made).encode()))
    assert found is not None
    assert found.policy == "p"
    assert {n for n in range(402) if found.covers(n, n)} == entries


def _event(action: str, *details: tuple[str, str | None]) -> AuditEvent:
    rows = tuple(Detail(kind, value) for kind, value in details)
    made = read(json.dumps(own.stopped(LOG, version="1") | {"action": action}).encode())
    return AuditEvent(
        "AuditEvent", made.type, made.recorded, made.agent, made.source,
        action=made.action, entity=(Entity(detail=rows), Entity()),
    )  # fmt: skip


@pytest.mark.parametrize(
    "event",
    [
        _event("R", ("caretrail-entry", "1")),
        _event("D"),
        _event("D", ("caretrail-entry", "one")),
        _event("D", ("caretrail-entries", "1")),
        _event("D", ("caretrail-entries", "1-x")),
        _event("D", ("caretrail-entry", None), ("policy", "p")),
        _event("D", ("other", "1")),
    ],
)
def test_what_names_no_entry_is_no_erasure(event: AuditEvent) -> None:
    assert erasure.read(event) is None
