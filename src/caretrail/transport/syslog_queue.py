"""Messages of syslog on their way into the log: each peer has its own queue, and shares the disk.

Syslog acknowledges nothing. What a peer has sent is kept in memory until it is durable, however
long the store takes; only what came last before a power cut can be lost. A peer whose queue is full
is not read from, so that TCP holds it up; a datagram for a full queue is refused, and counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail import originals
from caretrail.access import observers
from caretrail.errors import Issue, StoreError, ThrottledError
from caretrail.fhir.intake import Form
from caretrail.limits import (
    SYSLOG_ALL_BYTES_MAX,
    SYSLOG_BATCH_BYTES,
    SYSLOG_BATCH_ENTRIES,
    SYSLOG_BATCHES_AT_ONCE,
    SYSLOG_FRAME_BYTES_BESIDE,
    SYSLOG_PEER_BYTES_MAX,
    SYSLOG_RETRY_SECONDS_MAX,
)
from caretrail.repository import Refused, Repository, Sender, Submission
from caretrail.search.record import Flag

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from caretrail.transport.framing import Piece

_log: Final = logging.getLogger(__name__)
_RETRY_SECONDS_MIN: Final = 0.05
_FAULT: Final = Issue("exception", "reading the message met a fault of the repository's own")


class Source(NamedTuple):
    """Who sends: what is written down of him, and the only recorder that he may name ("": any)."""

    sender: Sender
    observer: str = ""


class Figures:
    """What is counted, by transport."""

    def __init__(self) -> None:
        self.frames: dict[str, int] = {}
        self.bytes: dict[str, int] = {}
        self.refused: dict[str, int] = {}

    def took(self, transport: str, pieces: Iterable[Piece]) -> None:
        """Count messages that were taken."""
        for piece in pieces:
            self.frames[transport] = self.frames.get(transport, 0) + 1
            self.bytes[transport] = self.bytes.get(transport, 0) + len(piece.frame)

    def refuse(self, transport: str) -> None:
        """Count a datagram or a connection that was not taken."""
        self.refused[transport] = self.refused.get(transport, 0) + 1


class Intake:
    """The queues of all peers, and what they hold together."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.figures = Figures()
        self.held = 0
        self.queues: set[Queue] = set()

    @property
    def is_full(self) -> bool:
        """Tell whether all queues together hold what they may."""
        return self.held >= SYSLOG_ALL_BYTES_MAX

    @property
    def lag(self) -> float:
        """Return for how many seconds the message that waits longest has waited."""
        now = time.monotonic()
        return max((now - queue.since for queue in self.queues if queue.since), default=0.0)

    async def drain(self, *, seconds: float) -> int:
        """Wait until everything is durable, but no longer than that; return how much is not."""
        tasks = [queue.task for queue in self.queues if queue.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        left = sum(len(queue) for queue in self.queues)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return left


class Queue:
    """What waits of one peer. `on_room` is told when there is room again."""

    def __init__(
        self, intake: Intake, source: Source, *, on_room: Callable[[], None] = lambda: None
    ) -> None:
        self._intake, self._source, self._on_room = intake, source, on_room
        self._waiting: deque[Piece] = deque()
        self._count = self._held = 0
        self.since = 0.0
        self.task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Return how many messages are not durable yet."""
        return self._count

    @property
    def is_full(self) -> bool:
        """Tell whether nothing more should be read from the peer."""
        return self._held >= SYSLOG_PEER_BYTES_MAX or self._intake.is_full

    def put(self, pieces: list[Piece]) -> None:
        """Add messages; they are stored in this order."""
        size = sum(map(_size, pieces))
        self._waiting += pieces
        self._count += len(pieces)
        self._held += size
        self._intake.held += size
        if pieces and self.task is None:
            self.since = time.monotonic()
            self._intake.queues.add(self)
            self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        """Store what waits, in batches of which a few are on their way at once."""
        places = asyncio.Semaphore(SYSLOG_BATCHES_AT_ONCE)
        under_way: set[asyncio.Task[None]] = set()
        try:
            while self._waiting or under_way:
                if not self._waiting:
                    await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    continue
                await places.acquire()
                task = asyncio.get_running_loop().create_task(self._store(self._batch()))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                task.add_done_callback(lambda _: places.release())
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
            self._intake.held -= self._held  # What is lost at a stop is held no more.
            self._held, self.since, self.task = 0, 0.0, None
            self._intake.queues.discard(self)

    def _batch(self) -> list[Piece]:
        batch: list[Piece] = []
        size = 0
        while self._waiting and len(batch) < SYSLOG_BATCH_ENTRIES:
            size += len(self._waiting[0].frame)
            if batch and size > SYSLOG_BATCH_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _store(self, batch: list[Piece]) -> None:
        """Keep the messages, however often it takes."""
        try:
            submissions = [self._submission(piece) for piece in batch]
            await self._keep(lambda all_: all_.append(submissions, sender=self._source.sender))
        except Exception as error:
            # A fault of ours in reading one message must not cost the others, nor that one.
            _log.error("a message met a fault", extra={"error": type(error).__name__})
            refused = [Refused(piece.frame, (_FAULT,)) for piece in batch]
            await self._keep(lambda all_: all_.quarantine(refused, sender=self._source.sender))
        size = sum(map(_size, batch))
        self._count -= len(batch)
        self._held -= size
        self._intake.held -= size
        self.since = time.monotonic()
        if not self.is_full:
            self._on_room()

    async def _keep(self, put: Callable[[Repository], Awaitable[object]]) -> None:
        """Do it, as often as the store says that it takes nothing now."""
        pause = _RETRY_SECONDS_MIN
        while True:
            try:
                await put(self._intake.repository)
            except (ThrottledError, StoreError) as error:
                if pause >= SYSLOG_RETRY_SECONDS_MAX:
                    _log.error("syslog waits for the store", extra={"error": type(error).__name__})
                await asyncio.sleep(pause)
                pause = min(2 * pause, SYSLOG_RETRY_SECONDS_MAX)
            else:
                return

    def _submission(self, piece: Piece) -> Submission:
        flags, observer = piece.flags, self._source.observer
        if observer:
            event = originals.of(piece.frame, Form.SYSLOG, received_ms=0).event
            if observers.names_other(event.source, observer):
                flags |= Flag.OBSERVER_MISMATCH
        return Submission(piece.frame, Form.SYSLOG, None, flags)


def _size(piece: Piece) -> int:
    return len(piece.frame) + SYSLOG_FRAME_BYTES_BESIDE


def figures(intake: Intake) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the figures for metrics: the name, and the values by transport."""
    counted = intake.figures
    yield "frames", dict(counted.frames)
    yield "bytes", dict(counted.bytes)
    yield "refused", dict(counted.refused)
    yield "waiting_bytes", {"all": float(intake.held)}
    yield "lag_seconds", {"all": intake.lag}
