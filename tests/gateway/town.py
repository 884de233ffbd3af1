"""A FHIR server, a gateway before it, and a repository: real processes that can be killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
UPSTREAM = "from tests.gateway.upstream import main; main()"
CARETRAIL = "from caretrail.cli import main; main()"
_START_SECONDS = 30
_DRAIN_SECONDS = 60
SEQUENCE = "urn:caretrail:source-sequence"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """A process that says its address first."""

    def __init__(self, code: str, *arguments: str, errors: Path, **options: Any) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CARETRAIL_")}
        self._errors = errors.open("a")
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
            env=environment,
            **options,
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        assert self.address, errors.read_text()

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(30)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._errors.close()
        return code


class Town:
    """The three of them; a restart keeps ports and folders."""

    scheme = "http"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in ("upstream", "gateway", "repository")}
        self.running: dict[str, Process] = {}

    def upstream(self) -> Process:
        return self._run("upstream", UPSTREAM, str(self.ports["upstream"]))

    def repository(self) -> Process:
        arguments = ["serve", "--data", str(self.folder / "data"), "--port"]
        return self._run("repository", CARETRAIL, *arguments, str(self.ports["repository"]))

    def gateway(self, *flags: str, **options: Any) -> Process:
        arguments = [
            "gateway",
            "--upstream", f"{self.scheme}://127.0.0.1:{self.ports['upstream']}/fhir",
            "--repository", f"http://127.0.0.1:{self.ports['repository']}/fhir",
            "--port", str(self.ports["gateway"]),
            "--spool", str(self.folder / "spool"),
            *flags,
        ]  # fmt: skip
        if (token := self.folder / "data" / "token").exists():
            arguments += ["--token-file", str(token)]
        return self._run("gateway", CARETRAIL, *arguments, **options)

    def _run(self, name: str, code: str, *arguments: str, **options: Any) -> Process:
        errors = self.folder / f"{name}.err"
        self.running[name] = Process(code, *arguments, errors=errors, **options)
        return self.running[name]

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.ports['gateway']}/fhir"

    @property
    def origin(self) -> str:
        return self.base.removesuffix("/fhir")

    def ready(self) -> dict[str, Any]:
        facts: dict[str, Any] = httpx.get(
            f"{self.origin}/caretrail-gateway/health/ready", timeout=10
        ).json()
        return facts

    def drain(self) -> dict[str, Any]:
        """Wait until the repository has everything; return the last facts."""
        end = time.monotonic() + _DRAIN_SECONDS
        while (facts := self.ready())["spool_events"]:
            assert time.monotonic() < end, facts
            time.sleep(0.05)
        return facts

    def events(self) -> list[dict[str, Any]]:
        """Return every event that was sent to the repository, newest first.

        What the repository says of itself, that it was killed for instance, is left out.
        """
        token = (self.folder / "data" / "token").read_text().strip()
        url = f"http://127.0.0.1:{self.ports['repository']}/fhir/AuditEvent?_count=1000&type:not=110101"
        found: list[dict[str, Any]] = []
        with httpx.Client(headers={"authorization": f"Bearer {token}"}, timeout=60) as client:
            while url:
                page = client.get(url).json()
                found += [entry["resource"] for entry in page.get("entry", [])]
                found = [one for one in found if "urn:caretrail:origin" not in str(one["source"])]
                url = next((one["url"] for one in page["link"] if one["relation"] == "next"), "")
        return found

    def close(self) -> None:
        for process in reversed(self.running.values()):
            if process.process.poll() is None:
                process.kill()


@contextlib.contextmanager
def town(folder: Path, *flags: str) -> Iterator[Town]:
    """Run all three."""
    made = Town(folder)
    try:
        made.upstream()
        made.repository()
        made.gateway(*flags)
        yield made
    finally:
        made.close()


def numbers(events: list[dict[str, Any]]) -> list[int]:
    """Return the source's numbers, sorted."""
    return sorted(
        row["valueInteger"]
        for event in events
        for row in event.get("extension", [])
        if row["url"] == SEQUENCE
    )


def request_ids(events: list[dict[str, Any]]) -> Counter[str]:
    """Return how many events there are of each request."""
    return Counter(
        entity["what"]["identifier"]["value"]
        for event in events
        for entity in event.get("entity", [])
        if entity.get("type", {}).get("code") == "XrequestId"
    )


def gaps(events: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return the details of gap records."""
    found = []
    for event in events:
        for entity in event.get("entity", []):
            details = {row["type"]: row["valueString"] for row in entity.get("detail", [])}
            if "gap-since" in details:
                found.append(details)
    return found


def dump(events: list[dict[str, Any]]) -> str:
    return json.dumps(events, indent=1)
