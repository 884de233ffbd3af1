"""The how-to pages about other servers are tried: their commands, and what they say is taken."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import httpx

from caretrail.patterns import rest
from caretrail.patterns.claims import settled
from tests.api.arr import Arr
from tests.gateway.town import CARETRAIL, UPSTREAM, Process, free_port
from tests.patterns.test_rest_patterns import SEEN

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"


def test_the_commands_of_the_page_audit_a_server(tmp_path: Path) -> None:
    page = (HOW_TO / "audit-any-fhir-server.md").read_text(encoding="utf-8")
    serve, gateway = re.findall(r"^    caretrail ((?:serve|gateway) --(?!.*\.\.\.).*)$", page, re.M)
    ports = {"8080": free_port(), "8081": free_port(), "8082": free_port()}

    def run(command: str, name: str, *more: str) -> Process:
        for port, free in ports.items():
            command = command.replace(port, str(free))
        arguments = [
            str(tmp_path / word) if word.startswith("audit") else word
            for word in shlex.split(command)
        ]
        return Process(CARETRAIL, *arguments, *more, errors=tmp_path / f"{name}.err")

    running = [Process(UPSTREAM, str(ports["8082"]), errors=tmp_path / "upstream.err")]
    try:
        running.append(run(serve, "serve", "--port", str(ports["8080"])))
        spool = ("--spool", str(tmp_path / "spool"), "--port", str(ports["8081"]))
        running.append(run(gateway, "gateway", *spool))
        assert running[-1].address == f"http://127.0.0.1:{ports['8081']}/fhir"
        assert httpx.get(f"{running[-1].address}/Patient/1").status_code == 200
        assert running.pop().stop() == 0
        token = (tmp_path / "audit" / "token").read_text().strip()
        found = httpx.get(
            f"http://127.0.0.1:{ports['8080']}/fhir/AuditEvent?patient=Patient/1",
            headers={"authorization": f"Bearer {token}"},
        ).json()
        assert len(found["entry"]) == 1
    finally:
        for process in running:
            process.kill()


def test_a_collection_of_a_thousand_is_taken_and_its_copy_is_stored_once(tmp_path: Path) -> None:
    events = []
    for number in range(1_000):
        body = settled(rest.event(_read(number)))
        events.append(b'{"resource":%b}' % body)
    events[7] = b'{"resource":{"resourceType":"AuditEvent"}}'
    bundle = b'{"resourceType":"Bundle","type":"collection","entry":[%b]}' % b",".join(events)
    arr = Arr(tmp_path / "arr")
    try:
        for expected in ("201", "200"):
            answer = arr.post("/fhir", bundle)
            assert answer.status_code == 200
            statuses = [row["response"]["status"][:3] for row in answer.json()["entry"]]
            assert statuses.pop(7) in ("400", "422")
            assert set(statuses) == {expected}
    finally:
        arr.close()


def _read(number: int) -> Any:
    from msgspec.structs import replace

    return replace(SEEN, interaction="read", request_id=f"aidbox-{number}")
