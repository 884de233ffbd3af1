from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import TYPE_CHECKING, Any

import pytest

from caretrail.bench import gateway, generator, run
from caretrail.bench.children import Address, child
from caretrail.bench.fill import fill, read
from caretrail.bench.generator import Job, Stream, render
from caretrail.bench.load import Loop, is_whole, quantile
from caretrail.errors import ConfigurationError
from caretrail.fhir import decoding
from caretrail.storage.sqlite import verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVENTS = 2_000
TARGETS = {
    "single, of the floor",
    "bundled",
    "disk, all in",
    "memory, 100 % over 20 %",
    "single, integrity's share of it",
    "bundled, integrity's share of it",
    "proofs made",
    "evidence bundle, verified",
    "post to covering checkpoint, p99",
    "post to cosigned checkpoint, p99",
    *(
        f"{question}, _count={count}, p99"
        for question in ("patient+date", "agent+date", "rare type+outcome")
        for count in (20, 50)
    ),
}


def test_a_tiny_run_reports_every_figure(tmp_path: Path) -> None:
    said: list[str] = []
    output, folder = tmp_path / "figures.json", tmp_path / "log"
    run(events=EVENTS, seconds=0.5, folder=folder, output=output, say=said.append)
    written = json.loads(output.read_bytes())
    figures = {row["name"]: row for row in written["figures"]}
    assert figures.keys() >= TARGETS
    assert all(figures[name]["met"] is not None for name in TARGETS)
    assert not [name for name in figures if "wrong" in name], figures
    for name in ("floor", "single", "bundled", "verify", "decode", "integrity", "single, p99"):
        assert figures[name]["value"] > 0, name
        assert figures[name]["met"] in (None, True, False)
    assert 0 < figures["of it, scan for duplicate names"]["value"] < figures["decode"]["value"]
    assert 2_300 <= figures["event"]["value"] <= 2_500
    assert written["machine"]["cores"] >= 1
    assert written["machine"]["fsync_p50_ms"] > 0
    assert any("MISSED" in line or ": met" in line for line in said)
    # What was sent is in the log, and the log is whole.
    found = verify(folder)
    assert found.whole
    assert found.size > EVENTS


def test_a_filled_log_is_used_again_and_one_of_others_is_left_alone(tmp_path: Path) -> None:
    said: list[str] = []
    first = fill(tmp_path / "log", events=50, say=said.append)
    assert (first.done, first.timed, len(first.memory)) == (50, 50, 10)
    assert first.disk_bytes > 0
    said.clear()
    assert fill(tmp_path / "log", events=50, say=said.append) == first
    assert "reusing" in said[0]
    with pytest.raises(ConfigurationError, match="was made for 50"):
        fill(tmp_path / "log", events=60, say=said.append)
    (tmp_path / "log" / "bench.json").unlink()
    with pytest.raises(ConfigurationError, match="somebody else"):
        fill(tmp_path / "log", events=50, say=said.append)


def test_a_fill_that_was_broken_off_goes_on(tmp_path: Path) -> None:
    fill(tmp_path, events=30, say=lambda _: None)
    whole = read(tmp_path)
    assert whole is not None
    (tmp_path / "bench.json").write_text(
        json.dumps({"events": 80, "end_milliseconds": whole.end_milliseconds})
    )
    again = fill(tmp_path, events=80, say=lambda _: None)
    assert (again.done, again.timed) == (80, 50)
    assert verify(tmp_path).size == 80


class _Handler(StreamRequestHandler):
    """Answers 201, and 200 to every third request; hangs up on a request that asks for it."""

    def handle(self) -> None:
        server: Any = self.server
        while line := self.rfile.readline():
            length = 0
            while (header := self.rfile.readline()) not in (b"\r\n", b""):
                name, _, value = header.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            body = self.rfile.read(length)
            if line.startswith(b"GET /hang-up"):
                return
            with server.lock:
                number = sum(server.seen.values())
                status = b"200 OK" if number % 3 == 2 else b"201 Created"
                server.seen[status[:3].decode()] += 1
                server.bodies[body] += 1
            text = b'"fullUrl"' * (number % 2)
            head = b"HTTP/1.1 " + status + b"\r\ncontent-length: %d\r\n\r\n" % len(text)
            # In pieces, as a network would.
            for piece in (head[:20], head[20:], text):
                self.wfile.write(piece)
                self.wfile.flush()


@contextmanager
def counting() -> Iterator[Any]:
    with ThreadingTCPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        server.lock = threading.Lock()  # type: ignore[attr-defined]  # Ours, on a server of ours.
        server.seen = Counter()  # type: ignore[attr-defined]
        server.bodies = Counter()  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_the_loop_counts_what_the_server_counts() -> None:
    with counting() as server:
        port = server.server_address[1]
        stream = Stream(seed=1, end_milliseconds=1_800_000_000_000)
        job = stream.job("single", Address(port, "t"), seconds=30, connections=7, count=500)
        requests = list(render(job))
        outcome = Loop(port, connections=7, mark=b'"fullUrl"').run(requests, seconds=30)
    assert outcome.requests == 500
    assert outcome.exhausted
    assert outcome.lost == 0
    assert outcome.statuses == dict(server.seen)
    assert outcome.marks == outcome.unmarked == 250
    # Each body once, and each an event.
    assert set(server.bodies.values()) == {1}
    assert all(decoding.decode(body) is not None for body in server.bodies)
    assert 0 < outcome.p50_ms <= outcome.p99_ms <= outcome.max_ms
    assert outcome.rate == pytest.approx(500 / outcome.seconds)


def test_a_request_that_is_never_answered_is_lost() -> None:
    job = Job("search", 0, 1, 1, paths=["/a", "/hang-up", "/b"])
    with counting() as server:
        loop = Loop(server.server_address[1], connections=1)
        outcome = loop.run(render(job), seconds=30)
    assert (outcome.requests, outcome.lost) == (1, 1)


def test_the_generator_is_a_process_of_its_own() -> None:
    with counting() as server, child("import sys; sys.stdin.read()") as idle:
        job = Job("single", server.server_address[1], 0.5, 3, count=4, repeat=True)
        found = generator.run(job, server=idle)
    assert found.outcome.requests == sum(server.seen.values())
    assert 0 < len(server.bodies) <= 4
    assert not found.outcome.exhausted


def test_slices_of_a_stream_do_not_overlap() -> None:
    stream = Stream(seed=1, end_milliseconds=1_800_000_000_000)
    address = Address(1)
    first, second = (
        set(render(stream.job("single", address, seconds=1, connections=1, count=40)))
        for _ in range(2)
    )
    assert len(first) == len(second) == 40
    assert not first & second
    (bundle,) = render(stream.job("bundle", address, seconds=1, connections=1, count=40))
    body = json.loads(bundle.partition(b"\r\n\r\n")[2])
    assert len(body["entry"]) == 40
    assert body["type"] == "batch"


def test_an_answer_is_whole_when_its_body_is() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"
    assert not is_whole(head[:-1])
    assert not is_whole(head + b"ab")
    assert is_whole(head + b"abc")
    assert is_whole(b"HTTP/1.1 304 Not Modified\r\n\r\n")
    named = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
    assert not is_whole(named + b"ab")
    assert is_whole(named + b"abc")
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    assert not is_whole(chunked)
    assert is_whole(chunked + b"0\r\n\r\n")


def test_quantiles_are_values_that_occurred() -> None:
    assert quantile([], 0.5) == 0.0
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([float(n) for n in range(1, 101)], 0.99) == 100.0


def test_a_child_dies_with_its_parent() -> None:
    code = (
        "from caretrail.bench.children import Child\n"
        "import os, signal\n"
        "one = Child('import sys; print(1, flush=True); sys.stdin.read(); sys.stdin.close();"
        " import time; time.sleep(60)')\n"
        "one.read(); print(one.process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    parent = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False)
    pid = int(parent.stdout)
    # It is gone, or waits to be buried by whoever adopted it.
    for _ in range(1_000):
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return
        except FileNotFoundError:
            return
        os.sched_yield()
        threading.Event().wait(0.01)
    pytest.fail("the child outlived its parent")


def test_the_gateway_is_measured_before_both_servers() -> None:
    lines = list(gateway.measure(seconds=0.5))
    assert [line for line in lines if line.startswith("before ")] == [
        "before a server that does nothing:",
        "before the clinic:",
    ]
    for what in ("p50", "p99", "throughput", "us the gateway"):
        assert sum(what in line for line in lines) >= 2, what
    assert lines[0].startswith("the middleware: ")
