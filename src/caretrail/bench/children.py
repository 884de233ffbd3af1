"""The processes of a measurement: started, asked what they used, and never left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from operator import add
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from caretrail.errors import StoreError
from caretrail.settings import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

_SET_PARENT_DEATH_SIGNAL: Final = 1  # prctl(2)
_LIBC: Final = ctypes.CDLL(None)
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_STOP_SECONDS: Final = 30
COMMAND: Final = "from caretrail.cli import main; main()"
_FLOOR: Final = "from caretrail.bench.floor import main; main()"


class Child:
    """A Python process of ours, spoken to in lines; it dies with the thread that started it."""

    def __init__(self, code: str, *arguments: str, stderr: IO[Any] | None = None) -> None:
        # The settings of whoever measures must not change what is measured.
        environment = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
        self.process = subprocess.Popen(  # noqa: S603  (our own interpreter and code)
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            preexec_fn=_die_with_parent,
        )

    def write(self, line: bytes) -> None:
        """Send the process a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def read(self) -> bytes:
        """Return the next line that the process says, or raise StoreError when it has ended."""
        assert self.process.stdout is not None
        line: bytes = self.process.stdout.readline()
        if not line:
            raise StoreError(f"a process of the bench ended early ({self.process.wait()})")
        return line.rstrip(b"\n")

    def usage(self) -> Usage:
        """Return what the process and those it started have used up to now."""
        return total_usage(self.process.pid)

    def stop(self) -> None:
        """Ask the process to end, and see to it that it does."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def _die_with_parent() -> None:
    _LIBC.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


@contextmanager
def child(code: str, *arguments: str, stderr: IO[Any] | None = None) -> Iterator[Child]:
    """Run a process for as long as it is needed."""
    started = Child(code, *arguments, stderr=stderr)
    try:
        yield started
    finally:
        started.stop()


class Address(NamedTuple):
    """Where a server listens, and the token that it wants ("" for none)."""

    port: int
    token: str = ""


@contextmanager
def floor() -> Iterator[tuple[Child, Address]]:
    """Run the server that answers 201 to everything."""
    with child(_FLOOR) as started:
        yield started, Address(int(started.read()))


@contextmanager
def server(folder: Path, *options: str) -> Iterator[tuple[Child, Address]]:
    """Run `caretrail serve` on the data folder and a free port.

    A log that was filled without a server has signed nothing yet.
    """
    arguments = ["serve", "--data", str(folder), "--port", "0", "--log-level", "warning"]
    arguments += ["--accept-new-checkpoint-store", "--verify-hours", "0", *options]
    with child(COMMAND, *arguments) as started:
        url = started.read().decode()
        token = (folder / "token").read_text(encoding="ascii").strip()
        yield started, Address(int(url.rpartition(":")[2]), token)


class Usage(NamedTuple):
    """What a process used: seconds of processor, bytes of memory of its own, and mapped files."""

    seconds: float
    anonymous_bytes: int
    mapped_bytes: int


def usage(pid: int) -> Usage:
    """Return what a process, with all its threads, has used up to now (proc(5))."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        # The name in parentheses may hold spaces; user and system time are fields 14 and 15.
        fields = file.read().rpartition(")")[2].split()
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        rows = dict(line.split(":", 1) for line in file if ":" in line)
    kibibytes = {name: int(rows[name].split()[0]) for name in ("RssAnon", "RssFile")}
    seconds = (int(fields[11]) + int(fields[12])) / _TICKS
    return Usage(seconds, kibibytes["RssAnon"] * 1024, kibibytes["RssFile"] * 1024)


def total_usage(pid: int) -> Usage:
    """Return what a process and all its descendants have used up to now."""
    used = usage(pid)
    for task in Path(f"/proc/{pid}/task").iterdir():
        for number in (task / "children").read_text(encoding="ascii").split():
            used = Usage(*map(add, used, total_usage(int(number))))
    return used
