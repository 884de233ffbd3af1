"""A process that is killed while it writes: transactions are whole or absent, histories unbroken."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx

from caretrail.storage.sqlite import verify
from tests.clinic.hospital import bundle, entry, patient

if TYPE_CHECKING:
    from pathlib import Path

SERVE = "from caretrail.cli import main; main()"
SEED = 11
ROUNDS = 4
ENTRIES = 5


class Running:
    """A real `caretrail serve --clinic`, which ends without being asked."""

    def __init__(self, folder: Path) -> None:
        command = [
            sys.executable,
            "-c",
            SERVE,
            "serve",
            "--clinic",
            "--data",
            str(folder),
            "--port",
            "0",
        ]
        self.errors = (folder / "errors").open("a")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        assert self.process.stdout is not None
        address = self.process.stdout.readline().strip()
        assert address, (folder / "errors").read_text()
        token = (folder / "token").read_text().strip()
        self.client = httpx.Client(
            base_url=f"{address}/fhir",
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/fhir+json"},
            timeout=30,
        )

    def end(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.errors.close()
        self.client.close()


def _transaction(number: int) -> dict[str, Any]:
    """Return a Bundle that writes the same number into several patients, old and new."""
    rows = [patient(f"p{n}", multipleBirthInteger=number) for n in range(ENTRIES)]
    rows += [patient(f"t{number}x{n}", multipleBirthInteger=number) for n in range(ENTRIES)]
    return bundle("transaction", *(entry("PUT", f"Patient/{row['id']}", row) for row in rows))


def _writer(running: Running, numbers: Any, answered: list[int]) -> None:
    client = running.client  # Killing puts another in its place: this one ends with its server.
    with suppress(httpx.TransportError, RuntimeError):
        for number in numbers:
            answer = client.post("", content=json.dumps(_transaction(number)))
            assert answer.status_code == 200, answer.text
            answered.append(number)


def _state(client: httpx.Client) -> tuple[list[int], dict[int, int]]:
    """Return the numbers of the old patients, and how many new ones each transaction left."""
    old = [client.get(f"Patient/p{n}") for n in range(ENTRIES)]
    numbers = [row.json()["multipleBirthInteger"] for row in old]
    fresh: dict[int, int] = {}
    url = "Patient?_count=1000&_elements=multipleBirth"
    for row in client.get(url).json()["entry"]:
        name = row["resource"]["id"]
        if name.startswith("t"):
            number = int(name[1:].partition("x")[0])
            fresh[number] = fresh.get(number, 0) + 1
    return numbers, fresh


def test_a_killed_server_has_each_transaction_whole_or_not_at_all(tmp_path: Path) -> None:
    dice, answered = random.Random(SEED), list[int]()
    numbers = iter(range(1, 10_000))
    for _ in range(ROUNDS):
        running = Running(tmp_path)
        writer = threading.Thread(target=_writer, args=(running, numbers, answered))
        writer.start()
        time.sleep(0.4 + dice.random())
        running.end(signal.SIGKILL)
        writer.join()
        again = Running(tmp_path)
        try:
            if not answered:
                continue
            old, fresh = _state(again.client)
            assert len(set(old)) == 1
            assert set(fresh.values()) == {ENTRIES}
            assert set(answered) <= fresh.keys()
            history = again.client.get("Patient/p0/_history?_count=1000").json()
            versions = [row["resource"]["meta"]["versionId"] for row in history["entry"]]
            assert versions == [str(n) for n in range(len(fresh), 0, -1)]
            # What an answer told of is in the log: each transaction and its entries.
            events = again.client.get("AuditEvent?subtype=transaction&_count=0").json()["total"]
            assert events >= len(answered)
        finally:
            again.end(signal.SIGTERM)
    assert len(answered) > ROUNDS
    assert verify(tmp_path).whole
