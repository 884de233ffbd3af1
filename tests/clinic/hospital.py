"""A whole `serve --clinic` in this process: everything but the socket is the real thing."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx

from caretrail.app import Server
from caretrail.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

BASE = "http://clinic.test/fhir"
JSON = {"Content-Type": "application/fhir+json"}
PATCH = {"Content-Type": "application/json-patch+json"}


class Hospital:
    """A clinic and its repository in a folder, and a client with the token."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.runner = asyncio.Runner()
        self.server = Server(Settings(data=folder, clinic=True, **settings))
        self._opened = self.server.opened("http://clinic.test")
        self.application = self.runner.run(self._opened.__aenter__())
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.application), base_url="http://clinic.test"
        )

    def request(
        self,
        method: str,
        path: str,
        content: Any = None,
        *,
        token: str | None = None,
        **headers: str,
    ) -> httpx.Response:
        secret = self.server.secret if token is None else token
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if secret:
            named["Authorization"] = f"Bearer {secret}"
        if content is not None and not isinstance(content, bytes):
            content = json.dumps(content).encode()
        if content is not None and "Content-Type" not in named:
            named |= PATCH if method == "PATCH" else JSON
        url = path if path.startswith("http") else f"/fhir/{path}".rstrip("/")
        return self.runner.run(self.client.request(method, url, content=content, headers=named))

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.request("GET", path, **headers)

    def post(self, path: str, content: Any, **headers: str) -> httpx.Response:
        return self.request("POST", path, content, **headers)

    def put(self, content: Any, **headers: str) -> httpx.Response:
        path = f"{content['resourceType']}/{content['id']}"
        return self.request("PUT", path, content, **headers)

    def form(self, path: str, text: str) -> httpx.Response:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.request("POST", path, text.encode(), **headers)

    def found(self, path: str) -> list[str]:
        """Return what a search finds, in order, as relative references."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return [
            entry["fullUrl"].removeprefix(f"{BASE}/")
            for entry in answer.json().get("entry", [])
            if entry["search"]["mode"] == "match"
        ]

    def events(self, query: str = "") -> list[dict[str, Any]]:
        """Return the audit events, newest first, without those of looking at them."""
        answer = self.get(f"AuditEvent?_count=1000&type:not=110101{query and '&'}{query}")
        return [entry["resource"] for entry in answer.json().get("entry", [])]

    def close(self) -> None:
        self.runner.run(self.client.aclose())
        self.runner.run(self._opened.__aexit__(None, None, None))
        self.runner.close()


def patient(name: str = "p1", /, **members: Any) -> dict[str, Any]:
    """Return a small patient; every name says that nobody bears it."""
    return {
        "resourceType": "Patient",
        "id": name,
        "name": [{"family": "Mockley", "given": ["Åse"]}],
        "gender": "female",
        "birthDate": "1970-02-03",
    } | members


def observation(name: str = "o1", /, subject: str = "Patient/p1", **members: Any) -> dict[str, Any]:
    """Return a small observation."""
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4", "display": "Pulse"}]},
        "subject": {"reference": subject},
        "effectiveDateTime": "2026-03-04T05:06:07Z",
        "valueQuantity": {
            "value": 72.5, "unit": "beats/minute", "system": "http://unitsofmeasure.org",
            "code": "/min",
        },
    } | members  # fmt: skip


def entry(method: str, url: str, resource: Any = None, **members: Any) -> dict[str, Any]:
    """Return an entry of a Bundle; members that begin with `if` are conditions."""
    request = {"method": method, "url": url}
    request |= {name: value for name, value in members.items() if name.startswith("if")}
    row: dict[str, Any] = {"request": request}
    if resource is not None:
        row["resource"] = resource
    if "fullUrl" in members:
        row["fullUrl"] = members["fullUrl"]
    return row


def bundle(kind: str, *entries: dict[str, Any]) -> dict[str, Any]:
    """Return a Bundle to be processed."""
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def issue(answer: httpx.Response) -> dict[str, Any]:
    """Return the first issue of an OperationOutcome."""
    body = answer.json()
    assert body["resourceType"] == "OperationOutcome", body
    first: dict[str, Any] = body["issue"][0]
    return first
