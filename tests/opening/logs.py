"""A log opened like a command or the server opens it, with its keys and its checkpoint store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from caretrail import opening
from caretrail.fhir import intake
from caretrail.repository import Sender, Submission
from caretrail.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from caretrail.opening import Opened

SENDER = Sender("ehr", "clinic")


def settings(tmp_path: Path, **rest: Any) -> Settings:
    return Settings(data=tmp_path / "log", **rest)


def run(using: Settings, work: Callable[[Opened], Awaitable[Any]]) -> Any:
    """Open the log, do something, and close it."""

    async def main() -> Any:
        async with opening.opened(using) as log:
            return await work(log)

    return asyncio.run(main())


async def nothing(_: Opened) -> None:
    """Only start and stop."""


def append(*bodies: bytes) -> Callable[[Opened], Awaitable[Any]]:
    async def work(log: Opened) -> Any:
        sent = [Submission(body, 0, intake.parse(body).event) for body in bodies]
        return await log.repository.append(sent, sender=SENDER, is_backfill=True)

    return work
