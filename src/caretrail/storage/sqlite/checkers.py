"""Checking in processes of their own, as many as there are cores: an interpreter uses only one.

A child reads a line with a range of entries, and answers with what is in it (`entry_check.Part`)
after its length in four bytes. It ends when nobody asks any more, and lets everybody else go first.
"""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import msgspec

from caretrail.storage.entry_check import RANGE_ENTRIES, EntryCheck, Part
from caretrail.storage.sqlite import folder as folders
from caretrail.storage.sqlite.source import Source
from caretrail.storage.weights import KEY_BYTES, Weights

if TYPE_CHECKING:
    from collections.abc import Iterator

_CODE: Final = "from caretrail.storage.sqlite.checkers import main; main()"
_LENGTH_BYTES: Final = 4
_NICE: Final = 10
_STOP_SECONDS: Final = 10.0
# Events are structures without cycles: looking for garbage among them finds nothing.
_GARBAGE_THRESHOLD: Final = 50_000


class Checkers:
    """Some children; `parts` gives them work."""

    def __init__(self, folder: Path, key: bytes, *, count: int) -> None:
        self._folder, self._key = folder, key
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="checker")
        self._own = threading.local()
        self._children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        """Return itself: the children start with the first work."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the children."""
        for child in self._children:
            child.terminate()
        self._pool.shutdown(cancel_futures=True)
        for child in self._children:
            child.wait(_STOP_SECONDS)
            for pipe in (child.stdin, child.stdout):
                assert pipe is not None
                with suppress(OSError):  # A child that was ended leaves a broken pipe.
                    pipe.close()

    def parts(self, start: int, size: int) -> Iterator[Part]:
        """Yield what is in each range of RANGE_ENTRIES from `start` on, in order.

        Raises sqlite3.DatabaseError when a child could not read the database, or has gone.
        """
        return self._pool.map(
            lambda first: self._ask(first, min(size, first + RANGE_ENTRIES)),
            range(start, size, RANGE_ENTRIES),
        )

    def _ask(self, start: int, end: int) -> Part:
        if not hasattr(self._own, "child"):
            self._own.child = self._started()
        child: subprocess.Popen[bytes] = self._own.child
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(b"%d %d\n" % (start, end))
            child.stdin.flush()
        except OSError as error:
            raise sqlite3.DatabaseError("a process that was checking it has ended") from error
        length = int.from_bytes(child.stdout.read(_LENGTH_BYTES))
        answer = child.stdout.read(length)
        if not answer or len(answer) != length:
            raise sqlite3.DatabaseError("a process that was checking it has ended")
        found = msgspec.msgpack.decode(answer, type=Part | str)
        if isinstance(found, str):
            raise sqlite3.DatabaseError(found)
        return found

    def _started(self) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-c", _CODE, str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._children.append(child)
        assert child.stdin is not None
        child.stdin.write(self._key)
        return child


def cores() -> int:
    """Return how many processes can run at a time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    """Answer as long as somebody asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The terminal's Ctrl-C is the parent's.
    gc.set_threshold(_GARBAGE_THRESHOLD, 20, 100)
    os.nice(_NICE)
    key = sys.stdin.buffer.read(KEY_BYTES)
    check = EntryCheck(Source(folders.open_for_reading(Path(sys.argv[1]))), Weights(key))
    for line in sys.stdin.buffer:
        start, end = map(int, line.split())
        answer: Part | str
        try:
            answer = check.part(start, end)
        except sqlite3.DatabaseError as error:
            answer = str(error)
        data = msgspec.msgpack.encode(answer)
        sys.stdout.buffer.write(len(data).to_bytes(_LENGTH_BYTES) + data)
        sys.stdout.buffer.flush()
