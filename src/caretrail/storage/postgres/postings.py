"""The index: for each term rows of packed keys, and the keys of expressions of terms.

A row has the highest of its keys in full, and the others as the low 32 bits: all of a row lie in the
same 4,295 milliseconds (2**32 keys). So whoever reads rows by `high` need not look further than
that for a key that is lower, or for a row that has it.
"""

from __future__ import annotations

import struct
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.errors import TooCostlyError
from caretrail.limits import VOCABULARY_MATCHES_MAX
from caretrail.search.term import And, Node, Not, Or, Prefix, Scan, Term

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from caretrail.storage.postgres.connection import Connection

_BLOCK_BITS: Final = 32
_BLOCK_MASK: Final = (1 << _BLOCK_BITS) - 1
KEY_MAX: Final = 2**63 - 1
_LAST: Final = "\U0010ffff"
# A prefix that more terms begin with is read whole; fewer are read in order, term by term.
_FEW_TERMS: Final = 16
_FIRST_ROWS: Final = 64
_ROWS_MAX: Final = 4_096
_SIZE_ROWS: Final = 1_000
_BEGINNING: Final = """
WITH RECURSIVE found(term) AS (
    (SELECT term FROM posting WHERE term >= $1 ORDER BY term LIMIT 1)
    UNION ALL
    SELECT (SELECT p.term FROM posting p WHERE p.term > f.term ORDER BY p.term LIMIT 1)
    FROM found f WHERE f.term < $2
) SELECT term FROM found WHERE term >= $1 AND term < $2 LIMIT $3
"""
_ORDERED: Final = """
SELECT p.high, p.n, p.keys, t.number FROM unnest($1::text[]) WITH ORDINALITY t(term, number), LATERAL (
    SELECT high, n, keys FROM posting WHERE term = t.term AND high >= $2 AND high <= $3
    ORDER BY high {0} LIMIT $4) p
"""
_ALL: Final = "SELECT high, n, keys FROM posting WHERE term = ANY($1) AND high >= $2 AND high <= $3"
_RANGE: Final = (
    "SELECT high, n, keys FROM posting WHERE term >= $1 AND term < $2 AND high >= $3 AND high <= $4"
)
_SIZE: Final = """
SELECT count(*) FROM unnest($1::text[]) t(term), LATERAL (SELECT 1 FROM posting
    WHERE term = t.term AND high >= $2 AND high <= $3 LIMIT $4) p
"""


def packed(keys: Sequence[int]) -> Iterator[tuple[int, int, bytes]]:
    """Yield rows (high, n, keys) of keys that are in order and distinct."""
    for _, group in groupby(keys, key=lambda k: k >> _BLOCK_BITS):
        *others, high = group
        yield (
            high,
            len(others) + 1,
            struct.pack(f">{len(others)}I", *(k & _BLOCK_MASK for k in others)),
        )


def unpacked(high: int, n: int, keys: bytes) -> Iterable[int]:
    """Return the keys of a row."""
    if n == 1:
        return (high,)
    block = high >> _BLOCK_BITS << _BLOCK_BITS
    return (*(block | low for low in struct.unpack(f">{n - 1}I", keys)), high)


def end_of(key: int) -> int:
    """Return the highest key that can be in a row with `key`."""
    return key | _BLOCK_MASK


class Terms(NamedTuple):
    """The events with any of these terms."""

    terms: tuple[str, ...]


class Beginning(NamedTuple):
    """The events with any of the many terms that begin so."""

    prefix: str


class All(NamedTuple):
    """The events that fit all parts."""

    parts: tuple[Part, ...]


class Either(NamedTuple):
    """The events that fit any part."""

    parts: tuple[Part, ...]


Part = Terms | Beginning | All | Either


class Expression(NamedTuple):
    """What is looked for: all of `wanted` (every event without any), none of `without`."""

    wanted: tuple[Part, ...] = ()
    without: tuple[Part, ...] = ()
    nothing: bool = False
    unknown: bool = False


class Postings:
    """The index, over one connection."""

    def __init__(self, db: Connection) -> None:
        self._db = db

    def expression(self, node: Node | None) -> Expression:
        """Return the expression of a plan's node, with the terms that are there."""
        if node is None:
            return Expression()
        parts = node.nodes if isinstance(node, And) else (node,)
        wanted = [self._part(one) for one in parts if not isinstance(one, Not)]
        without = [self._part(one.node) for one in parts if isinstance(one, Not)]
        found = tuple(one for one in wanted if one is not None)
        return Expression(
            found,
            tuple(one for one in without if one is not None),
            nothing=len(found) < len(wanted),
        )

    def _part(self, node: Node) -> Part | None:
        """Return a node with the terms that it stands for, None when no event fits it."""
        match node:
            case Term(text):
                return Terms((text,))
            case Prefix(text):
                few = self._beginning(text, _FEW_TERMS + 1)
                if len(few) > _FEW_TERMS:
                    return Beginning(text)
                return Terms(few) if few else None
            case Scan():
                accepted = self._accepted(node)
                return Terms(accepted) if accepted else None
            case Or(nodes):
                found = [part for one in nodes if (part := self._part(one)) is not None]
                return _either(found)
            case And(nodes):
                parts = [self._part(one) for one in nodes]
                some = tuple(one for one in parts if one is not None)
                return All(some) if len(some) == len(parts) else None
            case Not():
                raise AssertionError("a plan negates whole clauses only")

    def _beginning(self, prefix: str, limit: int) -> tuple[str, ...]:
        rows = self._db.fetch(_BEGINNING, prefix, prefix + _LAST, limit)
        return tuple(row[0] for row in rows)

    def _accepted(self, scan: Scan) -> tuple[str, ...]:
        """Return the terms that a scan takes; raise TooCostlyError when there are too many."""
        found: list[str] = []
        start, portion = scan.prefix, 1_000
        while True:
            rows = self._db.fetch(_BEGINNING, start, scan.prefix + _LAST, portion)
            found += (row[0] for row in rows if scan.accepts(row[0]))
            if len(found) > VOCABULARY_MATCHES_MAX:
                raise TooCostlyError("the value stands for too many others: make it longer")
            if len(rows) < portion:
                return tuple(found)
            start = rows[-1][0] + "\x01"  # Comes after the term, and before all that go on.

    def size(self, part: Part, low: int, high: int) -> int:
        """Return about how many rows a part has, as far as that is no large number."""
        match part:
            case Terms(terms):
                return int(self._db.value(_SIZE, terms, low, end_of(high), _SIZE_ROWS))
            case Beginning():
                return _SIZE_ROWS
            case All(parts):
                return min(self.size(one, low, high) for one in parts)
            case Either(parts):
                return sum(self.size(one, low, high) for one in parts)

    def keys(self, part: Part, low: int, high: int) -> set[int]:
        """Return all keys of a part from `low` to `high`."""
        match part:
            case Terms(terms):
                rows = self._db.fetch(_ALL, terms, low, end_of(high))
            case Beginning(prefix):
                rows = self._db.fetch(_RANGE, prefix, prefix + _LAST, low, end_of(high))
            case All(parts):
                ordered = sorted(parts, key=lambda one: self.size(one, low, high))
                found = self.keys(ordered[0], low, high)
                for one in ordered[1:]:
                    if not found:
                        break
                    found &= self.keys(one, min(found), max(found))
                return found
            case Either(parts):
                return set().union(*(self.keys(one, low, high) for one in parts))
        found = set()
        for row in rows:
            found.update(unpacked(*row))
        return {k for k in found if low <= k <= high}

    def count(self, expression: Expression, low: int, high: int) -> int:
        """Return how many events fit an expression that wants something."""
        if len(expression.wanted) == 1 and not expression.without:
            (part,) = expression.wanted
            if isinstance(part, Terms) and len(part.terms) == 1:
                return self._count(part.terms[0], low, high)
        found = self.keys(All(expression.wanted), low, high)
        for one in expression.without:
            if found:
                found -= self.keys(one, min(found), max(found))
        return len(found)

    def count_any(self, parts: tuple[Part, ...], low: int, high: int) -> int:
        """Return how many events fit any of the parts."""
        return self.count(Expression((_either(list(parts)) or Either(()),)), low, high)

    def commonest(self, prefix: str, limit: int) -> list[tuple[str, int]]:
        """Return the commonest terms that begin so, and how many events have each."""
        ask = (
            "SELECT term, sum(n)::bigint FROM posting WHERE term >= $1 AND term < $2"
            " GROUP BY term ORDER BY sum(n) DESC, term LIMIT $3"
        )
        return [(term, n) for term, n in self._db.fetch(ask, prefix, prefix + _LAST, limit)]

    def _count(self, term: str, low: int, high: int) -> int:
        """Count rows that are inside as a whole by what they say, and unpack the others."""
        first = (low + _BLOCK_MASK) & ~_BLOCK_MASK
        last = ((high + 1) & ~_BLOCK_MASK) - 1
        if first > last:
            return len(self.keys(Terms((term,)), low, high))
        ask = "SELECT coalesce(sum(n), 0)::bigint FROM posting WHERE term = $1 AND high >= $2 AND high <= $3"
        whole = int(self._db.value(ask, term, first, last))
        ends = [(low, first - 1), (last + 1, high)]
        return whole + sum(len(self.keys(Terms((term,)), *one)) for one in ends if one[0] <= one[1])

    def scan(
        self, expression: Expression, low: int, high: int, *, descending: bool
    ) -> Iterator[list[int]]:
        """Yield keys in order, some at a time: of all events that fit, and perhaps of others."""
        wanted = expression.wanted
        if len(wanted) == 1:
            yield from self._ordered(wanted[0], low, high, descending=descending)
            return
        sizes = [self.size(one, low, high) for one in wanted]
        driver = min(range(len(wanted)), key=sizes.__getitem__)
        others = [one for n, one in enumerate(wanted) if n != driver and sizes[n] < _SIZE_ROWS]
        known = [self.keys(one, low, high) for one in others]
        for keys in self._ordered(wanted[driver], low, high, descending=descending):
            yield [k for k in keys if all(k in one for one in known)]

    def _ordered(self, part: Part, low: int, high: int, *, descending: bool) -> Iterator[list[int]]:
        if isinstance(part, Terms) and len(part.terms) <= _FEW_TERMS:
            walk = self._falling if descending else self._rising
            yield from walk(part.terms, low, high)
        else:
            yield sorted(self.keys(part, low, high), reverse=descending)

    def _falling(self, terms: tuple[str, ...], low: int, high: int) -> Iterator[list[int]]:
        left: set[int] = set()
        top, limit = end_of(high), _FIRST_ROWS
        while True:
            rows = self._db.fetch(_ORDERED.format("DESC"), terms, low, top, limit)
            # Below the lowest row of a term that has more, some of its keys may be missing.
            whole = max(_ends(rows, limit, -1), default=low)
            for row in rows:
                left.update(unpacked(*row[:3]))
            found = sorted((k for k in left if whole <= k <= high), reverse=True)
            yield [k for k in found if k >= low]
            if whole <= low:
                return
            left = {k for k in left if k < whole}
            top, limit = whole - 1, min(2 * limit, _ROWS_MAX)

    def _rising(self, terms: tuple[str, ...], low: int, high: int) -> Iterator[list[int]]:
        limit = _FIRST_ROWS
        while low <= high:
            rows = self._db.fetch(_ORDERED.format("ASC"), terms, low, end_of(high), limit)
            # From the block of the highest row on, of a term that has more, keys may be missing.
            whole = min((one & ~_BLOCK_MASK for one in _ends(rows, limit, 1)), default=KEY_MAX)
            if whole <= low:
                # One block holds more rows than that.
                end = min(end_of(low), high)
                yield sorted(self.keys(Terms(terms), low, end))
                low = end + 1
                continue
            found = {k for row in rows for k in unpacked(*row[:3])}
            yield sorted(k for k in found if low <= k < whole and k <= high)
            low, limit = whole, min(2 * limit, _ROWS_MAX)


def _ends(rows: Iterable[Sequence[int]], limit: int, sign: int) -> list[int]:
    """Return the last row, by its high key, of each term that may have more of them."""
    highs: dict[int, list[int]] = {}
    for row in rows:
        highs.setdefault(row[3], []).append(sign * row[0])
    return [sign * max(found) for found in highs.values() if len(found) == limit]


def _either(parts: list[Part]) -> Part | None:
    if not parts:
        return None
    if all(isinstance(one, Terms) for one in parts):
        return Terms(tuple(dict.fromkeys(text for one in parts for text in one.terms)))  # type: ignore[union-attr]
    return parts[0] if len(parts) == 1 else Either(tuple(parts))
