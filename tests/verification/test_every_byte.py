"""Every byte of a data folder, flipped one after the other: found, or it changes no answer."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from caretrail.errors import ConfigurationError
from caretrail.storage.sqlite import folder as folders
from caretrail.storage.sqlite.searching import Searcher
from caretrail.verification.folder import verify_folder
from tests.verification import logs

if TYPE_CHECKING:
    from pathlib import Path

SLICES = 16


def answers(path: Path) -> list[object]:
    """Return all that an answer about events can come from."""
    with closing(sqlite3.connect(path)) as db:
        rows: list[object] = list(Searcher(db, folders.bodies_of(db)).entries(0, 10_000))
        for table in ("leaf", "fingerprint", "tally", "counter", "node", "erased"):
            rows += db.execute(f"SELECT * FROM {table}")
        db.execute("CREATE VIRTUAL TABLE temp.v USING fts5vocab(main, term, 'instance')")
        return rows + db.execute("SELECT term, doc FROM temp.v").fetchall()


def is_whole(home: Path) -> bool:
    try:
        return verify_folder(home / "log").report.whole
    except ConfigurationError:
        return False


def flip_all(home: Path, path: Path, places: range) -> int:
    """Flip each of these bytes, and return how many flips were found."""
    before, found = answers(home / "log" / "log.sqlite"), 0
    with path.open("r+b", buffering=0) as file:
        for at in places:
            (byte,) = os.pread(file.fileno(), 1, at)
            os.pwrite(file.fileno(), bytes([byte ^ 1 << at % 8]), at)
            if is_whole(home):
                assert answers(home / "log" / "log.sqlite") == before, at
            else:
                found += 1
            os.pwrite(file.fileno(), bytes([byte]), at)
    return found


def test_every_byte_of_the_checkpoint_store_matters(tmp_path: Path) -> None:
    logs.grow(tmp_path, 5)
    path = tmp_path / "log.checkpoint"
    size = path.stat().st_size
    assert flip_all(tmp_path, path, range(size)) == size


@pytest.mark.soak
@pytest.mark.parametrize("number", range(SLICES))
def test_a_flip_of_any_byte_of_the_database_is_found_or_changes_no_answer(
    number: int, tmp_path: Path
) -> None:
    logs.grow(tmp_path, 5)
    path = tmp_path / "log" / "log.sqlite"
    # Slices of every kind of page, so that they take alike long.
    assert flip_all(tmp_path, path, range(number, path.stat().st_size, SLICES))
    assert is_whole(tmp_path)
