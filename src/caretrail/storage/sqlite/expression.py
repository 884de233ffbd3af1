"""Expressions of terms in the language of SQLite's full-text index (FTS5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Self

from caretrail.errors import TooCostlyError
from caretrail.limits import VOCABULARY_MATCHES_MAX
from caretrail.search import counts
from caretrail.search.term import And, Node, Not, Or, Prefix, Scan, Term

if TYPE_CHECKING:
    import sqlite3

_LAST: Final = "\U0010ffff"
_FIRST: Final = "\x01"  # Comes after the end of a term, and before every letter of one.
_FEW_TERMS: Final = 16
_NEXT_TERM: Final = "SELECT term FROM temp.posting WHERE term >= ? LIMIT 1"


def beyond(prefix: str) -> str:
    """Return a text that comes after all that begin with `prefix`."""
    return prefix + _LAST


class Vocabulary:
    """The distinct terms of the index: the dictionary of what was ever sent."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        # One row for each posting: its first row for a term is there without counting the others.
        connection.execute(
            "CREATE VIRTUAL TABLE IF NOT EXISTS temp.posting USING fts5vocab(main, term, 'instance')"
        )

    def beginning(self, prefix: str) -> list[str] | None:
        """Return the terms that begin so, or None when they are not few.

        A prefix makes FTS5 collect all postings before the first is used; a term does not: with
        a million postings that is 300 ms against 0.1.
        """
        found: list[str] = []
        start = prefix
        while len(found) <= _FEW_TERMS:
            row = self._db.execute(_NEXT_TERM, (start,)).fetchone()
            if row is None or not row[0].startswith(prefix):
                return found
            found.append(row[0])
            start = row[0] + _FIRST
        return None

    def accepted(self, scan: Scan) -> list[str]:
        """Return the terms that a scan takes; raise TooCostlyError when there are too many."""
        rows = self._db.execute(
            "SELECT term FROM vocabulary WHERE term >= ? AND term < ?",
            (scan.prefix, beyond(scan.prefix)),
        )
        found = []
        for (term,) in rows:
            if scan.accepts(term):
                found.append(term)
                if len(found) > VOCABULARY_MATCHES_MAX:
                    raise TooCostlyError("the value stands for too many others: make it longer")
        return found


class Expression(NamedTuple):
    """`text` is None for all events; `nothing` is true when no event can fit.

    With `unknown` all events may fit, and each has to be compared. `counters` are those whose sum
    is how many fit, if there are any.
    """

    text: str | None
    nothing: bool = False
    unknown: bool = False
    counters: tuple[str, ...] = ()

    @classmethod
    def of(cls, node: Node | None, vocabulary: Vocabulary) -> Self:
        """Return the expression of a plan's node."""
        if node is None:
            return cls(None)
        wanted = [one for one in _parts(node) if not isinstance(one, Not)]
        unwanted = [one.node for one in _parts(node) if isinstance(one, Not)]
        texts = [_text(one, vocabulary) for one in wanted]
        if not all(texts):
            return cls("", nothing=True)
        without = [text for one in unwanted if (text := _text(one, vocabulary))]
        if not texts:
            # The index has no word for "all but these": the events are compared instead.
            return cls(None, unknown=bool(without))
        text = " AND ".join(texts)
        for one in without:
            text = f"({text}) NOT {one}"
        return cls(text, counters=counts.summed(node))


def _parts(node: Node) -> tuple[Node, ...]:
    return node.nodes if isinstance(node, And) else (node,)


def _text(node: Node, vocabulary: Vocabulary) -> str:
    """Return a node in FTS5's language, "" when no event fits it."""
    match node:
        case Term(text):
            return f'"{text}"'
        case Prefix(text):
            few = vocabulary.beginning(text)
            return f'"{text}" *' if few is None else _either([f'"{term}"' for term in few])
        case Scan():
            return _either([f'"{term}"' for term in vocabulary.accepted(node)])
        case Or(nodes):
            return _either([text for one in nodes if (text := _text(one, vocabulary))])
        case And(nodes):
            texts = [_text(one, vocabulary) for one in nodes]
            return f"({' AND '.join(texts)})" if all(texts) else ""
        case Not():
            raise AssertionError("a plan negates whole clauses only")


def _either(texts: list[str]) -> str:
    if not texts:
        return ""
    return texts[0] if len(texts) == 1 else f"({' OR '.join(texts)})"
