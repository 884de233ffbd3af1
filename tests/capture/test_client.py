"""The client's side: what a program asks with httpx, and what comes of it."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from caretrail.capture.client import AuditTransport
from caretrail.capture.recorder import Recorder, fhir_server
from caretrail.errors import StoreError
from caretrail.fhir import profiles
from caretrail.limits import CAPTURE_BODY_BYTES_MAX
from caretrail.patterns.observation import Machine, reference
from tests.capture.sinks import BASE, FailingSink, ListSink, run
from tests.patterns.exchanges import bundle, claims, entities, observation, parsed, patients

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WARD = Machine(who=reference("Device/ward-app"), address="192.0.2.7")
HOOK = "https://partner.example/hook"


def answer(request: httpx.Request) -> httpx.Response:
    path = request.url.path.rpartition("/")[2]
    if path == "slow":
        raise httpx.ReadTimeout("x", request=request)
    if path == "gone":
        raise httpx.ConnectError("x", request=request)
    if path == "picture":
        return httpx.Response(200, headers={"content-type": "image/png"}, content=b"png")
    if path == "packed":
        body = gzip.compress(json.dumps(observation()).encode())
        headers = {"content-type": "application/fhir+json", "content-encoding": "gzip"}
        return httpx.Response(200, headers=headers, content=body)
    if path == "long":
        content = b" " * (2 * CAPTURE_BODY_BYTES_MAX + 3)
        return httpx.Response(200, headers={"content-type": "application/json"}, content=content)
    if path == "failing":
        return httpx.Response(500)
    return httpx.Response(200, json=observation())


class Inner(httpx.AsyncBaseTransport):
    """A transport without a network, which streams what it gives."""

    def __init__(self, answered: Any = answer) -> None:
        self.seen: list[httpx.Request] = []
        self.closed = False
        self._answered = answered

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        given = self._answered(request)
        content = given.stream
        return httpx.Response(
            given.status_code, headers=given.headers, stream=_Stream([b"".join(content)])
        )

    async def aclose(self) -> None:
        self.closed = True


class _Stream(httpx.AsyncByteStream):
    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            piece = len(chunk) // 2 or 1  # Three, where the length is odd.
            for at in range(0, len(chunk), piece):
                yield chunk[at : at + piece]


async def ask(
    sink: Any, method: str, url: str, inner: Inner | None = None, **options: Any
) -> httpx.Response:
    transport = AuditTransport(
        inner or Inner(),
        Recorder(sink, server=WARD, site="Ward 1"),
        server=fhir_server(BASE, "Device/fhir-server"),
        deliveries=[HOOK],
    )
    async with httpx.AsyncClient(transport=transport) as client:
        return await client.request(method, url, **options)


def kept(method: str, url: str, **options: Any) -> tuple[list[dict], httpx.Response]:
    sink = ListSink()
    given = run(ask(sink, method, url, **options))
    for event in sink.events:
        assert profiles.unmet(parsed(event)) == ()
    return sink.events, given


def test_a_read_is_recorded_by_the_client_as_observer() -> None:
    (event,), given = kept("GET", f"{BASE}/Observation/7")
    assert given.json() == observation()
    assert claims(event) == ["PatientRead"]
    assert event["source"]["observer"] == WARD.who == event["agent"][0]["who"]
    assert event["source"]["type"][0]["code"] == "1"
    assert event["agent"][1]["network"]["address"] == BASE


def test_the_request_id_and_the_token_are_those_of_the_request() -> None:
    inner = Inner()
    headers = {"authorization": "Bearer " + "s" * 40, "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    (event,), _ = kept("GET", f"{BASE}/Observation/7", inner=inner, headers=headers)
    sent = inner.seen[0].headers["x-request-id"]
    assert event["entity"][0]["what"]["identifier"]["value"] == sent
    assert event["entity"][1]["what"]["identifier"]["value"] == "a" * 32
    assert "OAUTHaccessTokenUse.Opaque" in claims(event)
    (event,), _ = kept("GET", f"{BASE}/Observation/7", headers={"x-request-id": "mine"})
    assert event["entity"][0]["what"]["identifier"]["value"] == "mine"


@pytest.mark.parametrize(
    ("path", "outcome", "text"),
    [
        ("slow", "8", "no answer in time"),
        ("gone", "12", "no connection to the server"),
        ("failing", "8", "500 Internal Server Error"),
    ],
)
def test_an_attempt_that_came_to_nothing_is_recorded(path: str, outcome: str, text: str) -> None:
    sink = ListSink()

    async def work() -> None:
        try:
            await ask(sink, "GET", f"{BASE}/Patient/{path}")
        except httpx.TransportError:
            assert path != "failing"

    run(work())
    (event,) = sink.events
    assert (event["outcome"], event["outcomeDesc"]) == (outcome, text)


def test_a_request_that_is_given_up_is_recorded() -> None:
    class Never(Inner):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.sleep(60)
            raise AssertionError

    sink = ListSink()

    async def work() -> None:
        task = asyncio.create_task(ask(sink, "GET", f"{BASE}/Patient/1", Never()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(work())
    assert sink.events[0]["outcome"] == "4"


def test_elsewhere_nothing_is_recorded_or_added() -> None:
    inner = Inner()
    events, _ = kept("GET", "https://elsewhere.example/Patient/1", inner=inner)
    assert events == []
    assert "x-request-id" not in inner.seen[0].headers
    events, _ = kept("GET", f"{BASE}-other/Patient/1")
    assert events == []


def test_a_notification_is_an_export_to_its_endpoint() -> None:
    """R-US-01: subscription delivery; the patients are those of what was sent."""
    sent = bundle("history", observation(patient="Patient/3"))
    (event,), _ = kept("POST", HOOK, json=sent)
    assert event["type"]["code"] == "110106"
    assert patients([event]) == ["Patient/3"]
    assert event["agent"][1]["who"]["identifier"]["value"] == HOOK


def test_answers_reach_the_program_as_they_are() -> None:
    (event,), given = kept("GET", f"{BASE}/Observation/packed")
    assert given.json() == observation()
    assert patients([event]) == ["Patient/1"]
    (event,), given = kept("GET", f"{BASE}/Binary/picture")
    assert given.content == b"png"
    assert entities(event, "4") == []
    (event,), given = kept("GET", f"{BASE}/Observation/long")
    assert len(given.content) == 2 * CAPTURE_BODY_BYTES_MAX + 3
    assert entities(event, "4")[0]["name"] == "response body"


def test_what_is_sent_in_pieces_has_gone_by() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"{}"

    (event,), _ = kept("PUT", f"{BASE}/Observation/7", content=pieces())
    assert claims(event) == ["PatientUpdate"]
    (event,), _ = kept("PUT", f"{BASE}/Observation/7", json=observation())
    assert claims(event) == ["PatientUpdate"]


def test_an_answer_that_cannot_be_recorded_is_not_handed_on() -> None:
    with pytest.raises(StoreError):
        run(ask(FailingSink(), "GET", f"{BASE}/Observation/7"))


def test_the_wrapped_transport_is_closed() -> None:
    inner = Inner()
    kept("GET", f"{BASE}/Observation/7", inner=inner)
    assert inner.closed
