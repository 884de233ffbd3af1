"""What the repository's process and the writer's say to each other: one question, one answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from caretrail.errors import (
    ConfigurationError,
    ConflictError,
    Error,
    InUseError,
    NotFoundError,
    StoreError,
)
from caretrail.tlog.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


class Message(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=True):
    """A question or an answer; its name goes in front."""


class Row(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One event of a commit. `k` is its key; `entry` is its place in the log."""

    k: int
    entry: int
    id: str
    received: int
    producer: str
    organisation: str
    kind: int
    form: int
    flags: int
    irregular: bool
    fingerprint: int
    salt: bytes
    body: bytes
    number: int | None


class Commit(Message, frozen=True):
    """Add the rows at the end of a log of `start` entries.

    With `unless_known` nothing is added when the log has one of the fingerprints.
    """

    start: int
    rows: list[Row]
    unless_known: bool


class Gone(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An entry whose event was erased, and the entry of the event that says why."""

    entry: int
    received: int
    data: bytes
    cause: int


def numbered(
    gone: Iterable[Gone], producers: Mapping[bytes, int]
) -> Iterator[tuple[tuple[int, int], Gone]]:
    """Yield producer and number of erased entries whose producer is known by his pseudonym."""
    for one in gone:
        entry = Entry.decode(one.data)
        if entry.number is not None and entry.producer in producers:
            yield (producers[entry.producer], entry.number), one


class Graft(Message, frozen=True):
    """Add entries of another log at the end of a log of `start` entries."""

    start: int
    rows: list[Row]
    gone: list[Gone]


class Found(Message, frozen=True):
    """The fingerprints that the log has, each with the entries of its latest events."""

    pairs: list[tuple[int, int]]


class Refusal(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What was not taken, and why, as JSON."""

    body: bytes
    issues: bytes


class Quarantine(Message, frozen=True):
    """Keep what was refused at that millisecond."""

    rows: list[Refusal]
    producer: str
    organisation: str
    at: int


class Publish(Message, frozen=True):
    """Keep a signed checkpoint as the latest, or with `stays` for ever."""

    size: int
    at: int
    cosigned: bool
    note: bytes
    stays: bool


class Erase(Message, frozen=True):
    """Erase the events of these entries: the event at entry `cause` says why."""

    entries: list[int]
    cause: int


class Purge(Message, frozen=True):
    """Let nothing of what was erased stay in the files."""


class Shred(Message, frozen=True):
    """Destroy the data key of the month with that number."""

    month: int


class Rename(Message, frozen=True):
    """Set properties of the log, by name, such as its origin and the history of its keys."""

    properties: dict[str, bytes]


class AskState(Message, frozen=True):
    """Say how the log stands, as a restart would find it."""


class State(Message, frozen=True):
    """The tree's size and frontier, and the bytes in quarantine."""

    size: int
    frontier: list[bytes]
    quarantined: int


class Close(Message, frozen=True):
    """Write a last checkpoint and let go of the log."""


class Done(Message, frozen=True):
    """It is on disk."""


class Failed(Message, frozen=True):
    """It is not done, or nobody knows: the error is one of ours, by name."""

    error: str
    text: str

    def raised(self) -> Error:
        """Return the error to raise."""
        return _ERRORS.get(self.error, StoreError)(self.text)


_ERRORS: Final = {
    one.__name__: one
    for one in (ConfigurationError, ConflictError, InUseError, NotFoundError, StoreError)
}
Question = Commit | Graft | Quarantine | Publish | Erase | Purge | Shred | Rename | AskState | Close
Answer = Found | State | Done | Failed
encode: Final = msgspec.msgpack.Encoder().encode
read_question: Final[Callable[[bytes], Question]] = msgspec.msgpack.Decoder(Question).decode
read_answer: Final[Callable[[bytes], Answer]] = msgspec.msgpack.Decoder(Answer).decode
