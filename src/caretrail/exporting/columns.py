"""An event as one row of a table: for spreadsheets, statistics and whoever reads no FHIR.

What has several values keeps all of them, in the event's order. A row does not replace the event:
what has no column here is in the event, under its `id`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.fhir.temporal import format_instant
from caretrail.search import elements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from caretrail.fhir.audit_event import Agent, Coding, Reference
    from caretrail.search.record import Record
    from caretrail.search.token import Coded

Value = str | int | list[str] | None


class Column(NamedTuple):
    """One column: its name, whether it is a number or may have several texts, and its value."""

    name: str
    value: Callable[[Record], Value]
    is_number: bool = False
    is_many: bool = False


def _one(name: str, value: Callable[[Record], str | None]) -> Column:
    return Column(name, value)


def _many(name: str, value: Callable[[Record], Iterable[str | None]]) -> Column:
    return Column(name, lambda record: [one for one in value(record) if one], is_many=True)


def _code(coding: Coding | Coded | None) -> str:
    """Return a coding as a search has it, `system|code`."""
    if coding is None:
        return ""
    return f"{coding.system}|{coding.code}" if coding.system else coding.code or ""


def _codes(codings: Iterable[Coding | Coded] | None) -> list[str]:
    return [_code(one) for one in codings or ()]


def _who(reference: Reference | None) -> str:
    """Return whom a reference means: its literal, its identifier, or at least its display."""
    if reference is None:
        return ""
    if reference.reference is not None:
        return reference.reference
    identifier = reference.identifier
    if identifier is not None and identifier.value is not None:
        return f"{identifier.system}|{identifier.value}" if identifier.system else identifier.value
    return reference.display or ""


def _agents(of: Callable[..., str | None]) -> Callable[[Record], list[str]]:
    return lambda record: [of(one) or "" for one in record.event.agent]


def _kind(agent: Agent) -> str:
    codings = elements.concepts([agent.type]) if agent.type is not None else []
    return _code(codings[0]) if codings else ""


# A column is one row here. Lists of agents and of entities have a value for each of them, perhaps an
# empty one, so that what belongs together stands at the same place.
COLUMNS: Final = (
    Column("entry", lambda record: record.entry, is_number=True),
    _one("id", lambda record: record.id),
    _one("recorded", lambda record: record.event.recorded),
    _one("received", lambda record: format_instant(record.received)),
    _one("type", lambda record: _code(record.event.type)),
    _many("subtype", lambda record: _codes(record.event.subtype)),
    _one("action", lambda record: record.event.action),
    _one("outcome", lambda record: record.event.outcome),
    _one("outcome_description", lambda record: record.event.outcomeDesc),
    _many("purpose", lambda record: _codes(elements.purposes(record.event))),
    Column("agent", _agents(lambda one: _who(one.who)), is_many=True),
    Column("agent_name", _agents(lambda one: one.name), is_many=True),
    Column("agent_type", _agents(_kind), is_many=True),
    Column("agent_address", _agents(lambda one: one.network and one.network.address), is_many=True),
    _many(
        "requestor",
        lambda record: [_who(one.who) or one.name for one in record.event.agent if one.requestor],
    ),
    _many("patient", lambda record: [_who(one) for one in elements.patients(record.event)]),
    Column(
        "entity", lambda record: [_who(one.what) for one in record.event.entity or ()], is_many=True
    ),
    Column(
        "entity_name",
        lambda record: [one.name or "" for one in record.event.entity or ()],
        is_many=True,
    ),
    _many("request_id", lambda record: [one.code for one in elements.request_ids(record.event)]),
    _one("source", lambda record: _who(record.event.source.observer)),
    _one("site", lambda record: record.event.source.site),
    _many("profile", lambda record: record.event.meta.profile or () if record.event.meta else ()),
    _many("flag", lambda record: record.flags.codes()),
    _one("sender", lambda record: record.producer),
    _one("organisation", lambda record: record.organisation),
)
