"""ITI-81 Retrieve ATNA Audit Event: read, vread, history and search (FHIR R4, http and search)."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import msgspec

from caretrail.api import negotiation
from caretrail.api.http import (
    ETAG,
    ETAG_HEADER,
    VERSION,
    Header,
    Pairs,
    Request,
    Response,
    decode_pairs,
    last_modified,
)
from caretrail.api.searchset import searchset
from caretrail.api.subset import subset
from caretrail.errors import InvalidError, Issue, NotFoundError, ParameterError
from caretrail.fhir.intake import Form
from caretrail.fhir.temporal import format_instant
from caretrail.originals import served
from caretrail.search import query as search_query

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from caretrail.api.service import Service
    from caretrail.search.query import Query
    from caretrail.search.record import Record

_ID: Final = re.compile(r"[A-Za-z0-9.-]{1,64}")
# FHIR R4, compartments: the parameter that leads from an event to each kind.
COMPARTMENTS: Final = {"Patient": "patient", "Practitioner": "agent", "Device": "agent"}
_MEDIA: Final = {
    Form.JSON_R4: b"application/fhir+json; fhirVersion=4.0",
    Form.XML_R4: b"application/fhir+xml; fhirVersion=4.0",
    Form.JSON_R5: b"application/fhir+json; fhirVersion=5.0",
    Form.XML_R5: b"application/fhir+xml; fhirVersion=5.0",
    Form.AUDIT_MESSAGE: b"application/xml",
    # RFC 5424 names no media type, and a frame may have any bytes.
    Form.SYSLOG: b"application/octet-stream",
}


async def read(request: Request, service: Service) -> Response:
    """FHIR read and vread: the event as it is served, or 304 when the client has it."""
    record = await _record(request, service)
    headers = _headers(record)
    if _unchanged(request, record):
        return Response(304, headers=headers, rows=1)
    query = query_of(request.query, base=request.base, service=service, strict=False)
    shown = request.view.shown(resource(record))
    return Response(200, subset(shown, query.summary, query.elements), headers, rows=1)


async def history(request: Request, service: Service) -> Response:
    """FHIR history of an instance: the one version that there ever is."""
    record = await _record(request, service)
    address = f"{request.base}/AuditEvent/{record.id}"
    entry = {
        "fullUrl": address,
        "resource": msgspec.Raw(request.view.shown(resource(record))),
        "request": {"method": "POST", "url": "AuditEvent"},
        "response": {
            "status": "201 Created",
            "etag": ETAG,
            "lastModified": format_instant(record.received),
        },
    }
    bundle = {
        "resourceType": "Bundle",
        "type": "history",
        "total": 1,
        "link": [{"relation": "self", "url": f"{address}/_history"}],
        "entry": [entry],
    }
    return Response(200, msgspec.json.encode(bundle), rows=1)


async def original(request: Request, service: Service) -> Response:
    """`$original`: the bytes that were received, in the media type that they came in."""
    record = await _record(request, service)
    if _unchanged(request, record):
        return Response(304, headers=_headers(record), rows=1)
    media = _MEDIA[Form(record.form)]
    return Response(200, record.body, _headers(record), media=media, rows=1)


async def search(request: Request, service: Service) -> Response:
    """FHIR search by GET or by POST `_search`; parameters of URL and body count together."""
    negotiation.require_form(request)
    return await _searched(request.pairs(), request, service)


async def search_system(request: Request, service: Service) -> Response:
    """FHIR search over all types: here it must name the one that there is."""
    negotiation.require_form(request)
    pairs = request.pairs()
    if [value for name, value in pairs if name == "_type"] != ["AuditEvent"]:
        issue = Issue("not-supported", "a search over all types names _type=AuditEvent")
        raise ParameterError((issue,))
    return await _searched([pair for pair in pairs if pair[0] != "_type"], request, service)


def compartment(kind: str) -> Callable[[Request, Service], Awaitable[Response]]:
    """Return the search in the compartment of one `kind`, whether it is held here or not."""
    parameter = COMPARTMENTS[kind]

    async def search_compartment(request: Request, service: Service) -> Response:
        negotiation.require_form(request)
        (target,) = request.captures
        if not _ID.fullmatch(target):
            raise NotFoundError("there is nothing at this address")
        scope = (parameter, f"{kind}/{target}")
        return await _searched([*request.pairs(), scope], request, service)

    return search_compartment


async def _searched(pairs: Pairs, request: Request, service: Service) -> Response:
    dated = any(name.partition(":")[0] == "date" for name, _ in pairs)
    if service.require_date and not dated:
        raise InvalidError((Issue("required", "a search names a date (ITI-81)", "date"),))
    strict = negotiation.preference(request).strict
    parsed = search_query.parse(pairs, strict=strict, base=request.base, now=service.now())
    query = request.view.over(parsed)
    page = await service.repository.search(query)
    included: list[Record] = []
    if query.include or query.revinclude:
        included = await service.repository.included(query, page.records)
    formats = [pair for pair in pairs if pair[0] in ("_format", "_pretty")]
    rows = len(page.records) + len(included)
    shown = request.view.shown
    body = searchset(query, page, included, base=request.base, formats=formats, shown=shown)
    return Response(200, body, rows=rows)


def query_of(text: str, *, base: str, service: Service, strict: bool) -> Query:
    """Return the search in a query string, or raise InvalidError."""
    pairs = decode_pairs(text) if text else []
    return search_query.parse(pairs, strict=strict, base=base, now=service.now())


def resource(record: Record) -> bytes:
    """Return a stored event as it is served, in JSON."""
    return served(record.body, record.form, event_id=record.id, received_ms=record.received)


async def _record(request: Request, service: Service) -> Record:
    event_id, *version = request.captures
    known = _ID.fullmatch(event_id) and version in ([], [VERSION])
    record = await service.repository.read(event_id) if known else None
    # What somebody may not see is not there for him: any other answer would say that it is.
    if record is None or not request.view.includes(record):
        raise NotFoundError("there is no AuditEvent of this id and version")
    return record


def _headers(record: Record) -> tuple[Header, ...]:
    return (ETAG_HEADER, last_modified(record.received))


def _unchanged(request: Request, record: Record) -> bool:
    """Tell whether the client holds the event already (RFC 9110, 13.1)."""
    tags = request.header(b"if-none-match")
    if tags:
        return any(tag.strip() in ("*", ETAG, ETAG[2:]) for tag in tags.split(","))
    since = request.header(b"if-modified-since")
    if not since:
        return False
    try:
        return record.received // 1000 <= parsedate_to_datetime(since).timestamp()
    except (ValueError, TypeError, OverflowError):
        return False  # A date that is none is ignored.
