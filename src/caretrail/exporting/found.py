"""Which entries an export is of: the matches of its searches, in the order of the log."""

from __future__ import annotations

from array import array
from itertools import groupby
from typing import TYPE_CHECKING

from caretrail.limits import EXPORT_PORTION_ENTRIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from caretrail.exporting.selection import Selection
    from caretrail.repository import Repository

# A run of entries, from the first up to before the last.
Run = tuple[int, int]


async def matches(
    repository: Repository, selection: Selection, *, until: int, on_found: Callable[[int], None]
) -> array[int]:
    """Return the entries below `until` that a filter finds, ascending; 8 bytes each.

    `on_found` is told how many there are so far.
    """
    entries = array("Q")
    for one in selection.filters:
        async for some in repository.matching(one.query, until=until):
            entries.extend(some)
            on_found(len(entries))
    return array("Q", sorted(set(entries)))


def portions(entries: Sequence[int]) -> Iterator[list[Run]]:
    """Yield the entries some at a time, each portion as runs of neighbours."""
    for at in range(0, len(entries), EXPORT_PORTION_ENTRIES):
        portion = entries[at : at + EXPORT_PORTION_ENTRIES]
        yield list(_runs(portion))


def _runs(entries: Sequence[int]) -> Iterator[Run]:
    if isinstance(entries, range):
        yield entries.start, entries.stop
        return
    for _, group in groupby(enumerate(entries), key=lambda pair: pair[1] - pair[0]):
        run = [entry for _, entry in group]
        yield run[0], run[-1] + 1
