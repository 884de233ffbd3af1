"""Counts of what a search finds, by time and by the values of parameters (`$stats`)."""

from __future__ import annotations

from calendar import monthrange
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caretrail.errors import ParameterError, TooCostlyError
from caretrail.fhir import temporal
from caretrail.limits import FACET_EVENTS_MAX
from caretrail.search.elements import Facts
from caretrail.search.order import NEWEST_FIRST, Order
from caretrail.search.parameters import BY_CODE, Type
from caretrail.search.plan import Plan, compile_query
from caretrail.search.query import Query, Sort
from caretrail.sequencer import HOUR_MILLISECONDS, bucket_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.search.parameters import SearchParameter
    from caretrail.storage.contract import Deadline, Reads

# More columns than a screen has are no histogram.
BUCKETS_MAX: Final = 2_000
FACET_VALUES_MAX: Final = 50
INTERVALS: Final = ("hour", "day", "month", "year")


class Value(NamedTuple):
    """A value of a facet: as a search takes it, what people read, and how many events have it."""

    value: str
    display: str | None
    events: int


class Stats(NamedTuple):
    """What `$stats` answers; bucket starts are in milliseconds since 1970.

    With `estimated`, the facets are of the newest events only.
    """

    total: int | None
    estimated: bool
    buckets: list[tuple[int, int]]
    facets: dict[str, list[Value]]


def statistics(
    reads: Reads,
    query: Query,
    by: Sequence[str],
    interval: str | None,
    deadline: Deadline,
    *,
    newest: int = FACET_EVENTS_MAX,
) -> Stats:
    """Count the events that fit `query`; raise ParameterError or TooCostlyError.

    Facets are counted of so many of the `newest` ones.
    """
    parameters = [_parameter(code) for code in by]
    if interval is not None and interval not in INTERVALS:
        raise ParameterError(f"`_interval` is one of {', '.join(INTERVALS)}")
    plan = compile_query(query)
    with reads.snapshot() as size:
        total = reads.count(plan, until=size, deadline=deadline)
        span = _span(reads, query, size, deadline) if interval and total else None
        bounds = _bounds(span, plan, interval) if interval and span else []
        counts = reads.histogram(plan, bounds, until=size, deadline=deadline) if bounds else []
        facets, whole = _facets(reads, plan, parameters, size, deadline, newest)
    return Stats(total, not whole, list(zip(bounds, counts, strict=False)), facets)


def _parameter(code: str) -> SearchParameter:
    parameter = BY_CODE.get(code)
    if parameter is None or parameter.type in (Type.DATE, Type.NUMBER, Type.SPECIAL):
        raise ParameterError("`_by` names a search parameter that has values to count")
    return parameter


def _span(reads: Reads, query: Query, size: int, deadline: Deadline) -> tuple[int, int] | None:
    """Return the first and the last millisecond of what the asker may see."""
    if not query.within:
        return reads.span()
    plan = compile_query(Query(within=query.within))
    ends: list[int] = []
    for descending in (False, True):
        found = reads.page(
            plan,
            Order((Sort(BY_CODE["date"], descending=descending),)),
            after=None,
            until=size,
            limit=1,
            deadline=deadline,
        )
        ends += (bucket_of(*temporal.exact_key(one.event.recorded))[0] for one in found)
    return (ends[0], ends[1]) if ends else None


def _bounds(span: tuple[int, int], plan: Plan, interval: str) -> list[int]:
    """Return where the buckets begin, and where the last one ends."""
    low, high = plan.recorded[0].start, plan.recorded[-1].end
    first = max(span[0], low) if low is not None else span[0]
    last = min(span[1], high - 1) if high is not None else span[1]
    at, bounds = _floor(first, interval), []
    while at <= last:
        bounds.append(at)
        if len(bounds) > BUCKETS_MAX:
            raise TooCostlyError(
                f"this would be more than {BUCKETS_MAX} buckets: choose a longer `_interval`"
                " or a shorter range of `date`"
            )
        at = _next(at, interval)
    return [*bounds, at]


def _floor(milliseconds: int, interval: str) -> int:
    day = datetime.fromtimestamp(milliseconds // 1000, UTC)
    if interval == "hour":
        return milliseconds // HOUR_MILLISECONDS * HOUR_MILLISECONDS
    day = day.replace(hour=0, minute=0, second=0, microsecond=0)
    if interval != "day":
        day = day.replace(day=1, month=1 if interval == "year" else day.month)
    return int(day.timestamp()) * 1000


def _next(milliseconds: int, interval: str) -> int:
    if interval == "hour":
        return milliseconds + HOUR_MILLISECONDS
    day = datetime.fromtimestamp(milliseconds // 1000, UTC)
    months = range(day.month, 13) if interval == "year" else (day.month,)
    days = 1 if interval == "day" else sum(monthrange(day.year, month)[1] for month in months)
    return int((day + timedelta(days=days)).timestamp()) * 1000


def _facets(
    reads: Reads,
    plan: Plan,
    parameters: Sequence[SearchParameter],
    size: int,
    deadline: Deadline,
    newest: int,
) -> tuple[dict[str, list[Value]], bool]:
    """Count the values of each parameter, and tell whether all events were looked at."""
    if not parameters:
        return {}, True
    counters: list[Counter[str]] = [Counter() for _ in parameters]
    displays: list[dict[str, str]] = [{} for _ in parameters]
    found = reads.page(
        plan,
        Order(NEWEST_FIRST),
        after=None,
        until=size,
        limit=newest + 1,
        deadline=deadline,
    )
    for record in found[:newest]:
        facts = Facts(record)
        for n, parameter in enumerate(parameters):
            values = {_value(parameter, one): one for one in parameter.values(facts)}
            counters[n].update(value for value in values if value)
            for value, one in values.items():
                if (display := getattr(one, "display", None)) is not None:
                    displays[n].setdefault(value, display)
    facets = {
        parameter.code: [
            Value(value, displays[n].get(value), count)
            for value, count in counters[n].most_common(FACET_VALUES_MAX)
        ]
        for n, parameter in enumerate(parameters)
    }
    return facets, len(found) <= newest


def _value(parameter: SearchParameter, element: Any) -> str:
    """Return an element as the value of a search that finds it."""
    match parameter.type:
        case Type.TOKEN:
            code = element.code or ""
            return f"{element.system}|{code}" if element.system else code
        case Type.REFERENCE:
            return element.reference or ""
        case _:
            return str(element)
