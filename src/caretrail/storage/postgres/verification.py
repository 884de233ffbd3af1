"""Checking a log in a database: everything that an answer can come from, against its own leaves.

Whatever the database holds beside events (keys, postings, fingerprints, counters, nodes) is derived
from the events once more and compared both ways. Nothing is written. Who is in a hurry sees one
moment. Who is patient reads range by range, and sees one moment at the end, for the index.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import zstandard

from caretrail.errors import Error, StoreError
from caretrail.search import index
from caretrail.sequencer import HOUR_MILLISECONDS, bucket_of_key
from caretrail.storage.bodies import shipped
from caretrail.storage.postgres import layout
from caretrail.storage.postgres.connection import Connection
from caretrail.storage.postgres.postings import unpacked
from caretrail.storage.postgres.schema import MIGRATIONS
from caretrail.storage.postgres.source import Source
from caretrail.storage.report import Report, State
from caretrail.storage.verifying import Verification
from caretrail.storage.weights import KEY_BYTES, PRIME, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from caretrail.tlog.tree import Node

_NOTES_KEPT: Final = 64
_LEAVES: Final = (
    "SELECT entry, received, hash FROM leaf WHERE entry >= $1 AND entry < $2 ORDER BY entry"
)
_NODES: Final = """
SELECT t.number FROM unnest($1::int[], $2::bigint[], $3::bytea[]) WITH ORDINALITY
    t(level, place, hash, number) WHERE NOT EXISTS (SELECT 1 FROM node n
    WHERE n.level = t.level AND n.place = t.place AND n.hash = t.hash) ORDER BY t.number
"""
_THERE: Final = (
    "SELECT x.entry FROM erased x LEFT JOIN leaf l ON l.entry = x.entry"
    " WHERE l.k IS NOT NULL OR l.id IS NOT NULL OR l.entry IS NULL ORDER BY x.entry"
)
_POSTINGS: Final = (
    "SELECT term, high, n, keys FROM posting WHERE (term, high) > ($1, $2)"
    " ORDER BY term, high LIMIT 5000"
)
_COUNTS: Final = """
SELECT (SELECT count(*) FROM leaf) leaves, (SELECT count(*) FROM erased) erased,
    (SELECT count(*) FROM node) nodes, (SELECT count(*) FROM event) events,
    (SELECT count(*) FROM fingerprint) fingerprints
"""
_TRIGGERS: Final = """
SELECT t.tgname::text, t.tgenabled::text, p.proname::text FROM pg_trigger t
    JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE c.relnamespace = 'caretrail'::regnamespace AND NOT t.tgisinternal
"""
_FUNCTIONS: Final = (
    "SELECT proname::text, prosrc FROM pg_proc WHERE pronamespace = 'caretrail'::regnamespace"
)
_RULES: Final = (
    "SELECT count(*) FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class"
    " WHERE c.relnamespace = 'caretrail'::regnamespace"
)
_GUARDED: Final = {("append_only", "O", "append_only"), ("never_truncated", "O", "never_truncated")}
_BODY: Final = re.compile(r"CREATE FUNCTION (\w+).*?\$\$(.*?)\$\$", re.DOTALL)
_EVENTS_AT_ONCE: Final = 250_000
# What reading meets where somebody has put other values into the tables.
_DAMAGE: Final = (
    StoreError,
    zstandard.ZstdError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
)


def verify(url: str, *, progress: Callable[[int, int], None], sizes: Collection[int]) -> Report:
    """Check the log in a database at one moment; it may be in use."""
    with contextlib.closing(_opened(url)) as db:
        try:
            db.begin("SELECT 1")
            found = _Verification(db, None, sizes=sizes, rest=None)
            return found.run(lambda state: progress(state.done, state.size))
        except _DAMAGE as error:
            return _damaged(error)


def verify_patiently(
    url: str,
    state: State | None,
    *,
    rest: Callable[[State], None],
    sizes: Collection[int],
) -> Report:
    """Check the log in a database a range at a time, and go on from `state` where there is one."""
    with contextlib.closing(_opened(url)) as db:
        try:
            return _Verification(db, state, sizes=sizes, rest=rest).run(lambda _: None)
        except _DAMAGE as error:
            return _damaged(error)


def _opened(url: str) -> Connection:
    db = Connection(url, {"default_transaction_read_only": "on"})
    try:
        layout.check_readable(db)
    except BaseException:
        db.close()
        raise
    return db


def _damaged(error: Exception) -> Report:
    report = Report()
    # Only errors of ours hold nothing out of an event.
    said = error if isinstance(error, StoreError) else type(error).__name__
    report.add(None, f"the database cannot be read ({said})")
    return report


class _Verification(Verification):
    def __init__(
        self,
        db: Connection,
        state: State | None,
        *,
        sizes: Collection[int],
        rest: Callable[[State], None] | None,
    ) -> None:
        self._db = db
        properties = layout.properties(db)
        super().__init__(
            Source(db),
            state if state is not None else self._begun(properties, is_patient=rest is not None),
            [(row[0], row[1]) for row in db.fetch("SELECT size, root FROM head")],
            log=properties["log"],
            sizes=sizes,
            patience=rest,
        )

    def _begun(self, properties: dict[str, bytes], *, is_patient: bool) -> State:
        origin, keys = (properties[one].decode(errors="replace") for one in ("origin", "keys"))
        # What is signed is read before the size: it is of no larger tree.
        last = _NOTES_KEPT if is_patient else None
        ask = "SELECT note FROM signed ORDER BY number DESC LIMIT $1"
        notes = [row[0] for row in self._db.fetch(ask, last)][::-1]
        size = int(self._db.value("SELECT coalesce(max(entry), -1) + 1 FROM leaf"))
        key = secrets.token_bytes(KEY_BYTES)
        return State(size, key, self.erasures(), origin, keys, notes)

    def erasures(self) -> int:
        """Return how many entries were erased, as it is now."""
        return int(self._db.value("SELECT count(*) FROM erased"))

    def leaves(self, start: int, end: int) -> Iterable[Sequence[object]]:
        """Return entry, receipt and leaf of the entries that are there."""
        return self._db.fetch(_LEAVES, start, end)

    def unlike(self, nodes: Sequence[Node]) -> Iterable[Node]:
        """Return those of the nodes that are not there, or are others."""
        if not nodes:
            return []
        levels, places, hashes = zip(*nodes, strict=True)
        return [nodes[row[0] - 1] for row in self._db.fetch(_NODES, levels, places, hashes)]

    def there(self) -> Iterable[int]:
        """Return the entries that are said to be erased, and whose events are there."""
        return [row[0] for row in self._db.fetch(_THERE)]

    def stored_runs(self) -> list[tuple[int, int, int, int, int]]:
        """Return the runs of the sources' numbers as they are kept."""
        rows = self._db.fetch("SELECT producer, first, last, since, until FROM run")
        return [(row[0], row[1], row[2], row[3], row[4]) for row in rows]

    def compare_tables(self) -> None:
        """Compare triggers, rules and functions with those of this version, and dictionaries."""
        triggers = {tuple(row) for row in self._db.fetch(_TRIGGERS)}
        functions = {row[0]: row[1] for row in self._db.fetch(_FUNCTIONS)}
        ours = {name: body for step in MIGRATIONS for name, body in _BODY.findall(step)}
        if triggers != _GUARDED or functions != ours or self._db.value(_RULES):
            what = (
                "the tables are not those of this version: a trigger, rule or function was changed"
            )
            self.report.add(None, what)
        for number, data in self._db.fetch("SELECT number, data FROM dictionary"):
            if data != shipped(number):
                self.report.add(None, f"dictionary {number} is not the one of the package")

    def compare_derived(self) -> None:
        """Compare counts and index with what is derived of the events, all at one moment."""
        if self.patience is not None:
            self._db.begin("SELECT 1")
        try:
            self.compare_counts(**dict(self._db.fetch(_COUNTS)[0]))
            ask = "SELECT k FROM leaf WHERE entry >= $1 AND k IS NOT NULL"
            later = {row[0] for row in self._db.fetch(ask, self.state.size)}
            self._compare_tallies(later)
            found = self._sum(later)
            if found != self.terms % PRIME:
                self._find()
        finally:
            if self.patience is not None:
                self._db.end()

    def _compare_tallies(self, later: Iterable[int]) -> None:
        hours = dict(self.state.hours)
        for k in later:
            hour = bucket_of_key(k) // HOUR_MILLISECONDS
            hours[hour] = hours.get(hour, 0) + 1
        if {row[0]: row[1] for row in self._db.fetch("SELECT hour, events FROM tally")} != hours:
            self.report.add(None, "the counts by hour are not those of the events")

    def _postings(self) -> Iterator[tuple[str, Iterable[int]]]:
        term, high = "", -1
        while rows := self._db.fetch(_POSTINGS, term, high):
            for term, high, n, keys in rows:
                yield term, unpacked(high, n, keys)

    def _sum(self, later: Collection[int]) -> int:
        """Return the sum over the index (`weights`), without the events that came later."""
        total, weights = 0, self.weights
        for term, keys in self._postings():
            one = sum(whole(*weights.halves(k)) for k in keys if k not in later)
            total = (total + weights[term] * one) % PRIME
        return total

    def _find(self) -> None:
        """Name the events whose postings are not theirs, some at a time."""
        report, size = self.report, self.state.size
        known = {row[0] for row in self._db.fetch("SELECT k FROM event")}
        if any(k not in known for _, keys in self._postings() for k in keys):
            report.add(None, "the index has terms of an event that is not there")
        for first in range(0, size, _EVENTS_AT_ONCE):
            self._find_among(first, min(size, first + _EVENTS_AT_ONCE))
        if not report.findings:
            report.add(None, "the index is not that of the events")

    def _find_among(self, start: int, end: int) -> None:
        wanted: dict[int, tuple[int, set[str]]] = {}
        ask = "SELECT entry, k FROM leaf WHERE entry >= $1 AND entry < $2 AND k IS NOT NULL"
        for entry, k in self._db.fetch(ask, start, end):
            try:
                (record,) = self.check.reader.entries(entry, entry + 1)
            except (Error, ValueError, TypeError):
                continue  # The entry itself has been named.
            wanted[k] = (entry, index.terms(record))
        had: defaultdict[int, list[str]] = defaultdict(list)
        for term, keys in self._postings():
            for k in keys:
                if k in wanted:
                    had[k].append(term)
        for k, (entry, terms) in wanted.items():
            if len(had[k]) != len({*had[k]}) or {*had[k]} - terms:
                self.report.add(entry, "the index has a term that is not the event's")
            if terms - {*had[k]}:
                self.report.add(entry, "a term of the event is missing in the index")
