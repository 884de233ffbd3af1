"""rsyslog as the receiver over TLS, killed and started again: every event is in its file."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.feeding.running import arr, toml, until
from tests.gateway import certificates

RSYSLOGD = shutil.which("rsyslogd", path="/usr/sbin:/sbin:/usr/bin:/bin")
needs_rsyslog = pytest.mark.skipif(RSYSLOGD is None, reason="rsyslog is not installed")


class Rsyslog:
    """A receiver on a port of its own, which writes the messages to a file, a line each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.made = certificates.make(folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.out = folder / "out"
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "rsyslog.conf").write_text(f"""
global(
  workDirectory="{folder}"
  maxMessageSize="64k"
  defaultNetstreamDriver="gtls"
  defaultNetstreamDriverCAFile="{self.made.authority}"
  defaultNetstreamDriverCertFile="{self.made.server}"
  defaultNetstreamDriverKeyFile="{self.made.server}"
)
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="anon")
template(name="line" type="string" string="%app-name% %msgid% %pri% %msg%\\n")
ruleset(name="all") {{ action(type="omfile" file="{self.out}" template="line") }}
input(type="imtcp" address="127.0.0.1" port="{self.port}" ruleset="all")
""")

    def start(self) -> None:
        assert RSYSLOGD is not None
        command = [RSYSLOGD, "-n", "-C", "-f", str(self.folder / "rsyslog.conf"),
                   "-i", str(self.folder / "pid")]  # fmt: skip
        with (self.folder / "err").open("a") as errors:
            self.process = subprocess.Popen(command, stdout=errors, stderr=errors)

    def end(self) -> None:
        """Stop it; what it has read it writes to its file first."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            self.process = None

    def lines(self) -> list[str]:
        if not self.out.exists():
            return []
        return self.out.read_text().splitlines(keepends=True)


def feeds_to(folder: Path, port: int, authority: Path) -> Path:
    return toml(
        folder / "feeds.toml",
        name="siem",
        kind="syslog",
        address=f"tls://127.0.0.1:{port}",
        format="fhir",
        filter="type=110110",
        ca_file=str(authority),
    )


@needs_rsyslog
def test_rsyslog_that_was_away_gets_every_event(tmp_path: Path) -> None:
    receiver = Rsyslog(tmp_path / "rsyslog")
    feeds = feeds_to(tmp_path, receiver.port, receiver.made.authority)
    sent: list[str] = []

    def arrived() -> bool:
        return {name_of(row) for row in whole(receiver)} == set(sent)

    try:
        with arr(tmp_path / "log", "--feeds", str(feeds)) as one:
            for round_ in range(4):
                names = [f"{round_}-{number}" for number in range(300)]
                one.record(*names)
                sent += names
                if round_ == 0:
                    until(lambda: one.ready()["feeds"]["siem"]["status"] != "ok", "an outage")
                    receiver.start()
                elif round_ == 1:
                    # It keeps in memory what it has read: it is ended when it has written it.
                    until(arrived, "all so far")
                    receiver.end()
                elif round_ == 2:
                    one.kill()
                    receiver.start()
                    one.start()
            until(arrived, "all of it")
            rows = whole(receiver)
            assert all(row.startswith("caretrail FHIR 85 ") for row in rows)
            # In order, where what came twice counts by its first time.
            assert list(dict.fromkeys(map(name_of, rows))) == sent
    finally:
        receiver.end()


class Keeper:
    """A receiver that writes what it has read before it closes; it may be killed at any time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.made = certificates.make(folder)
        self.out = folder / "out"
        self.port = 0
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        script = Path(__file__).with_name("syslog_keeper.py")
        command = [
            sys.executable,
            str(script),
            str(self.made.server),
            str(self.out),
            str(self.port),
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def names(self) -> list[str]:
        if not self.out.exists():
            return []
        rows = self.out.read_text().splitlines(keepends=True)
        return [json.loads(row)["outcomeDesc"] for row in rows if row.endswith("\n")]


def test_a_receiver_that_is_killed_in_between_misses_nothing(tmp_path: Path) -> None:
    receiver = Keeper(tmp_path / "keeper")
    receiver.start()
    feeds = feeds_to(tmp_path, receiver.port, receiver.made.authority)
    sent: list[str] = []
    try:
        with arr(tmp_path / "log", "--feeds", str(feeds)) as one:
            for round_ in range(5):
                before = len(receiver.names())
                names = [f"{round_}-{number}" for number in range(500)]
                one.record(*names)
                sent += names
                until(lambda before=before: len(receiver.names()) > before, "some of it")
                receiver.kill()
                receiver.start()
            until(lambda: set(receiver.names()) == set(sent), "all of it")
            assert list(dict.fromkeys(receiver.names())) == sent
    finally:
        receiver.kill()


def whole(receiver: Rsyslog) -> list[str]:
    return [row for row in receiver.lines() if row.endswith("\n")]


def name_of(row: str) -> str:
    body = row.split(" ", 3)[3]
    found = json.loads(body)
    return str(found["outcomeDesc"])


@needs_rsyslog
def test_a_receiver_with_another_certificate_gets_nothing(tmp_path: Path) -> None:
    receiver = Rsyslog(tmp_path / "rsyslog")
    receiver.start()
    try:
        feeds = toml(
            tmp_path / "feeds.toml",
            name="siem",
            kind="syslog",
            address=f"tls://127.0.0.1:{receiver.port}",
        )
        with arr(tmp_path / "log", "--feeds", str(feeds)) as one:
            one.record("a")
            until(
                lambda: "SSLCertVerificationError" in one.ready()["feeds"]["siem"]["status"],
                "a refusal",
            )
        assert receiver.lines() == []
    finally:
        receiver.end()
