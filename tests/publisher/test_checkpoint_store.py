"""The checkpoint store: one truth about what was signed last, whoever is killed, and when."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from caretrail.errors import (
    ConfigurationError,
    ConflictError,
    StoreError,
    UnavailableError,
    VerificationError,
)
from caretrail.publisher import checkpoint_store
from caretrail.publisher.checkpoint_store import CheckpointStore
from caretrail.tlog.checkpoint import Checkpoint, sign
from caretrail.tlog.keys import Ed25519PrivateKey
from caretrail.tlog.note import NoteSigner

if TYPE_CHECKING:
    from pathlib import Path

ORIGIN = "log.example/caretrail"


def note(size: int, *, origin: str = ORIGIN, root: bytes = b"r") -> bytes:
    signer = NoteSigner(origin, Ed25519PrivateKey(b"L" * 32))
    return sign(Checkpoint(origin, size, root * 32), [signer]).format()


def store(folder: Path) -> CheckpointStore:
    return CheckpointStore(folder / "checkpoints", data=folder / "caretrail-data")


def test_what_was_set_is_there_after_a_restart_for_each_log(tmp_path: Path) -> None:
    first, other = note(3), note(5, origin="other.example/log")
    opened = store(tmp_path)
    assert opened.get(ORIGIN) is None
    opened.set(ORIGIN, expected=None, new=first)
    opened.set("other.example/log", expected=None, new=other)
    opened.set(ORIGIN, expected=first, new=note(4))
    assert store(tmp_path).get(ORIGIN) == note(4)
    assert store(tmp_path).get("other.example/log") == other
    assert (tmp_path / "checkpoints").stat().st_mode & 0o777 == 0o600


def test_who_believes_in_another_checkpoint_is_told(tmp_path: Path) -> None:
    opened = store(tmp_path)
    opened.set(ORIGIN, expected=None, new=note(3))
    for expected in (None, note(2), note(3, root=b"x")):
        with pytest.raises(ConflictError, match="running twice, or from a restored copy"):
            store(tmp_path).set(ORIGIN, expected=expected, new=note(9))
    assert opened.get(ORIGIN) == note(3)


def test_nothing_goes_back_or_sideways(tmp_path: Path) -> None:
    opened = store(tmp_path)
    opened.set(ORIGIN, expected=None, new=note(3))
    for wrong in (note(2), note(3, root=b"x"), note(4, origin="other.example/log"), b"no note"):
        with pytest.raises(VerificationError):
            opened.set(ORIGIN, expected=note(3), new=wrong)
    assert opened.get(ORIGIN) == note(3)
    opened.set(ORIGIN, expected=note(3), new=note(3))


def test_the_store_is_not_in_the_folder_that_is_backed_up(tmp_path: Path) -> None:
    for data in (tmp_path, tmp_path / "x" / ".."):
        with pytest.raises(ConfigurationError, match="inside the data folder"):
            CheckpointStore(tmp_path / "checkpoints", data=data)


def test_of_many_that_set_at_once_one_wins_each_time(tmp_path: Path) -> None:
    opened = [store(tmp_path) for _ in range(4)]
    expected = None
    for size in range(1, 6):
        contenders = [note(size, root=bytes([65 + n])) for n in range(4)]

        def attempt(n: int, new: list[bytes] = contenders, old: bytes | None = expected) -> bool:
            try:
                opened[n].set(ORIGIN, expected=old, new=new[n])
            except ConflictError:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            won = list(pool.map(attempt, range(4)))
        assert sum(won) == 1
        expected = contenders[won.index(True)]
        assert store(tmp_path).get(ORIGIN) == expected


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data.replace(b"\\n3\\n", b"\\n4\\n"),
        lambda data: b"",
        lambda data: data + b"x",
        lambda data: b"\xff" + data,
        lambda data: data.partition(b"\n")[2],
    ],
)
def test_a_damaged_store_stops_everything_and_says_what_to_do(
    tmp_path: Path, damage: object
) -> None:
    opened = store(tmp_path)
    opened.set(ORIGIN, expected=None, new=note(3))
    path = tmp_path / "checkpoints"
    assert callable(damage)
    damaged = damage(path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    for use in (
        lambda: store(tmp_path),
        lambda: opened.get(ORIGIN),
        lambda: opened.set(ORIGIN, expected=note(3), new=note(4)),
    ):
        with pytest.raises(ConfigurationError, match="is damaged"):
            use()
    assert path.read_bytes() == damaged


def test_a_lock_that_stays_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = store(tmp_path)
    monkeypatch.setattr(checkpoint_store, "CHECKPOINT_STORE_SECONDS_MAX", 0.1)
    with (tmp_path / "checkpoints.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UnavailableError, match="locked"):
            opened.set(ORIGIN, expected=None, new=note(3))
    opened.set(ORIGIN, expected=None, new=note(3))


def test_a_store_that_cannot_be_written_says_so_and_keeps_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = store(tmp_path)
    opened.set(ORIGIN, expected=None, new=note(3))
    (tmp_path / ".checkpoints.new").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        opened.set(ORIGIN, expected=note(3), new=note(4))
    (tmp_path / ".checkpoints.new").rmdir()
    monkeypatch.setattr(checkpoint_store, "CHECKPOINT_STORE_BYTES_MAX", 450)
    with pytest.raises(StoreError, match="full"):
        opened.set("other.example/log", expected=None, new=note(1, origin="other.example/log"))
    assert opened.get(ORIGIN) == note(3)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be made"):
        CheckpointStore(tmp_path / "file" / "checkpoints", data=tmp_path / "caretrail-data")


# It forks at each size, kills the child at the next line of Python of ours or of the system's
# calls, and prints what the survivor finds: each line is a restart after a kill.
KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from caretrail.publisher.checkpoint_store import CheckpointStore
from tests.publisher.test_checkpoint_store import ORIGIN, note, store

folder = Path(sys.argv[1])
store(folder).set(ORIGIN, expected=None, new=note(1))
size, lines = 1, 0
while True:
    child = os.fork()
    if not child:
        left = [lines]
        def trace(frame, event, _):
            if frame.f_code.co_filename.endswith(("checkpoint_store.py", "durable_file.py")):
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
            return trace
        opened, new = store(folder), note(size + 1)
        sys.settrace(trace)
        opened.set(ORIGIN, expected=note(size), new=new)
        sys.settrace(None)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    found = store(folder).get(ORIGIN)
    assert found in (note(size), note(size + 1)), lines
    print(lines, os.WIFSIGNALED(status), found == note(size + 1), flush=True)
    size += found == note(size + 1)
    if not os.WIFSIGNALED(status):
        break
    lines += 1
"""


def test_a_kill_at_any_line_leaves_the_old_or_the_new_checkpoint(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(tmp_path.cwd())],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not done.returncode, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    killed = [stored == "True" for _, was_killed, stored in rows if was_killed == "True"]
    # It was killed before and after the new one took its place, and many times.
    assert len(killed) > 60
    assert True in killed
    assert False in killed
    assert rows[-1][1:] == ["False", "True"]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["checkpoints", "checkpoints.lock"]
