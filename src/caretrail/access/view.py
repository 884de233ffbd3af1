"""What an identity may see: which events are there for it, and what of them it is shown.

A view goes into the query itself, so that rows, totals, facets, page links and what is read by its
id are those of a log in which nothing else was ever recorded (T-20, T-21, T-22).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from caretrail.errors import Issue, ParameterError
from caretrail.search import sender
from caretrail.search.matches import matches
from caretrail.search.parameters import BY_CODE
from caretrail.search.query import Clause, Query
from caretrail.search.reference import Value as ReferenceValue

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from caretrail.search.record import Record

# Turns an event, as it is served, into what may be shown of it.
Projection = Callable[[bytes], bytes]
# The claim of an organisation that stands for all of them.
EVERY_ORGANISATION: Final = "*"


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
    return View((sender.of_organisation(name),), f"organisation {name}")


def of_producer(name: str, organisation: str) -> View:
    """Return the events that one source has sent itself."""
    return of_organisation(organisation).also((sender.of_producer(name),), f"producer {name}")
