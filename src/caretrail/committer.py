"""The open batch: what waits for the disk, and the one thread that takes it there."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.errors import Error, PreconditionError, StoreError, ThrottledError
from caretrail.limits import (
    COMMIT_BYTES_MAX,
    COMMIT_ENTRIES_MAX,
    QUEUE_BYTES_MAX,
    QUEUE_ENTRIES_MAX,
    SEARCH_SECONDS_MAX,
)
from caretrail.search.order import Order
from caretrail.search.plan import compile_query
from caretrail.search.record import Flag, Record
from caretrail.sequencer import prepare, sequence
from caretrail.storage.contract import Sender, Stored

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from caretrail.search.query import Query
    from caretrail.sequencer import Pending
    from caretrail.storage.contract import Refused, Storage
    from caretrail.tlog.tree import Tree

_log: Final = logging.getLogger(__name__)
# Keys of the senders' own that are remembered, to notice one that comes with other bytes.
_KEYS_REMEMBERED: Final = 100_000
# A batch that is still growing is looked at again after this long, so many times at most.
_GATHER_SECONDS: Final = 0.0005
_GATHER_STEPS_MAX: Final = 8


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


class Commit(NamedTuple):
    """What one transaction took, for the metrics."""

    events: int
    seconds: float


class SecondsLeft:
    """A deadline on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds left."""
        return self._end - time.monotonic()


class Committer:
    """Turns many appends into few transactions (group commit)."""

    def __init__(self, storage: Storage, *, on_commit: Callable[[Commit], None]) -> None:
        self._storage = storage
        self._on_commit = on_commit
        self._tree: Tree | None = storage.tree()
        self._queue: deque[Group] = deque()
        self._entries = self._bytes = 0
        self._wake = threading.Condition()
        self._closing = self._busy = False
        self.failed = False
        self._keys = _Keys()
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    @property
    def size(self) -> int:
        """Return how many entries the log has."""
        tree = self._tree
        return tree.size if tree is not None else -1

    @property
    def waiting(self) -> int:
        """Return how many events wait for the disk."""
        return self._entries

    def put(self, group: Group) -> None:
        """Add to the open batch; raise ThrottledError when it is full."""
        with self._wake:
            if (
                self._closing
                or self._entries + len(group.events) > QUEUE_ENTRIES_MAX
                or self._bytes + group.size > QUEUE_BYTES_MAX
            ):
                raise ThrottledError(
                    "the repository has as much to write as it may: send again later"
                )
            self._queue.append(group)
            self._entries += len(group.events)
            self._bytes += group.size
            if len(self._queue) == 1:
                self._wake.notify()

    def close(self) -> None:
        """Commit what waits, and end."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            groups = self._take()
            if not groups:
                return
            self._commit(groups)

    def _take(self) -> list[Group]:
        """Wait for groups, and return those that go into one transaction; none at the end."""
        with self._wake:
            while not self._queue and not self._closing:
                self._wake.wait()
        self._gather()
        with self._wake:
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
            self._busy = len(taken) > 1
            return taken

    def _gather(self) -> None:
        """While many send at once, let more of them join: a commit costs as much for each batch.

        After a batch of one nobody is kept waiting; otherwise a batch is taken when it stops
        growing.
        """
        waited = 0
        while self._busy and waited < _GATHER_STEPS_MAX:
            before = len(self._queue)
            time.sleep(_GATHER_SECONDS)
            waited += 1
            if len(self._queue) == before:
                return

    def _commit(self, groups: list[Group]) -> None:
        try:
            results = self._store(groups)
            self.failed = False
        except Error as error:
            # The batch may or may not be on disk. Ask the store before the next one, as a start
            # would, and let each sender retry: decision 5 of DESIGN recognises the copy.
            self._tree = None
            self.failed = isinstance(error, StoreError)
            _tell(groups, error)
        except Exception:
            self._tree = None
            self.failed = True
            _log.exception("a commit failed")
            _tell(groups, StoreError("the store failed: send the event again"))
        else:
            # From here on the batch survives a crash, whether or not we answer.
            _tell(groups, results)

    def _store(self, groups: list[Group]) -> list[list[Stored]]:
        started = time.monotonic()
        if self._tree is None:
            self._tree = self._storage.tree()
        first = groups[0]
        if first.unless is not None and (held := self._held(first.unless)) is not None:
            return [[held for _ in first.events]]
        fresh: list[Pending] = []
        places = self._admit(groups, fresh)
        if fresh:
            batch = sequence(self._tree, fresh)
            self._storage.commit(batch)
            self._tree = batch.tree
            self._keys.remember(fresh)
            self._on_commit(Commit(len(fresh), time.monotonic() - started))
        for group in groups:
            if group.refused:
                self._storage.quarantine(group.refused, group.sender, group.at)
        return [[_stored(place) for place in row] for row in places]

    def _held(self, unless: Query) -> Stored | None:
        """Return the one event that fits a conditional create's query."""
        reads = self._storage.searcher()
        with reads.snapshot() as size:
            found = reads.page(
                compile_query(unless),
                Order.of(unless),
                after=None,
                until=size,
                limit=2,
                deadline=SecondsLeft(SEARCH_SECONDS_MAX),
            )
        if len(found) > 1:
            raise PreconditionError("several events fit the condition `If-None-Exist`")
        return _stored(found[0])._replace(created=False) if found else None

    def _admit(self, groups: list[Group], fresh: list[Pending]) -> list[list[_Place]]:
        """Add to `fresh` what is new, and return for every event where it is or will be."""
        assert self._tree is not None
        known = self._storage.same([e.fingerprint for group in groups for e in group.events])
        places: list[list[_Place]] = []
        for group in groups:
            row: list[_Place] = []
            for event in group.events:
                copy = _copy(event, known.get(event.fingerprint, ()))
                if copy is not None and event.key is not None:
                    row.append(_Place(copy, created=False))
                    continue
                flags = Flag.SUSPECTED_DUPLICATE if copy is not None else Flag(0)
                if self._keys.conflicts(event):
                    flags |= Flag.KEY_CONFLICT
                pending = self._flagged(event, flags) if flags else event
                record = pending.record._replace(entry=self._tree.size + len(fresh))
                pending = pending._replace(record=record)
                known.setdefault(event.fingerprint, []).append(record)
                fresh.append(pending)
                row.append(_Place(record, created=True))
            places.append(row)
        return places

    def _flagged(self, event: Pending, flags: Flag) -> Pending:
        record = event.record._replace(flags=event.record.flags | flags)
        return prepare(record, salt=event.salt, identity=self._storage.identity)


class _Place(NamedTuple):
    record: Record
    created: bool


def _stored(place: _Place | Record) -> Stored:
    record, created = place if isinstance(place, _Place) else (place, True)
    return Stored(record.id, record.entry, record.received, record.flags, created)


def _copy(event: Pending, candidates: Sequence[Record]) -> Record | None:
    """Return the event of the same source with the same bytes."""
    for record in candidates:
        if record.body == event.record.body and record.producer == event.record.producer:
            return record
    return None


class _Keys:
    """The senders' own keys of late, each with the fingerprint of its bytes."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, int] = OrderedDict()

    def conflicts(self, event: Pending) -> bool:
        """Tell whether the event's key came with other bytes before."""
        if event.key is None:
            return False
        seen = self._seen.get(_hash(event.key, event.record.producer))
        return seen is not None and seen != event.fingerprint

    def remember(self, events: Sequence[Pending]) -> None:
        """Note the keys of events that were stored."""
        for event in events:
            if event.key is not None:
                key = _hash(event.key, event.record.producer)
                self._seen.setdefault(key, event.fingerprint)
        while len(self._seen) > _KEYS_REMEMBERED:
            self._seen.popitem(last=False)


def _hash(data: bytes, name: str) -> bytes:
    return blake2b(data, digest_size=8, key=name.encode()[:64]).digest()


def _tell(groups: list[Group], outcome: Error | list[list[Stored]]) -> None:
    """Hand each waiting request its result, in its own event loop."""

    def tell() -> None:
        for n, group in enumerate(groups):
            if group.done.done():
                continue  # The client has gone; the event is kept all the same.
            if isinstance(outcome, Error):
                group.done.set_exception(outcome)
            else:
                group.done.set_result(outcome[n])

    groups[0].done.get_loop().call_soon_threadsafe(tell)
