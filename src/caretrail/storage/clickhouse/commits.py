"""How far a log goes: commit rows, and the epochs of its sequencers.

A batch is there when its commit row is. Whoever sequences has an epoch, a number of his own; when
he ends without a word, blocks of his may be left, or may come late, that no commit row covers. So an
epoch ends where the next one starts, and what it has from there on is void for every reader.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.storage.clickhouse.schema import COMMIT, EPOCH
from caretrail.tlog.tree import EMPTY_ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from caretrail.storage.clickhouse.servers import Servers

_EPOCHS: Final = (
    "SELECT number, start, closed FROM {d}.epoch WHERE log = {log} ORDER BY number, closed"
)
_LAST: Final = (
    "SELECT epoch, start, size, root, first, last FROM {d}.commit"
    " WHERE log = {log} AND {covered} ORDER BY size DESC, epoch LIMIT 1"
)
_OF_TIME: Final = "SELECT start, size FROM {d}.commit WHERE log = {log} AND {covered} AND first <= {at} AND last >= {at}"


class Epoch(NamedTuple):
    """Who sequenced: the number, the log's size at the start, and whether it ended with a word."""

    number: int
    start: int
    closed: bool


class Cuts(NamedTuple):
    """Where epochs that ended without a word end, by number."""

    ends: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, epochs: Iterable[Epoch]) -> Cuts:
        """Return the cuts of all the epochs that a log had."""
        started = sorted((one for one in epochs if not one.closed), key=lambda one: one.number)
        closed = {one.number for one in epochs if one.closed}
        return cls(
            tuple(
                (one.number, following.start)
                for one, following in pairwise(started)
                if one.number not in closed
            )
        )

    def covered(self, entry: str = "entry") -> str:
        """Return the condition that a row of an entry is not void."""
        void = [f"(epoch = {number} AND {entry} >= {end})" for number, end in self.ends]
        return f"NOT ({' OR '.join(void)})" if void else "1"


class Head(NamedTuple):
    """The last commit row: the log's size and root, and when its last event was received."""

    epoch: int
    start: int
    size: int
    root: bytes
    first: int
    last: int


NO_HEAD: Final = Head(0, 0, 0, EMPTY_ROOT, 0, 0)


def epochs(servers: Servers) -> list[Epoch]:
    """Return the epochs of a log, as a quorum has them."""
    kinds = EPOCH.kinds[1:]
    return [
        Epoch(number, start, bool(closed))
        for number, start, closed in servers.ask(kinds, _EPOCHS, is_last_word=True)
    ]


def head(servers: Servers, cuts: Cuts) -> Head:
    """Return the last commit row, as a quorum has it."""
    # A row's last entry is one below its size.
    covered = cuts.covered("(size - 1)")
    rows = servers.ask(COMMIT.kinds[1:], _LAST, is_last_word=True, covered=covered)
    return Head(*rows[0]) if rows else NO_HEAD


def spans_of_time(servers: Servers, cuts: Cuts, at: int) -> list[tuple[int, int]]:
    """Return the entries, as start and end, of the batches that took events at a millisecond."""
    covered = cuts.covered("(size - 1)")
    kinds = ("UInt64", "UInt64")
    return [
        (start, size)
        for start, size in servers.ask(kinds, _OF_TIME, is_last_word=True, covered=covered, at=at)
    ]
