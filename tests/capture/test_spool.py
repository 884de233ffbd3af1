"""What is in the spool survives kills, torn ends, full disks, and goes on where it was."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caretrail.capture.spool import Confirming, Spool
from caretrail.capture.spool_folder import Gap, SpoolFolder
from caretrail.errors import ConfigurationError, StoreError, ThrottledError
from tests.capture.sinks import run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from caretrail.capture.segment import Frame

EVENT = b'{"resourceType":"AuditEvent","n":%d}'
EVERYTHING = 10**9


def everything(folder: SpoolFolder) -> list[Frame]:
    return folder.read(folder.last, entries_max=EVERYTHING, bytes_max=EVERYTHING).frames


def contents(frames: Sequence[Frame]) -> list[int]:
    return [json.loads(frame.body)["n"] for frame in frames]


def filled(path: Path, count: int, *, segment_bytes: int = 300) -> SpoolFolder:
    folder = SpoolFolder(path, segment_bytes=segment_bytes)
    for number in range(count):
        folder.append([EVENT % number], at_ms=1_000 + number)
    return folder


def spool(folder: SpoolFolder, **options: Any) -> Spool:
    def describe(gap: Gap) -> list[bytes]:
        return [json.dumps({"gap": [gap.since_ms, gap.until_ms, gap.exchanges]}).encode()]

    return Spool(folder, describe=describe, **options)


def test_events_come_out_as_they_went_in_with_numbers(tmp_path: Path) -> None:
    folder = filled(tmp_path / "s", 20)
    frames = everything(folder)
    assert contents(frames) == list(range(20))
    assert [frame.position for frame in frames] == list(range(1, 21))
    assert [json.loads(frame.body)["extension"][0]["valueInteger"] for frame in frames] == list(
        range(1, 21)
    )
    assert frames[3].at_ms == 1_003
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
    assert len(list((tmp_path / "s").glob("*.seg"))) > 3
    folder.close()


def test_numbers_go_on_after_a_restart_and_after_everything_is_delivered(tmp_path: Path) -> None:
    folder = filled(tmp_path, 10)
    folder.acknowledge(10)
    assert len(list(tmp_path.glob("*.seg"))) == 1
    folder.close()
    again = SpoolFolder(tmp_path)
    assert again.stopped_ms == 0
    assert (again.last, again.acknowledged) == (10, 10)
    assert everything(again) == []
    again.append([EVENT % 10], at_ms=5)
    assert [frame.position for frame in everything(again)] == [11]
    again.close()
    for segment in tmp_path.glob("*.seg"):
        segment.unlink()
    third = SpoolFolder(tmp_path)
    assert third.append([EVENT % 0], at_ms=0) == 11
    third.close()


def test_only_what_is_not_acknowledged_is_read_again(tmp_path: Path) -> None:
    folder = filled(tmp_path, 10)
    assert len(everything(folder)) == 10
    folder.acknowledge(4)
    folder.rewind()
    assert contents(everything(folder)) == [4, 5, 6, 7, 8, 9]
    folder.close()
    again = SpoolFolder(tmp_path)
    assert contents(again.read(8, entries_max=2, bytes_max=EVERYTHING).frames) == [4, 5]
    assert contents(again.read(8, entries_max=9, bytes_max=1).frames) == [6]
    assert contents(everything(again)) == [7, 8, 9]
    again.close()


def test_a_lost_cursor_means_sending_again_and_nothing_else(tmp_path: Path) -> None:
    folder = filled(tmp_path, 5, segment_bytes=10_000)
    folder.acknowledge(4)
    folder.close()
    (tmp_path / "cursor").unlink()
    again = SpoolFolder(tmp_path)
    assert contents(everything(again)) == [0, 1, 2, 3, 4]
    again.close()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cut=st.integers(0, 700), junk=st.binary(max_size=60))
def test_a_torn_end_is_cut_off_and_never_guessed(tmp_path: Path, cut: int, junk: bytes) -> None:
    path = tmp_path / f"{cut}-{junk.hex()[:80]}-{random.random()}"
    folder = filled(path, 8, segment_bytes=10_000)
    folder.close()
    (segment,) = path.glob("*.seg")
    whole = segment.read_bytes()
    segment.write_bytes(whole[: max(len(whole) - cut, 0)] + junk)
    again = SpoolFolder(path)
    kept = contents(everything(again))
    assert kept == list(range(len(kept)))
    assert cut or len(kept) == 8
    again.append([EVENT % 99], at_ms=1)
    again.rewind()
    assert contents(everything(again)) == [*kept, 99]
    again.close()


def test_a_damaged_segment_in_the_middle_is_told_and_the_rest_is_delivered(tmp_path: Path) -> None:
    filled(tmp_path, 12).close()
    first, second, *_ = sorted(tmp_path.glob("*.seg"))
    data = bytearray(second.read_bytes())
    data[-20] ^= 1
    second.write_bytes(data)
    folder = SpoolFolder(tmp_path)
    found, lost = [], 0
    while folder.unread(folder.last):
        batch = folder.read(folder.last, entries_max=EVERYTHING, bytes_max=EVERYTHING)
        found += contents(batch.frames)
        lost += batch.lost
    assert lost >= 1
    assert len(found) == 12 - lost
    assert found[-1] == 11
    assert second.with_suffix(".damaged").exists()
    folder.close()
    # A segment that somebody took away is told, too.
    first.unlink()
    again = SpoolFolder(tmp_path)
    assert again.read(again.last, entries_max=1, bytes_max=1).lost > 0
    again.close()


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    folder = SpoolFolder(tmp_path)
    with pytest.raises(ConfigurationError, match="another process"):
        SpoolFolder(tmp_path)
    folder.close()


def test_dead_letters_are_kept_once_with_their_reason(tmp_path: Path) -> None:
    folder = filled(tmp_path, 2)
    frames = everything(folder)
    folder.bury(frames[0], status=422, codes=["invalid AuditEvent.agent"])
    folder.bury(frames[0], status=422, codes=[])
    folder.close()
    path = tmp_path / "dead-letters.ndjson"
    with path.open("ab") as file:
        file.write(b'{"position":')  # Half a letter, as a crash leaves it.
    again = SpoolFolder(tmp_path)
    again.bury(frames[0], status=422, codes=[])
    again.bury(frames[1], status=400, codes=[])
    assert again.letters == 2
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [(row["number"], row["status"], row["codes"]) for row in rows] == [
        (1, 422, ["invalid AuditEvent.agent"]),
        (2, 400, []),
    ]
    assert rows[0]["event"]["n"] == 0
    again.close()


def test_many_that_wait_share_one_write(tmp_path: Path) -> None:
    class Counting(SpoolFolder):
        writes = 0

        def append(self, events: Sequence[bytes], *, at_ms: int) -> int:
            self.writes += 1
            return super().append(events, at_ms=at_ms)

    folder = Counting(tmp_path)

    async def work() -> None:
        made = spool(folder)
        await asyncio.gather(*(made.record([EVENT % n, EVENT % n]) for n in range(200)))
        assert made.depth == 400
        batch = await made.batch()
        assert sorted(contents(batch.frames)) == sorted([*range(200), *range(200)])
        assert made.lag_seconds >= 0
        await made.acknowledge(400)
        assert made.depth == 0
        await made.close()

    run(work())
    assert folder.writes < 20


def test_a_full_spool_refuses_and_takes_again_when_there_is_room(tmp_path: Path) -> None:
    async def work() -> None:
        made = spool(SpoolFolder(tmp_path, segment_bytes=500), bytes_max=2_000)
        kept = 0
        while made.size_bytes < 2_000:
            await made.record([EVENT % kept])
            kept += 1
        with pytest.raises(ThrottledError):
            await made.record([EVENT % kept])
        assert not made.admits
        assert made.depth == kept
        await made.acknowledge(kept)
        assert made.admits
        await made.record([EVENT % 0])
        assert made.passed_unrecorded == 0
        await made.close()

    run(work())


def test_the_emergency_exception_lets_pass_and_leaves_a_gap_record(tmp_path: Path) -> None:
    time_now = [100.0]

    async def first() -> int:
        folder = SpoolFolder(tmp_path, segment_bytes=500)
        made = spool(folder, bytes_max=2_000, emergency=True, clock=lambda: time_now[0])
        for number in range(60):
            await made.record([EVENT % number])
            time_now[0] += 1
        assert made.admits
        assert made.passed_unrecorded > 10
        assert made.depth + made.passed_unrecorded == 60
        await made.close()  # The gap is remembered, though nothing could be written.
        return made.passed_unrecorded

    async def second(passed: int) -> None:
        folder = SpoolFolder(tmp_path, segment_bytes=500)
        made = spool(folder, bytes_max=2_000, emergency=True, clock=lambda: time_now[0])
        everything(folder)
        await made.acknowledge(folder.last)
        await made.probe()
        batch = await made.batch()
        ((since, until, count),) = (json.loads(frame.body)["gap"] for frame in batch.frames)
        assert count == passed
        assert (since, until) == (159_000 - (passed - 1) * 1_000, 159_000)
        await made.probe()
        assert made.depth == 1
        await made.close()

    run(second(run(first())))


def test_a_confirming_sink_waits_for_the_repository(tmp_path: Path) -> None:
    async def work() -> None:
        made = spool(SpoolFolder(tmp_path))
        sink = Confirming(made, seconds=0.05)
        with pytest.raises(StoreError, match="not confirmed"):
            await sink.record([EVENT % 1])
        patient = asyncio.create_task(Confirming(made, seconds=30).record([EVENT % 2]))
        batch = await made.batch()
        while len(batch.frames) < 2 and made.durable < 2:
            await asyncio.sleep(0.01)
        await made.acknowledge(2)
        await patient
        await made.close()

    run(work())


WRITER = """
import asyncio, json, sys, resource
from pathlib import Path
from caretrail.capture.spool import Spool
from caretrail.capture.spool_folder import SpoolFolder

async def main(folder, limit):
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    found = SpoolFolder(Path(folder), segment_bytes=20_000)
    spool = Spool(found, describe=lambda gap: [])
    print("start", found.last, flush=True)
    async def one(worker):
        for n in range(10**9):
            try:
                position = await spool.keep([b'{"n":"%d-%d","t":"%s"}' % (worker, n, b"x" * 200)])
            except Exception as error:
                print("refused", type(error).__name__, flush=True)
                return
            print("kept", position, f"{worker}-{n}", flush=True)
    await asyncio.gather(*(one(worker) for worker in range(8)))
    await spool.probe()
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def _written(folder: Path, *, limit: int = 0, seconds: float | None = None) -> dict[int, str]:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(limit)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("start")
        if seconds is not None:
            time.sleep(seconds)
            os.kill(process.pid, signal.SIGKILL)
        said = process.stdout.read()
    # A kill cuts the last line anywhere, and what stands there then was not said.
    rows = [line.split() for line in said[: said.rfind("\n") + 1].splitlines()]
    return {int(row[1]): row[2] for row in rows if row[0] == "kept"}


def test_nothing_that_was_kept_is_lost_by_a_kill_at_any_moment(tmp_path: Path) -> None:
    choice, kept = random.Random(5), dict[int, str]()
    for _ in range(6):
        new = _written(tmp_path, seconds=choice.uniform(0.01, 0.3))
        assert not kept.keys() & new.keys()
        kept |= new
    folder = SpoolFolder(tmp_path)
    assert folder.stopped_ms > 0
    frames = {frame.position: json.loads(frame.body)["n"] for frame in everything(folder)}
    assert list(frames) == list(range(1, len(frames) + 1))
    assert kept.items() <= frames.items()
    assert len(kept) > 50
    folder.close()


def test_a_full_disk_refuses_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    kept = _written(tmp_path, limit=10_000)
    assert kept
    folder = SpoolFolder(tmp_path)
    frames = everything(folder)
    # What was refused is not there: its answer was withheld, and it is not recorded by surprise.
    assert [frame.position for frame in frames] == sorted(kept)
    folder.append([EVENT % 1], at_ms=1)
    folder.close()


class Hanging(SpoolFolder):
    """A folder on a disk that takes nothing until it is told to, or that fails."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.goes_on = threading.Event()
        self.error: Exception | None = None

    def append(self, events: Sequence[bytes], *, at_ms: int) -> int:
        assert self.goes_on.wait(60)
        if self.error is not None:
            raise self.error
        return super().append(events, at_ms=at_ms)


def test_nobody_waits_for_a_disk_that_hangs_and_what_was_taken_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("caretrail.capture.spool.SPOOL_WRITE_SECONDS_MAX", 0.05)
    folder = Hanging(tmp_path)

    async def work() -> None:
        made = spool(folder)
        first = asyncio.create_task(made.record([EVENT % 1]))
        await asyncio.sleep(0)
        with pytest.raises(StoreError, match="too slow"):
            await asyncio.gather(first, made.record([EVENT % 2]))
        assert not made.admits
        gone = made.begin([EVENT % 3])
        gone.cancel()
        folder.goes_on.set()
        await made.keep([EVENT % 4])
        assert made.admits
        assert contents((await made.batch()).frames) == [1, 2, 3, 4]
        folder.goes_on.clear()
        last = made.begin([EVENT % 5])
        await asyncio.sleep(0)
        folder.goes_on.set()
        await made.close()  # It ends what was begun.
        assert await last == 5

    run(work())


def test_an_error_that_nobody_thought_of_is_told_to_whoever_waits(tmp_path: Path) -> None:
    folder = Hanging(tmp_path)
    folder.goes_on.set()

    async def work() -> None:
        made = spool(folder)
        folder.error = ZeroDivisionError()
        with pytest.raises(StoreError):
            await made.record([EVENT % 1])
        assert not made.admits
        folder.error = None
        await made.probe()
        assert made.admits
        await made.close()

    run(work())


def test_what_may_pass_passes_a_disk_that_fails(tmp_path: Path) -> None:
    folder = Hanging(tmp_path)
    folder.goes_on.set()

    async def work() -> None:
        made = spool(folder, emergency=True)
        folder.error = StoreError("no space")
        await made.record([EVENT % 1])
        with pytest.raises(StoreError):
            await made.keep([EVENT % 2])
        assert made.passed_unrecorded == 1
        folder.error = None
        await made.record([EVENT % 3])
        first, second = (await made.batch()).frames
        assert b'"gap"' in first.body
        assert json.loads(second.body)["n"] == 3
        await made.close()

    run(work())
