"""The searches that are measured; every one of them has something to find."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from caretrail.bench.fill import stream
from caretrail.fhir import audit_event, temporal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from caretrail.bench.fill import Filled
    from caretrail.fhir.audit_event import AuditEvent

# Of the slowest percent there should be some.
VALUES: Final = 400
# Where the stream can be cut without making what comes before.
_BLOCK_EVENTS: Final = 1_000
_PLACES: Final = 100
_EVENTS_PER_PLACE: Final = 50
_DAY: Final = 86_400_000
# Of a thousand events about a dozen are sign-ins, and of a hundred of those one fails.
_RARE: Final = "subtype=http://dicom.nema.org/resources/ontology/DCM|110122&outcome=4,8"


def patient_and_date(filled: Filled) -> Iterator[str]:
    """Yield searches for what happened to a patient in a month."""
    return _of_somebody(filled, "patient", "Patient/", days=15)


def agent_and_date(filled: Filled) -> Iterator[str]:
    """Yield searches for what somebody did in a week."""
    return _of_somebody(filled, "agent", "Practitioner/", days=3)


def rare_type_and_outcome(filled: Filled) -> Iterator[str]:
    """Yield searches for sign-ins that failed before some day, of which there are few."""
    span = 180 * _DAY
    for number in range(VALUES):
        # None so early that nothing is before it.
        until = filled.end_milliseconds - span * number // (VALUES * 2)
        yield f"{_RARE}&date=le{_instant(until)}"


def _of_somebody(filled: Filled, parameter: str, kind: str, *, days: int) -> Iterator[str]:
    seen: set[str] = set()
    for event in _sample(filled):
        for value in _REFERENCES[parameter](event):
            if value.startswith(kind) and value not in seen:
                seen.add(value)
                at = temporal.instant(event.recorded).seconds * 1000
                first, last = _instant(at - days * _DAY), _instant(at + days * _DAY)
                yield f"{parameter}={quote(value)}&date=ge{first}&date=le{last}"


def _sample(filled: Filled) -> Iterator[AuditEvent]:
    """Yield events of the log: some from here, some from there."""
    random = Random("questions")  # noqa: S311  (a play, not a secret)
    for _ in range(_PLACES):
        start = random.randrange(0, filled.events, _BLOCK_EVENTS)
        count = min(_EVENTS_PER_PLACE, filled.events - start)
        for body in stream(filled, start=start, count=count):
            yield audit_event.read(body)


def _agents(event: AuditEvent) -> Iterator[str]:
    for agent in event.agent:
        if agent.who is not None and agent.who.reference is not None:
            yield agent.who.reference


def _entities(event: AuditEvent) -> Iterator[str]:
    for entity in event.entity or ():
        if entity.what is not None and entity.what.reference is not None:
            yield entity.what.reference


_REFERENCES: Final[dict[str, Callable[[AuditEvent], Iterator[str]]]] = {
    "agent": _agents,
    "patient": _entities,
}


def _instant(milliseconds: int) -> str:
    return temporal.format_instant(milliseconds)
