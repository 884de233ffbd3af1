"""An exchange becomes its AuditEvents: the way from what was observed to what is recorded.

One event an interaction, or one a patient where there are several (BALP 11); a batch or
transaction leaves one for the whole and those of its entries.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from caretrail.limits import PATIENT_EVENTS_MAX, RELATED_ENTITIES_MAX
from caretrail.patterns import authorization, codes, entries, observing, rest, results
from caretrail.patterns.claims import settled
from caretrail.patterns.elements import coding, detail_list
from caretrail.patterns.interaction import classify
from caretrail.patterns.redaction import Redaction
from caretrail.patterns.results import Found
from caretrail.patterns.rules import Rules
from caretrail.patterns.template import event_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from caretrail.patterns.exchange import Exchange
    from caretrail.patterns.interaction import Interaction, Target
    from caretrail.patterns.observation import Json, Observation
    from caretrail.patterns.results import Result

_UNAUTHENTICATED: Final = 401
_PATIENT: Final = coding(codes.resource_type("Patient"))
_BUNDLES: Final = ("batch", "transaction")


@dataclass(frozen=True, slots=True)
class Policy:
    """What is recorded beyond the necessary, and what is hidden.

    `results` adds to a search, history or operation an entity for each resource that it brought:
    only so can be told what somebody saw. BALP's minimal events do without.
    """

    results: bool = True
    rules: Rules = field(default_factory=Rules)
    redaction: Redaction = field(default_factory=Redaction)


def record(exchange: Exchange, policy: Policy) -> list[bytes]:
    """Return the events of an exchange: valid R4, with the BALP profiles that each meets.

    There is at least one, whatever the exchange holds, unless a rule excludes it.
    """
    row, target = classify(exchange)
    if row.name in authorization.ENDPOINTS:
        if not policy.rules.include(exchange, row, target):
            return []
        asked = authorization.event(exchange, row.name)
        return [settled(policy.redaction.redacted(asked))]
    if row.name in _BUNDLES:
        made = _of_bundle(exchange, row, target, policy)
    else:
        made = _of(exchange, row, target, policy)
    if policy.redaction.treatments:
        return [settled(policy.redaction.redacted(rest.event(seen))) for seen in made]
    return [event_bytes(seen) for seen in made]


def events(exchange: Exchange, policy: Policy | None = None) -> list[Json]:
    """Return what `record` makes, for those who want to look into it."""
    return [msgspec.json.decode(body) for body in record(exchange, policy or Policy())]


def _of_bundle(
    exchange: Exchange, row: Interaction, target: Target, policy: Policy
) -> Iterator[Observation]:
    asked, answered = results.tree(exchange.request), results.tree(exchange.response)
    count, parts = entries.entries(exchange, asked, answered)
    # Who is not known has had nothing looked at: his thousand entries are not a thousand events.
    if exchange.status == _UNAUTHENTICATED:
        parts = []
    details = {"entries": str(count), "recorded": str(len(parts))}
    if asked is None:
        details = {"not-examined": observing.NOT_EXAMINED}
    whole = observing.observe(exchange, row, target, answered, Found())
    noted = {"type": coding(codes.OTHER), "name": "entries", "detail": detail_list(details)}
    if policy.rules.include(exchange, row, target):
        yield replace(whole, related=(*whole.related, noted))
    for part in parts:
        yield from _of(part, *classify(part), policy)


def _of(
    exchange: Exchange, row: Interaction, target: Target, policy: Policy
) -> Iterator[Observation]:
    if not policy.rules.include(exchange, row, target):
        return
    answer = results.tree(exchange.response)
    found = observing.examine(exchange, row, target, answer)
    seen = observing.observe(exchange, row, target, answer, found)
    shown = found.results if policy.results and row.pattern in observing.LISTING else []
    patients = found.patients
    if len(patients) <= 1:
        yield from _with_results(seen, shown)
        return
    count = min(len(patients), PATIENT_EVENTS_MAX)
    for number, patient in enumerate(patients[:PATIENT_EVENTS_MAX]):
        about = replace(seen, patient=patient, part=_part(seen, number, count))
        yield from _with_results(about, _share(shown, patient, is_first=number == 0))
    others = [{"what": patient, "type": _PATIENT} for patient in patients[count:]]
    yield from _overflow(seen, others)


def _part(seen: Observation, number: int, count: int) -> str:
    own = f"{number + 1}/{count}"
    return f"{seen.part} {own}" if seen.part else own


def _share(shown: Iterable[Result], patient: Json, *, is_first: bool) -> list[Result]:
    """Return the results about one patient: no event names data of another one.

    What is about nobody, such as a medication, goes to the first.
    """
    name = patient.get("reference")
    return [row for row in shown if name in row.patients or (is_first and not row.patients)]


def _with_results(seen: Observation, shown: Sequence[Result]) -> Iterator[Observation]:
    own = (seen.resource or {}).get("reference")
    named = [_related(row.reference, row.kind) for row in shown if row.reference != own]
    first, more = named[:RELATED_ENTITIES_MAX], named[RELATED_ENTITIES_MAX:]
    yield replace(seen, related=(*seen.related, *first)) if first else seen
    yield from _overflow(seen, more)


def _overflow(seen: Observation, more: list[Json]) -> Iterator[Observation]:
    """Yield events that only go on with the list, and so claim no BALP pattern."""
    pages = range(0, len(more), RELATED_ENTITIES_MAX)
    for number, start in enumerate(pages):
        chunk = tuple(more[start : start + RELATED_ENTITIES_MAX])
        part = f"{seen.part or '1/1'} more {number + 1}/{len(pages)}"
        bare = replace(seen, query=None, resource=None, related=chunk, part=part)
        yield bare


def _related(reference: str, kind: str) -> Any:
    return {"what": {"reference": reference}, "type": coding(codes.resource_type(kind))}
