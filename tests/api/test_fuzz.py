"""Whatever is sent, the answer is a proper one: never a fault, always an OperationOutcome."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caretrail.access.decision import Gate
from caretrail.api.service import Service
from caretrail.repository import Repository
from caretrail.search.parameters import PARAMETERS
from caretrail.storage.sqlite import SqliteStorage
from caretrail.transport.asgi import Application
from tests.storage import world

TEXT = st.text(max_size=20)
NAMES = st.one_of(
    st.sampled_from([row.code for row in PARAMETERS]),
    st.sampled_from(["_count", "_sort", "_total", "_summary", "_elements", "_include", "_revinclude", "_page", "_format", "_pretty", "_by", "_interval", "x", "_has:Patient:a:b"]),
    TEXT,
)  # fmt: skip
MODIFIERS = st.sampled_from(
    [
        "",
        ":not",
        ":missing",
        ":text",
        ":exact",
        ":contains",
        ":identifier",
        ":of-type",
        ":above",
        ":below",
        ":in",
        ":Patient",
        ":",
        ":Patient.identifier",
    ]
)
VALUES = st.one_of(
    TEXT,
    st.sampled_from(
        [
            "true",
            "ge2026",
            "2026-13",
            "a|b",
            "|",
            "||",
            ",",
            "\\",
            "Patient/1",
            "http://x/Patient/1",
            "-1",
            "9" * 30,
            "*",
            '"',
            "' OR 1=1 --",
            "(a+)+$",
            "\x00",
            "\u202e",
            "NOT",
            "a AND b",
            "%",
            "urn:uuid:x",
        ]
    ),
)
PAIRS = st.lists(st.tuples(st.tuples(NAMES, MODIFIERS).map("".join), VALUES), max_size=4)
PATHS = st.one_of(
    st.sampled_from(["/fhir/AuditEvent", "/fhir/AuditEvent/_search", "/fhir/AuditEvent/$stats", "/fhir", "/fhir/", "/fhir/metadata", "/fhir/Patient/1/AuditEvent", "/fhir/Observation/1/AuditEvent", "/health/ready", "/metrics", "/", "//", "/fhir/AuditEvent/x/_history/1", "/fhir/AuditEvent/x/$original", "/fhir/OperationDefinition/x", "/fhir/%2e%2e/etc"]),
    TEXT.map(lambda text: "/fhir/AuditEvent/" + "".join(c for c in text if c.isprintable() and c not in "?#")),
)  # fmt: skip
METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "FOO"])
HEADERS = st.dictionaries(
    st.sampled_from(["accept", "content-type", "prefer", "if-none-exist", "if-none-match", "if-modified-since", "content-encoding", "accept-encoding", "x-forwarded-host"]),
    st.one_of(st.sampled_from(["application/fhir+json", "application/fhir+xml", "application/json; fhirVersion=5.0", "application/fhir+json; fhirVersion=3.0", "text/html", "*/*", ";", "q=1", "return=minimal", "return=OperationOutcome", "handling=strict", "gzip", "br", "date=2026", 'W/"1"', "application/x-www-form-urlencoded", "Thu, 01 Jan 1970 00:00:00 GMT"]), st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)),
    max_size=4,
)  # fmt: skip
JSON: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.one_of(TEXT, st.sampled_from(["resourceType", "type", "entry", "resource", "agent", "source", "recorded", "request"])), inner, max_size=4)),
    max_leaves=12,
)  # fmt: skip
EVENT = world.bodies(1)[0]


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return draw(st.binary(max_size=50))
    if kind == 1:
        return json.dumps(draw(JSON)).encode()
    if kind == 2:
        at = draw(st.integers(0, len(EVENT)))
        return EVENT[:at] + draw(st.binary(max_size=5)) + EVENT[at + draw(st.integers(0, 3)) :]
    if kind == 3:
        kind_of = draw(st.sampled_from(["batch", "transaction", "collection", "history"]))
        entry = [
            {"resource": draw(st.one_of(JSON, st.just(json.loads(EVENT)))), "request": draw(JSON)}
        ]
        return json.dumps({"resourceType": "Bundle", "type": kind_of, "entry": entry}).encode()
    return (
        b'<AuditEvent xmlns="http://hl7.org/fhir">'
        + draw(st.binary(max_size=40))
        + b"</AuditEvent>"
    )


async def _ask(folder: Path, asked: list[Any]) -> None:
    repository = Repository(SqliteStorage(folder))
    transport = httpx.ASGITransport(Application(Service(repository, Gate(None))))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            await client.post(
                "/fhir/AuditEvent", content=EVENT, headers={"content-type": "application/fhir+json"}
            )
            for method, path, pairs, headers, body in asked:
                try:
                    request = client.build_request(
                        method, path, params=pairs, headers=headers, content=body
                    )
                except (httpx.InvalidURL, UnicodeError, ValueError):
                    continue
                _check(method, await client.send(request))
    finally:
        await repository.close()


def _check(method: str, answer: httpx.Response) -> None:
    assert answer.status_code != 500, (answer.request.method, answer.request.url, answer.text)
    if answer.status_code < 400 or method == "HEAD":
        return
    if "json" in answer.headers["content-type"] and "/health" not in str(answer.request.url):
        outcome = answer.json()
        assert outcome["resourceType"] == "OperationOutcome"
        assert outcome["issue"]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    asked=st.lists(st.tuples(METHODS, PATHS, PAIRS, HEADERS, bodies()), min_size=10, max_size=40)
)
def test_no_request_is_answered_with_a_fault(asked: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_ask(Path(folder), asked))
