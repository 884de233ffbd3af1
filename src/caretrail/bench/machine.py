"""What a figure was measured on: without it no figure can be compared."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import tempfile
import time
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_SYNCS: Final = 100
_BLOCK: Final = b"\0" * 4096


class Machine(msgspec.Struct, frozen=True):
    """The processor, the memory, the system and the disk of the data folder."""

    processor: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    sqlite: str
    fsync_p50_ms: float

    def lines(self) -> list[str]:
        """Return the description for people."""
        return [
            f"{self.processor}, {self.cores} cores, {self.memory_gib:.0f} GiB, {self.kernel}",
            f"Python {self.python}, SQLite {self.sqlite},"
            f" fsync of 4 KiB on the data disk {self.fsync_p50_ms:.2f} ms (p50)",
        ]


def describe(folder: Path) -> Machine:
    """Describe this machine; `folder` is on the disk that is measured."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        processor=_processor(),
        # What this process may use, which in a container is less than there is.
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(pages / 2**30, 1),
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        fsync_p50_ms=round(fsync_milliseconds(folder), 3),
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.machine()


def busy_seconds() -> float:
    """Return the processor time that everybody has used since the machine was started (proc(5))."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, *interrupts = (int(part) for part in file.readline().split()[1:9])
    return (user + nice + system + sum(interrupts)) / _TICKS


def fsync_milliseconds(folder: Path) -> float:
    """Return the median duration of appending 4 KiB and waiting for the disk."""
    taken = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(_SYNCS):
            begun = time.perf_counter()
            file.write(_BLOCK)
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1000
