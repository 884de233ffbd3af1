"""A query as a store can answer it: ranges of its keys and one expression of terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from caretrail.search.index import SHAPE
from caretrail.search.parameters import Type
from caretrail.search.ranges import EVERYTHING, Ranges, intersection, union
from caretrail.search.term import NOTHING, And, Node, Not, Or, Scan
from caretrail.search.token import Value as TokenValue

if TYPE_CHECKING:
    from caretrail.search.query import Clause, Query


@dataclass(frozen=True, slots=True)
class Plan:
    """What a store looks for.

    Every event that fits `query` is in the `recorded` and `received` ranges (milliseconds since
    1970), in the `entries` ranges (indexes in the log), among the `ids` if there are any, and fits
    `node` if there is one. With `exact` nothing else is; without it the event is compared.
    """

    query: Query
    recorded: Ranges = EVERYTHING
    received: Ranges = EVERYTHING
    entries: Ranges = EVERYTHING
    ids: frozenset[str] | None = None
    node: Node | None = None
    exact: bool = True

    @property
    def empty(self) -> bool:
        """Tell whether nothing can fit."""
        return (
            not (self.recorded and self.received and self.entries)
            or self.node == NOTHING
            or (self.ids is not None and not self.ids)
        )


def compile_query(query: Query) -> Plan:
    """Return the plan of a query."""
    builder = _Builder()
    for clause in (*query.clauses, *query.within):
        builder.add(clause)
    nodes = tuple(builder.nodes)
    return Plan(
        query,
        builder.ranges["date"],
        builder.ranges["_lastUpdated"],
        builder.ranges["sequence"],
        builder.ids,
        (nodes[0] if len(nodes) == 1 else And(nodes)) if nodes else None,
        builder.exact,
    )


class _Builder:
    def __init__(self) -> None:
        self.ranges: dict[str, Ranges] = dict.fromkeys(
            ("date", "_lastUpdated", "sequence"), EVERYTHING
        )
        self.ids: frozenset[str] | None = None
        self.nodes: list[Node] = []
        self.exact = True

    def add(self, clause: Clause) -> None:
        parameter = clause.parameter
        if clause.missing is not None:
            self._add_missing(clause)
        elif parameter.code in self.ranges:
            ranges = union(tuple(one for value in clause.values for one in self._ranges(value)))
            self.ranges[parameter.code] = intersection(self.ranges[parameter.code], ranges)
        elif parameter.code == "_id":
            self._add_ids(clause)
        else:
            self._add_node(clause)

    def _add_node(self, clause: Clause) -> None:
        lookup, key = clause.parameter.lookup, clause.parameter.key
        exact = lookup is None and clause.reference is None
        exact = exact and all(value.exact for value in clause.values)
        self.exact = self.exact and exact
        if clause.negated and not exact:
            return  # What is not one of too many is not what is asked: compare instead.
        find = lookup or (lambda value: value.node(key))
        nodes = tuple(find(value) for value in clause.values)
        node = nodes[0] if len(nodes) == 1 else Or(nodes)
        self.nodes.append(Not(node) if clause.negated else node)

    def _ranges(self, value: Any) -> Ranges:
        if hasattr(value, "milliseconds"):
            self.exact = self.exact and value.exact
            found: Ranges = value.milliseconds()
            return found
        entries: Ranges = value.ranges()
        return entries

    def _add_missing(self, clause: Clause) -> None:
        parameter, key = clause.parameter, clause.parameter.key
        if parameter.lookup is not None:
            self.exact = False
            return
        if not key or parameter.type is Type.SPECIAL:  # Every event has these.
            if clause.missing:
                self.nodes.append(NOTHING)
            return
        wanted = not clause.missing
        self.nodes.append(Scan(SHAPE, lambda term: (key in _keys(term)) is wanted))

    def _add_ids(self, clause: Clause) -> None:
        ids = frozenset(value.code for value in clause.values if isinstance(value, TokenValue))
        if clause.negated:
            self.exact = False
        else:
            self.ids = ids if self.ids is None else self.ids & ids
            # `_id=system|code` means nothing, and is left to the comparison.
            self.exact = self.exact and all(value.system is None for value in clause.values)


def _keys(term: str) -> set[str]:
    return {term[at : at + 2] for at in range(len(SHAPE), len(term), 2)}
