"""What a verification of a log in a store says, and how far one that takes its time is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from caretrail.errors import VerificationError
from caretrail.tlog import tree as merkle
from caretrail.tlog.checkpoint import Checkpoint
from caretrail.tlog.note import Note

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from caretrail.patterns.succession import KeysChanged, Recovered

FINDINGS_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not fit; `entry` is None where it is about no single event."""

    entry: int | None
    what: str


class Redacted(NamedTuple):
    """Entries from the first to the last that the event at entry `by` erased, under a policy."""

    first: int
    last: int
    by: int
    policy: str


@dataclass(slots=True)
class Report:
    """What a verification found; the log is whole when there are no findings.

    `changes` has what the log's own events say about its signers, `notes` the signed checkpoints
    that are kept inside, oldest first, and `roots` the tree's root at each size that somebody
    asked for, as computed from the leaves. `unchecked` says what could not be compared.
    """

    size: int = 0
    root: bytes = merkle.EMPTY_ROOT
    findings: list[Finding] = field(default_factory=list)
    redacted: list[Redacted] = field(default_factory=list)
    changes: list[tuple[int, KeysChanged | Recovered]] = field(default_factory=list)
    log: bytes = b""
    origin: str = ""
    keys: str = ""
    notes: list[bytes] = field(default_factory=list)
    roots: dict[int, bytes] = field(default_factory=dict)
    unchecked: list[str] = field(default_factory=list)

    def add(self, entry: int | None, what: str) -> None:
        """Note a finding, as long as there are few."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(entry, what))

    @property
    def erased(self) -> int:
        """Return how many entries were erased."""
        return sum(one.last - one.first + 1 for one in self.redacted)

    @property
    def whole(self) -> bool:
        """Tell whether everything fits."""
        return not self.findings

    def first(self) -> Finding | None:
        """Return the finding with the lowest entry, or one about the log as a whole."""
        return min(self.findings, key=lambda one: (one.entry is None, one.entry or 0), default=None)


class State(msgspec.Struct):
    """How far a patient verification of the first `size` entries is; all it needs to go on.

    `origin`, `keys` and `notes` are what was signed when it began, of which `roots` has the trees.
    """

    size: int
    key: bytes
    erasures: int
    origin: str
    keys: str
    notes: list[bytes]
    roots: dict[int, bytes] = {}
    done: int = 0
    frontier: list[bytes] = []
    received: int = 0
    findings: list[tuple[int | None, str]] = []
    hours: dict[int, int] = {}
    days: dict[int, dict[str, int]] = {}
    erased: list[tuple[int, int, int]] = []
    runs: list[tuple[int, int, int, int, int]] = []
    changes: list[int] = []
    terms: bytes = b""


def sizes_of(notes: Collection[bytes]) -> Iterator[int]:
    """Yield how many entries these checkpoints are of, where they can be read."""
    for note in notes:
        try:
            yield Checkpoint.parse(Note.parse(note).text).size
        except VerificationError:
            continue  # Whoever judges the note says so.
