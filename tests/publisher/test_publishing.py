"""What the publisher does beside the log, when the store fails for a moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from caretrail.errors import StoreError
from tests.opening.logs import run, settings

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from caretrail.opening import Opened
    from caretrail.storage.sqlite import SqliteStorage


def test_a_store_that_fails_once_does_not_end_the_witnessing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails as the first cosigned checkpoint is kept; a later one is kept."""
    from caretrail.storage import sqlite

    policy = tmp_path / "policy"
    policy.write_text("quorum none\n")
    failures = iter([StoreError("the disk is full")])
    publish = sqlite.SqliteStorage.publish

    async def failing(self: SqliteStorage, note: bytes, *, cosigned: bool, **rest: Any) -> None:
        if cosigned:
            for failure in failures:
                raise failure
        await publish(self, note, cosigned=cosigned, **rest)

    async def witnessed(log: Opened) -> bool:
        async with asyncio.timeout(60):
            while log.publisher.cosigned is None:
                log.publisher.wake()
                await asyncio.sleep(0.1)
        return not list(failures)

    monkeypatch.setattr(sqlite.SqliteStorage, "publish", failing)
    assert run(settings(tmp_path, witness_policy=policy), witnessed)
