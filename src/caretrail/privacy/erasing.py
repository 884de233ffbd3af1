"""Erasing contents: of single events, and of all that are past their retention and under no hold.

First the log says what it will erase, then it erases that. A run that is cut off in between names
entries that are still there; the next run names them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from caretrail.errors import NotFoundError, ParameterError
from caretrail.fhir.temporal import format_instant, instant
from caretrail.limits import ERASED_AT_ONCE_MAX
from caretrail.patterns import own
from caretrail.privacy import holds
from caretrail.search.query import parse
from caretrail.storage.data_keys import Month
from caretrail.tlog.entry import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from caretrail.patterns.own import Log
    from caretrail.repository import Repository


class Order(NamedTuple):
    """Why something is erased: the policy or legal basis, who asked, and who approved.

    `persons` name who carries it out and by which approval, where that takes two persons.
    """

    policy: str
    requester: str
    approver: str = ""
    persons: Mapping[str, str] = own.NOBODY


class Run(NamedTuple):
    """What a retention run found: events past their time, those under a hold, those erased."""

    due: int
    held: int
    erased: int


async def redact(repository: Repository, event_ids: Sequence[str], order: Order) -> list[int]:
    """Erase the contents of these events; return their entries.

    Raises NotFoundError for an id that is not there, and ParameterError for an event of the log's
    own or one under a hold; nothing is erased then.
    """
    check(order)
    held = await holds.held_entries(repository)
    entries = []
    for event_id in event_ids:
        record = await repository.read(event_id)
        if record is None:
            raise NotFoundError("one of the events is not there: nothing was erased")
        if record.kind == Kind.OWN:
            raise ParameterError("an event of the log's own is never erased")
        if record.entry in held:
            raise ParameterError("one of the events is under a legal hold: nothing was erased")
        entries.append(record.entry)
    await _erase(repository, entries, order)
    await repository.purge()
    return entries


async def retain(
    repository: Repository,
    *,
    before: str,
    order: Order,
    only_count: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Run:
    """Erase the contents of events recorded before an instant, but those under a hold.

    `before` is a FHIR instant. It can be cut off at any time and run again. `progress` is told how
    many of how many entries are erased. With `only_count` nothing is erased or recorded.
    """
    limit = limit_of(before)
    held = await holds.held_entries(repository)
    records = repository.every(parse([("date", f"lt{limit}")], strict=True, base=""))
    due = [record.entry async for record in records if record.kind != Kind.OWN]
    entries = sorted(entry for entry in due if entry not in held)
    if only_count or not due:
        return Run(len(due), len(due) - len(entries), 0)
    kept = len(due) - len(entries)
    await repository.record_own(
        own.retention_run(
            repository.speaking(),
            before=limit,
            policy=order.policy,
            events=len(due),
            held=kept,
            persons=order.persons,
        )
    )
    await _erase(repository, entries, order, progress)
    await repository.purge()
    return Run(len(due), kept, len(entries))


def limit_of(before: str) -> str:
    """Return an instant in the form that the log writes; raises ParameterError."""
    try:
        return format_instant(instant(before).milliseconds)
    except ValueError as error:
        raise ParameterError("`--before` is an instant, such as 2020-01-01T00:00:00Z") from error


async def shred(repository: Repository, now: Log, *, month: Month, order: Order) -> int:
    """Erase all that others sent in a month, and destroy its data key; return how many there were.

    With the key go the contents in every backup. Raises ParameterError for a month that is not over
    yet, or of which something is under a hold, and NotFoundError when it has no key.
    """
    check(order)
    if Month.of(instant(now.recorded).milliseconds) <= month:
        raise ParameterError("the month is not over yet")
    asked = [("_lastUpdated", str(month))]
    records = repository.every(parse(asked, strict=True, base=""))
    entries = [record.entry async for record in records if record.kind != Kind.OWN]
    if not (await holds.held_entries(repository)).isdisjoint(entries):
        raise ParameterError("an event of this month is under a legal hold: nothing was erased")
    await _erase(repository, entries, order)
    await repository.record_own(own.data_key_destroyed(now, month=str(month), **order._asdict()))
    await repository.purge()
    await repository.shred(month)
    return len(entries)


async def _erase(
    repository: Repository,
    entries: Sequence[int],
    order: Order,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> None:
    for at in range(0, len(entries), ERASED_AT_ONCE_MAX):
        some = entries[at : at + ERASED_AT_ONCE_MAX]
        stored = await repository.record_own(
            own.erased(repository.speaking(), entries=some, **order._asdict())
        )
        await repository.erase(some, cause=stored.entry)
        progress(at + len(some), len(entries))


def check(order: Order) -> None:
    """Raise ParameterError for an order that does not say why and for whom."""
    if not order.policy or not order.requester:
        raise ParameterError("an erasure names its policy and who asked for it")
