"""The thread that writes a spool: it blocks on the disk, so that the event loop does not."""

from __future__ import annotations

import asyncio
import contextlib
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class _Job(NamedTuple):
    events: list[bytes]
    loop: asyncio.AbstractEventLoop
    done: Callable[[Exception | None], None]


class SpoolWriter:
    """Calls `append` with one list of events after the other.

    A thread with a queue and not an executor, whose futures cost more than the write itself.
    """

    def __init__(self, append: Callable[[list[bytes]], None]) -> None:
        self._append = append
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    def write(self, events: list[bytes], done: Callable[[Exception | None], None]) -> None:
        """Write the events; `done` is told in this event loop what went wrong, or None."""
        self._jobs.put(_Job(events, asyncio.get_running_loop(), done))

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            error = None
            try:
                self._append(job.events)
            except Exception as caught:  # Whoever waits has to hear of it, whatever it is.
                error = caught
            with contextlib.suppress(RuntimeError):  # The loop has ended, and nobody waits.
                job.loop.call_soon_threadsafe(job.done, error)

    def close(self) -> None:
        """Return when what was begun is written."""
        self._jobs.put(None)
        self._thread.join()
