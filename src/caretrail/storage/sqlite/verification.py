"""Checking a data folder: everything that an answer can come from, against the log's own leaves.

Each event is read, its leaf computed again, and the tree grown from the leaves. Whatever else the
database holds (keys, terms, fingerprints, counters, nodes) is derived from the events once more
and compared both ways, so that nothing is missing, changed or put in. Nothing is written.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from caretrail.errors import ConfigurationError, Error, VerificationError
from caretrail.fhir import temporal
from caretrail.patterns import erasure
from caretrail.search import index
from caretrail.sequencer import (
    Identity,
    bucket_of,
    bucket_of_key,
    entry_of,
    fingerprint,
    key_of,
)
from caretrail.storage.bodies import Bodies, shipped
from caretrail.storage.sqlite import folder as folders
from caretrail.storage.sqlite import runs
from caretrail.storage.sqlite.schema import RUN
from caretrail.storage.sqlite.searching import Searcher
from caretrail.tlog import tree as merkle
from caretrail.tlog.entry import Entry, Kind
from caretrail.tlog.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from caretrail.search.record import Record

FINDINGS_MAX: Final = 100
_HOUR: Final = 3_600_000
_DOCUMENTS_AT_ONCE: Final = 250_000
# Sums of products of random numbers modulo a prime: a change of the index that leaves one the same
# has to be guessed, as the numbers are drawn anew at each verification.
_PRIME: Final = 2**127 - 1


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not fit; `entry` is None where it is about no single event."""

    entry: int | None
    what: str


@dataclass(slots=True)
class Report:
    """What a verification found; the log is whole when there are no findings."""

    size: int = 0
    root: bytes = merkle.EMPTY_ROOT
    erased: int = 0
    findings: list[Finding] = field(default_factory=list)

    def add(self, entry: int | None, what: str) -> None:
        """Note a finding, as long as there are few."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(entry, what))

    @property
    def whole(self) -> bool:
        """Tell whether everything fits."""
        return not self.findings

    def first(self) -> Finding | None:
        """Return the finding with the lowest entry, or one about the log as a whole."""
        return min(self.findings, key=lambda one: (one.entry is None, one.entry or 0), default=None)


def verify(folder: Path, *, progress: Callable[[int, int], None] = lambda *_: None) -> Report:
    """Check the log in `folder`; `progress` is told how many of how many entries are done.

    It may run beside a live server: it sees the log at one moment. Raises ConfigurationError when
    there is no log that this version can read.
    """
    path = folder / folders.DATABASE
    if not path.exists():
        raise ConfigurationError(f"there is no log in {folder}: name the folder given to --data")
    connection = _open(path)
    try:
        connection.execute("BEGIN")
        return _Verification(connection, progress).run()
    except sqlite3.DatabaseError as error:
        report = Report()
        report.add(None, f"the database file is damaged ({error})")
        return report
    finally:
        connection.close()


def _open(path: Path) -> sqlite3.Connection:
    connection = folders.connect(path, mode="ro")
    try:
        folders.check_format(connection)
    except sqlite3.DatabaseError:
        connection.close()
        # A copy on a medium that cannot be written to: SQLite must not look for its journal there.
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        try:
            folders.check_format(connection)
        except sqlite3.DatabaseError as error:
            raise ConfigurationError(f"{path} is not a log that this version can read") from error
    return connection


class _Verification:
    def __init__(self, db: sqlite3.Connection, progress: Callable[[int, int], None]) -> None:
        self._db, self._progress = db, progress
        self._report = Report()
        properties = dict(db.execute("SELECT name, value FROM property"))
        self._identity = Identity(properties["log"], properties["tag-key"])
        dictionaries = dict(db.execute("SELECT number, data FROM dictionary"))
        self._reader = Searcher(db, Bodies(dictionaries))
        for number, data in dictionaries.items():
            if data != shipped(number):
                self._report.add(None, f"dictionary {number} is not the one of the package")
        self._weights = _Weights()
        self._terms = 0
        self._hours: Counter[int] = Counter()
        self._causes: dict[int, list[int]] = {}
        self._numbered: list[tuple[int, int, int]] = []

    def run(self) -> Report:
        for (message,) in self._db.execute("PRAGMA integrity_check(10)"):
            if message != "ok":
                self._report.add(None, f"SQLite: {message}")
        (size,) = self._db.execute("SELECT count(*) FROM leaf").fetchone()
        tree = self._walk(size)
        self._report.size, self._report.root = tree.size, tree.root()
        self._compare_counts(size)
        self._compare_tallies()
        self._compare_causes()
        self._compare_runs()
        if self._terms % _PRIME != self._stored_terms():
            self._find_terms(size)
        return self._report

    def _walk(self, size: int) -> Tree:
        """Grow the tree from the events, and compare everything that stands beside each."""
        tree, expected = Tree(), 0
        stated: dict[int, set[bytes]] = {}
        for said, root in self._db.execute(_STATED):
            stated.setdefault(said, set()).add(root)
        nodes = {(level, place): h for level, place, h in self._db.execute("SELECT * FROM node")}
        leaves = "SELECT entry, k, received, hash FROM leaf ORDER BY entry"
        for entry, k, received, leaf in self._db.execute(leaves):
            while expected < entry:
                self._report.add(expected, "the entry is missing")
                expected += 1
            self._check(entry, k, received, leaf)
            tree, complete = merkle.append(tree, (leaf,))
            for node in complete:
                if nodes.pop((node.level, node.place), None) != node.hash:
                    self._report.add(entry, "a node of the tree is not the hash of its leaves")
            if tree.size in stated and stated.pop(tree.size) != {tree.root()}:
                self._report.add(entry, "the tree up to here is not the one that was recorded")
            expected = entry + 1
            if not expected % 1_000:
                self._progress(expected, size)
        for stated_size in sorted(stated):
            if stated_size:
                self._report.add(tree.size, f"the log was cut off: it had {stated_size} entries")
        if nodes:
            self._report.add(None, "there are nodes of a tree that this log does not have")
        return tree

    def _check(self, entry: int, k: int | None, received: int, leaf: bytes) -> None:
        try:
            if k is None:
                self._check_erased(entry, received, leaf)
                return
            row = self._db.execute(_EVENT, (k,)).fetchone()
            if row is None or row[1] != entry:
                raise VerificationError("the event is missing")
            record = next(self._reader.rows("SELECT {} FROM event e WHERE e.k = ?", (k,)))
            if record.received != received:
                raise VerificationError("the time of receipt is not the event's")
            self._compare(record, row, leaf)
        except Error as error:
            self._report.add(entry, str(error))
        except (ValueError, TypeError):
            self._report.add(entry, "the event cannot be read")

    def _check_erased(self, entry: int, received: int, leaf: bytes) -> None:
        """Check what is left of an event that was erased; its cause is looked at in the end."""
        row = self._db.execute(
            "SELECT data, cause FROM erased WHERE entry = ?", (entry,)
        ).fetchone()
        if row is None:
            raise VerificationError("the event is missing")
        data, cause = row
        if merkle.leaf_hash(data) != leaf:
            raise VerificationError("what is left of the event is not what its leaf commits to")
        left = Entry.decode(data)
        if (left.log, left.received) != (self._identity.log, received):
            raise VerificationError("what is left of the event is not of this log or time")
        self._causes.setdefault(cause, []).append(entry)

    def _compare(self, record: Record, row: tuple[Any, ...], leaf: bytes) -> None:
        k, _, producer, salt, irregular = row
        bucket, exact = bucket_of(*temporal.exact_key(record.event.recorded))
        self._hours[bucket // _HOUR] += 1
        entry = entry_of(record, salt=salt, identity=self._identity)
        if merkle.leaf_hash(entry.encode()) != leaf:
            raise VerificationError("the event is not what its leaf commits to")
        # Where the key was taken, the next free one of the same time was used.
        if bucket_of_key(k) != bucket or bool(irregular) is exact or k < key_of(bucket, 0):
            raise VerificationError("the event is filed under another time")
        value = fingerprint(bucket, record.producer, record.body)
        found = "SELECT 1 FROM fingerprint WHERE value = ? AND entry = ?"
        if self._db.execute(found, (value, record.entry)).fetchone() is None:
            raise VerificationError("the event's fingerprint is missing")
        if entry.number is not None:
            self._numbered.append((producer, entry.number, record.received))
        self._terms += self._weights.of(k, index.terms(record))

    def _compare_causes(self) -> None:
        """See that each erased event was erased by an event of the log's own that names it."""
        for cause, entries in sorted(self._causes.items()):
            record = next(self._reader.entries(cause, cause + 1), None)
            is_own = record is not None and record.kind == Kind.OWN
            named = erasure.read(record.event) if record is not None and is_own else None
            for entry in entries:
                if named is None or not named.covers(entry):
                    self._report.add(entry, "the event is missing: no erasure names it")
                else:
                    self._report.erased += 1
        known = {entry for entries in self._causes.values() for entry in entries}
        for (entry,) in self._db.execute("SELECT entry FROM erased ORDER BY entry"):
            if entry not in known:
                self._report.add(entry, "the event is said to be erased, and is there")

    def _compare_counts(self, size: int) -> None:
        erased = sum(map(len, self._causes.values()))
        for table in ("event", "fingerprint"):
            (count,) = self._db.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
            if count != size - erased:
                self._report.add(
                    None, f"there are {count} rows in `{table}` for {size - erased} events"
                )

    def _compare_runs(self) -> None:
        """See that the runs of the sources' numbers are those of the events.

        Erased events have theirs in what is left of them, under a pseudonym: with some of them
        only the others are looked for.
        """
        with contextlib.closing(sqlite3.connect(":memory:")) as again:
            again.execute(RUN)
            for producer, number, at in self._numbered:
                runs.add(again, producer, number, at)
            derived = again.execute("SELECT * FROM run").fetchall()
        stored = self._db.execute("SELECT * FROM run").fetchall()
        if self._causes:
            stored_spans = [(row[0], row[1], row[2]) for row in stored]
            fits = all(
                any(
                    p == row[0] and first <= row[1] and row[2] <= last
                    for p, first, last in stored_spans
                )
                for row in derived
            )
        else:
            fits = sorted(stored) == sorted(derived)
        if not fits:
            self._report.add(None, "the runs of the sources' numbers are not those of the events")

    def _compare_tallies(self) -> None:
        stored = dict(self._db.execute("SELECT hour, events FROM tally"))
        if stored != self._hours:
            self._report.add(None, "the counts by hour are not those of the events")

    def _stored_terms(self) -> int:
        return sum(self._weights.of(k, (term,)) for term, k in self._postings()) % _PRIME

    def _postings(self) -> Iterator[tuple[str, int]]:
        return self._db.execute("SELECT term, doc FROM temp.posting")

    def _find_terms(self, size: int) -> None:
        """Name the events whose terms in the index are not theirs, some at a time."""
        known = {k for (k,) in self._db.execute("SELECT k FROM event")}
        if any(k not in known for _, k in self._postings()):
            self._report.add(None, "the index has terms of an event that is not there")
        for first in range(0, size, _DOCUMENTS_AT_ONCE):
            self._find_among(range(first, min(size, first + _DOCUMENTS_AT_ONCE)))

    def _find_among(self, entries: Iterable[int]) -> None:
        wanted: dict[int, tuple[int, set[str]]] = {}
        for entry in entries:
            row = self._db.execute("SELECT k FROM leaf WHERE entry = ?", (entry,)).fetchone()
            if row is None or row[0] is None:
                continue
            try:
                (record,) = self._reader.entries(entry, entry + 1)
            except (Error, ValueError, TypeError):
                continue  # `_check` has named it.
            wanted[row[0]] = (entry, index.terms(record))
        extra: set[int] = set()
        for term, k in self._postings():
            if k in wanted:
                if term in wanted[k][1]:
                    wanted[k][1].discard(term)
                else:
                    extra.add(wanted[k][0])
        for entry in sorted(extra):
            self._report.add(entry, "the index has a term that is not the event's")
        for entry in sorted(entry for entry, missing in wanted.values() if missing):
            self._report.add(entry, "a term of the event is missing in the index")


_STATED: Final = "SELECT size, root FROM checkpoint UNION SELECT size, root FROM head"
_EVENT: Final = "SELECT k, entry, producer, salt, irregular FROM event WHERE k = ?"


class _Weights(dict[str, int]):
    """A random number for each term, and one number for each set of (event, term) pairs."""

    def __init__(self) -> None:
        self._point = secrets.randbelow(_PRIME)

    def __missing__(self, term: str) -> int:
        if len(self) >= _WEIGHTS_MAX:
            self.clear()
        weight = self[term] = int.from_bytes(_hash(term, self._point))
        return weight

    def of(self, k: int, terms: Iterable[str]) -> int:
        """Return what these pairs add to the sum."""
        place = (k + self._point) % _PRIME
        return (
            sum(map(self.__getitem__, terms)) * (place * place % _PRIME * place % _PRIME) % _PRIME
        )


_WEIGHTS_MAX: Final = 1_000_000


def _hash(term: str, point: int) -> bytes:
    return blake2b(term.encode(), digest_size=15, key=point.to_bytes(16)).digest()
