"""What a gateway adds to a FHIR server: latency at a steady rate, and its share of the throughput.

Two servers stand behind it, one after the other: one that answers a read with nothing done for it,
faster than any real one, so that what the gateway adds weighs more there than anywhere else; and
the clinic, which looks the resource up.
"""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import tempfile
import time
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.bench import children
from caretrail.bench.children import COMMAND, child
from caretrail.bench.load import Loop, quantile
from caretrail.bench.middleware import added_us
from caretrail.bench.patient import PATIENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caretrail.bench.children import Child

RATE: Final = 500  # Requests a second for the latency.
_CONNECTIONS: Final = 32
_WARM_SECONDS: Final = 1.0
_BARE: Final = (
    "from caretrail.bench.floor import main; from caretrail.bench.patient import patient;"
    " main(patient)"
)
_CLINIC: Final = "from caretrail.bench.clinic import main; main()"
_REQUEST: Final = b"GET /fhir/Patient/1 HTTP/1.1\r\nHost: bench\r\n\r\n"


class Latency(NamedTuple):
    """Milliseconds from when a request was due to its answer."""

    p50_ms: float
    p99_ms: float


class Cost(NamedTuple):
    """Microseconds of processor a request, of all threads and children of a process."""

    server_us: float
    gateway_us: float
    repository_us: float


class Added(NamedTuple):
    """The server alone and behind the gateway, on the same cores.

    The cost is that of requests behind the gateway; what waits in its spool when they end has
    cost the repository nothing yet.
    """

    server: str
    alone: Latency
    behind: Latency
    alone_rate: float
    behind_rate: float
    cost: Cost

    def lines(self) -> list[str]:
        """Return what a reader wants to know."""
        return [
            f"before {self.server}:",
            f"  latency at {RATE} requests a second, p50: {self.alone.p50_ms:.2f} ms alone,"
            f" {self.behind.p50_ms:.2f} ms behind the gateway",
            f"  latency at {RATE} requests a second, p99: {self.alone.p99_ms:.2f} ms alone,"
            f" {self.behind.p99_ms:.2f} ms behind the gateway",
            f"  added p99: {self.behind.p99_ms - self.alone.p99_ms:.2f} ms",
            f"  throughput: {self.behind_rate / self.alone_rate:.3f} of the server alone"
            f" ({self.behind_rate:.0f} of {self.alone_rate:.0f} a second)",
            f"  processor a request: {self.cost.server_us:.0f} us the server,"
            f" {self.cost.gateway_us:.0f} us the gateway,"
            f" {self.cost.repository_us:.0f} us the repository",
        ]


def measure(*, seconds: float) -> Iterator[str]:
    """Measure each figure for some `seconds`, and yield what a reader wants to know.

    The repository takes the events. Without the libraries of the clinic there is no second server.
    """
    yield f"the middleware: {added_us():.0f} us of processor a request"
    yield from _added("a server that does nothing", _BARE, seconds).lines()
    if importlib.util.find_spec("fhirpathpy") is not None:
        yield from _added("the clinic", _CLINIC, seconds).lines()


def _added(name: str, code: str, seconds: float) -> Added:
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="caretrail-")))
        server = running.enter_context(child(code, str(folder / "clinic")))
        port = int(server.read())
        _put(port)
        repository, address = running.enter_context(children.server(folder / "data"))
        arguments = (
            "gateway",
            "--upstream", f"http://127.0.0.1:{port}/fhir",
            "--repository", f"http://127.0.0.1:{address.port}/fhir",
            "--token-file", str(folder / "data" / "token"),
            "--spool", str(folder / "spool"),
            "--port", "0",
            "--log-level", "warning",
        )  # fmt: skip
        gateway = running.enter_context(child(COMMAND, *arguments))
        public = int(gateway.read().rpartition(b":")[2].partition(b"/")[0])
        for one in (port, public):
            _as_many(one, min(_WARM_SECONDS, seconds))
        alone, behind = (asyncio.run(_steadily(one, seconds)) for one in (port, public))
        alone_rate = _as_many(port, seconds)[0]
        before = _used(server, gateway, repository)
        behind_rate, requests = _as_many(public, seconds)
        used = zip(before, _used(server, gateway, repository), strict=True)
        cost = Cost(*((after - first) / requests * 1e6 for first, after in used))
        return Added(name, alone, behind, alone_rate, behind_rate, cost)


def _put(port: int) -> None:
    """Make the patient that is asked for; the server that does nothing has him already."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"content-type": "application/fhir+json"}
    connection.request("PUT", "/fhir/Patient/1", PATIENT, headers)
    assert connection.getresponse().status < 300, "the server of the bench took no patient"
    connection.close()


def _used(*processes: Child) -> list[float]:
    return [process.usage().seconds for process in processes]


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


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), "the server of the bench did not answer 200"
    rows = dict(row.split(b": ", 1) for row in head.lower().split(b"\r\n") if b": " in row)
    await reader.readexactly(int(rows[b"content-length"]))


def _as_many(port: int, seconds: float) -> tuple[float, int]:
    """Return the answers a second, and all, over some connections that ask without a pause."""
    came = Loop(port, connections=_CONNECTIONS).run(repeat(_REQUEST), seconds=seconds)
    assert came.statuses.keys() == {"200"}, "the server of the bench did not answer 200"
    assert not came.lost, "the server of the bench left requests without an answer"
    return came.rate, came.requests
