"""Alerts of a running server: told once by mail and webhook, with a reference and nobody's name."""

from __future__ import annotations

import base64
import json
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.controller import Controller

from caretrail import config
from caretrail.alerting import file
from caretrail.errors import ConfigurationError
from tests.api.arr import JSON, event
from tests.feeding.running import Arr, Receiver, arr, taken, toml, until
from tests.gateway import certificates

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


class Letters:
    """What came by mail."""

    def __init__(self) -> None:
        self.got: list[str] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        assert session.ssl is not None, "the mail came unencrypted"
        self.got.append(envelope.content.decode())
        return "250 OK"


@contextmanager
def post_office(folder: Path) -> Iterator[tuple[Letters, int, Path]]:
    """Run a mail server that takes mail over STARTTLS alone; give its port and its authority."""
    made = certificates.make(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.server)
    letters = Letters()
    office = Controller(letters, "127.0.0.1", 0, tls_context=context, require_starttls=True)
    office.port = _free_port()
    office.start()
    try:
        yield letters, office.port, made.authority
    finally:
        office.stop()


def _free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def told(letters: Letters, kind: str, state: str) -> list[str]:
    return [one for one in letters.got if f"{kind} {state}" in one.partition("\n\n")[0]]


def own_events(one: Arr) -> list[dict[str, str]]:
    found = one.client.get(f"{one.base}/fhir/AuditEvent?subtype=alert&_sort=_lastUpdated").json()
    rows = [entry["resource"]["entity"][0]["detail"] for entry in found.get("entry", ())]
    return [{row["type"]: row["valueString"] for row in details} for details in rows]


def test_an_alert_is_told_once_and_so_is_its_end(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    fails = [True]
    with (
        post_office(tmp_path) as (letters, port, authority),
        Receiver(taken) as hook,
        Receiver(lambda got: (503, b"") if fails[0] else taken(got)) as siem,
    ):
        feeds = toml(tmp_path / "feeds.toml", name="canary", kind="http", address=siem.base)
        alerts = tmp_path / "alerts.toml"
        alerts.write_text(f"""
link = "https://arr.example/console"
seconds = 0.2
without = ["clock", "disk"]
[limits]
feed_lag_minutes = 0.01
[[source]]
producer = "canary-ehr"
minutes = 100
[[mail]]
host = "127.0.0.1"
port = {port}
sender = "arr@example.org"
to = ["security@example.org"]
ca_file = "{authority}"
[[webhook]]
address = "{hook.base}"
secret_file = "secret"
""")
        options = ("--feeds", str(feeds), "--alerts", str(alerts))
        with arr(tmp_path / "log", *options) as one:
            one.record("canary-event")
            until(lambda: told(letters, "feed-lag", "begun") and hook.got, "both messages")
            until(lambda: one.ready()["alerts"]["untold"] == 0, "all told")
            one.kill()
            one.start()
            until(lambda: one.ready()["feeds"]["canary"]["lag_seconds"] > 1, "a lag again")
            fails[0] = False
            until(lambda: told(letters, "feed-lag", "ended"), "the end")
            until(lambda: one.ready()["alerts"] == {
                "status": "ok", "open": [], "untold": 0, "failing": []}, "quiet")  # fmt: skip
            events = own_events(one)
            figures = one.client.get(f"{one.base}/metrics").text
        assert "caretrail_alerts_open 0.0" in figures
        bodies = [json.loads(got.body) for got in hook.got]
    states = [body["data"]["state"] for body in bodies]
    # After the restart the lag has gone for a moment, so it may be told to end and begin again.
    assert states[0] == "begun"
    assert states[-1] == "ended"
    assert len(letters.got) == len(bodies) == len(events)
    assert [one["state"] for one in events] == states
    assert {one["subject"] for one in events} == {"canary"}
    assert events[0]["reference"] == bodies[0]["data"]["reference"]
    assert bodies[0]["data"]["reference"] in letters.got[0]
    everything = "".join(letters.got) + str(hook.got)
    assert "canary" not in everything
    assert "Patient" not in everything
    assert "https://arr.example/console" in letters.got[0]


def test_a_source_that_falls_silent_is_told_and_ends_when_it_speaks(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    with Receiver(taken) as hook:
        alerts = tmp_path / "alerts.toml"
        alerts.write_text(f"""
seconds = 0.2
without = ["clock", "disk"]
[[source]]
producer = "anonymous"
minutes = 0.02
[[webhook]]
address = "{hook.base}"
secret_file = "secret"
""")
        with arr(tmp_path / "log", "--alerts", str(alerts)) as one:
            until(lambda: hook.got, "a silence")
            late = event(recorded="2020-01-01T00:00:00Z")
            answer = one.client.post(f"{one.base}/fhir/AuditEvent", json=late, headers=JSON)
            assert answer.headers["x-caretrail-flags"] == "clock-skew"
            until(lambda: "source-clock" in str([got.body for got in hook.got]), "a clock")

            def ended() -> bool:
                one.record("a")
                return '"ended"' in str([got.body for got in hook.got])

            until(ended, "the end of it")
        data = json.loads(hook.got[0].body)["data"]
        assert (data["kind"], data["state"]) == ("silent-source", "begun")
        assert "anonymous" not in str(hook.got)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names nobody"),
        ("surprise = 1", "unknown field"),
        ('without = ["x"]\n[[mail]]\nhost="h"\nsender="a@b"\nto=["a@b"]', "kinds of alerts are"),
        ('seconds = 0\n[[mail]]\nhost="h"\nsender="a@b"\nto=["a@b"]', "more than 0"),
        ('[[mail]]\nhost="h"\nsender="a@b"\nto=[]', "somebody to go to"),
        ('[[mail]]\nhost="h"\nsender="a@b\\n"\nto=["a@b"]', "somebody to go to"),
        ('[[mail]]\nhost="h"\nsender="a@b"\nto=["a@b"]\nsecurity="none"', "loopback only"),
        ('[[mail]]\nhost="h"\nsender="a@b"\nto=["a@b"]\nuser="u"', "go together"),
        ('[[webhook]]\naddress="http://h"\nsecret_file="s"', "not encrypted"),
        ('[[webhook]]\naddress="https://h"\nsecret_file="none"', "cannot be read"),
    ],
)
def test_a_mistake_in_the_file_is_told(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        file.read(text, folder=tmp_path, secret=config.token)
