"""Legal holds: what a search finds is not erased as long as the hold is in force.

A hold is an event of the log's own, and so is its end: the holds in force follow from the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl

from caretrail.errors import NotFoundError, ParameterError
from caretrail.patterns import own
from caretrail.search.query import parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from caretrail.repository import Repository


class Hold(NamedTuple):
    """A hold in force: its number, the search that says what it covers, and why."""

    number: int
    query: str
    reason: str


async def place(repository: Repository, query: str, reason: str) -> Hold:
    """Place a hold on all that a search finds, now and later; raises ParameterError."""
    if not reason:
        raise ParameterError("a hold has a reason")
    if not pairs_of(query):
        raise ParameterError("a hold says what it covers by a search, such as patient=Patient/p1")
    parse(pairs_of(query), strict=True, base="")
    everything = await _all(repository)
    number = 1 + max((hold.number for hold, _ in everything), default=0)
    await repository.record_own(
        own.hold(repository.speaking(), number=number, query=query, reason=reason, placed=True)
    )
    return Hold(number, query, reason)


async def lift(
    repository: Repository, number: int, reason: str, *, persons: Mapping[str, str] = own.NOBODY
) -> Hold:
    """End a hold; raises NotFoundError when it is not in force."""
    held = next((one for one in await in_force(repository) if one.number == number), None)
    if held is None:
        raise NotFoundError("there is no hold with this number in force")
    if not reason:
        raise ParameterError("the end of a hold has a reason")
    await repository.record_own(
        own.hold(
            repository.speaking(),
            number=number,
            query=held.query,
            reason=reason,
            placed=False,
            persons=persons,
        )
    )
    return held


async def in_force(repository: Repository) -> list[Hold]:
    """Return the holds that were placed and not lifted."""
    holds: dict[int, Hold] = {}
    for hold, is_placed in await _all(repository):
        if is_placed:
            holds[hold.number] = hold
        else:
            holds.pop(hold.number, None)
    return list(holds.values())


async def held_entries(repository: Repository) -> set[int]:
    """Return the entries that some hold covers."""
    entries: set[int] = set()
    for hold in await in_force(repository):
        query = parse(pairs_of(hold.query), strict=True, base="")
        entries |= {record.entry async for record in repository.every(query)}
    return entries


def pairs_of(query: str) -> list[tuple[str, str]]:
    """Return the names and values of a search."""
    try:
        return parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except ValueError as error:
        raise ParameterError("the search is not name=value, joined by &") from error


async def _all(repository: Repository) -> list[tuple[Hold, bool]]:
    """Return every placing and lifting, in order."""
    holds = []
    async for record in repository.own_facts(own.OBJECT_SECURITY_CHANGED):
        details = own.details_of(record.event)
        if details.get("hold", "").isdecimal():
            hold = Hold(int(details["hold"]), details.get("query", ""), details.get("reason", ""))
            holds.append((hold, details.get("state") == "placed"))
    return holds
