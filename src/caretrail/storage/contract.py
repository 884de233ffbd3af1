"""What every backend promises; one suite of tests holds them to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from caretrail.errors import Issue
    from caretrail.search.order import Order, Place
    from caretrail.search.plan import Plan
    from caretrail.search.record import Flag, Record
    from caretrail.sequencer import Batch, Identity
    from caretrail.storage.data_keys import Month
    from caretrail.storage.report import Report, State
    from caretrail.tlog.prover import Prover
    from caretrail.tlog.tile import Tile
    from caretrail.tlog.tree import Tree

# What stands before the folder in the URL of the embedded store.
SQLITE: Final = "sqlite:///"


class Sender(NamedTuple):
    """Who sends an event: the name of the credential, and the organisation that it belongs to."""

    producer: str
    organisation: str = ""


class Refused(NamedTuple):
    """What was not taken, and why."""

    body: bytes
    issues: Sequence[Issue]


class Known(NamedTuple):
    """The log has events with these fingerprints, so nothing was added.

    Of each fingerprint these are the latest COPIES_COMPARED_MAX.
    """

    events: Mapping[int, Sequence[Record]]


class Signed(NamedTuple):
    """A signed checkpoint that a store keeps; `at` is in milliseconds since 1970."""

    note: bytes
    size: int
    at: int
    cosigned: bool
    stays: bool


class Quarantined(NamedTuple):
    """What was refused: its number in quarantine, who sent it when, and why it was not taken."""

    number: int
    producer: str
    received: int
    body: bytes
    issues: Sequence[Issue]
    organisation: str = ""


class Stored(NamedTuple):
    """Where an event went. `created` is False when the same event was there already.

    `received` is in milliseconds since 1970.
    """

    id: str
    entry: int
    received: int
    flags: Flag
    created: bool = True


class Sealed(NamedTuple):
    """An entry as it stands in the tree: `data` is hashed to its leaf.

    Of an erased event only that is left, and `cause`, the entry of the event that says why.
    """

    entry: int
    data: bytes
    record: Record | None
    salt: bytes | None
    cause: int | None


class Gap(NamedTuple):
    """Numbers that a source gave and the log never got, from `first` to `last`.

    The numbers before and after them were received at `since` and `until`, in milliseconds.
    """

    producer: str
    organisation: str
    first: int
    last: int
    since: int
    until: int


class Deadline(Protocol):
    """Tells how long a search may still take."""

    def remaining(self) -> float:
        """Return the seconds left; zero or less means that the time is up."""


class Reads(Protocol):
    """What one thread may ask of a log, any time. Nothing here sees half a batch."""

    def snapshot(self) -> AbstractContextManager[int]:
        """Let all reads within see the log at one size, and say which."""

    def read(self, event_id: str) -> Record | None:
        """Return the event with that id."""

    def entries(self, start: int, end: int, *, descending: bool = False) -> Iterator[Record]:
        """Yield the events at those places of the log."""

    def page(
        self,
        plan: Plan,
        order: Order,
        *,
        after: Place | None,
        until: int,
        limit: int,
        deadline: Deadline,
    ) -> list[Record]:
        """Return at most `limit` events that fit `plan`: the first ones in `order` after `after`.

        Only the first `until` entries are looked at. What `search.matches` says of an event
        decides. Raises TooCostlyError when the time is up before it is known.
        """

    def count(self, plan: Plan, *, until: int, deadline: Deadline) -> int:
        """Return how many of the first `until` entries fit `plan`, exactly.

        `until` is the size that `snapshot` said. Raises TooCostlyError when the time is up.
        """

    def histogram(
        self, plan: Plan, bounds: Sequence[int], *, until: int, deadline: Deadline
    ) -> list[int]:
        """Count the events between each two neighbours of `bounds` (milliseconds since 1970)."""

    def values(self, key: str, *, limit: int, deadline: Deadline) -> list[tuple[str, int]]:
        """Return the commonest terms that begin with `key`, and how many events have each."""

    def quarantined(self, *, after: int, limit: int) -> list[Quarantined]:
        """Return what was refused, from the number after `after` on."""

    def span(self) -> tuple[int, int] | None:
        """Return the first and the last millisecond that events have, or None without any."""


class Proofs(Protocol):
    """What one thread may ask of the tree; `prover` makes proofs out of its hashes."""

    prover: Prover

    def hashes(self, tile: Tile) -> bytes:
        """Return the hashes of `tile`, one after the other (see `prover.Tiles`)."""

    def sealed(self, start: int, end: int) -> Iterator[Sealed]:
        """Yield the entries at those places, with what they bind where it is still there."""

    def sealed_event(self, event_id: str) -> Sealed:
        """Return the entry of one event; raise NotFoundError when it is not there."""

    def checkpoint(self) -> bytes | None:
        """Return the latest signed checkpoint."""

    def notes(self) -> list[Signed]:
        """Return the signed checkpoints that are kept, in the order in which they came."""

    def gaps(self) -> list[Gap]:
        """Return what sources numbered and the log never got, source by source."""


class Storage(Protocol):
    """One log on one store. What writes is called by one task, the committer's, in turn.

    `found` is the tree as it was when the log was opened. `origin` is the log's name in
    checkpoints, and `keys` the history of the keys that sign them ("" before the first).
    `received` is when the last entry that was found was received, in milliseconds since 1970.
    """

    identity: Identity
    page_key: bytes
    found: Tree
    origin: str
    keys: str
    received: int

    @property
    def quarantine_full(self) -> bool:
        """Tell whether nothing more is kept of what is refused."""

    async def tree(self) -> Tree:
        """Return the tree as it is on disk, asked anew: what a restart would find."""

    async def commit(self, batch: Batch, *, unless_known: bool = False) -> Tree | Known:
        """Add `batch` whole, with its leaves and index terms, or not at all; return the tree then.

        On return it survives a power cut, and every later read sees it. With `unless_known`
        nothing is added when the log has events with fingerprints of the batch: those are
        returned. Several may be under way: they are done in the order of the calls. After an
        error the outcome is unknown: the caller must call `tree` before it writes again. Raises
        ConflictError when `batch` does not start at the current size.
        """

    async def quarantine(self, rows: Sequence[Refused], sender: Sender, at: int) -> None:
        """Keep what was refused, with the reasons; `at` is in milliseconds since 1970.

        Past QUARANTINE_BYTES_MAX nothing more is kept, and `quarantine_full` says so.
        """

    async def publish(
        self, note: bytes, *, size: int, at: int, cosigned: bool, stays: bool
    ) -> None:
        """Keep a signed checkpoint: as the latest, or with `stays` for ever."""

    async def erase(self, entries: Sequence[int], *, cause: int) -> None:
        """Erase the events of these entries, in every place that an answer can come from.

        The event at entry `cause`, which is there already, says why. What was erased before
        stays erased, so that a run that was cut off can be run again.
        """

    async def shred(self, month: Month) -> None:
        """Destroy the data key of a month for ever; raises NotFoundError when there is none."""

    async def purge(self) -> None:
        """Let nothing of what was erased stay in the store's files. It may take long."""

    async def rename(self, *, origin: str, keys: str) -> None:
        """Set the log's name and the history of its keys."""

    async def adopt(self, identity: Identity, page_key: bytes) -> None:
        """Become another log, of which this one, still empty, will be a copy; open it anew then."""

    async def graft(self, start: int, entries: Sequence[Sealed]) -> Tree:
        """Add entries as they stand in another log, erased ones too; return the tree then.

        It is done as a commit is. Raises ConflictError when `start` is not the current size.
        """

    async def retire(self, successor: str) -> None:
        """Note that the log goes on in another store: from then on this one cannot be opened."""

    def searcher(self) -> Reads:
        """Return what reads for the calling thread; reading blocks."""

    def proofs(self) -> Proofs:
        """Return what reads the tree for the calling thread; reading blocks."""

    async def close(self) -> None:
        """Let go of the log; a close that never comes loses nothing."""


class LogPlace(NamedTuple):
    """Where a log is: its store's URL ("": the data folder itself), and the data folder.

    `data_keys` is the file of the keys that bodies are encrypted with, None without any.
    """

    data: Path
    url: str = ""
    data_keys: Path | None = None


class Backend(Protocol):
    """A kind of store; opening is recovery (see `contract.Storage`)."""

    def open(self, place: LogPlace) -> Storage:
        """Open the log at a place for writing, and make it when there is none.

        Raises InUseError when somebody else writes to it, and ConfigurationError when it cannot
        be used.
        """

    def verify(
        self, place: LogPlace, *, progress: Callable[[int, int], None], sizes: Collection[int]
    ) -> Report:
        """Check the log at one moment; it may be in use.

        `progress` is told how many of how many entries are done; of `sizes` the report has the
        roots. Raises ConfigurationError when there is no log that this version can read.
        """

    def verify_patiently(
        self,
        place: LogPlace,
        state: State | None,
        *,
        rest: Callable[[State], None],
        sizes: Collection[int],
    ) -> Report:
        """Check the log a range at a time, and go on from `state` where there is one.

        `rest` is called between two ranges with nothing open for reading: it may wait, and keep
        the state. Raises ConfigurationError when there is no log that this version can read.
        """
