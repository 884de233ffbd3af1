"""Checking a log against its own leaves: what is the same for every backend.

Each event is read, its leaf computed again, and the tree grown from the leaves. A backend gives
what is there, and compares what only it can: counts, and its index.
"""

from __future__ import annotations

import contextlib
import sqlite3
from abc import ABC, abstractmethod
from itertools import pairwise
from typing import TYPE_CHECKING

from caretrail.patterns import erasure, succession
from caretrail.storage import runs
from caretrail.storage.entry_check import RANGE_ENTRIES, EntryCheck, Part, join
from caretrail.storage.report import FINDINGS_MAX, Finding, Redacted, Report, State, sizes_of
from caretrail.storage.weights import PRIME, Weights
from caretrail.tlog import tree as merkle
from caretrail.tlog.entry import Kind
from caretrail.tlog.tree import TILE_HEIGHT, Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from caretrail.storage.entry_check import Source
    from caretrail.tlog.tree import Node

ERASED_MEANWHILE = "counts and index: something was erased meanwhile"


class Verification(ABC):
    """One verification; who is patient goes on from a state, and rests between two ranges."""

    def __init__(
        self,
        source: Source,
        state: State,
        stated: Iterable[tuple[int, bytes]],
        *,
        log: bytes,
        sizes: Collection[int],
        patience: Callable[[State], None] | None,
    ) -> None:
        """Begin; `stated` has the sizes and roots that the log itself has noted."""
        self.patience, self.state = patience, state
        self.report = Report()
        self.report.log = log
        self.report.origin, self.report.keys = state.origin, state.keys
        self.report.notes, self.report.roots = state.notes, state.roots
        self.weights = Weights(state.key)
        self.check = EntryCheck(source, self.weights)
        self.tree = Tree(state.done, tuple(state.frontier))
        self.terms = int.from_bytes(state.terms)
        self._stated: dict[int, set[bytes]] = {}
        for said, root in stated:
            self._stated.setdefault(said, set()).add(root)
        self._wanted = {*sizes, *sizes_of(state.notes)}

    @abstractmethod
    def leaves(self, start: int, end: int) -> Iterable[Sequence[object]]:
        """Return entry, receipt and leaf of the entries that are there."""

    @abstractmethod
    def unlike(self, nodes: Sequence[Node]) -> Iterable[Node]:
        """Return those of the nodes that are not there, or are others."""

    @abstractmethod
    def there(self) -> Iterable[int]:
        """Return the entries that are said to be erased, and whose events are there."""

    @abstractmethod
    def stored_runs(self) -> list[tuple[int, int, int, int, int]]:
        """Return the runs of the sources' numbers as they are kept."""

    @abstractmethod
    def erasures(self) -> int:
        """Return how many entries were erased, as it is now."""

    @abstractmethod
    def compare_tables(self) -> None:
        """Compare what tables there are with those of this version."""

    @abstractmethod
    def compare_derived(self) -> None:
        """Compare counts and index with what is derived of the events."""

    def parts(self) -> Iterator[Part]:
        """Yield what each range of entries says."""
        state = self.state
        while state.done < state.size:
            yield self.check.part(state.done, min(state.size, state.done + RANGE_ENTRIES))

    def begin_range(self) -> None:  # noqa: B027  (where there is nothing to hold)
        """Hold what a range is compared with, where there is something to hold."""

    def release(self) -> None:  # noqa: B027  (nor to let go of)
        """Let go of it."""

    def run(self, progress: Callable[[State], None]) -> Report:
        """Check everything."""
        made = sqlite3.connect(":memory:", isolation_level=None)
        with contextlib.closing(made) as self._runs:
            self._runs.execute(runs.RUN)
            self._runs.executemany("INSERT INTO run VALUES (?, ?, ?, ?, ?)", self.state.runs)
            return self._checked(progress)

    def _checked(self, progress: Callable[[State], None]) -> Report:
        self.compare_tables()
        self._walk(progress)
        report, state = self.report, self.state
        report.findings[:0] = [Finding(*one) for one in state.findings]
        del report.findings[FINDINGS_MAX:]
        report.size, report.root = self.tree.size, self.tree.root()
        for size in self._wanted:
            if size == self.tree.size:
                report.roots[size] = self.tree.root()
        self._compare_causes()
        self._compare_runs()
        for entry in state.changes:
            record = next(self.check.reader.entries(entry, entry + 1), None)
            change = succession.read(record.event) if record is not None else None
            if change is not None:
                report.changes.append((entry, change))
        if self.erasures() != state.erasures:
            report.unchecked.append(ERASED_MEANWHILE)
            return report
        self.compare_derived()
        return report

    def _walk(self, progress: Callable[[State], None]) -> None:
        """Grow the tree from the leaves, and check the events of each range."""
        state = self.state
        for part in self.parts():
            end = min(state.size, state.done + RANGE_ENTRIES)
            self.begin_range()
            self._take(part)
            self._grow(state.done, end)
            state.done = end
            progress(state)
            self.rest()
        for size in sorted(size for size in self._stated if size > state.size):
            if self.patience is None:
                self._add(self.tree.size, f"the log was cut off: it had {size} entries")

    def rest(self) -> None:
        """Let go of the store for a moment, and keep what is known, if there is time."""
        if self.patience is None:
            return
        self.release()
        state = self.state
        state.frontier, state.terms = list(self.tree.frontier), self.terms.to_bytes(16)
        state.runs = self._runs.execute("SELECT * FROM run").fetchall()
        self.patience(state)

    def _add(self, entry: int | None, what: str) -> None:
        if len(self.state.findings) < FINDINGS_MAX:
            self.state.findings.append((entry, what))

    def _take(self, part: Part) -> None:
        """Add to what is known what a range of entries says."""
        state = self.state
        for finding in part.findings:
            self._add(*finding)
        for hour, events in part.hours.items():
            state.hours[hour] = state.hours.get(hour, 0) + events
        for day, name, events in part.days:
            counted = state.days.setdefault(day, {})
            counted[name] = counted.get(name, 0) + events
        for run in part.erased:
            join(state.erased, *run)
        for number in part.numbered:
            runs.add(self._runs, *number)
        state.changes += part.changes
        self.terms = (self.terms + int.from_bytes(part.terms)) % PRIME

    def _grow(self, start: int, end: int) -> None:
        """Append the leaves [start, end), and compare nodes and roots that are there."""
        leaves = []
        for entry, received, leaf in self.leaves(start, end):
            assert isinstance(entry, int)
            assert isinstance(received, int)
            assert isinstance(leaf, bytes)
            leaves.append(leaf)
            if received < self.state.received:
                self._add(entry, "the time of receipt is before that of the entry before")
            self.state.received = max(self.state.received, received)
        # The tree is looked at where somebody has said, or asks, what it was.
        base, places = self.tree.size, {*self._stated, *self._wanted}
        stops = sorted(one for one in places if base < one < base + len(leaves))
        for first, last in pairwise((base, *stops, base + len(leaves))):
            self.tree, nodes = merkle.append(self.tree, leaves[first - base : last - base])
            for node in self.unlike(list(nodes)):
                entry = (node.place + 1 << node.level) - 1
                self._add(entry, "a node of the tree is not the hash of its leaves")
            self._look(start + last - base - 1)

    def _look(self, entry: int) -> None:
        size = self.tree.size
        if size in self._wanted:
            self.report.roots[size] = self.tree.root()
        if size in self._stated and self._stated.pop(size) != {self.tree.root()}:
            self._add(entry, "the tree up to here is not the one that was recorded")

    def _compare_causes(self) -> None:
        """See that each erased event was erased by an event of the log's own that names it."""
        report = self.report
        for first, last, cause in self.state.erased:
            record = next(self.check.reader.entries(cause, cause + 1), None)
            is_own = record is not None and record.kind == Kind.OWN
            named = erasure.read(record.event) if record is not None and is_own else None
            if named is not None and named.covers(first, last):
                report.redacted.append(Redacted(first, last, cause, named.policy))
                continue
            for entry in range(first, last + 1)[:FINDINGS_MAX]:
                report.add(entry, "the event is missing: no erasure names it")
        for entry in self.there():
            report.add(entry, "the event is said to be erased, and is there")

    def compare_counts(
        self, *, leaves: int, erased: int, nodes: int, events: int, fingerprints: int
    ) -> None:
        """Compare how many rows there are of each kind, all at one moment."""
        for table, count in (("event", events), ("fingerprint", fingerprints)):
            if count != leaves - erased:
                what = f"there are {count} rows in `{table}` for {leaves - erased} events"
                self.report.add(None, what)
        expected, rest = 0, leaves
        while rest := rest >> TILE_HEIGHT:
            expected += rest
        if nodes > expected:
            self.report.add(None, "there are nodes of a tree that this log does not have")

    def _compare_runs(self) -> None:
        """See that the runs of the sources' numbers are those of the events.

        Erased events have theirs in what is left of them, under a pseudonym: with some of them, or
        with events that came meanwhile, only the others are looked for.
        """
        stored = self.stored_runs()
        derived = self._runs.execute("SELECT * FROM run").fetchall()
        if self.state.erased or self.patience is not None:
            spans: dict[int, list[tuple[int, int]]] = {}
            for producer, first, last, _, _ in stored:
                spans.setdefault(producer, []).append((first, last))
            fits = all(
                any(first <= row[1] and row[2] <= last for first, last in spans.get(row[0], ()))
                for row in derived
            )
        else:
            fits = sorted(stored) == sorted(derived)
        if not fits:
            self.report.add(None, "the runs of the sources' numbers are not those of the events")
