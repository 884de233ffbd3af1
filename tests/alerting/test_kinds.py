"""Each kind of alert: what it finds, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest

from caretrail.alerting.kinds import KINDS, found
from caretrail.alerting.state import Limits, Source, State
from caretrail.storage.contract import Gap

NOW = 10_000_000_000
MINUTE = 60_000
WELL = State(
    NOW,
    Limits(),
    log={"accepting": True, "clock": {"status": "ok"}},
    checkpoints={"status": "ok", "unwitnessed": 3, "cosigned_seconds_ago": 2.0},
    verification={"status": "ok"},
    feeds={"siem": {"lag_seconds": 1.0, "refused": 0}},
    clock={"synchronised": "yes", "error_seconds": 0.1},
    disk_free_percent=50.0,
    gaps=[Gap("ehr", "", 4, 5, NOW - MINUTE, NOW - MINUTE // 2)],
    sources=[Source("ehr", "", 5, NOW - 4 * MINUTE)],
    skewed=(NOW - 61 * MINUTE, "pacs"),
)
WRONG: dict[str, list[tuple[dict[str, Any], str]]] = {
    "silent-source": [
        ({"sources": [Source("ehr", "", 5, NOW - 6 * MINUTE)]}, "ehr"),
        ({"sources": [Source("ehr", "north", 5, 0)]}, "ehr@north"),
    ],
    "gap": [({"gaps": [Gap("ehr", "", 4, 5, 0, NOW - 2 * MINUTE)]}, "ehr 4-5")],
    "verification": [
        ({"verification": {"status": "findings"}}, "findings"),
        ({"verification": {"status": "failed"}}, "failed"),
    ],
    "unwitnessed": [
        ({"checkpoints": {"unwitnessed": 1, "cosigned_seconds_ago": 601.0}}, ""),
        ({"checkpoints": {"unwitnessed": 1, "cosigned_seconds_ago": None}}, ""),
    ],
    "signing": [({"checkpoints": {"status": "conflict"}}, "conflict")],
    "store": [({"log": {"accepting": False}}, "")],
    "disk": [({"disk_free_percent": 9.9}, "")],
    "feed-lag": [({"feeds": {"siem": {"lag_seconds": 901.0, "refused": 0}}}, "siem")],
    "feed-refused": [({"feeds": {"siem": {"lag_seconds": 0.0, "refused": 2}}}, "siem")],
    "source-clock": [({"skewed": (NOW - 59 * MINUTE, "pacs")}, "pacs")],
    "clock": [
        ({"log": {"clock": {"status": "set back"}}}, "set back"),
        ({"clock": {"synchronised": "no"}}, "not synchronised"),
        ({"clock": {"synchronised": "yes", "error_seconds": 1.5}}, "error"),
    ],
}


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert found(WELL) == set()
    unknown = {"synchronised": "unknown"}
    assert found(WELL._replace(clock=unknown, skewed=None, checkpoints={"unwitnessed": 0})) == set()


def test_every_kind_is_here() -> None:
    assert WRONG.keys() == {row.code for row in KINDS}


@pytest.mark.parametrize("kind", WRONG)
def test_a_kind_finds_what_is_wrong_and_no_other_does(kind: str) -> None:
    for wrong, subject in WRONG[kind]:
        state = WELL._replace(**wrong)
        assert found(state) == {(kind, subject)}
        assert found(state, without=frozenset([kind])) == set()
