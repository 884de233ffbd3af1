"""What an identity may see: which events are there for it, and what of them it is shown.

A view goes into the query itself, so that rows, totals, facets, page links and what is read by its
id are those of a log in which nothing else was ever recorded (T-20, T-21, T-22).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caretrail.errors import Issue, ParameterError
from caretrail.limits import TERM_CHARACTERS_MAX
from caretrail.search.index import ORGANISATION, PRODUCER
from caretrail.search.matches import matches
from caretrail.search.parameters import BY_CODE, SearchParameter, Type
from caretrail.search.query import Clause, Query
from caretrail.search.reference import Value as ReferenceValue
from caretrail.search.term import Node, Prefix, Term, spell

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from caretrail.search.record import Record

# Turns an event, as it is served, into what may be shown of it.
Projection = Callable[[bytes], bytes]
# The claim of an organisation that stands for all of them.
EVERY_ORGANISATION: Final = "*"


class SenderValue(NamedTuple):
    """The name of a sender or of an organisation, as the log has it beside an event."""

    name: str

    def matches(self, elements: Collection[str]) -> bool:
        """Tell whether it is this one."""
        return self.name in elements

    def node(self, key: str) -> Node:
        """Return where the index has it."""
        return Term(key + spell(self.name))

    @property
    def exact(self) -> bool:
        """Tell whether the index alone decides: it cuts long names off."""
        return len(self.name) <= TERM_CHARACTERS_MAX


class AnySender(NamedTuple):
    """Any name at all."""

    def matches(self, elements: Collection[str]) -> bool:
        """Tell whether there is one."""
        return bool(elements)

    def node(self, key: str) -> Node:
        """Return where the index has them."""
        return Prefix(key)

    @property
    def exact(self) -> bool:
        """Tell whether the index alone decides."""
        return True


def _beside(code: str, key: str, values: Callable[[Any], Sequence[str]]) -> SearchParameter:
    return SearchParameter(code, Type.TOKEN, key, "", values, f"The {code} beside the event")


# No search names these: they are in the index for views alone.
_ORGANISATION: Final = _beside(
    "organisation",
    ORGANISATION,
    lambda r: (r.record.organisation,) if r.record.organisation else (),
)
_PRODUCER: Final = _beside("producer", PRODUCER, lambda r: (r.record.producer,))


@dataclass(frozen=True, slots=True)
class View:
    """The events that fit `clauses`; `binding` is one text for them.

    `parameters` are those that a search may name, where others would tell what `projection` takes
    out of an event. `patient` is the only one that is there for it.
    """

    clauses: tuple[Clause, ...] = ()
    binding: str = ""
    parameters: frozenset[str] | None = None
    projection: Projection | None = None
    patient: ReferenceValue | None = None

    @property
    def is_whole(self) -> bool:
        """Tell whether it is the log as it is."""
        return not self.clauses and self.projection is None

    def over(self, query: Query) -> Query:
        """Return the query within this view; raise ParameterError for what it may not ask for."""
        if self.parameters is not None:
            named = [clause.parameter.code for clause in query.clauses]
            named += (key.parameter.code for key in query.sort)
            self.check(named)
        if self.patient is not None:
            query = replace(query, clauses=tuple(map(self._of_own, query.clauses)))
        return replace(query, within=self.clauses, binding=self.binding)

    def _of_own(self, clause: Clause) -> Clause:
        """Return the clause without other patients: an event that names two shows one."""
        if clause.parameter.code != "patient":
            return clause
        return clause._replace(values=tuple(filter(self._is_own, clause.values)))

    def _is_own(self, value: Any) -> bool:
        return (
            isinstance(value, ReferenceValue)
            and self.patient is not None
            and value.id == self.patient.id
            and value.type in (None, self.patient.type)
        )

    def check(self, codes: Collection[str]) -> None:
        """Raise ParameterError when a search in this view may not name one of the parameters."""
        if self.parameters is None or self.parameters.issuperset(codes):
            return
        known = ", ".join(sorted(self.parameters))
        raise ParameterError((Issue("not-supported", f"with this credential: {known}"),))

    def includes(self, record: Record) -> bool:
        """Tell whether the event is there."""
        return not self.clauses or matches(record, Query(within=self.clauses))

    def shown(self, event: bytes) -> bytes:
        """Return what is shown of an event that is served."""
        return event if self.projection is None else self.projection(event)

    def also(self, clauses: Sequence[Clause], binding: str) -> View:
        """Return this view, narrowed further."""
        return replace(
            self,
            clauses=(*self.clauses, *clauses),
            binding=f"{self.binding}\n{binding}",
        )


EVERYTHING: Final = View()
# An id that is none of no ids: no event fits.
NOTHING: Final = View((Clause(BY_CODE["_id"], ()),), "nothing")


def of_organisation(name: str) -> View:
    """Return the events that were filed under an organisation: "" is none, "*" is any or none."""
    if name == EVERY_ORGANISATION:
        return EVERYTHING
    clause = (
        Clause(_ORGANISATION, (SenderValue(name),))
        if name
        else Clause(_ORGANISATION, (AnySender(),), negated=True)
    )
    return View((clause,), f"organisation {name}")


def of_producer(name: str, organisation: str) -> View:
    """Return the events that one source has sent itself."""
    mine = Clause(_PRODUCER, (SenderValue(name),))
    return of_organisation(organisation).also((mine,), f"producer {name}")
