"""`caretrail verify` itself: its exit codes, and what it prints for people and for machines."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from caretrail.cli import commands
from caretrail.errors import ConfigurationError
from caretrail.publisher.anchors import TimeStamp, WriteOnceFolder
from tests.evidence import maker
from tests.evidence.test_stamps import stamped
from tests.publisher.authority import Authority, needs_openssl
from tests.verification import logs

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


def run(*arguments: str) -> Result:
    return CliRunner().invoke(commands, ["verify", *arguments])


def test_a_whole_folder_ends_with_0_and_a_changed_one_with_1(tmp_path: Path) -> None:
    logs.grow(tmp_path, 10)
    folder = str(tmp_path / "log")
    good = run(folder)
    assert good.exit_code == 0
    assert good.stdout.splitlines()[0].startswith("whole: 12 entries, root ")
    with logs.database(tmp_path) as db:
        db.execute("UPDATE event SET flags = flags + 1 WHERE entry = 3")
    bad = run(folder)
    assert bad.exit_code == 1
    assert bad.stdout.splitlines()[0] == "entry 3: the event is not what its leaf commits to"
    report = json.loads(run(folder, "--json").stdout)
    assert report["findings"][0]["entry"] == 3
    assert report["whole"] is False


def test_a_bundle_is_judged_by_its_own_verifier(tmp_path: Path) -> None:
    world = maker.World()
    bundle, policy = tmp_path / "evidence.zip", tmp_path / "policy"
    bundle.write_bytes(maker.archive(world.members()))
    policy.write_bytes(world.policy())
    good = run(str(bundle), "--policy", str(policy))
    assert (good.exit_code, good.stdout.splitlines()[0]) == (0, "EVERYTHING HOLDS."), good.stdout
    assert json.loads(run(str(bundle), "--policy", str(policy), "--json").stdout)["holds"]
    policy.write_text("quorum none\n")
    assert run(str(bundle), "--policy", str(policy)).exit_code == 1


@needs_openssl
def test_who_made_a_bundles_time_stamps_is_checked_on_request(tmp_path: Path) -> None:
    authority, world = Authority(tmp_path / "tsa"), maker.World()
    bundle, own, root = (tmp_path / name for name in ("evidence.zip", "own.pem", "root.pem"))
    own.write_bytes(authority.own)
    root.write_bytes(authority.root)
    stamps = {"a.tsr": stamped(authority, world.checkpoint())}
    bundle.write_bytes(world.resigned(world.members(world.evidence(timestamps=stamps))))
    good = run(str(bundle), "--tsa", str(own))
    assert (good.exit_code, "by CN=authority" in good.stdout) == (0, True), good.stdout
    bad = run(str(bundle), "--tsa", str(root))
    assert (bad.exit_code, "not signed by an authority" in bad.stdout) == (1, True)
    none = run(str(bundle), "--tsa", str(bundle))
    assert isinstance(none.exception, ConfigurationError)


@needs_openssl
def test_a_folders_write_once_checkpoints_and_time_stamps_are_checked(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "tsa"), Authority(tmp_path / "other")
    logs.grow(tmp_path, 10)
    note = logs.notes(tmp_path)[-1]
    worm, own, foreign = (tmp_path / name for name in ("worm", "own.pem", "foreign.pem"))
    own.write_bytes(authority.root + authority.own)
    foreign.write_bytes(other.root + other.own)
    stamp = TimeStamp(stamped(authority, note.format()), datetime.now(UTC))
    WriteOnceFolder(worm).keep(note, stamp)
    folder = (str(tmp_path / "log"), "--worm-folder", str(worm))
    good = run(*folder, "--tsa", str(own))
    assert good.exit_code == 0, good.stdout
    assert "checkpoints of the write-once folder (1), time stamps (1)" in good.stdout
    assert f"time-stamped: the first 12 entries, at {datetime.now(UTC).date()}" in good.stdout
    report = json.loads(run(*folder, "--tsa", str(own), "--json").stdout)
    assert report["stamped_size"] == 12
    assert "not checked: time stamps (no --tsa was given)" in run(*folder).stdout
    bad = run(*folder, "--tsa", str(foreign))
    assert bad.exit_code == 1
    assert "12.checkpoint: the time stamp does not hold" in bad.stdout
    for wrong in (
        (folder[0], "--tsa", str(own)),
        (*folder, "--tsa", str(tmp_path / "absent")),
        (folder[0], "--worm-folder", str(own)),
    ):
        assert isinstance(run(*wrong).exception, ConfigurationError)


def test_a_log_that_is_not_that_of_its_write_once_folder_is_found(tmp_path: Path) -> None:
    logs.grow(tmp_path / "long", 10)
    logs.grow(tmp_path / "other", 10, seed=2)
    note = logs.notes(tmp_path / "long")[-1]
    worm = tmp_path / "worm"
    WriteOnceFolder(worm).keep(note)
    (worm / "7.checkpoint").write_bytes(note.format())
    (worm / "8.checkpoint").write_bytes(b"no checkpoint")
    log = str(tmp_path / "long" / "log")
    lines = run(log, "--worm-folder", str(worm)).stdout.splitlines()
    assert lines[:2] == [
        "the log: the write-once folder, 7.checkpoint: its name is not its size",
        "the log: the write-once folder, 8.checkpoint: the note has no signatures, or does not end"
        " in a line",
    ]
    other = run(str(tmp_path / "other" / "log"), "--worm-folder", str(worm))
    assert other.exit_code == 1
    assert "the write-once folder, 12.checkpoint: " in other.stdout
    (worm / "empty").mkdir()
    empty = run(log, "--worm-folder", str(worm / "empty"))
    assert empty.exit_code == 0
    assert "not checked: checkpoints of the write-once folder (0)" in empty.stdout
