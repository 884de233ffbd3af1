"""The order of a search's results, and the place in it where a page ends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cmp_to_key
from typing import TYPE_CHECKING, Any, Final, Self

from caretrail.fhir import temporal
from caretrail.search.elements import Facts
from caretrail.search.fold import fold
from caretrail.search.parameters import BY_CODE, Type
from caretrail.search.query import Sort

if TYPE_CHECKING:
    from collections.abc import Callable

    from caretrail.search.parameters import SearchParameter
    from caretrail.search.query import Query
    from caretrail.search.record import Record

# Newest first is what readers of a log expect; FHIR leaves it to the server.
NEWEST_FIRST: Final = (Sort(BY_CODE["date"], descending=True),)

# Where an event stands: a value for each sort key, None where it has none, and its entry, so that
# no two events share a place. It goes through JSON inside a page link.
Place = list[Any]


@dataclass(frozen=True, slots=True)
class Order:
    """The order of results; `backward` reads it from the end, for the link to the previous page."""

    sort: tuple[Sort, ...]
    backward: bool = False

    @classmethod
    def of(cls, query: Query) -> Self:
        """Return the order that a query asks for."""
        return cls(query.sort or NEWEST_FIRST)

    @property
    def natural(self) -> str | None:
        """Return "date" or "entry" when that key of the store alone gives this order."""
        if len(self.sort) > 1:
            return None
        code = self.sort[0].parameter.code
        return {"date": "date", "_lastUpdated": "entry", "sequence": "entry"}.get(code)

    @property
    def descending(self) -> bool:
        """Tell whether the first key falls from event to event."""
        return self.sort[0].descending is not self.backward

    def turned(self) -> Order:
        """Return the same order, read from its other end."""
        return replace(self, backward=not self.backward)

    def place(self, record: Record) -> Place:
        """Return where an event stands.

        Of several values an ascending key takes the lowest and a descending one the highest.
        """
        return [*(_key(record, one) for one in self.sort), record.entry]

    def compare(self, one: Place, other: Place) -> int:
        """Return a number below, at or above zero as `one` comes before, at or after `other`."""
        for sort, left, right in zip((*self.sort, self.sort[-1]), one, other, strict=True):
            if left == right:
                continue
            if left is None or right is None:  # An event without a value comes last.
                ahead = right is None
            else:
                ahead = (left < right) is not sort.descending
            return -1 if ahead is not self.backward else 1
        return 0

    def key(self) -> Callable[[Record], Any]:
        """Return a key function for sorting records."""
        compared = cmp_to_key(self.compare)
        return lambda record: compared(self.place(record))


def _key(record: Record, sort: Sort) -> Any:
    code = sort.parameter.code
    if code == "date":
        return list(temporal.exact_key(record.event.recorded))
    if code == "_lastUpdated":
        return record.received
    values = sort.parameter.values(Facts(record))
    found = [text for value in values if (text := _comparable(sort.parameter, value)) is not None]
    if not found:
        return None
    return max(found) if sort.descending else min(found)


def _comparable(parameter: SearchParameter, value: Any) -> Any:
    match parameter.type:
        case Type.TOKEN:
            return value.code or value.display
        case Type.REFERENCE:
            own = value.identifier.value if value.identifier else None
            return value.reference or own or value.display
        case Type.STRING:
            return fold(value)
        case _:
            return value
