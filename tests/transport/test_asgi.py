"""What only shows on the wire: pieces, lengths, and clients that go away."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from caretrail.limits import EVENT_BYTES_MAX, QUERY_BYTES_MAX
from tests.api.arr import TOKEN, Arr, event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

BODY = json.dumps(event()).encode()
JSON = (b"content-type", b"application/fhir+json")
GONE = {"type": "http.disconnect"}


@pytest.fixture
def arr(tmp_path: Path) -> Iterator[Arr]:
    made = Arr(tmp_path)
    yield made
    made.close()


def exchange(
    arr: Arr,
    messages: Iterable[dict[str, Any]],
    *headers: tuple[bytes, bytes],
    method: str = "POST",
    query: bytes = b"",
    path: str = "/fhir/AuditEvent",
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Return status, headers and body of the answer; status 0 is none."""
    incoming = iter(messages)
    sent: list[Any] = []
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "scheme": "http",
        "headers": [
            (b"host", b"arr.test"),
            (b"authorization", b"Bearer " + TOKEN.encode()),
            JSON,
            *headers,
        ],
    }

    async def receive() -> Any:
        return next(incoming)

    async def send(message: Any) -> None:
        sent.append(message)

    arr.runner.run(arr.application(scope, receive, send))
    if not sent:
        return 0, {}, b""
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def pieces(body: bytes, size: int) -> list[dict[str, Any]]:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return [
        {"type": "http.request", "body": part, "more_body": at < len(parts) - 1}
        for at, part in enumerate(parts)
    ]


CHUNKED = (b"transfer-encoding", b"chunked")


@pytest.mark.parametrize("size", [1, 7, 100, 5000])
def test_a_body_may_come_in_pieces(arr: Arr, size: int) -> None:
    assert exchange(arr, pieces(BODY, size), CHUNKED)[0] == 201


@pytest.mark.parametrize("size", [1, 7, 5000])
def test_a_gzip_body_may_come_in_pieces(arr: Arr, size: int) -> None:
    messages = pieces(gzip.compress(BODY), size)
    assert exchange(arr, messages, CHUNKED, (b"content-encoding", b"gzip"))[0] == 201


@pytest.mark.parametrize("coding", [b"identity", b"gzip"])
def test_a_stream_without_a_length_is_cut_off_at_the_limit(arr: Arr, coding: bytes) -> None:
    taken = 0

    def endless() -> Iterator[dict[str, Any]]:
        nonlocal taken
        data = gzip.compress(b"", mtime=0) if coding == b"gzip" else b" "
        while True:
            taken += 64 * 1024
            body = data * (64 * 1024 // len(data))
            yield {"type": "http.request", "body": body, "more_body": True}

    status, headers, _ = exchange(arr, endless(), CHUNKED, (b"content-encoding", coding))
    assert status == 413
    assert headers[b"connection"] == b"close"
    assert taken <= EVENT_BYTES_MAX + 2 * 64 * 1024


@pytest.mark.parametrize(
    ("length", "status"), [(b"-1", 400), (b"1e3", 400), (b"9" * 30, 413), (b"1048577", 413)]
)
def test_a_wrong_length_is_refused_before_the_body_is_read(
    arr: Arr, length: bytes, status: int
) -> None:
    assert exchange(arr, [], (b"content-length", length))[0] == status


@pytest.mark.parametrize("messages", [[GONE], [*pieces(BODY, 100)[:2], GONE]])
def test_a_client_that_goes_away_gets_no_answer_and_leaves_no_event(
    arr: Arr, messages: list[dict[str, Any]]
) -> None:
    assert exchange(arr, messages, CHUNKED)[0] == 0
    assert arr.get("/fhir/AuditEvent").json()["total"] == 0


def test_a_query_that_is_too_long_is_refused(arr: Arr) -> None:
    query = b"patient=" + b"a" * QUERY_BYTES_MAX
    status, _, body = exchange(arr, [], method="GET", query=query)
    assert status == 414
    assert json.loads(body)["resourceType"] == "OperationOutcome"
    assert exchange(arr, [], (b"authorization", b"x"), method="GET", query=query)[0] == 401


def test_a_header_that_is_sent_twice_counts_as_a_list(arr: Arr) -> None:
    accepts = ((b"accept", b"text/html"), (b"accept", b"application/fhir+xml"))
    status, headers, _ = exchange(arr, [], *accepts, method="GET")
    assert (status, headers[b"content-type"]) == (200, b"application/fhir+xml; charset=utf-8")


def test_a_body_that_nobody_reads_ends_the_connection(arr: Arr) -> None:
    _, headers, _ = exchange(arr, [], (b"content-length", b"5"), method="GET")
    assert headers[b"connection"] == b"close"
    _, headers, _ = exchange(arr, [], (b"content-length", b"0"), method="GET")
    assert b"connection" not in headers


def test_bytes_that_no_client_sends_are_answered(arr: Arr) -> None:
    strange = tuple(
        (name, bytes(range(256)))
        for name in (
            b"accept",
            b"prefer",
            b"if-none-exist",
            b"if-none-match",
            b"host",
            b"content-type",
        )
    )
    for header in strange:
        for method in ("GET", "POST"):
            messages = pieces(BODY, 5000)
            status, _, body = exchange(arr, messages, header, method=method, query=b"\xff=%zz&=&&%")
            assert 200 <= status < 500
            assert not body or json.loads(body)


def test_a_web_socket_is_closed(arr: Arr) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    arr.runner.run(arr.application({"type": "websocket"}, receive, send))
    assert sent == ["websocket.close"]
