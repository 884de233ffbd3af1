"""A whole Audit Record Repository in this process: everything but the socket is the real thing."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx

from caretrail import opening
from caretrail.access.decision import Gate
from caretrail.api.service import Service
from caretrail.exporting.jobs import Exports
from caretrail.repository import Repository
from caretrail.settings import Settings
from caretrail.storage.sqlite import SqliteStorage
from caretrail.transport.asgi import Application

if TYPE_CHECKING:
    from pathlib import Path

    from caretrail.opening import Opened
    from caretrail.publisher.publishing import Publisher

TOKEN = "a-token-that-only-tests-know"
BASE = "http://arr.test/fhir"
JSON = {"Content-Type": "application/fhir+json"}
XML = {"Content-Type": "application/fhir+xml"}


class Arr:
    """A repository in a folder, and a client with the token."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.runner = asyncio.Runner()
        self.publisher: Publisher | None = None
        self.repository = self.open(folder)
        self.service = Service(self.repository, Gate(TOKEN), publisher=self.publisher, **settings)
        self.application = Application(self.service)
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.application), base_url="http://arr.test"
        )

    def open(self, folder: Path) -> Repository:
        """Return the repository in the folder."""
        return Repository(SqliteStorage(folder))

    def request(self, method: str, path: str, *, token: str = TOKEN, **rest: Any) -> httpx.Response:
        headers = dict(rest.pop("headers", {}))
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return self.runner.run(self.client.request(method, path, headers=headers, **rest))

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.request("GET", path, headers=_named(headers))

    def post(self, path: str, content: Any, **headers: str) -> httpx.Response:
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        return self.request("POST", path, content=content, headers=JSON | _named(headers))

    def record(self, content: Any, **headers: str) -> httpx.Response:
        return self.post("/fhir/AuditEvent", content, **headers)

    def form(self, path: str, text: str, **headers: str) -> httpx.Response:
        media = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.request("POST", path, content=text.encode(), headers=media | _named(headers))

    def close(self) -> None:
        self.runner.run(self.client.aclose())
        self.runner.run(self.repository.close())
        self.runner.close()


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def now() -> str:
    """Return an instant that the repository does not take for a wrong clock."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def event(**members: Any) -> dict[str, Any]:
    """Return a small valid AuditEvent about patient `p1`, with other members as given."""
    return {
        "resourceType": "AuditEvent",
        "type": {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "110110"},
        "action": "R",
        "recorded": "2026-03-04T05:06:07.080Z",
        "outcome": "0",
        "agent": [
            {"who": {"reference": "Practitioner/dr-1"}, "name": "Dr. One", "requestor": True}
        ],
        "source": {"observer": {"display": "ward server"}},
        "entity": [{"what": {"reference": "Patient/p1"}, "name": "chart"}],
    } | members


def xml_event(recorded: str = "2026-03-04T05:06:07.080Z") -> bytes:
    """Return much the same event in XML."""
    return (
        '<AuditEvent xmlns="http://hl7.org/fhir"><type><code value="110110"/></type>'
        f'<action value="R"/><recorded value="{recorded}"/>'
        '<agent><who><reference value="Practitioner/dr-1"/></who><requestor value="true"/></agent>'
        '<source><observer><display value="ward server"/></observer></source>'
        '<entity><what><reference value="Patient/p1"/></what></entity></AuditEvent>'
    ).encode()


def ids(bundle: httpx.Response) -> list[str]:
    """Return the ids of the events in a searchset that fit."""
    entries = bundle.json().get("entry", [])
    return [one["resource"]["id"] for one in entries if one["search"]["mode"] == "match"]


def links(bundle: httpx.Response) -> dict[str, str]:
    """Return the links of a Bundle by relation."""
    return {link["relation"]: link["url"] for link in bundle.json()["link"]}


def outcome(response: httpx.Response) -> dict[str, Any]:
    """Return the first issue of an OperationOutcome."""
    assert response.headers["content-type"].startswith("application/fhir+json")
    body = response.json()
    assert body["resourceType"] == "OperationOutcome"
    return body["issue"][0]


class Published(Arr):
    """An Arr that signs and exports, opened as the server opens it."""

    def __init__(
        self,
        folder: Path,
        *,
        seconds_kept: float = 60.0,
        witness_policy: Path | None = None,
        **settings: Any,
    ) -> None:
        self.runner = asyncio.Runner()
        self.folder = folder / "data"
        self._opening = opening.opened(Settings(data=self.folder, witness_policy=witness_policy))
        log = self.runner.run(self._opening.__aenter__())
        self.repository, self.publisher = log.repository, log.publisher
        self.exports = self.runner.run(self._made(log, seconds_kept))
        self.service = Service(
            log.repository,
            Gate(TOKEN, producer="officer"),
            publisher=log.publisher,
            exports=self.exports,
            **settings,
        )
        self.application = Application(self.service)
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.application), base_url="http://arr.test"
        )

    async def _made(self, log: Opened, seconds_kept: float) -> Exports:
        folder = self.folder / "exports"
        return Exports(log.repository, log.publisher, folder, seconds_kept=seconds_kept)

    def pause(self, seconds: float) -> None:
        """Let what runs in the background go on."""
        self.runner.run(asyncio.sleep(seconds))

    def close(self) -> None:
        self.runner.run(self.client.aclose())
        self.runner.run(self.exports.close())
        self.runner.run(self._opening.__aexit__(None, None, None))
        self.runner.close()
