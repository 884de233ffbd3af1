"""Signed logs with their checkpoint store, as the server makes them, and what an attacker has."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from caretrail import opening
from caretrail.settings import Settings
from caretrail.tlog.checkpoint import Checkpoint
from caretrail.tlog.note import Note
from tests.storage import world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from caretrail.publisher.signing_key import Signer


def settings(home: Path) -> Settings:
    """Return the settings of the log in `home/log`, whose checkpoint store is beside it."""
    return Settings(data=home / "log")


def grow(home: Path, count: int, *, seed: int = 1, erase: bool = False, erased: int = 2) -> None:
    """Start the log, append events, perhaps erase the first of them, and stop it."""

    async def run() -> None:
        async with opening.opened(settings(home)) as log:
            sent = [world.submission(body) for body in world.bodies(count, seed=seed)]
            stored = []
            for at in range(0, count, 100):
                stored += await log.repository.append(
                    sent[at : at + 100], sender=world.SENDER, is_backfill=True
                )
            if erase:
                entries = [one.entry for one in stored[:erased]]
                said = opening.own.erased(
                    log.repository.speaking(),
                    entries=entries,
                    policy="ten years",
                    requester="r",
                    approver="a",
                )
                cause = await log.repository.record_own(said)
                await log.repository.erase(entries, cause=cause.entry)

    asyncio.run(run())


def copied(home: Path, to: Path) -> Path:
    """Return a copy of the log and its store."""
    return shutil.copytree(home, to)


@contextmanager
def database(home: Path) -> Iterator[sqlite3.Connection]:
    """Open the database as its administrator would."""
    with closing(sqlite3.connect(home / "log" / "log.sqlite", isolation_level=None)) as connection:
        yield connection


def property_of(home: Path, name: str) -> str:
    with database(home) as db:
        (value,) = db.execute("SELECT value FROM property WHERE name = ?", (name,)).fetchone()
        return bytes(value).decode()


def notes(home: Path) -> list[Note]:
    """Return the signed checkpoints that the log keeps inside, oldest first."""
    with database(home) as db:
        rows = db.execute("SELECT note FROM signed ORDER BY number").fetchall()
    return [Note.parse(bytes(data)) for (data,) in rows]


def signers(home: Path) -> list[Signer]:
    """Return what whoever stole the key can sign with."""
    return opening.signers_of(settings(home), property_of(home, "origin"))


def sign(home: Path, checkpoint: Checkpoint) -> Note:
    """Sign whatever there is to sign with the log's key."""
    from caretrail.publisher import signing_key

    return asyncio.run(signing_key.sign(checkpoint, signers(home)))


def resign(home: Path) -> None:
    """Sign the tree as it is now, and keep that inside, in the place of all that was kept."""
    with database(home) as db:
        size, root = db.execute("SELECT size, root FROM head").fetchone()
        note = sign(home, Checkpoint(property_of(home, "origin"), size, bytes(root)))
        db.execute("DELETE FROM signed")
        row = (size, note.format())
        db.execute(
            "INSERT INTO signed(size, at, cosigned, stays, note) VALUES (?, 0, 0, 0, ?)", row
        )
