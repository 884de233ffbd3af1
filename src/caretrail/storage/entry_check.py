"""Entries against their leaves: each event is read once, and all that stands beside it compared.

What is derived of many events at once (counts, terms, numbers) goes back to who asked, so that
several processes can look at several ranges.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from caretrail.errors import Error, VerificationError
from caretrail.fhir import temporal
from caretrail.patterns import succession
from caretrail.search import counts, index
from caretrail.sequencer import (
    DAY_MILLISECONDS,
    HOUR_MILLISECONDS,
    bucket_of,
    bucket_of_key,
    entry_of,
    fingerprint,
    key_of,
)
from caretrail.storage.report import FINDINGS_MAX
from caretrail.storage.weights import PRIME
from caretrail.tlog import tree as merkle
from caretrail.tlog.entry import Entry, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from caretrail.search.record import Record
    from caretrail.sequencer import Identity
    from caretrail.storage.searching import Searcher
    from caretrail.storage.weights import Weights

# Rows that a range has: enough that asking costs nothing, few enough to show progress.
RANGE_ENTRIES: Final = 2_048


class Source(Protocol):
    """What a backend gives of a log that is checked; its own errors pass through (`damage`)."""

    damage: tuple[type[Exception], ...]
    identity: Identity

    @property
    def reader(self) -> Searcher:
        """Return what reads events."""

    def rows(self, start: int, end: int) -> Iterable[Sequence[Any]]:
        """Return entry, key, receipt, leaf, salt and the event's row (`searching.Row`) of entries.

        Of one that is not there the salt is None, and the key where it was erased.
        """

    def erased(self, entry: int) -> tuple[bytes, int] | None:
        """Return what is left of an erased entry, and which entry says why."""

    def without_fingerprint(self, pairs: Sequence[tuple[int, int]]) -> Iterable[int]:
        """Return the entries of those pairs (fingerprint, entry) that are not there."""


class Part(msgspec.Struct):
    """What a range of entries says: what does not fit in it, and what is derived of its events.

    `erased` has runs of entries that one event erased (first, last, the event's entry), `numbered`
    the numbers of sources (producer, number, received), `changes` the entries that say who signs
    the log from then on, `days` the counters (day, name, events). `terms` is the sum of all pairs of term and event (`term_sums`).
    """

    findings: list[tuple[int, str]] = []
    hours: dict[int, int] = {}
    days: list[tuple[int, str, int]] = []
    erased: list[tuple[int, int, int]] = []
    numbered: list[tuple[int, int, int]] = []
    changes: list[int] = []
    terms: bytes = b""


def join(runs: list[tuple[int, int, int]], first: int, last: int, cause: int) -> None:
    """Add the entries from `first` to `last` that one event erased to runs before them."""
    if runs and runs[-1][1:] == (first - 1, cause):
        first, _, _ = runs.pop()
    runs.append((first, last, cause))


class EntryCheck:
    """Checks entries of one log."""

    def __init__(self, source: Source, weights: Weights) -> None:
        self._source, self._weights = source, weights
        self.reader = source.reader
        self._begin()

    def _begin(self) -> None:
        self._part = Part()
        self._hours: Counter[int] = Counter()
        self._days: Counter[tuple[int, str]] = Counter()
        self._terms = 0
        self._fingerprints: list[tuple[int, int]] = []

    def part(self, start: int, end: int) -> Part:
        """Check the entries [start, end)."""
        self._begin()
        expected = start
        for entry, k, received, leaf, salt, *row in self._source.rows(start, end):
            for missing in range(expected, min(entry, expected + FINDINGS_MAX)):
                self._add(missing, "the entry is missing")
            expected = entry + 1
            try:
                if k is None:
                    self._check_erased(entry, received, leaf)
                elif salt is None:
                    raise VerificationError("the event is missing")
                else:
                    self._check(received, leaf, salt, row)
            except self._source.damage:
                raise
            except Error as error:
                self._add(entry, str(error))
            except Exception:  # What stands in a damaged row may be anything.
                self._add(entry, "the event cannot be read")
        for missing in range(expected, min(end, expected + FINDINGS_MAX)):
            self._add(missing, "the entry is missing")
        for entry in self._source.without_fingerprint(self._fingerprints):
            self._add(entry, "the event's fingerprint is missing")
        self._part.hours = dict(self._hours)
        self._part.days = [(day, name, events) for (day, name), events in self._days.items()]
        self._part.terms = self._terms.to_bytes(16)
        return self._part

    def _add(self, entry: int, what: str) -> None:
        if len(self._part.findings) < FINDINGS_MAX:
            self._part.findings.append((entry, what))

    def _check_erased(self, entry: int, received: int, leaf: bytes) -> None:
        """Check what is left of an event that was erased; its cause is looked at in the end."""
        row = self._source.erased(entry)
        if row is None:
            raise VerificationError("the event is missing")
        data, cause = row
        if merkle.leaf_hash(data) != leaf:
            raise VerificationError("what is left of the event is not what its leaf commits to")
        left = Entry.decode(data)
        if (left.log, left.received) != (self._source.identity.log, received):
            raise VerificationError("what is left of the event is not of this log or time")
        join(self._part.erased, entry, entry, cause)
        if left.kind == Kind.OWN:
            raise VerificationError("the event is the log's own, and no such event can be erased")

    def _check(self, received: int, leaf: bytes, salt: bytes, row: list[Any]) -> None:
        record = self.reader.record(row)
        if record.received != received:
            raise VerificationError("the time of receipt is not the event's")
        k, irregular = row[0], row[7]
        bucket, exact = bucket_of(*temporal.exact_key(record.event.recorded))
        # What is derived counts whatever else is wrong: one finding is one finding.
        self._hours[bucket // HOUR_MILLISECONDS] += 1
        terms = index.terms(record)
        self._days.update((bucket // DAY_MILLISECONDS, name) for name in counts.names(terms))
        self._terms = (self._terms + self._weights.of(k, terms)) % PRIME
        opened = self.reader.bodies.salt(salt, event=row[2])
        entry = entry_of(record, salt=opened, identity=self._source.identity)
        if merkle.leaf_hash(entry.encode()) != leaf:
            raise VerificationError("the event is not what its leaf commits to")
        # Where the key was taken, the next free one of the same time was used.
        if bucket_of_key(k) != bucket or bool(irregular) is exact or k < key_of(bucket, 0):
            raise VerificationError("the event is filed under another time")
        value = fingerprint(bucket, record.producer, record.body)
        self._fingerprints.append((value, record.entry))
        if entry.number is not None:
            self._part.numbered.append((row[3], entry.number, received))
        if record.kind == Kind.OWN:
            self._note_change(record)

    def _note_change(self, record: Record) -> None:
        if succession.read(record.event) is not None:
            self._part.changes.append(record.entry)
