"""ITI-20 Record Audit Event: FHIR create (FHIR R4, http, create)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caretrail.access import observers
from caretrail.api import negotiation, proof
from caretrail.api.http import ETAG_HEADER, VERSION, Header, Request, Response, last_modified
from caretrail.api.retrieve import query_of, resource
from caretrail.errors import Issue
from caretrail.fhir import intake, profiles
from caretrail.fhir.operation_outcome import outcome_bytes
from caretrail.originals import served
from caretrail.repository import Sender, Submission
from caretrail.search.record import FLAG_CODES, NO_FLAGS, Flag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caretrail.access.identity import Identity
    from caretrail.api.service import Service
    from caretrail.fhir.audit_event import AuditEvent
    from caretrail.fhir.intake import Intake
    from caretrail.search.query import Query
    from caretrail.storage.contract import Stored

_FLAGS: Final = {
    Flag.PROFILE_UNMET: "the event claims a profile whose rules it breaks",
    Flag.KEY_CONFLICT: "the sender used the same key for other bytes before; both are kept",
    Flag.SUSPECTED_DUPLICATE: "the sender sent the same bytes before, without a key; both are kept",
    Flag.CLOCK_SKEW: "`recorded` is more than a day away from the receipt",
    Flag.CONVERTED: "the event was converted to FHIR R4 JSON; the original is kept",
    Flag.OBSERVER_MISMATCH: "`source.observer` is not the one that this sender is known by",
    Flag.UNPARSED: "there is no audit message that can be read; the original is kept",
    Flag.DEVIANT: "the audit message breaks its standard; the original is kept",
    Flag.TRUNCATED: "the end of the message did not come, or was cut off",
}
assert _FLAGS.keys() == FLAG_CODES.keys()
_RECEIPT_APPLIED: Final = (b"preference-applied", b"caretrail-receipt")


async def create(request: Request, service: Service) -> Response:
    """FHIR create: answer 201 once the event is durable and has its index."""
    content = negotiation.content(request)
    if service.rate is not None:
        service.rate.take(request.identity.producer, 1)
    taken = intake.parse(request.body, xml=content.xml, release=content.release)
    condition = request.headers.get(b"if-none-exist")
    unless = None
    if condition is not None:
        asked = condition_query(condition.decode("latin-1"), request.base, service)
        unless = request.view.over(asked)
    (stored,) = await service.repository.append(
        [submission(request.body, taken, request.identity)],
        sender=sender(request),
        unless=unless,
    )
    status = 201 if stored.created else 200
    headers = _headers(stored, request.base)
    preference = negotiation.preference(request)
    if preference.receipt:
        body = await proof.receipt(stored.id, service, wait=preference.receipt == "wait")
        return Response(status, body, (*headers, _RECEIPT_APPLIED))
    match preference.returns:
        case "minimal":
            return Response(status, headers=headers)
        case "OperationOutcome":
            return Response(status, outcome_bytes(told(stored, taken.event)), headers)
    if stored.created or unless is None:
        body = served(request.body, taken.form, event_id=stored.id, received_ms=stored.received)
        return Response(status, body, headers)
    # The event that was there fits the condition, but it is not the one that was sent.
    found = await service.repository.read(stored.id)
    return Response(status, resource(found) if found is not None else b"", headers)


def submission(body: bytes, taken: Intake, identity: Identity) -> Submission:
    """Return the event as it is kept; one that speaks for another than its sender is flagged."""
    flags = NO_FLAGS
    if identity.observer and observers.names_other(taken.event.source, identity.observer):
        flags = Flag.OBSERVER_MISMATCH
    return Submission(body, taken.form, taken.event, flags)


def sender(request: Request) -> Sender:
    """Return who is written down as the sender of what the request brings."""
    return Sender(request.identity.producer, request.identity.organisation)


def condition_query(condition: str, base: str, service: Service) -> Query:
    """Return the search of If-None-Exist; a parameter that we do not know makes it no condition."""
    text = condition.partition("?")[2] if "?" in condition else condition
    return query_of(text, base=base, service=service, strict=True)


def location(event_id: str, base: str) -> str:
    """Return the address of an event's only version."""
    return f"{base}/AuditEvent/{event_id}/_history/{VERSION}"


def told(stored: Stored, event: AuditEvent) -> list[Issue]:
    """Return what there is to say about an event that was accepted."""
    what = "the event is stored" if stored.created else "the event was stored before"
    return [Issue("informational", what, "AuditEvent", "information"), *_warnings(stored, event)]


def flag_warnings(stored: Stored) -> list[Issue]:
    """Return one warning for each thing that the repository noticed."""
    return [
        Issue("business-rule", text, "AuditEvent", "warning")
        for flag, text in _FLAGS.items()
        if flag in stored.flags
    ]


def _warnings(stored: Stored, event: AuditEvent) -> Iterator[Issue]:
    for url in profiles.unmet(event):
        for problem in profiles.problems(event, url):
            yield problem._replace(severity="warning")
    yield from flag_warnings(stored)


def _headers(stored: Stored, base: str) -> tuple[Header, ...]:
    headers = (
        (b"location", location(stored.id, base).encode()),
        ETAG_HEADER,
        last_modified(stored.received),
    )
    if not stored.flags:
        return headers
    return (*headers, (b"x-caretrail-flags", ",".join(stored.flags.codes()).encode()))
