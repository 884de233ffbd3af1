"""Which of the two applications a request goes to, and that it arrives there as it was sent."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import json
from typing import TYPE_CHECKING, Any

import pytest

from caretrail.clinic import is_clinical
from caretrail.transport.switch import Switch

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX = 1_000
EVENT = {"resourceType": "AuditEvent"}
PATIENT = {"resource": {"resourceType": "Patient"}, "request": {"method": "POST", "url": "Patient"}}


class Arrived:
    """An application that writes down what it is sent."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, is_more = b"", scope["type"] == "http"
        while is_more:
            message = await receive()
            body += message.get("body", b"")
            is_more = message.get("more_body", False)
        self.bodies.append(body)


def _sent(
    method: str, target: str, pieces: Sequence[bytes] = (b"",), **headers: str
) -> tuple[str, bytes]:
    """Return where a request went, and the body that arrived."""
    repository, clinic = Arrived(), Arrived()
    switch = Switch(repository, clinic, is_clinical=is_clinical, body_bytes_max=MAX)
    path, _, query = target.partition("?")
    waiting = [
        {"type": "http.request", "body": piece, "more_body": number < len(pieces)}
        for number, piece in enumerate(pieces, 1)
    ]

    async def receive() -> dict[str, Any]:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        raise AssertionError("nobody answers here")

    scope = {
        "type": "http", "method": method, "path": path, "query_string": query.encode(),
        "headers": [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()],
    }  # fmt: skip

    async def run() -> None:
        await switch(scope, receive, send)

    asyncio.run(run())
    where = "clinic" if clinic.bodies else "repository"
    (body,) = clinic.bodies + repository.bodies
    return where, body


@pytest.mark.parametrize(
    ("method", "target", "where"),
    [
        ("POST", "/fhir/AuditEvent", "repository"),
        ("GET", "/fhir/AuditEvent?patient=1", "repository"),
        ("GET", "/fhir/AuditEvent/1/_history/1", "repository"),
        ("GET", "/fhir/Patient/1/AuditEvent", "repository"),
        ("POST", "/fhir/Patient/1/AuditEvent/_search", "repository"),
        ("GET", "/fhir/SearchParameter", "repository"),
        ("GET", "/health/live", "repository"),
        ("GET", "/metrics", "repository"),
        ("GET", "/fhirs", "repository"),
        ("GET", "/fhir?_type=AuditEvent", "repository"),
        ("GET", "/fhir/?_type=AuditEvent", "repository"),
        ("POST", "/fhir/_search?_type=AuditEvent", "repository"),
        ("GET", "/fhir", "clinic"),
        ("GET", "/fhir/metadata", "clinic"),
        ("GET", "/fhir/Patient", "clinic"),
        ("GET", "/fhir/AuditEvents", "clinic"),
        ("POST", "/fhir/Patient/_search", "clinic"),
        ("POST", "/fhir/_search", "clinic"),
    ],
)
def test_an_address_says_where_a_request_goes(method: str, target: str, where: str) -> None:
    assert _sent(method, target)[0] == where


@pytest.mark.parametrize(
    ("entries", "where"),
    [
        ([], "repository"),
        ([{"resource": EVENT}], "repository"),
        ([{"request": {"method": "GET", "url": "AuditEvent?_id=1"}}], "repository"),
        ([{"request": {"method": "GET", "url": "http://a/fhir/AuditEvent/1"}}], "repository"),
        ([PATIENT], "clinic"),
        ([{"resource": EVENT}, PATIENT], "clinic"),
        ([{"request": {"method": "GET", "url": "Patient/1"}}], "clinic"),
    ],
)
def test_a_bundle_goes_where_its_entries_belong(entries: list[Any], where: str) -> None:
    body = json.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries}).encode()
    assert _sent("POST", "/fhir", [body[:9], body[9:]]) == (where, body)
    packed = gzip.compress(body)
    assert _sent("POST", "/fhir/", [packed], content_encoding="gzip") == (where, packed)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"{", {}),
        (b"\xff", {}),
        (b"[" * 500, {}),
        (b" " * (MAX + 1), {}),
        (b"no gzip", {"content_encoding": "gzip"}),
        (gzip.compress(b" " * 5 * MAX, mtime=0), {"content_encoding": "gzip"}),
        (b"{}", {"content_encoding": "br"}),
    ],
)
def test_what_cannot_be_read_is_the_repositorys_to_refuse(
    body: bytes, headers: dict[str, str]
) -> None:
    assert _sent("POST", "/fhir", [body], **headers) == ("repository", body)


def test_a_body_that_is_too_long_still_arrives_whole() -> None:
    pieces = [b"x" * MAX, b"y" * MAX, b"z"]
    assert _sent("POST", "/fhir", pieces) == ("repository", b"".join(pieces))


def test_a_form_says_which_types_it_is_about() -> None:
    assert _sent("POST", "/fhir/_search", [b"_type=AuditEvent"])[0] == "repository"
    assert _sent("POST", "/fhir/_search", [b"_type=Patient"])[0] == "clinic"


def test_a_posted_event_is_handed_on_without_awaiting_anything() -> None:
    assert not inspect.iscoroutinefunction(Switch.__call__)


def test_the_start_of_the_server_is_the_repositorys() -> None:
    repository, clinic = Arrived(), Arrived()
    switch = Switch(repository, clinic, is_clinical=is_clinical, body_bytes_max=MAX)

    async def run() -> None:
        await switch({"type": "lifespan"}, None, None)  # type: ignore[arg-type]

    asyncio.run(run())
    assert (len(repository.bodies), len(clinic.bodies)) == (1, 0)
