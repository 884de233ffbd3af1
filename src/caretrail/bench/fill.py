"""A log full of events, which an empty one's figures would flatter.

The events go through `Repository`, in a process of its own, so that its memory is the load's. What
it did is written down in `bench.json` beside the log; a log of anybody else's is not touched.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from caretrail import clock
from caretrail.bench.children import child, usage
from caretrail.demo.hospital import bench_events
from caretrail.errors import ConfigurationError
from caretrail.fhir import intake
from caretrail.repository import Repository, Sender, Submission
from caretrail.storage.contract import LogPlace
from caretrail.storage.stores import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEED: Final = 7
DAYS: Final = 180
_MARKER: Final = "bench.json"
_DATABASE: Final = "log.sqlite"
_PORTION_EVENTS: Final = 1_000
# One portion is committed while the next is prepared.
_UNDER_WAY: Final = 2
_STEPS: Final = 10
_GARBAGE_THRESHOLD: Final = 50_000
_CODE: Final = "from caretrail.bench.fill import main; main()"


class Filled(msgspec.Struct, frozen=True):
    """A log and how it was filled: `done` events in all, `timed` of them in the last process.

    `memory` has, for each tenth of the load, the bytes of memory that were the process's own;
    pages of the database that are mapped come and go with the system's needs.
    """

    events: int
    end_milliseconds: int
    done: int = 0
    timed: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    disk_bytes: int = 0
    memory: list[int] = []

    @property
    def whole(self) -> bool:
        """Tell whether all events are in."""
        return self.done == self.events


def fill(folder: Path, *, events: int, say: Callable[[str], None]) -> Filled:
    """Return the log in `folder` with that many events, filling it where it is not full yet."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = read(folder)
    if found is None and (folder / _DATABASE).exists():
        raise ConfigurationError(f"{folder} holds a log of somebody else's: choose another --data")
    if found is not None and found.events != events:
        raise ConfigurationError(
            f"{folder} was made for {found.events} events: choose another --data"
        )
    if found is not None and found.whole:
        say(f"reusing the log in {folder} ({events} events)")
        return found
    if found is None:
        found = Filled(events, clock.milliseconds())
        _write(folder, found)
    with child(_CODE, str(folder)) as process:
        while (line := process.read()) != b"done":
            say(line.decode())
    filled = read(folder)
    assert filled is not None
    return filled


def read(folder: Path) -> Filled | None:
    """Return what is known of the log in `folder`, None when it is not one of the bench."""
    try:
        return msgspec.json.decode((folder / _MARKER).read_bytes(), type=Filled)
    except FileNotFoundError:
        return None


def _write(folder: Path, filled: Filled) -> None:
    (folder / _MARKER).write_bytes(msgspec.json.encode(filled))


def disk_bytes(folder: Path) -> int:
    """Return the bytes that all files of a folder take up."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def stream(filled: Filled, *, start: int, count: int) -> Iterator[bytes]:
    """Yield events that the log was filled with, from one place on."""
    return bench_events(
        seed=SEED,
        count=count,
        end_milliseconds=filled.end_milliseconds,
        start_index=start,
        total=filled.events,
        days=DAYS,
    )


def main() -> None:
    """Fill the log of the folder that is named; tell how far it is."""
    # As the server does (`app`): events are no cycles.
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD, 20, 100)
    folder = Path(sys.argv[1])
    wanted = read(folder)
    assert wanted is not None
    filled = asyncio.run(_Filling(folder, wanted).run())
    _write(folder, msgspec.structs.replace(filled, disk_bytes=disk_bytes(folder)))
    _say("done")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  (the parent reads it)


class _Filling:
    def __init__(self, folder: Path, wanted: Filled) -> None:
        self._repository = Repository(open_store(LogPlace(folder)))
        self._wanted = wanted
        self._memory: list[int] = []
        self._begun = time.monotonic()

    async def run(self) -> Filled:
        """Append what is missing, and close the log."""
        first = self._repository.size
        bodies = stream(self._wanted, start=first, count=self._wanted.events - first)
        under_way: list[asyncio.Task[int]] = []
        at_once = max(1, min(_PORTION_EVENTS, self._wanted.events // _STEPS))
        while portion := list(islice(bodies, at_once)):
            under_way.append(asyncio.create_task(self._append(portion)))
            await asyncio.sleep(0)  # It prepares its events, and hands them to the committer.
            if len(under_way) == _UNDER_WAY:
                self._note(await under_way.pop(0), first)
        for task in under_way:
            self._note(await task, first)
        await self._repository.close()
        used = usage(os.getpid())
        return msgspec.structs.replace(
            self._wanted,
            done=self._wanted.events,
            timed=self._wanted.events - first,
            seconds=time.monotonic() - self._begun,
            cpu_seconds=used.seconds,
            memory=self._memory,
        )

    async def _append(self, bodies: list[bytes]) -> int:
        submissions = []
        for body in bodies:
            taken = intake.parse(body)
            submissions.append(Submission(body, taken.form, taken.event))
        stored = await self._repository.append(
            submissions, sender=Sender("bench", "hospital"), is_backfill=True
        )
        return stored[-1].entry + 1

    def _note(self, size: int, first: int) -> None:
        """Tell how far the load is, each tenth."""
        total = self._wanted.events
        while size * _STEPS >= total * (len(self._memory) + 1):
            used = usage(os.getpid())
            self._memory.append(used.anonymous_bytes)
            rate = (size - first) / (time.monotonic() - self._begun)
            megabytes = used.anonymous_bytes / 1e6
            _say(f"  {size} of {total} events, {rate:.0f} a second, {megabytes:.0f} MB of memory")
