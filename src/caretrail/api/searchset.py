"""The Bundle that answers a search (FHIR R4, search, 3.1.1.2; http, paging)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from caretrail.api.subset import subset
from caretrail.fhir.operation_outcome import outcome
from caretrail.originals import served

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caretrail.api.http import Pairs
    from caretrail.repository import Page
    from caretrail.search.query import Query
    from caretrail.search.record import Record


def searchset(
    query: Query,
    page: Page,
    included: Sequence[Record],
    *,
    base: str,
    formats: Pairs,
    shown: Callable[[bytes], bytes],
) -> bytes:
    """Return the Bundle of one page as JSON; the events in it are not read, only cut and joined.

    `shown` turns an event into what the asker may see of it.
    """
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset"}
    if page.total is not None and (not page.estimated or query.total == "estimate"):
        bundle["total"] = page.total
    bundle["link"] = _links(query, page, base, formats)
    entries: list[Any] = []
    if query.summary != "count":
        entries = [_entry(record, query, base, "match", shown) for record in page.records]
        entries += [_entry(record, query, base, "include", shown) for record in included]
        if query.ignored:
            entries.append({"resource": outcome(query.ignored), "search": {"mode": "outcome"}})
    if entries:  # An empty array is no valid FHIR.
        bundle["entry"] = entries
    return msgspec.json.encode(bundle)


def _entry(
    record: Record, query: Query, base: str, mode: str, shown: Callable[[bytes], bytes]
) -> dict[str, Any]:
    event = shown(served(record.body, record.form, event_id=record.id, received_ms=record.received))
    if query.summary is not None or query.elements:
        event = subset(event, query.summary, query.elements)
    return {
        "fullUrl": f"{base}/AuditEvent/{record.id}",
        "resource": msgspec.Raw(event),
        "search": {"mode": mode},
    }


def _links(query: Query, page: Page, base: str, formats: Pairs) -> list[dict[str, str]]:
    """Return the links; `self` names only what was applied, so that its reader sees what was not."""
    applied = [*query.applied, *formats]
    here = [*applied, ("_page", query.page)] if query.page else applied
    links = [{"relation": "self", "url": address(f"{base}/AuditEvent", here)}]
    for relation, cursor in (
        ("first", page.first),
        ("previous", page.previous),
        ("next", page.next),
    ):
        if cursor is not None:
            links.append(
                {
                    "relation": relation,
                    "url": address(f"{base}/AuditEvent", [*applied, ("_page", cursor)]),
                }
            )
    return links


def address(url: str, pairs: Pairs) -> str:
    """Return the address of a search that these pairs of names and values ask for at a URL."""
    # What a query may hold as it is (RFC 3986, 3.4), without what separates or is read as a space.
    text = "&".join(f"{quote(name, safe=':.')}={quote(value, safe='/:,')}" for name, value in pairs)
    return f"{url}?{text}" if text else url
