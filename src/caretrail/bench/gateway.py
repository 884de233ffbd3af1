"""What a gateway adds to a FHIR server: latency at a steady rate, and its share of the throughput.

The server answers a read with nothing done for it, so it is faster than any real one, and what the
gateway adds weighs more here than anywhere else.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caretrail.bench import children
from caretrail.bench.children import COMMAND, child
from caretrail.bench.load import quantile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

RATE: Final = 500  # Requests a second for the latency.
_CONNECTIONS: Final = 32
_WARM_SECONDS: Final = 1.0
_UPSTREAM: Final = (
    "from caretrail.bench.floor import main; from caretrail.bench.gateway import patient;"
    " main(patient)"
)
_REQUEST: Final = b"GET /fhir/Patient/1 HTTP/1.1\r\nHost: bench\r\n\r\n"
_PATIENT: Final = (
    b'{"resourceType":"Patient","id":"1","active":true,"gender":"other","birthDate":"1970-01-01"}'
)
_HEADERS: Final = [
    (b"content-type", b"application/fhir+json"),
    (b"content-length", b"%d" % len(_PATIENT)),
]


async def patient(
    scope: Any,
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[Any], Awaitable[None]],
) -> None:
    """Answer everything with one synthetic patient."""
    assert scope["type"] == "http"
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _PATIENT})


class Latency(NamedTuple):
    """Milliseconds from when a request was due to its answer."""

    p50_ms: float
    p99_ms: float


class Added(NamedTuple):
    """The server alone and behind the gateway, on the same cores."""

    alone: Latency
    behind: Latency
    alone_rate: float
    behind_rate: float

    def lines(self) -> list[str]:
        """Return what a reader wants to know."""
        return [
            f"latency at {RATE} requests a second, p50: {self.alone.p50_ms:.2f} ms alone,"
            f" {self.behind.p50_ms:.2f} ms behind the gateway",
            f"latency at {RATE} requests a second, p99: {self.alone.p99_ms:.2f} ms alone,"
            f" {self.behind.p99_ms:.2f} ms behind the gateway",
            f"added p99: {self.behind.p99_ms - self.alone.p99_ms:.2f} ms",
            f"throughput: {self.behind_rate / self.alone_rate:.3f} of the server alone"
            f" ({self.behind_rate:.0f} of {self.alone_rate:.0f} a second)",
        ]


def measure(*, seconds: float) -> Added:
    """Measure each figure for some `seconds`, with a repository that takes the events."""
    with tempfile.TemporaryDirectory(prefix="caretrail-") as name:
        folder = Path(name)
        with child(_UPSTREAM) as upstream, children.server(folder / "data") as (_, repository):
            port = int(upstream.read())
            arguments = (
                "gateway",
                "--upstream", f"http://127.0.0.1:{port}/fhir",
                "--repository", f"http://127.0.0.1:{repository.port}/fhir",
                "--token-file", str(folder / "data" / "token"),
                "--spool", str(folder / "spool"),
                "--port", "0",
                "--log-level", "warning",
            )  # fmt: skip
            with child(COMMAND, *arguments) as gateway:
                public = int(gateway.read().rpartition(b":")[2].partition(b"/")[0])
                return asyncio.run(_compare(port, public, seconds))


async def _compare(alone: int, behind: int, seconds: float) -> Added:
    for port in (alone, behind):
        await _as_many(port, _WARM_SECONDS)
    return Added(
        alone=await _steadily(alone, seconds),
        behind=await _steadily(behind, seconds),
        alone_rate=await _as_many(alone, seconds),
        behind_rate=await _as_many(behind, seconds),
    )


async def _steadily(port: int, seconds: float) -> Latency:
    """Ask at a fixed rate, whether answers come or not; a late request counts from when it was due."""
    begun, count = time.perf_counter(), int(RATE * seconds)
    due = iter(range(count))
    latencies: list[float] = []

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in due:
            at = begun + number / RATE
            await asyncio.sleep(max(at - time.perf_counter(), 0))
            await _ask(reader, writer)
            latencies.append(time.perf_counter() - at)
        writer.close()

    await asyncio.gather(*(connection() for _ in range(_CONNECTIONS)))
    return Latency(quantile(latencies, 0.50) * 1000, quantile(latencies, 0.99) * 1000)


async def _as_many(port: int, seconds: float) -> float:
    """Return the answers a second over some connections that ask without a pause."""
    begun = time.perf_counter()
    answers = 0

    async def connection() -> None:
        nonlocal answers
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() - begun < seconds:
            await _ask(reader, writer)
            answers += 1
        writer.close()

    await asyncio.gather(*(connection() for _ in range(_CONNECTIONS)))
    return answers / (time.perf_counter() - begun)


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), "the server of the bench did not answer 200"
    if b"chunked" in head:
        await reader.readuntil(b"\r\n0\r\n\r\n")
    else:
        await reader.readexactly(len(_PATIENT))
