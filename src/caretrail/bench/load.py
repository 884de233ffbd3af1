"""The closed loop: some keep-alive connections, each with one request on its way.

Raw sockets and epoll, because every cycle that the load takes is missing to the server that is
measured beside it. Of an answer only the status and the length are parsed.
"""

from __future__ import annotations

import gc
import select
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_RECEIVE_BYTES: Final = 262_144
_PATIENCE_SECONDS: Final = 30.0
_LENGTH: Final = b"content-length: "
_CHUNKED: Final = b"transfer-encoding: chunked"
_READ, _WRITE = select.EPOLLIN, select.EPOLLOUT


class Outcome(msgspec.Struct, frozen=True):
    """What came of a load.

    `statuses` counts answers by status, `marks` how often the mark was found in them, and
    `unmarked` the answers that do not have it. `lost` requests were not answered at all.
    """

    requests: int
    seconds: float
    cpu_seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    statuses: dict[str, int]
    marks: int = 0
    unmarked: int = 0
    lost: int = 0
    exhausted: bool = False

    @property
    def rate(self) -> float:
        """Return the answers a second."""
        return self.requests / self.seconds if self.seconds else 0.0


class _Connection:
    __slots__ = ("begun", "heard", "rest", "socket")

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=_PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.begun = 0.0
        self.heard = b""
        self.rest: memoryview | None = None


class Loop:
    """Drives one load; made anew for each."""

    def __init__(
        self, port: int, *, host: str = "127.0.0.1", connections: int, mark: bytes = b""
    ) -> None:
        self._epoll = select.epoll()
        self._connections = {}
        for _ in range(connections):
            made = _Connection((host, port))
            self._connections[made.socket.fileno()] = made
            self._epoll.register(made.socket.fileno(), _READ)
        self._mark = mark
        self._answers: Counter[bytes] = Counter()
        self._latencies: list[float] = []
        self._marks = self._unmarked = 0
        self._busy = 0

    def run(self, requests: Iterable[bytes], *, seconds: float) -> Outcome:
        """Send the requests for some seconds, or until there are no more; wait for all answers."""
        waiting = iter(requests)
        gc.disable()
        cpu, begun = time.process_time(), time.perf_counter()
        try:
            exhausted = self._drive(waiting, end=begun + seconds)
            return self._outcome(
                time.perf_counter() - begun, time.process_time() - cpu, exhausted=exhausted
            )
        finally:
            gc.enable()
            for connection in self._connections.values():
                connection.socket.close()
            self._epoll.close()

    def _drive(self, requests: Iterator[bytes], *, end: float) -> bool:
        """Return whether there were too few requests for the time."""
        connections, poll, now = self._connections, self._epoll.poll, time.perf_counter
        record = self._latencies.append
        for connection in connections.values():
            if not self._send(connection, next(requests, None)):
                break
        exhausted = False
        while self._busy:
            ready = poll(_PATIENCE_SECONDS)
            if not ready:
                break  # What was not answered by now is reported as lost.
            for number, what in ready:
                connection = connections[number]
                if what & _WRITE:
                    self._send_rest(connection)
                    continue
                if not self._receive(connection):
                    continue
                at = now()
                record(at - connection.begun)
                request = next(requests, None) if at < end else None
                exhausted = exhausted or (request is None and at < end)
                self._send(connection, request)
        return exhausted

    def _send(self, connection: _Connection, request: bytes | None) -> bool:
        if request is None:
            return False
        self._busy += 1
        connection.begun = time.perf_counter()
        sent = self._sent(connection, request)
        if sent < len(request):
            connection.rest = memoryview(request)[sent:]
            self._epoll.modify(connection.socket.fileno(), _READ | _WRITE)
        return True

    def _sent(self, connection: _Connection, data: bytes | memoryview) -> int:
        try:
            return connection.socket.send(data)
        except BlockingIOError:
            return 0

    def _send_rest(self, connection: _Connection) -> None:
        assert connection.rest is not None
        connection.rest = connection.rest[self._sent(connection, connection.rest) :]
        if not connection.rest:
            connection.rest = None
            self._epoll.modify(connection.socket.fileno(), _READ)

    def _receive(self, connection: _Connection) -> bool:
        """Take in what has come; return whether the answer is whole."""
        data = connection.socket.recv(_RECEIVE_BYTES)
        if not data:
            # The server has closed: this connection's request counts as lost.
            self._epoll.unregister(connection.socket.fileno())
            self._busy -= 1
            self._answers[b"closed"] += 1
            return False
        if connection.heard:
            data = connection.heard + data
        if not is_whole(data):
            connection.heard = data
            return False
        connection.heard = b""
        self._busy -= 1
        self._answers[data[9:12]] += 1
        if self._mark:
            found = data.count(self._mark)
            self._marks += found
            self._unmarked += not found
        return True

    def _outcome(self, seconds: float, cpu_seconds: float, *, exhausted: bool) -> Outcome:
        closed = self._answers.pop(b"closed", 0)
        return Outcome(
            requests=len(self._latencies),
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            p50_ms=quantile(self._latencies, 0.50) * 1000,
            p99_ms=quantile(self._latencies, 0.99) * 1000,
            max_ms=max(self._latencies, default=0.0) * 1000,
            statuses={status.decode(): count for status, count in sorted(self._answers.items())},
            marks=self._marks,
            unmarked=self._unmarked,
            lost=self._busy + closed,
            exhausted=exhausted,
        )


def is_whole(data: bytes) -> bool:
    """Tell whether an answer is complete; one without a length and without chunks has no body."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    at = data.find(_LENGTH, 0, end)
    if at < 0:  # Ours writes names in lower case, others need not (RFC 9110, 5.1).
        head = data[:end].lower()
        if _CHUNKED in head:
            return data.endswith(b"\r\n0\r\n\r\n")
        at = head.find(_LENGTH)
        if at < 0:
            return True
    at += len(_LENGTH)
    return len(data) >= end + 4 + int(data[at : data.find(b"\r\n", at)])


def quantile(values: list[float], share: float) -> float:
    """Return the value below which `share` of all values are (the nearest rank)."""
    if not values:
        return 0.0
    ranked = sorted(values)
    return ranked[min(int(share * len(ranked)), len(ranked) - 1)]
