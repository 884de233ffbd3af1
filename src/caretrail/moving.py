"""Moving a log to another store: entry by entry, with its tree, so that every proof goes on holding.

A copy can be broken off and gone on with: what is there already is compared by its root.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, Final

from caretrail.errors import ConfigurationError, VerificationError
from caretrail.storage.contract import Refused, Sender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from caretrail.storage.contract import Quarantined, Sealed, Storage

_PORTION_ENTRIES: Final = 1_000
_QUARANTINED_AT_ONCE: Final = 100


async def begin(source: Storage, target: Storage) -> bool:
    """Let an empty target become a copy of the source; tell whether it has to be opened anew.

    Raises ConfigurationError when the target has events that are not the source's.
    """
    if target.identity == source.identity:
        return False
    if target.found.size:
        raise ConfigurationError("the store has another log in it: choose one that is empty")
    await target.adopt(source.identity, source.page_key)
    await target.rename(origin=source.origin, keys=source.keys)
    return True


async def copy(source: Storage, target: Storage, *, progress: Callable[[int, int], None]) -> int:
    """Copy what the target does not have yet; return how many entries the log has.

    `progress` is told how many of how many entries are there. Raises VerificationError when the
    target's tree is not the source's.
    """
    size, tree = source.found.size, target.found
    proofs = source.proofs()
    if tree.size > size or tree.root() != await asyncio.to_thread(proofs.prover.root, tree.size):
        raise VerificationError("what was copied before is not what the log has now")
    while tree.size < size:
        end = min(size, tree.size + _PORTION_ENTRIES)
        entries = await asyncio.to_thread(_sealed, source, tree.size, end)
        tree = await target.graft(tree.size, entries)
        progress(tree.size, size)
    if tree.root() != source.found.root():
        raise VerificationError("the copy has another tree than the log")
    return size


async def copy_rest(source: Storage, target: Storage) -> None:
    """Copy what stands beside the entries: signed checkpoints, and what was refused."""
    there = {one.note for one in target.proofs().notes()}
    for one in source.proofs().notes():
        if one.note not in there:
            await target.publish(
                one.note, size=one.size, at=one.at, cosigned=one.cosigned, stays=one.stays
            )
    done = sum(1 for _ in _quarantined(target))
    for row in islice(_quarantined(source), done, None):
        sender = Sender(row.producer, row.organisation)
        await target.quarantine([Refused(row.body, row.issues)], sender, row.received)


def _sealed(source: Storage, start: int, end: int) -> list[Sealed]:
    return list(source.proofs().sealed(start, end))


def _quarantined(storage: Storage) -> Iterator[Quarantined]:
    reads, last = storage.searcher(), 0
    while rows := reads.quarantined(after=last, limit=_QUARANTINED_AT_ONCE):
        yield from rows
        last = rows[-1].number
