"""Splunk, Elasticsearch, lines and webhooks: real HTTP, receivers that fail, and what they are told."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

from tests.feeding.running import Arr, Got, Receiver, arr, lines, taken, toml, until

if TYPE_CHECKING:
    from pathlib import Path

KEY = base64.b64encode(b"k" * 32).decode()


class Fickle:
    """An answer that fails some times before it succeeds."""

    def __init__(self, good: bytes, *statuses: int) -> None:
        self.good, self.statuses = good, list(statuses)

    def __call__(self, _: Got) -> tuple[int, bytes]:
        return (self.statuses.pop(0), b"") if self.statuses else (200, self.good)


def feeds(folder: Path, receiver: Receiver, **row: Any) -> Path:
    (folder / "secret").write_text(str(row.pop("secret", "canary-token")))
    made = {
        "name": "siem",
        "address": receiver.base,
        "filter": "type=110110",
        "credential_file": "secret",
    } | row
    return toml(folder / "feeds.toml", **made)


def delivered(one: Arr, count: int) -> dict[str, Any]:
    def said() -> dict[str, Any] | None:
        state: dict[str, Any] = one.ready()["feeds"]["siem"]
        return state if state["delivered"] + state["refused"] >= count else None

    found: dict[str, Any] = until(said, f"{count} events")
    return found


def test_splunk_gets_events_one_after_the_other(tmp_path: Path) -> None:
    with Receiver(Fickle(b'{"text":"Success","code":0}', 503, 429, 403)) as collector:
        path = feeds(tmp_path, collector, kind="splunk")
        with arr(tmp_path / "log", "--feeds", str(path)) as one:
            one.record("a", "b")
            delivered(one, 2)
            until(lambda: one.ready()["feeds"]["siem"]["status"] == "ok", "a recovery")
            errors = (one.folder / "serve.err").read_text()
    rows = [row for got in collector.got for row in lines(got.body)]
    assert {got.path for got in collector.got} == {"/services/collector/event"}
    assert {got.headers["authorization"] for got in collector.got} == {"Splunk canary-token"}
    assert [row["event"]["class_uid"] for row in rows] == [6003, 6003]
    assert rows[0]["sourcetype"] == "caretrail:ocsf"
    assert rows[0]["time"] * 1000 == rows[0]["event"]["time"]
    # Without a word on redaction a SIEM gets no patients, and the log of the server no secrets.
    assert "Patient/p1" not in str(collector.got)
    assert "canary-token" not in errors
    assert "a feed waits" in errors


def test_elastic_gets_documents_under_their_ids_and_tells_of_each(tmp_path: Path) -> None:
    refused: list[str] = []

    def answer(got: Got) -> tuple[int, bytes]:
        rows = []
        for action in lines(got.body)[::2]:
            found = action["create"]["_id"]
            status = 201
            if not refused:
                refused.append(found)
            if found in refused:
                status = 400
            rows.append({"create": {"status": status, "error": {"reason": "canary-p1"}}})
        if len(rows) > 1:
            rows[1]["create"]["status"] = 409  # It is there already.
        return 200, json.dumps({"errors": True, "items": rows}).encode()

    with Receiver(answer) as index:
        path = feeds(tmp_path, index, kind="elastic", index="audit")
        with arr(tmp_path / "log", "--feeds", str(path)) as one:
            one.record("a", "b", "c")
            state = delivered(one, 3)
            assert (state["delivered"], state["refused"]) == (2, 1)
            entry = state["refused_entries"][0]
            found = one.client.get(f"{one.base}/fhir/AuditEvent/{refused[0]}").json()
            assert found["outcomeDesc"] == "a"
            assert entry > 0
            errors = (one.folder / "serve.err").read_text()
    rows = lines(index.got[0].body)
    assert rows[0]["create"]["_index"] == "audit"
    assert rows[0]["create"]["_id"] == rows[1]["event"]["id"]
    assert index.got[0].path == "/_bulk"
    assert "canary-p1" not in errors


def test_a_refused_event_does_not_hold_up_the_others(tmp_path: Path) -> None:
    def answer(got: Got) -> tuple[int, bytes]:
        return (400, b"") if b'"outcomeDesc":"bad"' in got.body else (200, b"")

    with Receiver(answer) as collector:
        path = feeds(tmp_path, collector, kind="http", format="fhir")
        with arr(tmp_path / "log", "--feeds", str(path)) as one:
            names = [f"e{number}" for number in range(20)]
            names[7] = "bad"
            one.record(*names)
            state = delivered(one, 20)
            assert (state["delivered"], state["refused"]) == (19, 1)
    got = [row["outcomeDesc"] for one in collector.got for row in lines(one.body)]
    assert got == [name for name in names if name != "bad"]


def test_a_webhook_is_signed_as_standard_webhooks_says(tmp_path: Path) -> None:
    with Receiver(Fickle(b"", 500)) as hook:
        path = feeds(
            tmp_path,
            hook,
            kind="webhook",
            secret=f"whsec_{KEY}",
            redact={"patient.reference": "pseudonym", "user.name": "remove"},
            redaction_key_file="secret",
        )
        with arr(tmp_path / "log", "--feeds", str(path)) as one:
            one.record("a")
            delivered(one, 1)
    (got,) = hook.got
    text = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    digest = hmac.digest(b"k" * 32, text, hashlib.sha256)
    assert got.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    body = json.loads(got.body)
    assert body["type"] == "audit-events"
    (event,) = body["data"]["events"]
    assert "name" not in event["agent"][0]
    assert event["entity"][0]["what"]["reference"].startswith("Patient/")
    assert "p1" not in event["entity"][0]["what"]["reference"]


def test_nobody_is_followed_anywhere(tmp_path: Path) -> None:
    with (
        Receiver(taken) as other,
        Receiver(lambda _: (307, f"{other.base}/elsewhere".encode())) as hook,
    ):
        path = feeds(tmp_path, hook, kind="http")
        with arr(tmp_path / "log", "--feeds", str(path)) as one:
            one.record("a")
            until(lambda: "307" in one.ready()["feeds"]["siem"]["status"], "a refusal")
            # The credential is read each time, so that another one needs no restart.
            (tmp_path / "secret").unlink()
            one.record("b")
            state = until(
                lambda: (
                    found if "file" in (found := one.ready()["feeds"]["siem"]["status"]) else ""
                ),
                "a file that is gone",
            )
            assert str(tmp_path) not in state
        assert other.got == []


def test_a_new_feed_begins_where_it_is_told(tmp_path: Path) -> None:
    with Receiver(taken) as collector:
        path = feeds(tmp_path, collector, kind="http", format="fhir", begin="now")
        with arr(tmp_path / "log") as one:
            one.record("a", "b")
            one.halt()
            one.options = ("--feeds", str(path))
            one.start()
            one.record("c")
            delivered(one, 1)
            # What goes where is a setting like others: a change of it is an event (DESIGN, 12).
            found = one.client.get(f"{one.base}/fhir/AuditEvent?subtype=settings").json()
            assert '"changed","valueString":"feeds"' in json.dumps(found, separators=(",", ":"))
            one.halt()
            one.start()
            one.record("d")
            delivered(one, 2)
    got = [row["outcomeDesc"] for one in collector.got for row in lines(one.body)]
    assert got == ["c", "d"]
