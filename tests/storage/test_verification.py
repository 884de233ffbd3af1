"""Whatever is changed behind the log's back, `verify` finds it and names the entry."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from caretrail.errors import ConfigurationError
from caretrail.storage.sqlite import SqliteStorage, verify
from tests.storage import world

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 700  # More than two tiles, so that there are nodes.


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    asyncio.run(world.filled(folder, SIZE))
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


@pytest.fixture
def database(folder: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(folder / "log.sqlite", isolation_level=None)
    yield connection
    connection.close()


def test_a_log_that_nobody_touched_is_whole(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".sqlite"}
    report = verify(folder)
    assert report.whole, report.findings
    assert report.size == SIZE
    assert {name: (folder / name).read_bytes() for name in before} == before


# What a database administrator might do, and the lowest entry that it shows at (None: the log).
TAMPERINGS = {
    "an event's body is replaced by another's": ("UPDATE event SET body = (SELECT body FROM event WHERE entry = 9) WHERE entry = 5", 5),
    "a salt is changed": ("UPDATE event SET salt = zeroblob(32) WHERE entry = 6", 6),
    "an event is deleted": ("DELETE FROM event WHERE entry = 7", 7),
    "an event and its leaf are deleted": ("DELETE FROM event WHERE entry = 8; DELETE FROM leaf WHERE entry = 8", 8),
    "a leaf is changed": ("UPDATE leaf SET hash = zeroblob(32) WHERE entry = 9", 9),
    "two leaves are swapped": ("UPDATE leaf SET hash = (SELECT hash FROM leaf l WHERE l.entry = 21 - leaf.entry) WHERE entry IN (10, 11)", 10),
    "an event is filed under another time": ("UPDATE event SET k = k + 1048576000 WHERE entry = 12; UPDATE leaf SET k = k + 1048576000 WHERE entry = 12", 12),
    "an event gets another id": ("UPDATE event SET id = zeroblob(16) WHERE entry = 13", 13),
    "an event's flags are changed": ("UPDATE event SET flags = flags + 2 WHERE entry = 14", 14),
    "an event gets another form": ("UPDATE event SET form = 2 WHERE entry = 15", 15),
    "an event gets another producer": ("INSERT INTO producer VALUES (99, 'x', ''); UPDATE event SET producer = 99 WHERE entry = 16", 16),
    "a producer is renamed": ("UPDATE producer SET name = 'x'", 0),
    "a producer gets another organisation": ("UPDATE producer SET organisation = 'x'", 0),
    "the mark of an irregular instant is changed": ("UPDATE event SET irregular = 1 - irregular WHERE entry = 17", 17),
    "a fingerprint is deleted": ("DELETE FROM fingerprint WHERE entry = 18", 18),
    "a fingerprint is changed": ("UPDATE fingerprint SET value = value + 1 WHERE entry = 19", 19),
    "an event becomes the log's own": ("UPDATE event SET kind = 1 WHERE entry = 17", 17),
    "a time of receipt is changed": ("UPDATE leaf SET received = received + 1 WHERE entry = 18", 18),
    "an event is hidden as erased": ("DELETE FROM event WHERE entry = 19; UPDATE leaf SET k = NULL WHERE entry = 19; INSERT INTO erased VALUES (19, x'00', 3)", 19),
    "a number of a source is forgotten": ("INSERT INTO run VALUES (1, 5, 9, 0, 0)", None),
    "a fingerprint is added": ("INSERT INTO fingerprint VALUES (1, 1)", None),
    "an event is added": ("INSERT INTO event SELECT k + 1, 5000, randomblob(16), producer, kind, form, flags, irregular, salt, body FROM event WHERE entry = 3", None),
    "a count by hour is changed": ("UPDATE tally SET events = events + 1 WHERE hour = (SELECT min(hour) FROM tally)", None),
    "a count by day is changed": ("UPDATE counter SET events = events + 1 WHERE name = (SELECT min(name) FROM counter)", None),
    "a count by day is added": ("INSERT INTO counter VALUES ('acinvented', 1, 1)", None),
    "a count by day is removed": ("DELETE FROM counter WHERE name = (SELECT max(name) FROM counter)", None),
    "the postings of an event are removed": ("INSERT INTO term(term, rowid, terms) SELECT 'delete', k, 'TERMS' FROM leaf WHERE entry = 20", 20),
    "a posting is added": ("INSERT INTO term(rowid, terms) SELECT k, 'acinvented' FROM leaf WHERE entry = 21", 21),
    "a posting of no event is added": ("INSERT INTO term(rowid, terms) VALUES (4711, 'acinvented')", None),
    "a node is changed": ("UPDATE node SET hash = zeroblob(32) WHERE level = 8 AND place = 1", 511),
    "a node is added": ("INSERT INTO node VALUES (8, 9, zeroblob(32))", None),
    "the tail is cut off": ("DELETE FROM event WHERE entry > 650; DELETE FROM leaf WHERE entry > 650; DELETE FROM fingerprint WHERE entry > 650", 651),
    "the head is changed": ("UPDATE head SET root = zeroblob(32)", SIZE - 1),
    "a checkpoint is changed": ("UPDATE checkpoint SET root = zeroblob(32)", SIZE - 1),
    "a dictionary is changed": ("UPDATE dictionary SET data = zeroblob(1000)", 0),
    "the log's id is changed": ("UPDATE property SET value = zeroblob(16) WHERE name = 'log'", 0),
    "a trigger is put in": ("CREATE TRIGGER quiet AFTER INSERT ON event BEGIN DELETE FROM event WHERE entry = new.entry; END", None),
    "a rule of a table is changed": ("PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = replace(sql, 'one = 1', 'one > 0') WHERE name = 'head'", None),
    "the key of the tags is changed": ("UPDATE property SET value = zeroblob(32) WHERE name = 'tag-key'", 0),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERINGS)
def test_verify_finds_and_names_it_when(
    name: str, folder: Path, database: sqlite3.Connection
) -> None:
    script, entry = TAMPERINGS[name]
    if "TERMS" in script:
        database.execute("CREATE VIRTUAL TABLE temp.v USING fts5vocab(main, term, 'instance')")
        terms = database.execute(
            "SELECT group_concat(term, ' ') FROM temp.v WHERE doc = (SELECT k FROM leaf WHERE entry = 20)"
        ).fetchone()[0]
        script = script.replace("TERMS", terms)
    database.executescript(script)
    report = verify(folder)
    assert not report.whole
    first = report.first()
    assert first is not None
    assert first.entry == entry, report.findings[:3]


def test_verify_reads_a_log_that_is_being_written(tmp_path: Path) -> None:
    asyncio.run(world.filled(tmp_path, 50))
    storage = SqliteStorage(tmp_path)
    try:
        assert verify(tmp_path).size == 50
    finally:
        asyncio.run(storage.close())


def test_verify_says_what_to_do_where_there_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--data"):
        verify(tmp_path)


def test_a_flipped_byte_in_the_file_is_found(folder: Path) -> None:
    path = folder / "log.sqlite"
    data = bytearray(path.read_bytes())
    step = len(data) // 40
    for at in range(step // 2, len(data), step):
        changed = bytearray(data)
        changed[at] ^= 0x55
        path.write_bytes(changed)
        try:
            whole = verify(folder).whole
        except ConfigurationError:
            whole = False
        # Free space inside pages answers nothing; every other byte has to matter.
        if whole:
            assert _same_answers(data, path), at


def _same_answers(data: bytearray, path: Path) -> bool:
    changed = _dump(path)
    path.write_bytes(data)
    return changed == _dump(path)


def _dump(path: Path) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        tables = (
            "event",
            "leaf",
            "fingerprint",
            "tally",
            "counter",
            "node",
            "producer",
            "dictionary",
        )
        rows = [row for table in tables for row in connection.execute(f"SELECT * FROM {table}")]
        connection.execute("CREATE VIRTUAL TABLE temp.v USING fts5vocab(main, term, 'instance')")
        return rows + connection.execute("SELECT term, doc FROM temp.v").fetchall()
    finally:
        connection.close()
