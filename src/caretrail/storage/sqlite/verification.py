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
from typing import TYPE_CHECKING, Final

import zstandard

from caretrail.sequencer import HOUR_MILLISECONDS, bucket_of_key
from caretrail.storage.bodies import shipped
from caretrail.storage.entry_check import RANGE_ENTRIES
from caretrail.storage.report import Report, State
from caretrail.storage.sqlite import folder as folders
from caretrail.storage.sqlite import term_sums
from caretrail.storage.sqlite.checkers import Checkers, cores
from caretrail.storage.sqlite.schema import TABLES
from caretrail.storage.sqlite.source import Source
from caretrail.storage.verifying import Verification
from caretrail.storage.weights import KEY_BYTES, PRIME

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from caretrail.storage.entry_check import Part
    from caretrail.tlog.tree import Node


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
_THERE: Final = (
    "SELECT x.entry FROM erased x LEFT JOIN leaf l ON l.entry = x.entry WHERE l.k NOT NULL"
    " OR l.entry IS NULL ORDER BY x.entry"
)
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
                    checked = None if alone else folder
                    return _Verification(db, None, folder=checked, sizes=sizes).run(
                        lambda state: progress(state.done, state.size)
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
            return _Verification(db, state, sizes=sizes, rest=rest).run(lambda _: None)
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


class _Verification(Verification):
    def __init__(
        self,
        db: sqlite3.Connection,
        state: State | None,
        *,
        folder: Path | None = None,
        sizes: Collection[int] = (),
        rest: Callable[[State], None] | None = None,
    ) -> None:
        """Begin; with a folder, entries are checked by processes of their own."""
        self._db, self._folder = db, folder
        properties = dict(db.execute("SELECT name, value FROM property"))
        super().__init__(
            Source(db),
            state if state is not None else self._begun(properties, is_patient=rest is not None),
            db.execute(_STATED),
            log=properties["log"],
            sizes=sizes,
            patience=rest,
        )

    def _begun(self, properties: dict[str, bytes], *, is_patient: bool) -> State:
        origin, keys = (properties[one].decode(errors="replace") for one in ("origin", "keys"))
        # What is signed is read before the size: it is of no larger tree.
        last = _NOTES_KEPT if is_patient else -1
        notes = [one for (one,) in self._db.execute(_NOTES, (last,))][::-1]
        (size,) = self._db.execute("SELECT coalesce(max(entry), -1) + 1 FROM leaf").fetchone()
        key = secrets.token_bytes(KEY_BYTES)
        return State(size, key, self.erasures(), origin, keys, notes)

    def erasures(self) -> int:
        """Return how many entries were erased."""
        found: int = self._db.execute("SELECT count(*) FROM erased").fetchone()[0]
        return found

    def leaves(self, start: int, end: int) -> Iterable[Sequence[object]]:
        """Return entry, receipt and leaf of the entries that are there."""
        return self._db.execute(_LEAVES, (start, end))

    def unlike(self, nodes: Sequence[Node]) -> Iterable[Node]:
        """Return those of the nodes that are not there, or are others."""
        ask = "SELECT hash FROM node WHERE level = ? AND place = ?"
        for node in nodes:
            if self._db.execute(ask, (node.level, node.place)).fetchone() != (node.hash,):
                yield node

    def there(self) -> Iterable[int]:
        """Return the entries that are said to be erased, and whose events are there."""
        return (entry for (entry,) in self._db.execute(_THERE))

    def stored_runs(self) -> list[tuple[int, int, int, int, int]]:
        """Return the runs of the sources' numbers as they are kept."""
        return self._db.execute("SELECT * FROM run").fetchall()

    def begin_range(self) -> None:
        """See all of a range at one moment."""
        if self.patience is not None:
            self._db.execute("BEGIN")

    def release(self) -> None:
        """Let others write their journal back."""
        if self._db.in_transaction:
            self._db.execute("COMMIT")

    def compare_tables(self) -> None:
        """Compare what SQLite says of its file, and what tables there are."""
        if self.patience is None:  # It reads the whole file in one go.
            for (message,) in self._db.execute("PRAGMA integrity_check(10)"):
                if message != "ok":
                    self.report.add(None, f"SQLite: {message}")
        with contextlib.closing(sqlite3.connect(":memory:")) as made:
            made.executescript(TABLES)
            if {*self._db.execute(_SCHEMA)} != {*made.execute(_SCHEMA)}:
                what = (
                    "the tables are not those of this version: one was changed, or a trigger put in"
                )
                self.report.add(None, what)
        for number, data in self._db.execute("SELECT number, data FROM dictionary"):
            if data != shipped(number):
                self.report.add(None, f"dictionary {number} is not the one of the package")

    def parts(self) -> Iterator[Part]:
        """Yield what each range of entries says, looked at by as many processes as there are cores."""
        state, folder = self.state, self._folder
        if folder is None or state.size <= _ALONE_ENTRIES or cores() == 1:
            yield from super().parts()
            return
        with Checkers(folder, state.key, count=cores()) as checkers:
            yield from checkers.parts(state.done, state.size)
        if sum(last - first + 1 for first, last, _ in state.erased) != state.erasures:
            raise _ErasedMeanwhileError

    def compare_derived(self) -> None:
        """Compare counts and index with what is derived of the events."""
        ask = "SELECT count(*) FROM"
        # One statement, one moment, also for somebody who is patient.
        leaves, erased, nodes, events, fingerprints = self._db.execute(
            f"SELECT ({ask} leaf), ({ask} erased), ({ask} node), ({ask} event), ({ask} fingerprint)"
        ).fetchone()
        self.compare_counts(
            leaves=leaves, erased=erased, nodes=nodes, events=events, fingerprints=fingerprints
        )
        self._compare_tallies()
        self._compare_terms()

    def _compare_tallies(self) -> None:
        hours = dict(self.state.hours)
        if self.patience is not None:
            self._db.execute("BEGIN")
        later = "SELECT k FROM leaf WHERE entry >= ? AND k NOT NULL"
        for (k,) in self._db.execute(later, (self.state.size,)):
            hour = bucket_of_key(k) // HOUR_MILLISECONDS
            hours[hour] = hours.get(hour, 0) + 1
        if dict(self._db.execute("SELECT hour, events FROM tally")) != hours:
            self.report.add(None, "the counts by hour are not those of the events")
        self._compare_counters(
            {hour // 24 for hour in hours if hours[hour] != self.state.hours.get(hour)}
        )
        self.rest()

    def _compare_counters(self, growing: Collection[int]) -> None:
        """See that the counters by day are those of the events.

        On days that are `growing` they may be ahead of the events that were looked at.
        """
        stored: dict[int, dict[str, int]] = {}
        for name, day, events in self._db.execute("SELECT name, day, events FROM counter"):
            stored.setdefault(day, {})[name] = events
        for day in stored.keys() | self.state.days.keys():
            found, derived = stored.get(day, {}), self.state.days.get(day, {})
            fits = (
                all(found.get(name, 0) >= events for name, events in derived.items())
                if day in growing
                else found == derived
            )
            if not fits:
                self.report.add(None, "the counts by day are not those of the events")
                return

    def _compare_terms(self) -> None:
        size = self.state.size
        term_sums.prepare(self._db)
        for first in range(0, size, RANGE_ENTRIES * 16):
            ask = "SELECT k FROM leaf WHERE entry >= ? AND entry < ? AND k NOT NULL"
            keys = self._db.execute(ask, (first, min(size, first + RANGE_ENTRIES * 16)))
            term_sums.note(self._db, self.weights, [k for (k,) in keys])
        found = term_sums.stored(self._db, self.weights, size, self.rest)
        if self.erasures() != self.state.erasures:
            self.report.unchecked.append("the index: something was erased meanwhile")
        elif found != self.terms % PRIME:
            term_sums.find(self._db, self.check.reader, size, self.report.add)
            if not self.report.findings:
                self.report.add(None, "the index is not that of the events")
