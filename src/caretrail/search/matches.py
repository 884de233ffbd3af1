"""What a search means: the reference that every store's answers must equal (DESIGN, decision 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caretrail.search import elements as of
from caretrail.search.index import shown
from caretrail.search.parameters import Type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.search.query import Chain, Clause, Query
    from caretrail.search.record import Record


def matches(record: Record, query: Query) -> bool:
    """Tell whether the event fits every clause of the query, and may be seen."""
    facts = of.Facts(record)
    return all(_fits(facts, clause) for clause in (*query.clauses, *query.within))


def visible(record: Record, query: Query) -> bool:
    """Tell whether the asker of the query may see the event, whether it fits or not."""
    facts = of.Facts(record)
    return all(_fits(facts, clause) for clause in query.within)


def _fits(facts: of.Facts, clause: Clause) -> bool:
    elements = _elements(facts, clause)
    if clause.missing is not None:
        return clause.missing is not bool(elements)
    return clause.negated is not any(value.matches(elements) for value in clause.values)


def _elements(facts: of.Facts, clause: Clause) -> Sequence[Any]:
    parameter = clause.parameter
    if parameter.type is Type.SPECIAL:
        return [*of.texts(facts.event), *(display for _, display in shown(facts))]
    if clause.reference is not None:
        return _identifiers(facts, clause.reference)
    elements: Sequence[Any] = parameter.values(facts)
    return elements


def _identifiers(facts: of.Facts, chain: Chain) -> Sequence[Any]:
    references = chain.parameter.values(facts)
    if chain.own:
        return of.own_identifiers(references)
    wanted = [one for one in references if of.kind(facts.event, one) == chain.kind]
    return of.identifiers(facts.event, wanted)
