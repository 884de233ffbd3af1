"""Searching a log in ClickHouse: a plan becomes SELECTs over postings, and then over events.

Every SELECT says which entries count: those below the last commit row, without what is void (see
`commits`). An event's postings are on the event's own shard, so shards need not ask each other.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from caretrail.errors import StoreError, TooCostlyError
from caretrail.limits import VOCABULARY_MATCHES_MAX
from caretrail.sequencer import ENTRY_BITS, ENTRY_MASK, bucket_of_key
from caretrail.storage import searching
from caretrail.storage.clickhouse import commits
from caretrail.storage.clickhouse.expression import Expression, Source, beginning
from caretrail.storage.clickhouse.servers import TIMEOUT_EXCEEDED, ServerError, numbers
from caretrail.storage.contract import Quarantined

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from caretrail.search.term import Node
    from caretrail.storage.bodies import Bodies
    from caretrail.storage.clickhouse.commits import Cuts
    from caretrail.storage.clickhouse.servers import Servers
    from caretrail.storage.contract import Deadline
    from caretrail.storage.searching import Row

# As many events are fetched at first as a page has, then more each time.
_FIRST_CHUNK: Final = 128
_LAST_CHUNK: Final = 4_096
_COLUMNS: Final = "k, entry, id, producer, kind, form, flags, irregular, body"
_KINDS: Final = (
    "UInt64", "UInt64", "FixedString(16)", "UInt64", "UInt8", "UInt8", "UInt32", "UInt8", "String",
)  # fmt: skip
_KEY_AND_ENTRY: Final = ("UInt64", "UInt64")
_ENTRIES: Final = (
    f"SELECT {_COLUMNS} FROM {{d}}.event WHERE log = {{log}} AND entry >= {{start}} AND entry < {{end}}"  # noqa: S608
    " AND {covered} ORDER BY entry {direction}"
)
_LISTED: Final = f"SELECT {_COLUMNS} FROM {{d}}.event WHERE log = {{log}} AND entry IN {{listed}} AND {{covered}}"  # noqa: S608
_BY_ID: Final = (
    f"SELECT {_COLUMNS} FROM {{d}}.event WHERE log = {{log}} AND entry >= {{start}} AND entry < {{end}}"  # noqa: S608
    " AND id = unhex('{id}') AND {covered}"
)
_RECEIVED: Final = (
    "SELECT received FROM {d}.leaf WHERE log = {log} AND entry = {entry} AND {covered}"
)
_QUARANTINED: Final = (
    "SELECT q.number, p.name, q.received, q.body, q.issues FROM"
    " (SELECT * FROM {d}.quarantine WHERE log = {log} AND number > {after} ORDER BY number LIMIT {limit}) AS q"
    " ANY LEFT JOIN (SELECT number AS producer, name FROM {d}.producer WHERE log = {log}) AS p"
    " USING producer ORDER BY q.number"
)
_VALUES: Final = (
    "SELECT term, toUInt64(count()) AS events FROM {d}.posting WHERE log = {log} AND {beginning}"
    " AND entry < {size} AND {covered} GROUP BY term ORDER BY events DESC, term LIMIT {limit}"
)
_TERMS: Final = (
    "SELECT DISTINCT term FROM {d}.posting WHERE log = {log} AND {beginning} AND entry < {size}"
    " LIMIT {limit}"
)


class Place:
    """What the readers of one log share: its size, and what is void in it."""

    def __init__(self, servers: Servers, *, size: int, cuts: Cuts) -> None:
        self.servers, self.size, self.cuts = servers, size, cuts


class Searcher(searching.Searcher):
    """Reads of one thread."""

    def __init__(self, place: Place, bodies: Bodies) -> None:
        super().__init__(bodies)
        self._place, self._servers = place, place.servers
        self._snapshot: int | None = None
        self._deadline: Deadline | None = None

    @property
    def size(self) -> int:
        """The size that reads see: that of the snapshot, or else the log's."""
        return self._place.size if self._snapshot is None else self._snapshot

    @contextmanager
    def snapshot(self) -> Iterator[int]:
        """Let all reads within see the log at one size, and say which."""
        outer, self._snapshot = self._snapshot, self.size
        try:
            yield self._snapshot
        finally:
            self._snapshot = outer

    def ask(self, kinds: Sequence[str], statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT, which has no more time than the search that it is for."""
        seconds = None if self._deadline is None else self._deadline.remaining()
        if seconds is not None and seconds <= 0:
            raise TooCostlyError(searching.TOO_COSTLY)
        values.setdefault("covered", self._place.cuts.covered())
        return self._servers.ask(kinds, statement, seconds=seconds, **values)

    def ask_last_word(
        self, kinds: Sequence[str], statement: str, **values: Any
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT from a table that all servers share."""
        return self._servers.ask(kinds, statement, is_last_word=True, **values)

    @contextmanager
    def limited(self, deadline: Deadline) -> Iterator[None]:
        """Stop what is asked within when the time is up, and raise TooCostlyError."""
        self._deadline = deadline
        try:
            yield
        except ServerError as error:
            if error.code == TIMEOUT_EXCEEDED:
                raise TooCostlyError(searching.TOO_COSTLY) from error
            raise
        finally:
            self._deadline = None

    def rows_of(self, start: int, end: int, *, descending: bool) -> Iterator[Row]:
        """Yield the events at those places of the log."""
        end = min(end, self.size)
        direction = "DESC" if descending else "ASC"
        chunk = _FIRST_CHUNK
        while start < end:
            first, last = (max(start, end - chunk), end) if descending else (start, start + chunk)
            yield from self.ask(
                _KINDS, _ENTRIES, start=first, end=min(last, end), direction=direction
            )
            start, end = (start, first) if descending else (last, end)
            chunk = min(2 * chunk, _LAST_CHUNK)

    def rows_by_id(self, event_id: bytes) -> Iterator[Row]:
        """Return the event with that id: it says when it was received, and commit rows say where."""
        at = searching.received(event_id)
        try:
            spans = commits.spans_of_time(self._servers, self._place.cuts, at)
        except ServerError:
            # Without ZooKeeper no server knows whether it has the last row; leaves are on all of
            # their shard's, and take some steps.
            spans = [(self._received_since(at, self.size), self._received_since(at + 1, self.size))]
        for start, end in spans:
            span = {"start": start, "end": min(end, self.size)}
            yield from self.ask(_KINDS, _BY_ID, id=event_id.hex(), **span)

    def expression(self, node: Node | None) -> Expression:
        """Return the conditions of a plan's node."""
        return Expression.of(node, self._beginning)

    def _beginning(self, prefix: str) -> list[str]:
        limit = 100 * VOCABULARY_MATCHES_MAX
        asked = {"beginning": beginning(prefix), "size": self.size, "limit": limit}
        found = [term.decode() for (term,) in self.ask(("String",), _TERMS, **asked)]
        if len(found) == limit:
            raise TooCostlyError("the value stands for too many others: make it longer")
        return found

    def scan(
        self,
        expression: Expression,
        low: int,
        high: int,
        entries: tuple[int, int],
        *,
        descending: bool,
    ) -> Iterator[Row]:
        """Yield, in order of keys, the events from key `low` to `high` whose entries are in a range."""
        direction = "DESC" if descending else "ASC"
        source, conditions, distinct = self._found(expression, low, high, entries)
        ask = (
            f"SELECT {distinct}k, entry FROM {source} WHERE {conditions}"  # noqa: S608
            f" AND {{rest}} ORDER BY k {direction}, entry {direction} LIMIT {{limit}}"
        )
        chunk, rest = _FIRST_CHUNK, "1"
        while True:
            places = self.ask(_KEY_AND_ENTRY, ask, rest=rest, limit=chunk)
            yield from self._events(places)
            if len(places) < chunk:
                return
            k, entry = places[-1]
            sign = "<" if descending else ">"
            rest = f"k {sign}= {k} AND (k {sign} {k} OR entry {sign} {entry})"
            chunk = min(2 * chunk, _LAST_CHUNK)

    def _events(self, places: Sequence[tuple[int, int]]) -> Iterable[Row]:
        """Return the events of keys and entries, in the same order."""
        if not places:
            return []
        listed = numbers(entry for _, entry in places)
        rows = {row[1]: row for row in self.ask(_KINDS, _LISTED, listed=listed)}
        # One that was erased meanwhile is not there any more.
        return [rows[entry] for _, entry in places if entry in rows]

    def count_keys(self, expression: Expression, low: int, high: int) -> int:
        """Return how many events from key `low` to `high` the index has."""
        source, conditions, distinct = self._found(expression, low, high, (0, self.size))
        counted = "uniqExact(entry)" if distinct else "count()"
        ask = f"SELECT toUInt64({counted}) FROM {source} WHERE {conditions}"  # noqa: S608
        count: int = self.ask(("UInt64",), ask)[0][0]
        return count

    def _found(
        self, expression: Expression, low: int, high: int, entries: tuple[int, int]
    ) -> tuple[str, str, str]:
        """Return the table, the conditions, and DISTINCT where an event may have several rows."""
        within = f"k >= {low} AND k <= {high}"
        first, *others = expression.wanted or (None,)
        conditions = [
            f"log = {{log}} AND {within} AND entry >= {entries[0]} AND entry < {entries[1]}",
            "{covered}",
        ]
        if isinstance(first, Source):
            source, distinct = "{d}.posting", "" if first.once else "DISTINCT "
            conditions.append(f"({first.condition})")
        else:
            source, distinct = "{d}.moment", ""
            # Moments are in order of time by their fingerprints, which have it in front.
            conditions.append(
                f"fingerprint >= {low >> ENTRY_BITS << ENTRY_BITS} AND fingerprint <= {high | ENTRY_MASK}"
            )
            others = [] if first is None else [first, *others]
        conditions += [one.has(within) for one in others]
        conditions += [f"NOT ({one.has(within)})" for one in expression.unwanted]
        return source, " AND ".join(conditions), distinct

    def count_erased(self, until: int) -> int:
        """Return how many of the first `until` entries were erased."""
        ask = "SELECT toUInt64(uniqExact(entry)) FROM {d}.erased WHERE log = {log} AND entry < {until}"
        count: int = self.ask_last_word(("UInt64",), ask, until=until)[0][0]
        return count

    def received_at(self, entry: int) -> int:
        """Return when an entry was received, in milliseconds since 1970."""
        rows = self.ask(("UInt64",), _RECEIVED, entry=entry)
        if not rows:
            raise StoreError("the store has not an entry that it should have")
        at: int = rows[0][0]
        return at

    def producers(self) -> list[tuple[int, str, str]]:
        """Return the number, the name and the organisation of each producer."""
        ask = (
            "SELECT number, name, organisation FROM {d}.producer WHERE log = {log} ORDER BY number"
        )
        kinds = ("UInt64", "String", "String")
        try:
            rows = self.ask_last_word(kinds, ask)
        except ServerError:
            rows = self._servers.ask_each(kinds, ask)
        return [
            (number, name.decode(), organisation.decode()) for number, name, organisation in rows
        ]

    def span(self) -> tuple[int, int] | None:
        """Return the first and the last millisecond that events have, or None without any."""
        ask = (
            "SELECT toUInt64(count()), min(k), max(k) FROM {d}.moment WHERE log = {log}"
            " AND entry < {size} AND {covered}"
        )
        count, low, high = self.ask(("UInt64", "UInt64", "UInt64"), ask, size=self.size)[0]
        return (bucket_of_key(low), bucket_of_key(high)) if count else None

    def quarantined(self, *, after: int, limit: int) -> list[Quarantined]:
        """Return what was refused, from the number after `after` on."""
        kinds = ("UInt64", "String", "UInt64", "String", "String")
        rows = self.ask_last_word(kinds, _QUARANTINED, after=after, limit=limit)
        return [
            Quarantined(
                number, name.decode(), at, self.bodies.unpack(body), searching.read_issues(issues)
            )
            for number, name, at, body, issues in rows
        ]

    def values(self, key: str, *, limit: int, deadline: Deadline) -> list[tuple[str, int]]:
        """Return the commonest terms that begin with `key`, and how many events have each."""
        asked = {"beginning": beginning(key), "size": self.size, "limit": limit}
        with self.limited(deadline):
            rows = self.ask(("String", "UInt64"), _VALUES, **asked)
        return [(term.decode(), events) for term, events in rows]
