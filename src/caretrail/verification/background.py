"""Verification beside a running server: a child that lets everybody else go first, run after run.

The child reads a range of entries at a time, holds no transaction while it waits, and writes down
how far it is, so that a restart goes on. The server keeps taking posts whatever it finds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail import __version__, durable_file
from caretrail.limits import VERIFICATION_SAVE_SECONDS, VERIFICATION_START_SECONDS
from caretrail.storage.contract import LogPlace
from caretrail.storage.report import State, sizes_of
from caretrail.storage.stores import backend_of
from caretrail.verification.folder import stored
from caretrail.verification.signatures import judge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from caretrail.storage.report import Report

_log: Final = logging.getLogger(__name__)
_CODE: Final = "from caretrail.verification.background import main; main()"
FILE: Final = "verification.json"
_URL: Final = "CARETRAIL_VERIFIED_STORE"
_NICE: Final = 19
# Three parts of rest to one of work: a quarter of a core at most.
_REST_TO_WORK: Final = 3.0
_HOUR_SECONDS: Final = 3_600.0
_STOP_SECONDS: Final = 10.0


class Result(msgspec.Struct, frozen=True):
    """A run that came to its end: when (seconds since 1970), over how many entries, what it found."""

    at: float
    size: int
    findings: int
    seconds: float
    first: str = ""


class Saved(msgspec.Struct):
    """What outlives a restart: the last result, and how far the run under way is.

    `signed` and `trouble` are what the checkpoint store had when it began (`folder.stored`).
    """

    version: str = __version__
    last: Result | None = None
    begun: float = 0.0
    state: State | None = None
    signed: dict[str, bytes] | None = None
    trouble: str = ""


class _Progress(msgspec.Struct):
    """A line of the child: how far it is, with a result at the end."""

    done: int
    size: int
    result: Result | None = None


class Background:
    """Runs verifications of one log; `on_result` is told each result, and may record it.

    The log is in the data folder, or in the store that `url` names; the checkpoint store is beside
    the folder unless `store` names one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        url: str = "",
        hours: float,
        store: Path | None = None,
        on_result: Callable[[Result], Awaitable[object]],
        start_seconds: float = VERIFICATION_START_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._hours, self._on_result = folder, hours, on_result
        self._arguments = [str(folder), *([str(store)] if store is not None else [])]
        # What is in the environment other accounts do not see: a URL may have a password.
        self._environment = os.environ | {_URL: url}
        self._start_seconds, self._clock = start_seconds, clock
        self._last = read(folder).last
        self._progress: _Progress | None = None
        self._task: asyncio.Task[None] | None = None
        self._failed = False

    def start(self) -> None:
        """Begin, unless it is switched off (0 hours)."""
        if self._hours:
            self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """End; what the child has written down is where the next start goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def health(self) -> dict[str, Any]:
        """Return what a person wants to know of it."""
        last, progress = self._last, self._progress
        found = last.findings if last is not None else 0
        status = "findings" if found else "failed" if self._failed else "ok"
        health: dict[str, Any] = {
            "status": status,
            "verified_size": last.size if last else None,
            "verified_seconds_ago": round(self._clock() - last.at) if last else None,
            "findings": last.findings if last else None,
            "verifying": f"{progress.done} of {progress.size}" if progress else "no",
        }
        if not self._hours:
            health["verifying"] = "switched off"
        if last is not None and last.first:
            health["first_finding"] = last.first
        return health

    async def _follow(self) -> None:
        await asyncio.sleep(self._start_seconds)
        while True:
            due = self._last.at + self._hours * _HOUR_SECONDS if self._last is not None else 0.0
            # A clock that jumps must not put the next run off for long: it is asked once an hour.
            wait = min(due - self._clock(), _HOUR_SECONDS)
            if wait > 0:
                await asyncio.sleep(wait)
                continue
            result = await self._run()
            self._failed = result is None
            if result is None:
                _log.error("the verification in the background ended without a result")
                await asyncio.sleep(min(self._hours, 1.0) * _HOUR_SECONDS)
                continue
            await self._finished(result)

    async def _run(self) -> Result | None:
        """Let a child verify the folder; return None when it does not come to an end."""
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _CODE, *self._arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            env=self._environment,
        )  # fmt: skip
        assert child.stdout is not None
        result: Result | None = None
        try:
            async for line in child.stdout:
                self._progress = msgspec.json.decode(line, type=_Progress)
                result = self._progress.result
            await child.wait()
        finally:
            self._progress = None
            if child.returncode is None:
                child.terminate()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(child.wait(), _STOP_SECONDS)
        return result

    async def _finished(self, result: Result) -> None:
        known = (self._last.findings, self._last.first) if self._last is not None else (0, "")
        self._last = result
        facts = {"size": result.size, "findings": result.findings, "first": result.first}
        if result.findings and known != (result.findings, result.first):
            _log.error("THE LOG IS NOT WHOLE: run `caretrail verify`", extra=facts)
        elif not result.findings:
            _log.info("the log was verified", extra=facts)
        try:
            await self._on_result(result)
        except Exception:
            # The result stands in health; the store, which did not take the event, says why itself.
            _log.exception("a verification was not recorded in the log")


def read(folder: Path) -> Saved:
    """Return what was written down; anything else than that begins anew."""
    try:
        saved = msgspec.json.decode((folder / FILE).read_bytes(), type=Saved)
    except (OSError, ValueError):
        return Saved()
    # Another version may look at other things: it goes over all entries once more.
    return saved if saved.version == __version__ else Saved(last=saved.last)


def begun(folder: Path, store: Path | None = None, *, last: Result | None = None) -> Saved:
    """Return a run that begins now.

    The checkpoint store is read before the log: what is signed later may be of a larger one.
    """
    signed, trouble = stored(folder, store)
    return Saved(last=last, begun=time.time(), signed=signed, trouble=trouble)


def check(folder: Path, saved: Saved, *, rest: Callable[[State], None], url: str = "") -> Report:
    """Check a log and what was signed of it, a range at a time, and go on from what was saved."""
    sizes = set(sizes_of((saved.signed or {}).values()))
    place = LogPlace(folder, url)
    report = backend_of(place).verify_patiently(place, saved.state, rest=rest, sizes=sizes)
    judge(report, store=saved.signed, trouble=saved.trouble)
    return report


def main() -> None:
    """Run one verification, and tell how far it is, a line at a time."""
    os.nice(_NICE)
    _Child(*map(Path, sys.argv[1:])).run()


class _Child:
    def __init__(self, folder: Path, store: Path | None = None) -> None:
        self._folder = folder
        self._saved = read(folder)
        if self._saved.state is None:
            self._saved = begun(folder, store, last=self._saved.last)
        self._kept = self._resumed = time.monotonic()

    def run(self) -> None:
        url = os.environ.get(_URL, "")
        report = check(self._folder, self._saved, rest=self._rest, url=url)
        first = report.first()
        where = "the log" if first is None or first.entry is None else f"entry {first.entry}"
        now = time.time()
        result = Result(
            now,
            report.size,
            len(report.findings),
            max(0.0, now - self._saved.begun),
            f"{where}: {first.what}" if first is not None else "",
        )
        self._saved = Saved(last=result)
        self._keep()
        self._say(_Progress(report.size, report.size, result))

    def _rest(self, state: State) -> None:
        worked = time.monotonic() - self._resumed
        self._saved.state = state
        if time.monotonic() - self._kept > VERIFICATION_SAVE_SECONDS:
            self._keep()
        self._say(_Progress(state.done, state.size))
        time.sleep(worked * _REST_TO_WORK)
        self._resumed = time.monotonic()

    def _keep(self) -> None:
        data = msgspec.json.encode(self._saved)
        durable_file.replace(self._folder / FILE, data, mode=0o600)
        self._kept = time.monotonic()

    def _say(self, progress: _Progress) -> None:
        # When the server has gone, this ends the child.
        sys.stdout.buffer.write(msgspec.json.encode(progress) + b"\n")
        sys.stdout.buffer.flush()
