"""A second CareTrail as the receiver: both are killed and started again, and nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.feeding.running import arr, toml, until

if TYPE_CHECKING:
    from pathlib import Path


def test_all_events_arrive_once_and_in_order_whoever_is_killed(tmp_path: Path) -> None:
    with arr(tmp_path / "second") as second:
        feeds = toml(
            tmp_path / "feeds.toml",
            name="second",
            kind="fhir",
            address=f"{second.base}/fhir",
            filter="type=110110",
        )
        with arr(tmp_path / "first", "--feeds", str(feeds)) as first:
            sent: list[str] = []
            for round_ in range(6):
                names = [f"{round_}-{number}" for number in range(400)]
                first.record(*names)
                sent += names
                if round_ == 1:
                    second.kill()
                elif round_ == 2:
                    first.kill()
                    first.start()
                    until(lambda: first.ready()["feeds"]["second"]["status"] != "ok", "an outage")
                elif round_ == 3:
                    second.start()
                elif round_ == 4:
                    until(lambda: len(second.names()) > 800, "some of it")
                    first.kill()
                    first.start()
            until(lambda: len(second.names()) >= len(sent), "all of it")
            assert second.names() == sent
            state = until(
                lambda: (
                    first.ready()["feeds"]["second"]
                    if first.ready()["feeds"]["second"]["waiting"] == 0
                    else None
                ),
                "the end",
            )
            assert state["status"] == "ok"
            assert state["refused"] == 0
            figures = first.client.get(f"{first.base}/metrics").text
            assert 'caretrail_feed_waiting_entries{feed="second"} 0.0' in figures
            assert "synchronised" in first.ready()["clock"]


def test_a_stop_tells_the_log_what_went_out(tmp_path: Path) -> None:
    with arr(tmp_path / "second") as second:
        feeds = toml(
            tmp_path / "feeds.toml", name="second", kind="fhir", address=f"{second.base}/fhir"
        )
        with arr(tmp_path / "first", "--feeds", str(feeds)) as first:
            first.record("a", "b")
            until(lambda: second.names() == ["a", "b"], "both")
            first.halt()
            first.start()
            found = first.client.get(f"{first.base}/fhir/AuditEvent?type=110106").json()
            (said,) = [one["resource"] for one in found["entry"]]
            details = {row["type"]: row["valueString"] for row in said["entity"][0]["detail"]}
            assert details["feed"] == "second"
            assert details["events"] == "2"
            assert second.names() == ["a", "b"]
