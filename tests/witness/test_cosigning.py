"""The witness below HTTP: its clock, its disk, and a kill at the worst moment."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from caretrail.errors import ConfigurationError, StoreError, UnavailableError
from caretrail.settings import WitnessSettings
from caretrail.tlog.cosignature import time_of
from caretrail.tlog.note import Note, parse_signatures
from caretrail.tlog.policy import Policy
from caretrail.tlog.witness import Request, monitoring_path
from caretrail.witness.server import STATE_FILE, opened
from caretrail.witness.state_store import StateStore
from tests.publisher.log import ORIGIN, Log

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from caretrail.witness.cosigning import Answer, Witness

NOW = 1_700_000_000


def started(
    folder: Path, *logs: Log, clock: Callable[[], float], **others: Any
) -> AbstractContextManager[Witness]:
    settings = WitnessSettings(data=folder / "data", name="w.example/w", **others)
    return opened(settings, [log.vkey for log in logs], clock=clock)


def ask(witness: Witness, log: Log, old: int, new: int) -> Answer:
    proof = asyncio.run(log.prove(old=old, new=new)) if old else ()
    return witness.add_checkpoint(
        Request.make(asyncio.run(log.note(new)), old=old, proof=proof).format()
    )


def signed_at(answer: Answer) -> int:
    assert answer.status == 200
    (cosignature,) = parse_signatures(answer.body.decode())
    return time_of(cosignature)


def test_no_cosignature_is_earlier_than_the_one_before(tmp_path: Path) -> None:
    log, now = Log(tmp_path, size=9), [float(NOW)]
    with started(tmp_path, log, clock=lambda: now[0]) as witness:
        assert signed_at(ask(witness, log, 0, 1)) == NOW
        # Set right by some seconds: it waits for itself.
        now[0] = NOW - 200.5
        assert signed_at(ask(witness, log, 1, 2)) == NOW
        assert witness.health() == {}
        now[0] = NOW + 7.9
        assert signed_at(ask(witness, log, 2, 3)) == NOW + 7
    # Wrong by a year, also after a restart: nothing is vouched for, and nothing is stored.
    now[0] = NOW - 365 * 86_400
    with started(tmp_path, log, clock=lambda: now[0]) as witness:
        with pytest.raises(UnavailableError, match="clock"):
            ask(witness, log, 3, 4)
        assert "clock" in witness.health()
        now[0] = NOW + 8
        assert signed_at(ask(witness, log, 3, 4)) == NOW + 8
        assert ask(witness, log, 3, 4).body == b"4\n"


def test_the_clock_is_one_for_all_logs(tmp_path: Path) -> None:
    one, other = Log(tmp_path, size=3), Log(tmp_path, origin="other.example/log", size=3)
    now = [NOW]
    with started(tmp_path, one, other, clock=lambda: now[0]) as witness:
        assert signed_at(ask(witness, one, 0, 1)) == NOW
        now[0] -= 10
        assert signed_at(ask(witness, other, 0, 2)) == NOW
        kept = Note.parse(witness.checkpoint(monitoring_path("other.example/log")).body)
        assert kept.text == asyncio.run(other.note(2)).text


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.publisher.log import Log
from tests.witness.test_cosigning import NOW, ask, started

folder = Path(sys.argv[1])
log = Log(folder, size=9)
with started(folder, log, clock=lambda: NOW) as witness:
    assert ask(witness, log, 0, 5).status == 200
    os.kill(os.getpid(), signal.SIGKILL)  # Before anybody has got the answer.
"""


def test_an_answer_that_was_lost_is_given_again(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(Path.cwd())], check=False, timeout=60
    )
    assert done.returncode == -9
    log = Log(tmp_path, size=9)
    with started(tmp_path, log, clock=lambda: NOW + 1) as witness:
        assert ask(witness, log, 0, 5).body == b"5\n"
        assert signed_at(ask(witness, log, 5, 5)) == NOW + 1
        assert ask(witness, log, 5, 9).status == 200


def test_two_processes_on_one_state_are_one_witness(tmp_path: Path) -> None:
    log = Log(tmp_path, size=9)
    with (
        started(tmp_path, log, clock=lambda: NOW) as first,
        started(tmp_path, log, clock=lambda: NOW) as second,
    ):
        assert ask(first, log, 0, 3).status == 200
        assert ask(second, log, 0, 5).body == b"3\n"
        assert ask(second, log, 3, 5).status == 200
        assert ask(first, log, 3, 9).body == b"5\n"


def test_a_disk_that_cannot_be_written_costs_the_answer_and_not_the_state(tmp_path: Path) -> None:
    log = Log(tmp_path, size=9)
    with started(tmp_path, log, clock=lambda: NOW) as witness:
        assert ask(witness, log, 0, 3).status == 200
        other = sqlite3.connect(tmp_path / "data" / STATE_FILE)
        other.execute(
            "CREATE TRIGGER full BEFORE INSERT ON log BEGIN SELECT RAISE(FAIL, 'full'); END"
        )
        with pytest.raises(StoreError, match="cannot be written"):
            ask(witness, log, 3, 5)
        other.execute("DROP TRIGGER full")
        other.close()
        assert ask(witness, log, 3, 5).status == 200


def test_the_largest_tree_fits_and_a_later_version_is_left_alone(tmp_path: Path) -> None:
    log = Log(tmp_path)
    path = tmp_path / "data" / STATE_FILE
    note = asyncio.run(log.note(0))
    huge = note._replace(text=f"{ORIGIN}\n{2**63}\n{note.text.splitlines()[2]}\n")
    signed = Note(huge.text, (asyncio.run(log.signer.sign(huge.text)),))
    with started(tmp_path, log, clock=lambda: NOW) as witness:
        assert witness.add_checkpoint(Request.make(signed).format()).status == 200
    store = StateStore(path)
    row = store.get(ORIGIN)
    assert row is not None
    assert row.state.size == 2**63
    store.close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 2")
    database.close()
    with pytest.raises(ConfigurationError, match="another version"):
        StateStore(path)
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        StateStore(path / "below" / "it")


def test_a_second_key_of_ml_dsa_cosigns_as_well_and_stays(tmp_path: Path) -> None:
    log = Log(tmp_path, size=9)
    keys = []
    for size in (4, 9):
        with started(tmp_path, log, clock=lambda: NOW, sign_ml_dsa=True) as witness:
            assert witness.second is not None
            keys.append((witness.key, witness.second))
            answer = ask(witness, log, 4 if size > 4 else 0, size)
            note = Note.parse(witness.checkpoint(monitoring_path(ORIGIN)).body)
        assert len(parse_signatures(answer.body.decode())) == 2
        one, two = (key.format() for key in keys[-1])
        lines = f"log {log.vkey}\nwitness a {one}\nwitness b {two}\ngroup g all a b\nquorum g\n"
        accepted = Policy.parse(lines.encode()).accept(note)
        assert [found.time for found in accepted.witnesses] == [NOW, NOW]
    assert keys[0] == keys[1]
    # Without it the witness is the same, by its first key.
    with started(tmp_path, log, clock=lambda: NOW) as witness:
        assert (witness.key, witness.second) == (keys[0][0], None)
