"""A server may answer in every way that HTTP/1.1 knows, and in some that it does not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from caretrail.capture.forwarding import Base
from caretrail.capture.proxy import Proxy
from caretrail.capture.upstream import Upstream
from tests.capture.sinks import run

if TYPE_CHECKING:
    from collections.abc import Sequence

OK = b"HTTP/1.1 200 OK\r\n"


class Server:
    """Says one text after the other, one a request; `close` ends the connection after each."""

    def __init__(self, answers: Sequence[bytes], *, close: bool = False) -> None:
        self._answers, self._close = list(answers), close
        self.connections = self._gone = 0

    async def ended(self) -> None:
        """Wait until every connection is closed."""
        while self._gone < self.connections:
            await asyncio.sleep(0.005)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._serve(reader, writer)
        except ConnectionError:
            pass  # The client has what it wanted, or wants it no more.
        finally:
            writer.close()
            self._gone += 1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while self._answers:
            try:
                await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            writer.write(self._answers.pop(0))
            await writer.drain()
            if self._close:
                break


async def _ask(server: Server, count: int, method: str) -> list[tuple[int, bytes]]:
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    upstream = Upstream(f"http://127.0.0.1:{port}", seconds=0.3, connections_max=1)
    found = []
    try:
        for _ in range(count):
            answer = await upstream.ask(
                method, f"{method} /fhir/Patient/1 HTTP/1.1\r\nhost: x\r\n\r\n".encode()
            )
            try:
                body = b"".join([piece async for piece in answer])
            finally:
                answer.close()
                answer.close()
            found.append((answer.status, body))
    finally:
        await upstream.aclose()
        listening.close()
        await server.ended()
    return found


def ask(*answers: bytes, count: int = 1, method: str = "GET", close: bool = False) -> Any:
    return run(_ask(Server(answers, close=close), count, method))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (OK + b"Content-Length: 2\r\n\r\nhi", (200, b"hi")),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\nX-Late: 1\r\n\r\n", (200, b"hi")),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nhi", (200, b"hi")),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n", (200, b"")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"")),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", (304, b"")),
    ],
)  # fmt: skip
def test_answers_of_every_kind_are_read(answer: bytes, expected: tuple[int, bytes]) -> None:
    server = Server([answer] * 3)
    assert run(_ask(server, 3, "GET")) == [expected] * 3
    assert server.connections == 1


def test_a_body_may_end_with_its_connection() -> None:
    assert ask(OK + b"\r\nhi", close=True) == [(200, b"hi")]
    assert ask(b"HTTP/1.0 200 OK\r\n\r\nhi", close=True) == [(200, b"hi")]


def test_an_answer_to_head_has_no_body_whatever_it_says() -> None:
    server = Server([OK + b"Content-Length: 500\r\n\r\n"] * 2)
    assert run(_ask(server, 2, "HEAD")) == [(200, b"")] * 2
    assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-x\r\n",
        b"",
        OK,
        OK + b"Content-Length: 5\r\n\r\nhi",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhi",
        OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
        OK + b"X: " + b"x" * 400_000,
    ],
)
def test_an_answer_that_is_none_or_breaks_off_is_an_error(answer: bytes) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        ask(answer, close=True)


def test_what_nobody_asked_for_is_never_the_next_answer() -> None:
    smuggled = OK + b"Content-Length: 2\r\n\r\nhi" + OK + b"Content-Length: 4\r\n\r\nevil"
    try:
        found = ask(smuggled, OK + b"Content-Length: 2\r\n\r\nok", count=2)
    except httpx.RemoteProtocolError:
        return
    assert (200, b"evil") not in found


def test_silence_is_a_timeout_and_a_closed_port_no_connection() -> None:
    with pytest.raises(httpx.ReadTimeout):
        ask(b"HTTP/1.1 200 OK\r\nX: 1\r\n", b"")

    async def nobody() -> None:
        upstream = Upstream("http://127.0.0.1:1")
        await upstream.ask("GET", b"GET / HTTP/1.1\r\n\r\n")

    with pytest.raises(httpx.ConnectError):
        run(nobody())


def test_a_connection_that_was_closed_while_idle_is_replaced() -> None:
    """The server ends each connection after its answer, without having said so."""
    server = Server([OK + b"Content-Length: 2\r\n\r\nhi"] * 4, close=True)

    async def work() -> list[int]:
        listening = await asyncio.start_server(server, "127.0.0.1", 0)
        base = Base.parse(
            f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/fhir", what="--upstream"
        )
        proxy = Proxy(base, base)
        statuses = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        scope = {
            "type": "http", "method": "GET", "path": "/fhir/Patient/1", "query_string": b"",
            "headers": [],
        }  # fmt: skip
        for _ in range(4):
            received = iter([await receive()])

            async def once(received: Any = received) -> Any:
                for message in received:
                    return message
                return await asyncio.Event().wait()

            await proxy(scope, once, send)
        await proxy.aclose()
        listening.close()
        await server.ended()
        return statuses

    assert run(work()) == [200] * 4
