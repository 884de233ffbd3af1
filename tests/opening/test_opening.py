"""Opening a log: what it says of itself, and what it refuses to continue (integrity, drills)."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from caretrail import opening, starting
from caretrail.errors import ConfigurationError, VerificationError
from caretrail.patterns import own
from caretrail.search.query import parse
from caretrail.storage.sqlite import SqliteStorage, verify
from caretrail.tlog.key_history import KeyHistory
from caretrail.tlog.note import Note
from tests.opening.logs import append, nothing, run, settings
from tests.storage import world

if TYPE_CHECKING:
    from pathlib import Path

    from caretrail.opening import Opened
    from caretrail.settings import Settings

BODIES = world.bodies(12)


def facts(tmp_path: Path, **rest: Any) -> list[tuple[str, dict[str, str]]]:
    """Return what the log said of itself: the subtype's code, and the details."""

    async def work(log: Opened) -> list[tuple[str, dict[str, str]]]:
        query = parse(
            [
                ("source.identifier", f"{own.ORIGIN_SYSTEM}|{log.repository.origin}"),
                ("_sort", "_lastUpdated"),
            ],
            strict=True,
            base="",
        )
        found = []
        async for record in log.repository.every(query):
            (entity,) = record.event.entity or ()
            details = {row.type: row.valueString or "" for row in entity.detail or ()}
            subtype = record.event.subtype
            found.append(((subtype[0].code or "") if subtype else "", details))
        return found

    return run(settings(tmp_path, **rest), work)


def test_a_log_says_when_it_starts_and_stops(tmp_path: Path) -> None:
    run(settings(tmp_path), append(*BODIES))
    said = facts(tmp_path)
    assert [code for code, _ in said] == ["110120", "110121", "110120"]
    assert said[0][1]["tree-size"] == "0"
    assert said[2][1] == said[0][1] | {"tree-size": str(len(BODIES) + 2)}
    assert {details["stopped-before"] for code, details in said if code == "110120"} == {"clean"}


def test_an_unclean_stop_is_said_with_the_gap(tmp_path: Path) -> None:
    run(settings(tmp_path), append(*BODIES))
    # As a kill leaves it: the stop was never recorded.
    folder = tmp_path / "killed"
    using = replace(settings(tmp_path), data=folder)

    async def killed() -> None:
        async with opening.opened(using):
            await asyncio.to_thread(shutil.copytree, folder, tmp_path / "copy")

    asyncio.run(killed())
    shutil.rmtree(folder)
    (tmp_path / "copy").rename(folder)
    (tmp_path / "killed.checkpoint").unlink()

    async def work(log: Opened) -> list[str]:
        page = await log.repository.search(
            parse([("subtype", "110133,110120"), ("_sort", "_lastUpdated")], strict=True, base="")
        )
        return [str(entity.detail) for one in page.records for entity in one.event.entity or ()]

    first, gap, trust_or_start, *_ = run(replace(using, accept_new_checkpoint_store=True), work)
    assert "clean" in first
    assert "gap-since" in gap
    assert "unclean" in trust_or_start


def test_every_start_and_commit_ends_in_a_signed_checkpoint(tmp_path: Path) -> None:
    using = settings(tmp_path)
    run(using, append(*BODIES))
    report = verify(using.folder)
    storage = SqliteStorage(using.folder)
    note = Note.parse(opening.checkpoint_store(using).get(storage.origin) or b"")
    checkpoint = KeyHistory.parse(storage.keys).open(note).checkpoint
    asyncio.run(storage.close())
    assert (checkpoint.size, checkpoint.root) == (report.size, report.root)
    assert checkpoint.origin.startswith("caretrail/")


def test_a_checkpoint_follows_a_post_within_a_second(tmp_path: Path) -> None:
    async def work(log: Opened) -> None:
        (stored,) = await append(BODIES[0])(log)
        signed = await log.publisher.covering(stored.entry, cosigned=False, seconds=5)
        assert signed is not None
        assert log.publisher.health()["signed_size"] > stored.entry
        assert await log.publisher.covering(10**6, cosigned=False, seconds=0.01) is None

    run(settings(tmp_path), work)


def restored(tmp_path: Path) -> Settings:
    """Return settings of a log that was restored from a copy made before its last events."""
    using = settings(tmp_path)
    run(using, append(*BODIES[:6]))
    shutil.copytree(using.folder, tmp_path / "backup")
    run(using, append(*BODIES[6:]))
    shutil.rmtree(using.folder)
    (tmp_path / "backup").rename(using.folder)
    return using


def test_a_log_that_was_rolled_back_does_not_start(tmp_path: Path) -> None:
    using = restored(tmp_path)
    with pytest.raises(ConfigurationError, match="caretrail recover"):
        run(using, nothing)
    # Refusing has changed nothing: the newer copy would start.
    assert verify(using.folder).whole


def test_a_restored_log_goes_on_under_another_name(tmp_path: Path) -> None:
    using = restored(tmp_path)
    before = verify(using.folder)
    storage = SqliteStorage(using.folder)
    old = storage.origin
    asyncio.run(storage.close())
    signed = opening.checkpoint_store(using).get(old)
    assert signed is not None

    origin = asyncio.run(opening.recover(using))
    assert origin != old
    said = facts(tmp_path)
    assert said[0][1] == {
        "recovered-origin": old,
        "recovered-checkpoint": signed.decode(),
        "recovered-size": str(before.size),
    }
    # The old name has signed nothing since, and cannot: its key is out of use.
    assert opening.checkpoint_store(using).get(old) == signed
    assert (
        Note.parse(opening.checkpoint_store(using).get(origin) or b"").signatures[0].name == origin
    )
    assert verify(using.folder).whole


def test_a_forked_log_does_not_start(tmp_path: Path) -> None:
    using = restored(tmp_path)
    # Somebody lets the copy grow past what was signed, without the checkpoint store.
    apart = replace(using, checkpoint_store=tmp_path / "other", accept_new_checkpoint_store=True)
    run(apart, append(*reversed(BODIES)))
    with pytest.raises(ConfigurationError, match="not those that were signed"):
        run(using, nothing)


def test_a_log_without_its_checkpoint_store_needs_trust_and_says_so(tmp_path: Path) -> None:
    using = settings(tmp_path)
    run(using, append(*BODIES))
    (tmp_path / "log.checkpoint").unlink()
    with pytest.raises(ConfigurationError, match="--accept-new-checkpoint-store"):
        run(using, nothing)
    run(replace(using, accept_new_checkpoint_store=True), nothing)
    details = [one for _, one in facts(tmp_path) if "checkpoint-store" in one]
    assert [one["checkpoint-store"] for one in details] == ["new"]


def test_the_store_may_not_lie_in_the_data_folder(tmp_path: Path) -> None:
    using = settings(tmp_path, checkpoint_store=tmp_path / "log" / "checkpoint")
    with pytest.raises(ConfigurationError, match="inside the data folder"):
        run(using, nothing)


def test_another_key_does_not_sign(tmp_path: Path) -> None:
    using = settings(tmp_path)
    run(using, nothing)
    (using.folder / opening.SIGNING_KEY).unlink()
    with pytest.raises(ConfigurationError, match="rotate-key"):
        run(using, nothing)


def test_a_key_takes_over_by_an_entry_that_the_old_one_signed(tmp_path: Path) -> None:
    using = settings(tmp_path)
    run(using, append(*BODIES))
    old = KeyHistory.parse(_keys(using))
    key = asyncio.run(opening.rotate_key(using, tmp_path / "new.pem"))
    assert not (tmp_path / "new.pem").exists()
    history = KeyHistory.parse(_keys(using))
    assert [period.keys[0].format() for period in history.periods] == [
        old.periods[0].keys[0].format(),
        key,
    ]
    run(using, append(BODIES[0]))
    (said,) = [one for _, one in facts(tmp_path) if "key-since" in one]
    assert said == {"key-since": str(history.periods[1].since), "key": key}
    storage = SqliteStorage(using.folder)
    note = Note.parse(opening.checkpoint_store(using).get(storage.origin) or b"")
    asyncio.run(storage.close())
    # The latest is the new key's, by the history; the old key's periods do not open it.
    assert history.open(note).checkpoint.size == verify(using.folder).size
    with pytest.raises(VerificationError, match="signed"):
        old.open(note)


def _keys(using: Settings) -> str:
    connection = sqlite3.connect(using.folder / "log.sqlite")
    try:
        (value,) = connection.execute("SELECT value FROM property WHERE name = 'keys'").fetchone()
        return bytes(value).decode()
    finally:
        connection.close()


def test_a_second_signature_is_ml_dsa(tmp_path: Path) -> None:
    using = settings(tmp_path, sign_ml_dsa=True)
    run(using, append(*BODIES[:2]))
    storage = SqliteStorage(using.folder)
    note = Note.parse(opening.checkpoint_store(using).get(storage.origin) or b"")
    keys = KeyHistory.parse(storage.keys)
    asyncio.run(storage.close())
    assert len(note.signatures) == 2
    assert len(keys.open(note).verified) == 2


def test_the_digest_of_the_settings_follows_the_settings(tmp_path: Path) -> None:
    using = settings(tmp_path)
    assert starting.digest(using) == starting.digest(replace(using))
    assert starting.digest(using) != starting.digest(replace(using, require_date=True))
