"""The load generator: a process of its own that renders requests, waits for a word, and sends them.

It speaks in lines of JSON: a Job comes in; `ready` goes out when every request stands in memory;
any line starts the load; the Outcome goes out.
"""

from __future__ import annotations

import sys
from itertools import cycle, islice
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec

from caretrail.bench.children import Address, child
from caretrail.bench.load import Loop, Outcome
from caretrail.bench.machine import busy_seconds
from caretrail.demo.hospital import bench_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from caretrail.bench.children import Child

Kind = Literal["single", "bundle", "search"]
# The requests of a load stand in memory before the clock starts: about 400 MB at the most.
WINDOW_EVENTS_MAX: Final = 150_000
BUNDLE_ENTRIES: Final = 100
# A stream of ten million a day: what is sent now is of the last hours, and rises with time.
_STREAM_EVENTS: Final = 10_000_000
_STREAM_FROM: Final = 9_000_000
_MARKS: Final[dict[Kind, bytes]] = {
    "single": b"",
    "bundle": b'"status":"201',
    "search": b'"fullUrl"',
}
_CODE: Final = "from caretrail.bench.generator import main; main()"


class Job(msgspec.Struct, frozen=True):
    """A load: `count` events of a stream from place `start`, or the searches in `paths`.

    It goes to the FHIR server at `host`, whose base has the path `base`. `repeat` sends the same requests again when there are no more.
    """

    kind: Kind
    port: int
    seconds: float
    connections: int
    token: str = ""
    seed: int = 0
    end_milliseconds: int = 0
    start: int = 0
    count: int = 0
    paths: list[str] = []
    repeat: bool = False
    host: str = "127.0.0.1"
    base: str = "/fhir"


class Measured(NamedTuple):
    """What came of a load, and the processor time that it cost the server and took from others.

    Where `others` is not small, somebody else's work stood in the way.
    """

    outcome: Outcome
    cpu_seconds: float
    others_seconds: float


def run(job: Job, *, server: Child | None) -> Measured:
    """Run a load in a process of its own, against `server`, or None when it is not ours to ask."""
    with child(_CODE) as process:
        process.write(msgspec.json.encode(job))
        process.read()
        used, busy = _seconds(server), busy_seconds()
        process.write(b"go")
        outcome = msgspec.json.decode(process.read(), type=Outcome)
        cpu = _seconds(server) - used
        others = busy_seconds() - busy - cpu - outcome.cpu_seconds
        return Measured(outcome, cpu, max(0.0, others))


def _seconds(server: Child | None) -> float:
    return 0.0 if server is None else server.usage().seconds


def main() -> None:
    """Do one job for the process that started this one."""
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    requests = list(render(job))
    _say(b"ready")
    if sys.stdin.buffer.readline():
        endless = cycle(requests) if job.repeat else requests
        loop = Loop(job.port, host=job.host, connections=job.connections, mark=_MARKS[job.kind])
        _say(msgspec.json.encode(loop.run(endless, seconds=job.seconds)))


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def render(job: Job) -> Iterator[bytes]:
    """Yield the requests of a job as they go over the wire."""
    return _RENDERERS[job.kind](job)


def _singles(job: Job) -> Iterator[bytes]:
    for body in _bodies(job):
        yield _post(job, f"{job.base}/AuditEvent", body)


def _bundles(job: Job) -> Iterator[bytes]:
    bodies = _bodies(job)
    while entries := list(islice(bodies, BUNDLE_ENTRIES)):
        yield _post(job, job.base or "/", bundle(entries))


def _searches(job: Job) -> Iterator[bytes]:
    for path in job.paths:
        yield _head(job, "GET", path) + b"\r\n"


_RENDERERS: Final[dict[Kind, Callable[[Job], Iterator[bytes]]]] = {
    "single": _singles,
    "bundle": _bundles,
    "search": _searches,
}


def bundle(bodies: Iterable[bytes]) -> bytes:
    """Return a batch of creates."""
    request = b',"request":{"method":"POST","url":"AuditEvent"}}'
    entries = b",".join(b'{"resource":' + body + request for body in bodies)
    return b'{"resourceType":"Bundle","type":"batch","entry":[' + entries + b"]}"


def _bodies(job: Job) -> Iterator[bytes]:
    return bench_events(
        seed=job.seed,
        count=min(job.count, WINDOW_EVENTS_MAX),
        end_milliseconds=job.end_milliseconds,
        start_index=_STREAM_FROM + job.start,
        total=_STREAM_EVENTS,
        days=1,
    )


def _post(job: Job, path: str, body: bytes) -> bytes:
    head = _head(job, "POST", path)
    return (
        head
        + b"Content-Type: application/fhir+json\r\nPrefer: return=minimal\r\n"
        + b"Content-Length: %d\r\n\r\n" % len(body)
        + body
    )


def _head(job: Job, method: str, path: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {job.host}:{job.port}"]
    if job.token:
        lines.append(f"Authorization: Bearer {job.token}")
    return "\r\n".join((*lines, "")).encode("ascii")


class Stream:
    """Hands out slices of one stream, so that no event is sent twice."""

    def __init__(self, *, seed: int, end_milliseconds: int) -> None:
        self._seed, self._end = seed, end_milliseconds
        self._start = 0

    def job(
        self, kind: Kind, address: Address, *, seconds: float, connections: int, count: int
    ) -> Job:
        """Return a job of the next `count` events."""
        start, self._start = self._start, self._start + min(count, WINDOW_EVENTS_MAX)
        return Job(
            kind,
            address.port,
            seconds,
            connections,
            token=address.token,
            seed=self._seed,
            end_milliseconds=self._end,
            start=start,
            count=count,
        )
