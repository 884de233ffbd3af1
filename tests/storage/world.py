"""A log in a folder, filled with synthetic events, for tests of storage and repository."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caretrail.demo import hospital
from caretrail.fhir import intake
from caretrail.repository import Repository, Sender, Stored, Submission
from caretrail.storage.sqlite import SqliteStorage

if TYPE_CHECKING:
    from pathlib import Path

END = 1_780_272_000_000  # 2026-06-01T00:00:00Z
SENDER = Sender("ehr", "clinic")


def bodies(count: int, *, seed: int = 1) -> list[bytes]:
    """Return synthetic events, each with an X-Request-Id of its own."""
    return list(hospital.bench_events(seed=seed, count=count, end_milliseconds=END))


def submission(body: bytes) -> Submission:
    found = intake.parse(body)
    return Submission(body, found.form, found.event)


def opened(folder: Path, **options: Any) -> Repository:
    return Repository(SqliteStorage(folder), **options)


async def filled(folder: Path, count: int, *, portion: int = 50) -> list[Stored]:
    """Make a log of `count` events and close it."""
    repository = opened(folder)
    stored: list[Stored] = []
    try:
        sent = [submission(body) for body in bodies(count)]
        for at in range(0, count, portion):
            stored += await repository.append(
                sent[at : at + portion], sender=SENDER, is_backfill=True
            )
    finally:
        await repository.close()
    return stored
