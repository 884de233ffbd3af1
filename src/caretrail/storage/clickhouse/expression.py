"""Expressions of terms as conditions on postings, in ClickHouse's SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.errors import TooCostlyError
from caretrail.limits import VOCABULARY_MATCHES_MAX
from caretrail.search.term import And, Node, Not, Or, Prefix, Scan, Term
from caretrail.storage.clickhouse.servers import literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LAST: Final = "\U0010ffff"


def beginning(prefix: str) -> str:
    """Return the condition that a term begins so."""
    return f"term >= {literal(prefix)} AND term < {literal(prefix + _LAST)}"


class Source(NamedTuple):
    """Events with a posting that fits a condition; with `once` none has two that do."""

    condition: str
    once: bool

    def has(self, within: str) -> str:
        """Return the condition that an entry is one of them; `within` is one on their postings."""
        return (
            "entry IN (SELECT entry FROM {d}.posting_local WHERE log = {log}"  # noqa: S608
            f" AND ({self.condition}) AND {within})"
        )


class Sources(NamedTuple):
    """Events that are in all of several sources, or in any of them."""

    parts: tuple[Source | Sources, ...]
    operator: str

    def has(self, within: str) -> str:
        """Return the condition that an entry is one of them."""
        return "(" + f" {self.operator} ".join(one.has(within) for one in self.parts) + ")"


class Expression(NamedTuple):
    """Events that have a posting for each source of `wanted`, and none for one of `unwanted`.

    Without `wanted` it speaks of all events. With `nothing` no event can fit.
    """

    wanted: tuple[Source | Sources, ...] = ()
    unwanted: tuple[Source | Sources, ...] = ()
    nothing: bool = False
    # The index has a word for "all but these".
    unknown: bool = False

    @classmethod
    def of(cls, node: Node | None, vocabulary: Callable[[str], Sequence[str]]) -> Expression:
        """Return the expression of a plan's node."""
        wanted: list[Source | Sources] = []
        unwanted: list[Source | Sources] = []
        for part in _parts(node):
            if isinstance(part, Not):
                source = _source(part.node, vocabulary)
                unwanted += [source] if source else []
            else:
                source = _source(part, vocabulary)
                if source is None:
                    return cls(nothing=True)
                wanted.append(source)
        # Postings of the first are read in order of time; entries of the others are looked up.
        wanted.sort(key=lambda one: not (isinstance(one, Source) and one.once))
        return cls(tuple(wanted), tuple(unwanted))


def _parts(node: Node | None) -> list[Node]:
    """Return the clauses of a node, those within clauses, too."""
    if node is None:
        return []
    if isinstance(node, And):
        return [part for one in node.nodes for part in _parts(one)]
    return [node]


def _source(node: Node, vocabulary: Callable[[str], Sequence[str]]) -> Source | Sources | None:
    """Return a clause as a condition, None when no event fits it."""
    match node:
        case Term(text):
            return Source(f"term = {literal(text)}", once=True)
        case Prefix(text):
            return Source(beginning(text), once=False)
        case Scan():
            return _listed(_accepted(node, vocabulary))
        case Or(nodes):
            return _either([one for part in nodes if (one := _source(part, vocabulary))])
        case And(nodes):
            parts = [_source(part, vocabulary) for part in nodes]
            found = tuple(one for one in parts if one is not None)
            return Sources(found, "AND") if len(found) == len(parts) else None
        case Not():
            raise AssertionError("a plan negates whole clauses only")


def _accepted(scan: Scan, vocabulary: Callable[[str], Sequence[str]]) -> list[str]:
    """Return the terms that a scan takes; raise TooCostlyError when there are too many."""
    found = [term for term in vocabulary(scan.prefix) if scan.accepts(term)]
    if len(found) > VOCABULARY_MATCHES_MAX:
        raise TooCostlyError("the value stands for too many others: make it longer")
    return found


def _listed(terms: Sequence[str]) -> Source | None:
    if not terms:
        return None
    listed = ", ".join(literal(term) for term in terms)
    return Source(f"term IN ({listed})", once=len(terms) == 1)


def _either(sources: Sequence[Source | Sources]) -> Source | Sources | None:
    if len(sources) <= 1:
        return sources[0] if sources else None
    if all(isinstance(one, Source) for one in sources):
        return Source(
            " OR ".join(f"({one.condition})" for one in sources if isinstance(one, Source)),
            once=False,
        )
    return Sources(tuple(sources), "OR")
