"""Verification beside the server: it finishes, goes on after a restart, says what it found."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from caretrail.app import Server
from caretrail.storage.sqlite.verification import verify, verify_patiently
from caretrail.verification import background
from caretrail.verification.background import Background, Result
from tests.storage import world
from tests.verification import logs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from caretrail.storage.report import State


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("original")
    asyncio.run(world.filled(home / "log", 4_500, portion=500))
    return home


@pytest.fixture
def home(original: Path, tmp_path: Path) -> Path:
    return logs.copied(original, tmp_path / "home")


def interrupted(home: Path, after: int) -> State:
    """Return how far a verification was that was stopped after some ranges."""
    states: list[State] = []

    def rest(state: State) -> None:
        states.append(state)
        if len(states) == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify_patiently(home / "log", None, rest=rest)
    return states[-1]


def test_a_patient_verification_says_what_a_hasty_one_says(home: Path) -> None:
    hasty = verify(home / "log")
    patient = verify_patiently(home / "log", None, rest=lambda _: None)
    assert (patient.findings, patient.root) == ([], hasty.root)


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_verification_that_was_cut_off_goes_on(home: Path, after: int) -> None:
    state = interrupted(home, after)
    assert 0 < state.done <= 4_500
    report = verify_patiently(home / "log", state, rest=lambda _: None)
    assert (report.findings, report.size) == ([], 4_500)


def test_what_was_found_before_the_restart_is_not_forgotten(home: Path) -> None:
    with logs.database(home) as db:
        db.execute("UPDATE event SET salt = zeroblob(32) WHERE entry = 6")
    state = interrupted(home, 2)
    with logs.database(home) as db:  # Even if somebody puts it right in between.
        db.execute("UPDATE event SET flags = flags WHERE entry = 6")
    report = verify_patiently(home / "log", state, rest=lambda _: None)
    first = report.first()
    assert first is not None
    assert first.entry == 6


def test_events_that_come_meanwhile_disturb_nothing(home: Path) -> None:
    state = interrupted(home, 1)

    async def append() -> None:
        repository = world.opened(home / "log")
        sent = [world.submission(body) for body in world.bodies(30, seed=5)]
        await repository.append(sent, sender=world.SENDER, is_backfill=True)
        await repository.close()

    asyncio.run(append())
    report = verify_patiently(home / "log", state, rest=lambda _: None)
    assert (report.findings, report.size) == ([], 4_500)


def test_nothing_is_held_open_while_it_rests(home: Path) -> None:
    """The journal can be emptied at every rest: no reader holds it."""
    busy: list[int] = []

    def rest(_: State) -> None:
        with logs.database(home) as db:
            db.execute("UPDATE property SET value = value WHERE name = 'log'")
            busy.append(db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])

    assert verify_patiently(home / "log", None, rest=rest).whole
    assert set(busy) == {0}


def results(home: Path, *, hours: float = 1.0) -> list[Result]:
    """Let one run come to its end, and return what it told."""
    told: list[Result] = []

    async def run() -> None:
        done = asyncio.Event()

        async def note(result: Result) -> None:
            told.append(result)
            done.set()

        running = Background(home / "log", hours=hours, on_result=note, start_seconds=0.0)
        running.start()
        await asyncio.wait_for(done.wait(), 300)
        health = running.health()
        assert health["verified_size"] == told[0].size
        assert health["status"] == ("findings" if told[0].findings else "ok")
        await running.close()

    asyncio.run(run())
    return told


def test_a_run_in_a_child_ends_with_a_result_that_outlives_the_process(home: Path) -> None:
    (result,) = results(home)
    assert (result.size, result.findings, result.first) == (4_500, 0, "")
    saved = background.read(home / "log")
    assert (saved.last, saved.state) == (result, None)
    again = Background(home / "log", hours=1, on_result=asyncio.sleep)
    assert again.health()["verified_size"] == 4_500
    assert os.stat(home / "log" / background.FILE).st_mode & 0o077 == 0


def test_a_finding_stands_in_health_and_in_the_log_file_once(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with logs.database(home) as db:
        db.execute("UPDATE event SET salt = zeroblob(32) WHERE entry = 6")
    (result,) = results(home)
    assert (result.findings, result.first.partition(":")[0]) == (1, "entry 6")
    (record,) = [one for one in caplog.records if "NOT WHOLE" in one.message]
    assert record.first == result.first  # type: ignore[attr-defined]


def test_what_cannot_be_read_of_an_earlier_run_begins_anew(home: Path) -> None:
    (home / "log" / background.FILE).write_bytes(b"{")
    assert background.read(home / "log") == background.Saved()
    assert results(home)[0].findings == 0


def test_no_run_begins_where_it_is_switched_off(home: Path) -> None:
    async def run() -> None:
        running = Background(home / "log", hours=0, on_result=asyncio.sleep, start_seconds=0.0)
        running.start()
        await asyncio.sleep(0.05)
        assert running.health()["verifying"] == "switched off"
        await running.close()

    asyncio.run(run())


def test_a_server_says_in_ready_and_metrics_what_was_verified(tmp_path: Path) -> None:
    """A run leaves one event of the log's own, and nothing else."""

    @asynccontextmanager
    async def started() -> AsyncIterator[Server]:
        server = Server(logs.settings(tmp_path))
        async with server.opened():
            yield server

    async def run() -> None:
        async with started() as server:
            size = server.repository.size
            result = Result(1_780_000_000.0, size, 2, 3.0, "entry 6: the event is missing")
            await server.record_verification(result)
            assert server.repository.size == size + 1
            assert b"caretrail_" in server.metrics.text()

    asyncio.run(run())
