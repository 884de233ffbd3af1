"""What the commands `redact`, `retain`, `hold`, `recover` and `rotate-key` do with a data folder.

They open the log like the server does, which has to be stopped: one process writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caretrail import opening
from caretrail.privacy import erasing, holds
from caretrail.storage.data_keys import Month

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from caretrail.config import Settings
    from caretrail.privacy.erasing import Order


async def redact(
    settings: Settings, event_ids: Sequence[str], order: Order, say: Callable[[str], None]
) -> None:
    """Erase the contents of some events."""
    async with opening.opened(settings) as log:
        for entry in await erasing.redact(log.repository, event_ids, order):
            say(f"entry {entry}: its content is erased, its leaf stays")


async def retain(
    settings: Settings,
    before: str,
    order: Order,
    *,
    only_count: bool,
    progress: Callable[[int, int], None],
    say: Callable[[str], None],
) -> None:
    """Erase what is past its retention and under no hold."""
    async with opening.opened(settings) as log:
        run = await erasing.retain(
            log.repository,
            before=before,
            order=order,
            only_count=only_count,
            progress=progress,
        )
        erased = "nothing was erased (--dry-run)" if only_count else f"{run.erased} erased"
        say(f"{run.due} events are past their retention, {run.held} of them held; {erased}")


async def shred(settings: Settings, month: str, order: Order, say: Callable[[str], None]) -> None:
    """Erase a month and destroy its data key."""
    async with opening.opened(settings) as log:
        count = await erasing.shred(
            log.repository, log.repository.speaking(), month=Month.parse(month), order=order
        )
        say(f"{count} events erased; the data key of {month} is destroyed")


async def place_hold(
    settings: Settings, query: str, reason: str, say: Callable[[str], None]
) -> None:
    """Place a legal hold on what a search finds."""
    async with opening.opened(settings) as log:
        hold = await holds.place(log.repository, query, reason)
        say(f"hold {hold.number} is in force")


async def lift_hold(
    settings: Settings, number: int, reason: str, say: Callable[[str], None]
) -> None:
    """End a legal hold."""
    async with opening.opened(settings) as log:
        hold = await holds.lift(log.repository, number, reason)
        say(f"hold {hold.number} is lifted")


async def list_holds(settings: Settings, say: Callable[[str], None]) -> None:
    """Say which holds are in force."""
    async with opening.opened(settings) as log:
        found = await holds.in_force(log.repository)
        for hold in found:
            say(f"hold {hold.number}: {hold.query} ({hold.reason})")
        if not found:
            say("no hold is in force")


async def recover(settings: Settings, say: Callable[[str], None]) -> None:
    """Let a restored log go on under another name."""
    origin = await opening.recover(settings)
    say(f"the log goes on as {origin}: give its new key to the witnesses and to those who verify")


async def rotate_key(settings: Settings, following: Path, say: Callable[[str], None]) -> None:
    """Let another key take over."""
    key = await opening.rotate_key(settings, following)
    say("the next start signs with the new key; give it to the witnesses and to those who verify:")
    say(f"  {key}")
