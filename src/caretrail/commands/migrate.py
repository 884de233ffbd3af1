"""What `caretrail migrate` does: a log goes into another store, and goes on there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from caretrail import moving
from caretrail.errors import ConfigurationError
from caretrail.storage import stores

if TYPE_CHECKING:
    from collections.abc import Callable

    from caretrail.storage.contract import LogPlace, Storage


async def migrate(
    source: LogPlace,
    target: LogPlace,
    *,
    name: str,
    progress: Callable[[int, int], None],
    say: Callable[[str], None],
) -> int:
    """Copy a log, check the copy, and let the old store say where it went; return the exit code.

    `name` is how the new store is told of. Broken off, it goes on where it was when it is run again.
    """
    old = await asyncio.to_thread(stores.open_store, source)
    try:
        new = await _begun(old, target)
        try:
            size = await moving.copy(old, new, progress=progress)
            await moving.copy_rest(old, new)
        finally:
            await new.close()
        say(f"{size} entries copied; checking the copy")
        report = await asyncio.to_thread(stores.verify, target)
        if not report.whole or report.root != old.found.root():
            for one in report.findings:
                say(f"entry {one.entry}: {one.what}" if one.entry is not None else one.what)
            raise ConfigurationError("the copy does not hold: the log stays where it is")
        await old.retire(name)
    finally:
        await old.close()
    say(f"the log goes on in {name}: start it with that store")
    return 0


async def _begun(old: Storage, target: LogPlace) -> Storage:
    new = await asyncio.to_thread(stores.open_store, target)
    try:
        is_changed = await moving.begin(old, new)
    except BaseException:
        await new.close()
        raise
    if not is_changed:
        return new
    await new.close()
    return await asyncio.to_thread(stores.open_store, target)
