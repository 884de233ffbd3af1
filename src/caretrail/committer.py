"""The open batch: what waits for the disk, and the one task that takes it there."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.errors import ConflictError, Error, PreconditionError, StoreError, ThrottledError
from caretrail.limits import (
    COMMIT_BYTES_MAX,
    COMMIT_ENTRIES_MAX,
    QUEUE_BYTES_MAX,
    QUEUE_ENTRIES_MAX,
)
from caretrail.retrieving import first_page
from caretrail.search.record import NO_FLAGS, Flag, Record
from caretrail.sequencer import Batch
from caretrail.storage.contract import Known, Sender, Stored
from caretrail.tlog.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from caretrail.search.query import Query
    from caretrail.sequencer import Pending
    from caretrail.storage.contract import Refused, Storage

_log: Final = logging.getLogger(__name__)
# From how many on a batch is sent while the one before it is still on its way to the disk.
_AHEAD_ENTRIES: Final = 16
# Keys of the senders' own that are remembered, to notice one that comes with other bytes.
_KEYS_REMEMBERED: Final = 100_000


class Group(NamedTuple):
    """Events that are committed together or not at all, and who waits for them.

    Or what was refused at the millisecond `at`, on its way to quarantine.
    """

    events: Sequence[Pending]
    size: int
    unless: Query | None
    done: asyncio.Future[list[Stored]]
    refused: Sequence[Refused] = ()
    sender: Sender = Sender("")
    at: int = 0


class _Sent(NamedTuple):
    """A batch on its way to the disk, with where each of its events will be."""

    groups: list[Group]
    places: list[list[_Place]]
    batch: Batch
    commit: asyncio.Task[Tree | Known | None]
    started: float


class Commit(NamedTuple):
    """What one transaction took, for the metrics."""

    events: int
    seconds: float


class Committer:
    """Turns many appends into few transactions (group commit). Everything runs in one event loop."""

    def __init__(
        self, storage: Storage, *, on_commit: Callable[[Commit], None], copy_window: int = 0
    ) -> None:
        """Begin with the tree that the store has; `copy_window` is in milliseconds, 0 for ever."""
        self._storage = storage
        self._copy_window = copy_window
        self._on_commit = on_commit
        self._tree: Tree | None = storage.found
        self._queue: deque[Group] = deque()
        # What is under way, and the log's size after it; None: one batch is committed alone.
        self._sent: deque[_Sent] = deque()
        self._ahead: int | None = self.size
        self._entries = self._bytes = 0
        self._closing = False
        self._work: asyncio.Task[None] | None = None
        self.failed = False
        self._keys = _Keys()

    @property
    def tree(self) -> Tree | None:
        """Return the tree as it is on disk, None while that is not known."""
        return self._tree

    @property
    def size(self) -> int:
        """Return how many entries the log has, -1 while that is not known."""
        return self._tree.size if self._tree is not None else -1

    @property
    def waiting(self) -> int:
        """Return how many events wait for the disk."""
        return self._entries

    def put(self, group: Group) -> None:
        """Add to the open batch; raise ThrottledError when it is full."""
        if (
            self._closing
            or self._entries + len(group.events) > QUEUE_ENTRIES_MAX
            or self._bytes + group.size > QUEUE_BYTES_MAX
        ):
            raise ThrottledError("the repository has as much to write as it may: send again later")
        self._queue.append(group)
        self._entries += len(group.events)
        self._bytes += group.size
        if self._work is None:
            self._work = asyncio.get_running_loop().create_task(self._drain())
        elif len(self._sent) == 1 and self._entries >= _AHEAD_ENTRIES and self._may_overlap():
            self._send(self._take())

    async def close(self) -> None:
        """Commit what waits, and end."""
        self._closing = True
        if self._work is not None:
            await self._work

    async def _drain(self) -> None:
        # While a batch is on its way to the disk the next one gathers; when it is worth it, it is
        # sent already, so that the store need not wait for us between the two.
        while self._sent or self._queue:
            if self._sent:
                await self._settle()
            elif self._may_overlap():
                self._send(self._take())
            else:
                await self._commit(self._take())
        self._work = None

    def _may_overlap(self) -> bool:
        """Tell whether what waits can be sent before it is known what became of what was sent."""
        return self._ahead is not None and self._queue[0].unless is None

    def _send(self, groups: list[Group]) -> None:
        """Let the store begin with a batch, behind the one that it is at."""
        assert self._ahead is not None
        fresh: list[Pending] = []
        places = self._admit(groups, fresh, {}, size=self._ahead)
        batch = Batch(self._ahead, fresh)
        task = asyncio.get_running_loop().create_task(self._committed(batch))
        self._sent.append(_Sent(groups, places, batch, task, time.monotonic()))
        self._ahead = batch.end
        self._keys.remember(fresh)

    async def _committed(self, batch: Batch) -> Tree | Known | None:
        """Return None where there was nothing to commit."""
        return await self._storage.commit(batch, unless_known=True) if batch.events else None

    async def _settle(self) -> None:
        """Wait for the batch that was sent first, and tell those who wait for it."""
        outcome = await _outcome(self._sent[0])
        if not isinstance(outcome, Known | Exception):
            await self._finish(self._sent.popleft(), outcome)
            return
        # What was sent behind it does not begin where the log ends: the store has refused it.
        outcomes = [outcome] + [await _outcome(sent) for sent in [*self._sent][1:]]
        troubled, self._ahead = [*self._sent], None
        self._sent.clear()
        if isinstance(outcome, ConflictError):  # We do not know where the log ends.
            self._tree = None
        for sent, outcome in zip(troubled, outcomes, strict=True):
            if isinstance(outcome, Known | ConflictError):
                await self._commit(sent.groups)
            elif isinstance(outcome, Exception):
                self._fail(sent.groups, outcome)
            else:
                await self._finish(sent, outcome)

    async def _finish(self, sent: _Sent, tree: Tree | None) -> None:
        """Note a batch that is on the disk."""
        self._tree = tree or self._tree
        self.failed = False
        if sent.batch.events:
            self._on_commit(Commit(len(sent.batch.events), time.monotonic() - sent.started))
        try:
            await self._quarantine(sent.groups)
        except Exception as error:
            self._fail(sent.groups, error)
        else:
            # From here on the batch survives a crash, whether or not we answer.
            _tell(sent.groups, _results(sent.places))

    async def _quarantine(self, groups: list[Group]) -> None:
        for group in groups:
            if group.refused:
                await self._storage.quarantine(group.refused, group.sender, group.at)

    def _take(self) -> list[Group]:
        """Return the groups that go into one transaction."""
        taken: list[Group] = []
        entries = size = 0
        while self._queue:
            group = self._queue[0]
            entries, size = entries + len(group.events), size + group.size
            full = entries > COMMIT_ENTRIES_MAX or size > COMMIT_BYTES_MAX
            # A condition is asked of a log that has all that came before it.
            alone = group.unless is not None or (taken and taken[-1].unless is not None)
            if taken and (full or alone):
                break
            taken.append(self._queue.popleft())
        self._entries -= sum(len(group.events) for group in taken)
        self._bytes -= sum(group.size for group in taken)
        return taken

    async def _commit(self, groups: list[Group]) -> None:
        """Commit a batch alone: what it says of copies and conditions is settled before the next."""
        try:
            results = await self._store(groups)
            self.failed = False
        except Exception as error:
            self._fail(groups, error)
        else:
            self._ahead = self.size
            _tell(groups, results)

    def _fail(self, groups: list[Group], error: Exception) -> None:
        """Tell those who wait that it went wrong.

        The batch may or may not be on disk. The store is asked before the next one, as a start
        would ask, and each sender retries: decision 5 of DESIGN recognises the copy.
        """
        self._tree = self._ahead = None
        if not isinstance(error, Error):
            _log.error("a commit failed", exc_info=error)
            error = StoreError("the store failed: send the event again")
        self.failed = isinstance(error, StoreError)
        _tell(groups, error)

    async def _store(self, groups: list[Group]) -> list[list[Stored]]:
        started = time.monotonic()
        if self._tree is None:
            self._tree = await self._storage.tree()
        first = groups[0]
        if first.unless is not None:
            held = await asyncio.to_thread(self._held, first.unless)
            if held is not None:
                return [[held for _ in first.events]]
        fresh: list[Pending] = []
        places = self._admit(groups, fresh, {}, size=self._tree.size)
        if fresh:
            outcome = await self._storage.commit(Batch(self._tree.size, fresh), unless_known=True)
            if isinstance(outcome, Known):
                # Some were sent before: now that they are at hand, what is new is settled.
                fresh = []
                places = self._admit(groups, fresh, outcome.events, size=self._tree.size)
                if fresh:
                    outcome = await self._storage.commit(Batch(self._tree.size, fresh))
            if isinstance(outcome, Tree):
                self._tree = outcome
            self._keys.remember(fresh)
            self._on_commit(Commit(len(fresh), time.monotonic() - started))
        await self._quarantine(groups)
        return _results(places)

    def _held(self, unless: Query) -> Stored | None:
        """Return the one event that fits a conditional create's query."""
        found = first_page(self._storage.searcher(), unless, limit=2)
        if len(found) > 1:
            raise PreconditionError("several events fit the condition `If-None-Exist`")
        return _stored(_place(found[0])) if found else None

    def _admit(
        self,
        groups: list[Group],
        fresh: list[Pending],
        known: Mapping[int, Sequence[Record]],
        *,
        size: int,
    ) -> list[list[_Place]]:
        """Add to `fresh` what is new in a log of that size.

        Return for every event where it is or will be.
        """
        here: dict[int, list[_Place]] = {}
        places: list[list[_Place]] = []
        for group in groups:
            row: list[_Place] = []
            for event in group.events:
                copy = self._copy(event, here.get(event.fingerprint, ()))
                copy = copy or self._copy(event, map(_place, known.get(event.fingerprint, ())))
                if copy is not None and event.key is not None:
                    row.append(copy)
                    continue
                flags = Flag.SUSPECTED_DUPLICATE if copy is not None else NO_FLAGS
                if self._keys.conflicts(event):
                    flags |= Flag.KEY_CONFLICT
                pending = _flagged(event, flags) if flags else event
                place = _Place(pending.record, size + len(fresh), created=True)
                here.setdefault(event.fingerprint, []).append(place._replace(created=False))
                fresh.append(pending)
                row.append(place)
            places.append(row)
        return places

    def _copy(self, event: Pending, candidates: Iterable[_Place]) -> _Place | None:
        """Return the event of the same source with the same bytes, if it was not too long ago."""
        wanted = event.record
        since = wanted.received - self._copy_window if self._copy_window else 0
        for place in candidates:
            found = place.record
            same = found.body == wanted.body and found.producer == wanted.producer
            if same and found.received >= since:
                return place
        return None


class _Place(NamedTuple):
    """Where an event is or will be; the record of a new one does not know its entry yet."""

    record: Record
    entry: int
    created: bool


def _flagged(event: Pending, flags: Flag) -> Pending:
    record = event.record
    return event._replace(record=record._replace(flags=record.flags | flags))


def _place(record: Record) -> _Place:
    return _Place(record, record.entry, created=False)


def _results(places: list[list[_Place]]) -> list[list[Stored]]:
    return [[_stored(place) for place in row] for row in places]


async def _outcome(sent: _Sent) -> Tree | Known | Exception | None:
    try:
        return await sent.commit
    except Exception as error:
        return error


def _stored(place: _Place) -> Stored:
    record = place.record
    return Stored(record.id, place.entry, record.received, record.flags, place.created)


class _Keys:
    """The senders' own keys of late, each with the fingerprint of its bytes."""

    def __init__(self) -> None:
        self._seen: OrderedDict[int, int] = OrderedDict()

    def conflicts(self, event: Pending) -> bool:
        """Tell whether the event's key came with other bytes before."""
        if event.key is None:
            return False
        seen = self._seen.get(hash((event.record.producer, event.key)))
        return seen is not None and seen != event.fingerprint

    def remember(self, events: Sequence[Pending]) -> None:
        """Note the keys of events that were stored."""
        for event in events:
            if event.key is not None:
                key = hash((event.record.producer, event.key))
                self._seen.setdefault(key, event.fingerprint)
        while len(self._seen) > _KEYS_REMEMBERED:
            self._seen.popitem(last=False)


def _tell(groups: list[Group], outcome: Error | list[list[Stored]]) -> None:
    """Hand each waiting request its result."""
    for n, group in enumerate(groups):
        if group.done.done():
            continue  # The client has gone; the event is kept all the same.
        if isinstance(outcome, Error):
            group.done.set_exception(outcome)
        else:
            group.done.set_result(outcome[n])
