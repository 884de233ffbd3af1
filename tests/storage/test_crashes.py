"""Power cuts, full disks and second processes: what was acknowledged is there, and whole."""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from caretrail.storage.sqlite import verify
from tests.storage import world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_START_SECONDS = 120  # A machine that others load takes its time.
SERVE = "from caretrail.cli import main; main()"


class Process:
    """A server of its own, as an operator would start it."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        arguments = ["serve", "--data", str(folder), "--port", str(self.port)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            **options,  # type: ignore[call-overload]
        )
        self.base = f"http://127.0.0.1:{self.port}"
        self._wait()
        self.headers = {
            "authorization": f"Bearer {(folder / 'token').read_text().strip()}",
            "content-type": "application/fhir+json",
        }

    def _wait(self) -> None:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.base}/health/ready").status_code == 200:
                    return
            assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
            time.sleep(0.05)
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=30)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@pytest.fixture
def servers() -> Iterator[list[Process]]:
    running: list[Process] = []
    yield running
    for server in running:
        if server.process.poll() is None:
            server.kill()


async def _post(
    server: Process, bodies: list[bytes], seconds: float, acknowledged: dict[str, bytes]
) -> None:
    """Post over several connections, and kill the server after some time."""
    queue = iter(bodies)
    limits = httpx.Limits(max_connections=16)

    async def sender(client: httpx.AsyncClient) -> None:
        for body in queue:
            try:
                answer = await client.post("/fhir/AuditEvent", content=body)
            except httpx.TransportError:
                return
            if answer.status_code == 201:
                acknowledged[answer.headers["location"].split("/")[-3]] = body

    async with httpx.AsyncClient(
        base_url=server.base, headers=server.headers, limits=limits
    ) as client:
        senders = [asyncio.create_task(sender(client)) for _ in range(16)]
        await asyncio.sleep(seconds)
        server.kill()
        await asyncio.gather(*senders)


def _crash(folder: Path, rounds: int, seed: int, servers: list[Process]) -> None:
    choice = random.Random(seed)
    bodies = world.bodies(rounds * 3_000, seed=seed)
    acknowledged: dict[str, bytes] = {}
    for number in range(rounds):
        server = Process(folder)
        servers.append(server)
        portion = bodies[number * 3_000 : (number + 1) * 3_000]
        asyncio.run(_post(server, portion, choice.uniform(0.02, 0.5), acknowledged))
    report = verify(folder)
    assert report.whole, report.findings
    server = Process(folder)
    servers.append(server)
    with httpx.Client(base_url=server.base, headers=server.headers) as client:
        for event_id, body in acknowledged.items():
            assert client.get(f"/fhir/AuditEvent/{event_id}/$original").content == body
        # What was acknowledged is also found, and a sender that sends again stores nothing twice.
        event_id, body = choice.choice(sorted(acknowledged.items()))
        again = client.post("/fhir/AuditEvent", content=body)
        assert again.status_code == 200
        assert event_id in again.headers["location"]
    assert server.stop() == 0
    assert len(acknowledged) >= rounds


@pytest.mark.parametrize("seed", range(2))
def test_an_acknowledged_event_survives_every_kill(
    seed: int, tmp_path: Path, servers: list[Process]
) -> None:
    """Ten kills at random moments under load, in two logs."""
    _crash(tmp_path, 5, seed, servers)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_an_acknowledged_event_survives_two_hundred_kills(
    seed: int, tmp_path: Path, servers: list[Process]
) -> None:
    _crash(tmp_path, 10, 100 + seed, servers)


def test_a_second_process_refuses_the_folder_and_says_why(
    tmp_path: Path, servers: list[Process]
) -> None:
    servers.append(Process(tmp_path))
    second = subprocess.run(
        [sys.executable, "-c", SERVE, "serve", "--data", str(tmp_path), "--port", "0"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 2
    assert b"another caretrail process" in second.stderr


def test_a_killed_server_leaves_nothing_that_hinders_the_next(
    tmp_path: Path, servers: list[Process]
) -> None:
    first = Process(tmp_path)
    servers.append(first)
    first.kill()
    second = Process(tmp_path)
    servers.append(second)
    assert second.stop() == 0


def test_a_full_disk_refuses_events_and_loses_none(tmp_path: Path, servers: list[Process]) -> None:
    """Let no file grow past 4 MiB: commits fail, the server says so, and recovers with room."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 * 1024 * 1024, resource.RLIM_INFINITY))

    server = Process(tmp_path, preexec_fn=limited)
    servers.append(server)
    acknowledged: dict[str, bytes] = {}
    refused = 0
    with httpx.Client(base_url=server.base, headers=server.headers, timeout=30) as client:
        for body in world.bodies(12_000):
            answer = client.post(
                "/fhir/AuditEvent", content=body, headers={"prefer": "return=minimal"}
            )
            if answer.status_code == 201:
                acknowledged[answer.headers["location"].split("/")[-3]] = body
                continue
            assert answer.status_code == 503, answer.text
            assert "retry-after" in answer.headers
            refused += 1
            if refused == 5:
                break
        assert refused == 5
        assert client.get("/health/ready").status_code == 503
        # Reads wait as well: none is answered that cannot be recorded.
        for event_id in list(acknowledged)[-50:]:
            answer = client.get(f"/fhir/AuditEvent/{event_id}/$original")
            assert answer.status_code == 503
            assert answer.json()["resourceType"] == "OperationOutcome"
    server.kill()
    server = Process(tmp_path)
    servers.append(server)
    with httpx.Client(base_url=server.base, headers=server.headers) as client:
        assert (
            client.post("/fhir/AuditEvent", content=world.bodies(1, seed=99)[0]).status_code == 201
        )
        for event_id, body in list(acknowledged.items())[-50:]:
            assert client.get(f"/fhir/AuditEvent/{event_id}/$original").content == body
    assert server.stop() == 0
    assert verify(tmp_path).whole
