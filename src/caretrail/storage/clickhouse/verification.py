"""Checking a log in ClickHouse: everything that an answer can come from, against its own leaves.

Each event is read, its leaf computed again, and the tree grown from the leaves and compared with the
nodes and with the root of every commit row. Postings and moments are derived from the events once
more, and compared by sums over ranges of entries: the servers add up a keyed hash of each row they
have, we of each row that there should be. Nothing is written. Of each shard it is one replica's rows
that are looked at.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from hashlib import md5
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caretrail.errors import ConfigurationError, Error, VerificationError
from caretrail.fhir import temporal
from caretrail.patterns import erasure, succession
from caretrail.search import index
from caretrail.sequencer import bucket_of, entry_of, fingerprint, key_of
from caretrail.storage.bodies import shipped
from caretrail.storage.clickhouse import commits
from caretrail.storage.clickhouse.address import Address
from caretrail.storage.clickhouse.blocks import NO_NUMBER
from caretrail.storage.clickhouse.commits import Cuts
from caretrail.storage.clickhouse.properties import Properties
from caretrail.storage.clickhouse.searching import Place, Searcher
from caretrail.storage.clickhouse.servers import Http, ServerError, Servers
from caretrail.storage.report import FINDINGS_MAX, Finding, Redacted, Report, State, sizes_of
from caretrail.tlog import tree as merkle
from caretrail.tlog.entry import Entry, Kind
from caretrail.tlog.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from caretrail.search.record import Record
    from caretrail.sequencer import Identity

RANGE_ENTRIES: Final = 2_048
# So many ranges are added up by one statement, which reads the whole index once.
_RANGES_AT_ONCE: Final = 512
_KEY_BYTES: Final = 16
_SUM_MASK: Final = (1 << 64) - 1
_LEAVES: Final = (
    "SELECT entry, received, hash, producer, number FROM {d}.leaf WHERE log = {log}"
    " AND entry >= {start} AND entry < {end} AND {covered} ORDER BY entry"
)
_NODES: Final = (
    "SELECT level, place, hash FROM {d}.node WHERE log = {log}"
    " AND entry >= {start} AND entry < {end} AND {covered} ORDER BY entry, level"
)
_EVENTS: Final = (
    "SELECT salt, k, entry, id, producer, kind, form, flags, irregular, body FROM {d}.event"
    " WHERE log = {log} AND entry >= {start} AND entry < {end} AND {covered} ORDER BY entry"
)
_EVENT_KINDS: Final = (
    "String", "UInt64", "UInt64", "FixedString(16)", "UInt64", "UInt8", "UInt8", "UInt32", "UInt8",
    "String",
)  # fmt: skip
_ERASED: Final = "SELECT entry, cause, data FROM {d}.erased WHERE log = {log} AND entry >= {start} AND entry < {end}"
_STATED: Final = "SELECT size, root FROM {d}.commit WHERE log = {log} AND size > {start} AND size <= {end} AND {stated}"
_ERASURES: Final = "SELECT toUInt64(count()) FROM {d}.erased WHERE log = {log}"
_NOTES: Final = "SELECT DISTINCT note, size, at FROM {d}.signed WHERE log = {log} ORDER BY size, at"
_POSTING: Final = "concat('{key} ', term, ' ', toString(k), ' ', toString(entry))"
_MOMENT: Final = "concat('{key} ', toString(fingerprint), ' ', toString(k), ' ', toString(entry))"
_SUMS: Final = (
    "SELECT intDiv(entry, {width}) AS place, sum(halfMD5({row})) FROM {{d}}.{table} WHERE log = {{log}}"
    " AND entry >= {start} AND entry < {end} AND {{covered}} GROUP BY place"
)


def verify(
    url: str,
    state: State | None = None,
    *,
    progress: Callable[[State], None],
    sizes: Collection[int] = (),
) -> Report:
    """Check the log of a URL at the size that it has, from `state` on where there is one.

    `progress` is told after each range how far it is, and may wait. Of `sizes` the report has the
    roots. Raises ConfigurationError when there is no log.
    """
    address = Address.parse(url)
    servers = Servers(address, Http(address))
    try:
        properties = Properties.read(servers)
        if not properties:
            raise ConfigurationError("there is no log at this URL: name that given to --store")
        return _Verification(servers, properties, state, sizes=sizes).run(progress)
    finally:
        servers.engine.close()


class _Leaf(NamedTuple):
    """What stands beside a leaf's hash."""

    received: int
    hash: bytes
    producer: int
    number: int


class _Sums:
    """The sums of what the index has of ranges of entries; a hash is of a key and the row."""

    def __init__(self, reader: Searcher, key: bytes) -> None:
        self._reader, self._key = reader, key.hex()
        self._known: dict[int, int] = {}
        self._end = 0

    def add(self, *values: object) -> int:
        """Return what a row adds."""
        text = " ".join((self._key, *map(str, values)))
        digest = md5(text.encode(), usedforsecurity=False).digest()
        return int.from_bytes(digest[:8])

    def of_range(self, start: int, end: int) -> int:
        """Return what the index has of a range."""
        if start >= self._end:
            self._end = start + _RANGES_AT_ONCE * RANGE_ENTRIES
            self._known = self._asked(start, self._end, RANGE_ENTRIES)
        # The last range is not whole; what is beyond the size is no concern of ours.
        if end % RANGE_ENTRIES:
            return sum(self._asked(start, end, RANGE_ENTRIES).values()) & _SUM_MASK
        return self._known.get(start // RANGE_ENTRIES, 0) & _SUM_MASK

    def of_entries(self, start: int, end: int) -> dict[int, int]:
        """Return what the index has of each entry of a range."""
        return self._asked(start, end, 1)

    def _asked(self, start: int, end: int, width: int) -> dict[int, int]:
        found: dict[int, int] = {}
        for table, row in (("posting", _POSTING), ("moment", _MOMENT)):
            ask = _SUMS.format(
                width=width, row=row.format(key=self._key), table=table, start=start, end=end
            )
            for place, total in self._reader.ask(("UInt64", "UInt64"), ask):
                found[place] = (found.get(place, 0) + total) & _SUM_MASK
        return found


class _Verification:
    def __init__(
        self,
        servers: Servers,
        properties: Properties,
        state: State | None,
        *,
        sizes: Collection[int],
    ) -> None:
        self._cuts = Cuts.of(commits.epochs(servers))
        self._head = commits.head(servers, self._cuts)
        place = Place(servers, size=self._head.size, cuts=self._cuts)
        self._reader = Searcher(place, properties.bodies())
        self._identity: Identity = properties.identity()
        self._properties = properties
        self._state = state if state is not None else self._begun()
        self._report = Report(log=self._identity.log)
        self._report.origin, self._report.keys = self._state.origin, self._state.keys
        self._report.notes, self._report.roots = self._state.notes, self._state.roots
        self._tree = Tree(self._state.done, tuple(self._state.frontier))
        self._wanted = {*sizes, *sizes_of(self._report.notes)}
        self._sums = _Sums(self._reader, self._state.key)

    def _begun(self) -> State:
        notes = self._reader.ask_last_word(("String", "UInt64", "UInt64"), _NOTES)
        origin, keys = (
            self._properties[one].decode(errors="replace") for one in ("origin", "keys")
        )
        key = secrets.token_bytes(_KEY_BYTES)
        kept = [note for note, _, _ in notes]
        return State(self._head.size, key, self._erasures(), origin, keys, kept)

    def _erasures(self) -> int:
        found: int = self._reader.ask_last_word(("UInt64",), _ERASURES)[0][0]
        return found

    def run(self, progress: Callable[[State], None]) -> Report:
        """Check everything."""
        state = self._state
        for name, value in self._properties.items():
            if name.startswith("dictionary/") and value != shipped(int(name.partition("/")[2])):
                self._report.add(None, f"{name} is not the one of the package")
        while state.done < state.size:
            end = min(state.size, state.done + RANGE_ENTRIES)
            self._check_range(state.done, end)
            state.done, state.frontier = end, list(self._tree.frontier)
            progress(state)
        self._report.findings[:0] = [Finding(*one) for one in state.findings]
        del self._report.findings[FINDINGS_MAX:]
        self._report.size, self._report.root = self._tree.size, self._tree.root()
        if self._tree.size in self._wanted:
            self._report.roots[self._tree.size] = self._tree.root()
        self._compare_causes()
        for entry in state.changes:
            record = next(self._reader.entries(entry, entry + 1), None)
            change = succession.read(record.event) if record is not None else None
            if change is not None:
                self._report.changes.append((entry, change))
        return self._report

    def _add(self, entry: int | None, what: str) -> None:
        if len(self._state.findings) < FINDINGS_MAX:
            self._state.findings.append((entry, what))

    def _check_range(self, start: int, end: int) -> None:
        span = {"start": start, "end": end}
        kinds = ("UInt64", "UInt64", "FixedString(32)", "UInt64", "Int64")
        rows = self._reader.ask(kinds, _LEAVES, **span)
        if [entry for entry, *_ in rows] != list(range(start, end)):
            self._name_missing({entry for entry, *_ in rows}, start, end)
        leaves = {entry: _Leaf(*rest) for entry, *rest in rows}
        erased = {
            entry: (cause, data)
            for entry, cause, data in self._reader.ask_last_word(
                ("UInt64", "UInt64", "String"), _ERASED, **span
            )
        }
        sums = self._check_events(leaves, erased, start, end)
        if sum(sums.values()) & _SUM_MASK != self._sums.of_range(start, end):
            self._find_index(sums, start, end)
        self._grow([leaves[entry] for entry in sorted(leaves)], start, end)

    def _name_missing(self, found: set[int], start: int, end: int) -> None:
        missing = [entry for entry in range(start, end) if entry not in found]
        for entry in missing[:FINDINGS_MAX]:
            self._add(entry, "the entry is missing")
        if not missing:
            self._add(start, "an entry of this range is there more than once")

    def _check_events(
        self, leaves: dict[int, _Leaf], erased: dict[int, tuple[int, bytes]], start: int, end: int
    ) -> dict[int, int]:
        """Check events against their leaves; return what each adds to the index's sum."""
        sums: dict[int, int] = {}
        events: set[int] = set()
        for salt, *row in self._reader.ask(_EVENT_KINDS, _EVENTS, start=start, end=end):
            entry = row[1]
            with _finding(self._add, entry):
                if entry in events:
                    raise VerificationError("the event is there more than once")
                events.add(entry)
                if entry in erased:
                    raise VerificationError("the event is said to be erased, and is there")
                if entry in leaves:
                    self._check_event(leaves[entry], salt, row, sums)
        for entry in sorted(leaves.keys() - events):
            with _finding(self._add, entry):
                self._check_erased(entry, leaves[entry], erased.get(entry))
        return sums

    def _check_event(self, leaf: _Leaf, salt: bytes, row: list[Any], sums: dict[int, int]) -> None:
        record = self._reader.record(row)
        k, entry = row[0], record.entry
        bucket, exact = bucket_of(*temporal.exact_key(record.event.recorded))
        value = fingerprint(bucket, record.producer, record.body)
        terms = index.terms(record)
        rows = [self._sums.add(term, k, entry) for term in terms]
        sums[entry] = sum(rows) + self._sums.add(value, k, entry) & _SUM_MASK
        if record.received != leaf.received:
            raise VerificationError("the time of receipt is not the event's")
        opened = self._reader.bodies.salt(salt, event=row[2])
        sealed = entry_of(record, salt=opened, identity=self._identity)
        if merkle.leaf_hash(sealed.encode()) != leaf.hash:
            raise VerificationError("the event is not what its leaf commits to")
        if k != key_of(bucket, entry) or bool(row[7]) is exact:
            raise VerificationError("the event is filed under another time")
        self._check_number(sealed, leaf)
        if row[3] != leaf.producer:
            raise VerificationError("the number of the event is filed under another source")
        if record.kind == Kind.OWN and succession.read(record.event) is not None:
            self._state.changes.append(entry)

    def _check_number(self, sealed: Entry, leaf: _Leaf) -> None:
        if leaf.number != (NO_NUMBER if sealed.number is None else sealed.number):
            raise VerificationError("the number beside the leaf is not the event's")

    def _check_erased(self, entry: int, leaf: _Leaf, left: tuple[int, bytes] | None) -> None:
        if left is None:
            raise VerificationError("the event is missing")
        cause, data = left
        if merkle.leaf_hash(data) != leaf.hash:
            raise VerificationError("what is left of the event is not what its leaf commits to")
        sealed = Entry.decode(data)
        if (sealed.log, sealed.received) != (self._identity.log, leaf.received):
            raise VerificationError("what is left of the event is not of this log or time")
        self._check_number(sealed, leaf)
        runs = self._state.erased
        if runs and runs[-1][1:] == (entry - 1, cause):
            runs[-1] = (runs[-1][0], entry, cause)
        else:
            runs.append((entry, entry, cause))
        if sealed.kind == Kind.OWN:
            raise VerificationError("the event is the log's own, and no such event can be erased")

    def _find_index(self, sums: dict[int, int], start: int, end: int) -> None:
        """Name the entries of a range whose rows in the index are not those of their events."""
        found = self._sums.of_entries(start, end)
        wrong = [entry for entry in range(start, end) if found.get(entry, 0) != sums.get(entry, 0)]
        if wrong and self._erasures() != self._state.erasures:
            what = "the index: something was erased meanwhile"
            if what not in self._report.unchecked:
                self._report.unchecked.append(what)
            return
        for entry in wrong[:FINDINGS_MAX]:
            self._add(entry, "the index is not that of the event")

    def _grow(self, leaves: list[_Leaf], start: int, end: int) -> None:
        """Append the leaves of a range, and compare nodes and roots that are there."""
        for entry, leaf in enumerate(leaves, start):
            if leaf.received < self._state.received:
                self._add(entry, "the time of receipt is before that of the entry before")
            self._state.received = max(self._state.received, leaf.received)
        span = {"start": start, "end": end}
        stated: dict[int, set[bytes]] = {}
        covered = self._cuts.covered("(size - 1)")
        for size, root in self._reader.ask_last_word(
            ("UInt64", "FixedString(32)"), _STATED, stated=covered, covered="1", **span
        ):
            stated.setdefault(size, set()).add(root)
        nodes: list[tuple[int, int, bytes]] = []
        base = self._tree.size
        inside = {one for one in {*stated, *self._wanted} if base < one < base + len(leaves)}
        for first, last in pairwise((base, *sorted(inside), base + len(leaves))):
            hashes = [leaf.hash for leaf in leaves[first - base : last - base]]
            self._tree, made = merkle.append(self._tree, hashes)
            nodes += [(node.level, node.place, node.hash) for node in made]
            if self._tree.size in self._wanted:
                self._report.roots[self._tree.size] = self._tree.root()
            if stated.get(self._tree.size, {self._tree.root()}) != {self._tree.root()}:
                self._add(last - 1, "the tree up to here is not the one that was recorded")
        kinds = ("UInt8", "UInt64", "FixedString(32)")
        for level, place, _ in {*self._reader.ask(kinds, _NODES, **span)} ^ {*nodes}:
            entry = (place + 1 << level) - 1
            self._add(entry, "a node of the tree is not the hash of its leaves")

    def _compare_causes(self) -> None:
        """See that each erased event was erased by an event of the log's own that names it."""
        report = self._report
        for first, last, cause in self._state.erased:
            record: Record | None = next(self._reader.entries(cause, cause + 1), None)
            is_own = record is not None and record.kind == Kind.OWN
            named = erasure.read(record.event) if record is not None and is_own else None
            if named is not None and named.covers(first, last):
                report.redacted.append(Redacted(first, last, cause, named.policy))
                continue
            for entry in range(first, last + 1)[:FINDINGS_MAX]:
                report.add(entry, "the event is missing: no erasure names it")


@contextmanager
def _finding(add: Callable[[int, str], None], entry: int) -> Iterator[None]:
    """Note what is wrong with an entry; what stands in a damaged row may be anything."""
    try:
        yield
    except ServerError:
        raise
    except Error as error:
        add(entry, str(error))
    except Exception:
        add(entry, "the event cannot be read")
