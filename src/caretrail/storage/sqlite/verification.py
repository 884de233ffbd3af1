"""Checking a data folder: everything that an answer can come from, against the log's own leaves.

Each event is read, its leaf computed again, and the tree grown from the leaves. Whatever else the
database holds (keys, terms, fingerprints, counters, nodes) is derived from the events once more
and compared both ways, so that nothing is missing, changed or put in. Nothing is written.

Who is in a hurry sees the log at one moment, and uses all cores. Who is patient (a server beside
its own work) reads range by range, lets go of the database in between, and can go on after a
restart from a `State`.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import zstandard

from caretrail.patterns import erasure, succession
from caretrail.sequencer import HOUR_MILLISECONDS, bucket_of_key
from caretrail.storage.bodies import shipped
from caretrail.storage.report import FINDINGS_MAX, Finding, Redacted, Report, State, sizes_of
from caretrail.storage.sqlite import folder as folders
from caretrail.storage.sqlite import runs, term_sums
from caretrail.storage.sqlite.checkers import RANGE_ENTRIES, Checkers, cores
from caretrail.storage.sqlite.entry_check import EntryCheck, Part, join
from caretrail.storage.sqlite.schema import RUN, TABLES
from caretrail.storage.sqlite.term_sums import KEY_BYTES, PRIME, Weights
from caretrail.tlog import tree as merkle
from caretrail.tlog.entry import Kind
from caretrail.tlog.tree import TILE_HEIGHT, Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path


# Smaller logs are checked before a second process would have begun.
_ALONE_ENTRIES: Final = 8 * RANGE_ENTRIES
_LEAVES: Final = (
    "SELECT entry, received, hash FROM leaf WHERE entry >= ? AND entry < ? ORDER BY entry"
)
# What SQLite makes of its own (of the index, of statistics) may be another version's.
_SCHEMA: Final = """SELECT type, name, tbl_name, sql FROM main.sqlite_master
WHERE NOT (type = 'table' AND (name GLOB 'term_*' OR name GLOB 'sqlite_*'))"""
_NOTES: Final = "SELECT note FROM signed ORDER BY number DESC LIMIT ?"
# What a patient one has of them in its state: those of an hour each, for some days.
_NOTES_KEPT: Final = 64
_STATED: Final = "SELECT size, root FROM checkpoint UNION SELECT size, root FROM head"


# What reading meets in a damaged file where no single event can be named: no text where text should
# be, no row where one has to be, a row that says it is longer than the memory.
_DAMAGE: Final = (
    sqlite3.DatabaseError,
    zstandard.ZstdError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    MemoryError,
)


def verify(
    folder: Path,
    *,
    progress: Callable[[int, int], None] = lambda *_: None,
    sizes: Collection[int] = (),
) -> Report:
    """Check the log in `folder` at one moment; it may be in use.

    `progress` is told how many of how many entries are done; of `sizes` the report has the roots.
    Raises ConfigurationError when there is no log that this version can read.
    """
    with contextlib.closing(folders.open_for_reading(folder)) as db:
        try:
            for alone in (False, True):
                db.execute("BEGIN")
                try:
                    return _Verification(db, None, sizes=sizes).run(
                        None if alone else folder, lambda state: progress(state.done, state.size)
                    )
                except _ErasedMeanwhileError:
                    # Others see a later moment than this connection: it has to look for itself.
                    db.execute("ROLLBACK")
        except _DAMAGE as error:
            return _damaged(error)
    raise AssertionError("one process sees one moment")


def verify_patiently(
    folder: Path,
    state: State | None,
    *,
    rest: Callable[[State], None],
    sizes: Collection[int] = (),
) -> Report:
    """Check the log in `folder` a range at a time, and go on from `state` where there is one.

    `rest` is called between two ranges with nothing open for reading: it may wait, and keep the
    state. Of `sizes`, the same ones each time, the report has the roots; of the signed checkpoints
    it has the last. Raises ConfigurationError when there is no log that this version can read.
    """
    with contextlib.closing(folders.open_for_reading(folder)) as db:
        try:
            return _Verification(db, state, sizes=sizes, rest=rest).run(None, lambda _: None)
        except _DAMAGE as error:
            return _damaged(error)


def _damaged(error: Exception) -> Report:
    report = Report()
    # Only SQLite's own words hold nothing out of an event.
    said = error if isinstance(error, sqlite3.DatabaseError) else type(error).__name__
    report.add(None, f"the database file is damaged ({said})")
    return report


class _ErasedMeanwhileError(Exception):
    """Something was erased between the moments that two connections see."""


class _Verification:
    def __init__(
        self,
        db: sqlite3.Connection,
        state: State | None,
        *,
        sizes: Collection[int] = (),
        rest: Callable[[State], None] | None = None,
    ) -> None:
        self._db, self._patience = db, rest
        self._report = Report()
        properties = dict(db.execute("SELECT name, value FROM property"))
        self._report.log = properties["log"]
        self._state = state if state is not None else self._begun(properties)
        self._report.origin, self._report.keys = self._state.origin, self._state.keys
        self._report.notes, self._report.roots = self._state.notes, self._state.roots
        self._weights = Weights(self._state.key)
        self._check = EntryCheck(db, self._weights)
        self._tree = Tree(self._state.done, tuple(self._state.frontier))
        self._terms = int.from_bytes(self._state.terms)
        self._stated: dict[int, set[bytes]] = {}
        for said, root in db.execute(_STATED):
            self._stated.setdefault(said, set()).add(root)
        self._wanted = {*sizes, *sizes_of(self._report.notes)}

    def _begun(self, properties: dict[str, bytes]) -> State:
        origin, keys = (properties[one].decode(errors="replace") for one in ("origin", "keys"))
        # What is signed is read before the size: it is of no larger tree.
        last = -1 if self._patience is None else _NOTES_KEPT
        notes = [one for (one,) in self._db.execute(_NOTES, (last,))][::-1]
        (size,) = self._db.execute("SELECT coalesce(max(entry), -1) + 1 FROM leaf").fetchone()
        key = secrets.token_bytes(KEY_BYTES)
        return State(size, key, self._erasures(), origin, keys, notes)

    def _erasures(self) -> int:
        found: int = self._db.execute("SELECT count(*) FROM erased").fetchone()[0]
        return found

    def run(self, folder: Path | None, progress: Callable[[State], None]) -> Report:
        """Check everything; with a folder, entries are checked by processes of their own."""
        made = sqlite3.connect(":memory:", isolation_level=None)
        with contextlib.closing(made) as self._runs:
            self._runs.execute(RUN)
            self._runs.executemany("INSERT INTO run VALUES (?, ?, ?, ?, ?)", self._state.runs)
            return self._checked(folder, progress)

    def _checked(self, folder: Path | None, progress: Callable[[State], None]) -> Report:
        self._check_file()
        self._walk(folder, progress)
        self._report.findings[:0] = [Finding(*one) for one in self._state.findings]
        del self._report.findings[FINDINGS_MAX:]
        self._report.size, self._report.root = self._tree.size, self._tree.root()
        for size in self._wanted:
            if size == self._tree.size:
                self._report.roots[size] = self._tree.root()
        self._compare_causes()
        self._compare_runs()
        for entry in self._state.changes:
            record = next(self._check.reader.entries(entry, entry + 1), None)
            change = succession.read(record.event) if record is not None else None
            if change is not None:
                self._report.changes.append((entry, change))
        if self._erasures() != self._state.erasures:
            what = "counts and index: something was erased meanwhile"
            self._report.unchecked.append(what)
            return self._report
        self._compare_counts()
        self._compare_tallies()
        self._compare_terms()
        return self._report

    def _check_file(self) -> None:
        if self._patience is None:  # It reads the whole file in one go.
            for (message,) in self._db.execute("PRAGMA integrity_check(10)"):
                if message != "ok":
                    self._report.add(None, f"SQLite: {message}")
        with contextlib.closing(sqlite3.connect(":memory:")) as made:
            made.executescript(TABLES)
            if {*self._db.execute(_SCHEMA)} != {*made.execute(_SCHEMA)}:
                what = (
                    "the tables are not those of this version: one was changed, or a trigger put in"
                )
                self._report.add(None, what)
        for number, data in self._db.execute("SELECT number, data FROM dictionary"):
            if data != shipped(number):
                self._report.add(None, f"dictionary {number} is not the one of the package")

    def _walk(self, folder: Path | None, progress: Callable[[State], None]) -> None:
        """Grow the tree from the leaves, and check the events of each range."""
        state = self._state
        for part in self._parts(folder):
            end = min(state.size, state.done + RANGE_ENTRIES)
            if folder is None and self._patience is not None:
                self._db.execute("BEGIN")
            self._take(part)
            self._grow(state.done, end)
            state.done = end
            progress(state)
            self._rest()
        for size in sorted(size for size in self._stated if size > state.size):
            if self._patience is None:
                self._add(self._tree.size, f"the log was cut off: it had {size} entries")

    def _parts(self, folder: Path | None) -> Iterator[Part]:
        state = self._state
        if folder is not None and state.size > _ALONE_ENTRIES and cores() > 1:
            with Checkers(folder, state.key, count=cores()) as checkers:
                yield from checkers.parts(state.done, state.size)
            if sum(last - first + 1 for first, last, _ in state.erased) != state.erasures:
                raise _ErasedMeanwhileError
        else:
            while state.done < state.size:
                yield self._check.part(state.done, min(state.size, state.done + RANGE_ENTRIES))

    def _rest(self) -> None:
        """Let go of the database for a moment, and keep what is known, if there is time."""
        if self._patience is None:
            return
        if self._db.in_transaction:
            self._db.execute("COMMIT")
        state = self._state
        state.frontier, state.terms = list(self._tree.frontier), self._terms.to_bytes(16)
        state.runs = self._runs.execute("SELECT * FROM run").fetchall()
        self._patience(state)

    def _add(self, entry: int | None, what: str) -> None:
        if len(self._state.findings) < FINDINGS_MAX:
            self._state.findings.append((entry, what))

    def _take(self, part: Part) -> None:
        """Add to what is known what a range of entries says."""
        state = self._state
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
        self._terms = (self._terms + int.from_bytes(part.terms)) % PRIME

    def _grow(self, start: int, end: int) -> None:
        """Append the leaves [start, end), and compare nodes and roots that are there."""
        leaves = []
        for entry, received, leaf in self._db.execute(_LEAVES, (start, end)):
            leaves.append(leaf)
            if received < self._state.received:
                self._add(entry, "the time of receipt is before that of the entry before")
            self._state.received = max(self._state.received, received)
        # The tree is looked at where somebody has said, or asks, what it was.
        base, places = self._tree.size, {*self._stated, *self._wanted}
        stops = sorted(one for one in places if base < one < base + len(leaves))
        for first, last in pairwise((base, *stops, base + len(leaves))):
            self._tree, nodes = merkle.append(self._tree, leaves[first - base : last - base])
            for node in nodes:
                self._compare_node(*node)
            self._look(start + last - base - 1)

    def _compare_node(self, level: int, place: int, digest: bytes) -> None:
        ask = "SELECT hash FROM node WHERE level = ? AND place = ?"
        if self._db.execute(ask, (level, place)).fetchone() != (digest,):
            entry = (place + 1 << level) - 1
            self._add(entry, "a node of the tree is not the hash of its leaves")

    def _look(self, entry: int) -> None:
        size = self._tree.size
        if size in self._wanted:
            self._report.roots[size] = self._tree.root()
        if size in self._stated and self._stated.pop(size) != {self._tree.root()}:
            self._add(entry, "the tree up to here is not the one that was recorded")

    def _compare_causes(self) -> None:
        """See that each erased event was erased by an event of the log's own that names it."""
        report = self._report
        for first, last, cause in self._state.erased:
            record = next(self._check.reader.entries(cause, cause + 1), None)
            is_own = record is not None and record.kind == Kind.OWN
            named = erasure.read(record.event) if record is not None and is_own else None
            if named is not None and named.covers(first, last):
                report.redacted.append(Redacted(first, last, cause, named.policy))
                continue
            for entry in range(first, last + 1)[:FINDINGS_MAX]:
                report.add(entry, "the event is missing: no erasure names it")
        ask = (
            "SELECT x.entry FROM erased x LEFT JOIN leaf l ON l.entry = x.entry WHERE l.k NOT NULL"
        )
        for (entry,) in self._db.execute(f"{ask} OR l.entry IS NULL ORDER BY x.entry"):
            report.add(entry, "the event is said to be erased, and is there")

    def _compare_counts(self) -> None:
        ask = "SELECT count(*) FROM"
        # One statement, one moment, also for somebody who is patient.
        leaves, erased, nodes, events, fingerprints = self._db.execute(
            f"SELECT ({ask} leaf), ({ask} erased), ({ask} node), ({ask} event), ({ask} fingerprint)"
        ).fetchone()
        for table, count in (("event", events), ("fingerprint", fingerprints)):
            if count != leaves - erased:
                what = f"there are {count} rows in `{table}` for {leaves - erased} events"
                self._report.add(None, what)
        expected, rest = 0, leaves
        while rest := rest >> TILE_HEIGHT:
            expected += rest
        if nodes > expected:
            self._report.add(None, "there are nodes of a tree that this log does not have")

    def _compare_runs(self) -> None:
        """See that the runs of the sources' numbers are those of the events.

        Erased events have theirs in what is left of them, under a pseudonym: with some of them, or
        with events that came meanwhile, only the others are looked for.
        """
        stored = self._db.execute("SELECT * FROM run").fetchall()
        derived = self._runs.execute("SELECT * FROM run").fetchall()
        if self._state.erased or self._patience is not None:
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
            self._report.add(None, "the runs of the sources' numbers are not those of the events")

    def _compare_tallies(self) -> None:
        hours = dict(self._state.hours)
        if self._patience is not None:
            self._db.execute("BEGIN")
        later = "SELECT k FROM leaf WHERE entry >= ? AND k NOT NULL"
        for (k,) in self._db.execute(later, (self._state.size,)):
            hour = bucket_of_key(k) // HOUR_MILLISECONDS
            hours[hour] = hours.get(hour, 0) + 1
        if dict(self._db.execute("SELECT hour, events FROM tally")) != hours:
            self._report.add(None, "the counts by hour are not those of the events")
        self._compare_counters(
            {hour // 24 for hour in hours if hours[hour] != self._state.hours.get(hour)}
        )
        self._rest()

    def _compare_counters(self, growing: Collection[int]) -> None:
        """See that the counters by day are those of the events.

        On days that are `growing` they may be ahead of the events that were looked at.
        """
        stored: dict[int, dict[str, int]] = {}
        for name, day, events in self._db.execute("SELECT name, day, events FROM counter"):
            stored.setdefault(day, {})[name] = events
        for day in stored.keys() | self._state.days.keys():
            found, derived = stored.get(day, {}), self._state.days.get(day, {})
            fits = (
                all(found.get(name, 0) >= events for name, events in derived.items())
                if day in growing
                else found == derived
            )
            if not fits:
                self._report.add(None, "the counts by day are not those of the events")
                return

    def _compare_terms(self) -> None:
        size = self._state.size
        term_sums.prepare(self._db)
        for first in range(0, size, RANGE_ENTRIES * 16):
            ask = "SELECT k FROM leaf WHERE entry >= ? AND entry < ? AND k NOT NULL"
            keys = self._db.execute(ask, (first, min(size, first + RANGE_ENTRIES * 16)))
            term_sums.note(self._db, self._weights, [k for (k,) in keys])
        found = term_sums.stored(self._db, self._weights, size, self._rest)
        if self._erasures() != self._state.erasures:
            self._report.unchecked.append("the index: something was erased meanwhile")
        elif found != self._terms % PRIME:
            term_sums.find(self._db, self._check.reader, size, self._report.add)
            if not self._report.findings:
                self._report.add(None, "the index is not that of the events")
