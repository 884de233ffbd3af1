"""What a server's start tells of itself: settings, version, clock; and before posts are taken."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from caretrail import clock, config, opening, os_account, retrieving, starting
from caretrail.clock import Reading
from caretrail.errors import StoreError, TooCostlyError
from caretrail.limits import CLOCK_STEP_MILLISECONDS
from caretrail.patterns import codes, own
from caretrail.repository import OWN
from caretrail.search.query import parse
from caretrail.settings import Settings
from caretrail.tlog.entry import Kind
from tests.opening.logs import append, run, settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from caretrail.opening import Opened
    from caretrail.repository import Repository


async def said(repository: Repository) -> list[tuple[list[str], dict[str, str]]]:
    """Return the subtypes and details of all that the log has said of itself."""
    query = parse([("_sort", "_lastUpdated")], strict=True, base="")
    found = []
    async for record in repository.every(query):
        if record.kind == Kind.OWN:
            (entity,) = record.event.entity or ()
            details = {row.type: row.valueString or "" for row in entity.detail or ()}
            found.append(([one.code or "" for one in record.event.subtype or ()], details))
    return found


def serve(
    using: Settings, work: Callable[[Opened], Awaitable[Any]] | None = None
) -> list[tuple[list[str], dict[str, str]]]:
    """Open the log as a server does; return what it had said once posts would be taken."""

    async def main() -> list[tuple[list[str], dict[str, str]]]:
        async with opening.opened(using, is_server=True) as log:
            if work is not None:
                await work(log)
            return await said(log.repository)

    return asyncio.run(main())


def subtypes(found: list[tuple[list[str], dict[str, str]]]) -> list[str]:
    return [codes_[0] for codes_, _ in found]


SETTINGS = [own.SECURITY_CONFIGURATION.code, own.SETTINGS.code]


def test_the_first_start_tells_all_settings_and_no_later_one_does(tmp_path: Path) -> None:
    using = settings(tmp_path, worm_folder=tmp_path / "canary")
    (kind, details), (start, _) = serve(using)
    assert kind == SETTINGS
    assert start == [codes.APPLICATION_START.code]
    assert details["setting:port"] == "8080"
    assert details["account"] == os_account.current().name
    assert "canary" not in str(details)
    assert str(tmp_path) not in str(details)
    assert len(details["setting:worm_folder"]) == 32
    again = serve(using)
    assert subtypes(again) == ["110129", "110120", "110121", "110120"]


def test_a_change_is_told_before_and_after_and_before_the_start(tmp_path: Path) -> None:
    serve(settings(tmp_path))
    changed = settings(tmp_path, port=9_000, worm_folder=tmp_path / "worm")
    *_, (kind, details), (start, _) = serve(changed)
    assert (kind, start) == (SETTINGS, ["110120"])
    assert (details["before:port"], details["after:port"]) == ("8080", "9000")
    assert details["before:worm_folder"] == own.UNSET
    assert len(details["after:worm_folder"]) == 32
    assert "before:host" not in details
    # What is compared with is the last start, and not the first.
    *_, (_, back), _ = serve(settings(tmp_path, worm_folder=tmp_path / "worm"))
    assert (back["before:port"], back["after:port"]) == ("9000", "8080")
    assert "before:worm_folder" not in back


def test_a_command_compares_nothing(tmp_path: Path) -> None:
    serve(settings(tmp_path))

    async def work(log: Opened) -> list[tuple[list[str], dict[str, str]]]:
        return await said(log.repository)

    found = run(settings(tmp_path, port=1), work)
    assert subtypes(found) == ["110129", "110120", "110121", "110120"]


def test_what_a_named_file_holds_is_a_setting(tmp_path: Path) -> None:
    file = tmp_path / "certificates.pem"
    file.write_text("one")
    using = settings(tmp_path, timestamp_certificates=file)
    serve(using)
    file.write_text("two")
    *_, (kind, details), _ = serve(using)
    assert kind == SETTINGS
    assert details["before:timestamp_certificates"] != details["after:timestamp_certificates"]


def test_reads_that_are_recorded_no_more_are_told(tmp_path: Path) -> None:
    serve(settings(tmp_path))
    *_, (stopped, details), _ = serve(settings(tmp_path, insecure_no_auth=True))
    assert (stopped, details["scope"]) == (["110133"], "reads of the log")
    *_, (started, _), _ = serve(settings(tmp_path))
    assert started == ["110134"]


def forged(number: int) -> bytes:
    """Return an event of somebody who wants to be the log."""
    return json.dumps(
        {
            "resourceType": "AuditEvent",
            "id": f"forged-{number}",
            "type": {"system": codes.DCM, "code": "110113"},
            "subtype": [{"system": own.SETTINGS.system, "code": own.SETTINGS.code}],
            "recorded": "2026-11-24T12:00:00Z",
            "agent": [{"requestor": True}],
            "source": {"observer": {"display": "not the log"}},
            "entity": [{"detail": [{"type": "setting:port", "valueString": "1"}]}],
        }
    ).encode()


def test_nobody_else_can_say_what_the_settings_were(tmp_path: Path) -> None:
    serve(settings(tmp_path))
    run(settings(tmp_path), append(*map(forged, range(3))))
    assert serve(settings(tmp_path))[-1][1]["stopped-before"] == "clean"
    assert subtypes(serve(settings(tmp_path))).count("110129") == 1


def test_events_that_look_like_the_logs_own_are_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many somebody sends, what the log says itself is found beside them."""
    serve(settings(tmp_path))
    run(settings(tmp_path), append(*map(forged, range(50))))
    read: list[str] = []
    search = retrieving.search

    def counted(*given: Any) -> Any:
        page = search(*given)
        read.extend(record.producer for record in page.records)
        return page

    async def ask(log: Opened) -> None:
        monkeypatch.setattr(retrieving, "search", counted)
        last = await starting.last_settings(log.repository)
        assert last is not None
        assert last["port"] == "8080"

    run(settings(tmp_path), ask)
    assert set(read) == {OWN.producer}


def test_a_start_does_not_fail_over_a_search_that_takes_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: object) -> Any:
        raise TooCostlyError("too long")

    monkeypatch.setattr(retrieving, "search", slow)
    using = settings(tmp_path)

    async def main() -> int:
        async with opening.opened(using, is_server=True) as log:
            return log.repository.size

    assert asyncio.run(main()) == 2


def test_another_version_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(settings(tmp_path))
    monkeypatch.setattr(starting, "__version__", "99.1")
    *_, (kind, details), (_, start) = serve(settings(tmp_path))
    assert kind == ["110131"]
    assert details["after:version"] == start["version"] == "99.1"


def test_a_clock_that_was_set_back_while_nothing_ran_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(settings(tmp_path))
    real = clock.milliseconds()
    monkeypatch.setattr(clock, "milliseconds", lambda: real - 3_600_000)
    found = serve(settings(tmp_path))
    (step,) = [details for kind, details in found if kind == [own.CLOCK_STEP.code]]
    assert int(step["milliseconds"]) <= -3_590_000


@pytest.mark.parametrize(
    ("wall", "steady", "moved"),
    [
        (5_000, 5_000, 0),
        (5_000 + CLOCK_STEP_MILLISECONDS - 1, 5_000, 0),
        (5_000 + CLOCK_STEP_MILLISECONDS, 5_000, CLOCK_STEP_MILLISECONDS),
        (-60_000, 5_000, -65_000),
    ],
)
def test_a_step_is_what_the_wall_moved_beyond_the_steady_clock(
    wall: int, steady: int, moved: int
) -> None:
    assert clock.step(Reading(1_000, 7), Reading(1_000 + wall, 7 + steady)) == moved


def test_the_clocks_of_this_machine_are_read_in_milliseconds() -> None:
    first, second = clock.reading(), clock.reading()
    assert second.steady >= first.steady
    assert abs(first.wall - clock.milliseconds()) < 3_600_000


def test_a_step_while_the_log_is_open_is_told_once_and_after_a_failure(tmp_path: Path) -> None:
    walls = iter([0, 10, -9_000, -8_990])
    last = [0, 0]

    def read() -> Reading:
        last[0] = 1_764_061_200_000 + next(walls, -8_980)
        last[1] += 10
        return Reading(*last)

    async def work(log: Opened) -> None:
        keep, failures = log.repository.record_own, 1

        async def once_broken(event: dict[str, Any]) -> Any:
            nonlocal failures
            if failures:
                failures -= 1
                raise StoreError("full for now")
            return await keep(event)

        log.repository.record_own = once_broken  # type: ignore[method-assign]
        watch = asyncio.create_task(starting.watch_clock(log.repository, read=read, seconds=0.001))
        async with asyncio.timeout(60):
            while not [1 for kind, _ in await said(log.repository) if kind == ["clock-step"]]:
                await asyncio.sleep(0.01)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)

    found = serve(settings(tmp_path), work)
    steps = [details for kind, details in found if kind == ["clock-step"]]
    assert len(steps) == 1
    assert int(steps[0]["milliseconds"]) < -8_000


def test_every_value_that_is_not_shown_is_a_digest() -> None:
    using = Settings(signing_command="sign --pin canary", signing_command_key="key")
    shown = config.facts(using, digest=lambda text: f"<{len(text)}>")
    assert shown["signing_command"] == "<17>"
    assert shown["signing_command_key"] == "key"
    assert shown["worm_folder"] == ""


def test_the_account_is_the_one_that_called_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setenv("SUDO_UID", "4123456789")
    assert os_account.current() == ("uid 4123456789", 4123456789)
    monkeypatch.setenv("SUDO_UID", "not a number")
    assert os_account.current().number == 0
    monkeypatch.setattr(os, "getuid", lambda: 7_654_321)
    assert os_account.current().number == 7_654_321
