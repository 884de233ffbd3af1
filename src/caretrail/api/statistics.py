"""`$stats`: counts of a search's events by the values of parameters and by time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail.api import negotiation
from caretrail.api.http import Request, Response
from caretrail.errors import Issue, ParameterError
from caretrail.fhir.temporal import format_instant
from caretrail.limits import FACET_EVENTS_MAX
from caretrail.search import query as search_query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.api.http import Pairs
    from caretrail.api.service import Service
    from caretrail.repository import Stats

# A console asks for half a dozen; each is a pass over the counters.
BY_MAX: Final = 12


async def stats(request: Request, service: Service) -> Response:
    """Operation `$stats`: a Parameters resource of the total, the facets and the time buckets."""
    negotiation.require_form(request)
    pairs = request.pairs()
    by = _by(pairs)
    interval = next((value for name, value in pairs if name == "_interval"), None)
    newest = _newest(next((value for name, value in pairs if name == "_newest"), ""))
    wanted = [pair for pair in pairs if pair[0] not in ("_by", "_interval", "_newest")]
    strict = negotiation.preference(request).strict
    parsed = search_query.parse(wanted, strict=strict, base=request.base, now=service.now())
    query = request.view.over(parsed)
    request.view.check(by)
    found = await service.repository.stats(query, by, interval, newest=newest)
    rows = found.total or 0
    return Response(200, msgspec.json.encode(_parameters(found, interval)), rows=rows)


def _by(pairs: Pairs) -> tuple[str, ...]:
    text = ",".join(value for name, value in pairs if name == "_by")
    codes = tuple(dict.fromkeys(code.strip() for code in text.split(",") if code.strip()))
    if len(codes) > BY_MAX:
        raise ParameterError((Issue("too-costly", f"_by takes {BY_MAX} parameters", "_by"),))
    return codes


def _newest(text: str) -> int:
    if not text:
        return FACET_EVENTS_MAX
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= FACET_EVENTS_MAX):
        problem = f"_newest is a number from 1 to {FACET_EVENTS_MAX}"
        raise ParameterError((Issue("value", problem, "_newest"),))
    return int(text[:9])


def _parameters(found: Stats, interval: str | None) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    if found.total is not None:
        rows.append(_count("total", found.total))
    rows.append({"name": "estimated", "valueBoolean": found.estimated})
    if interval is not None:
        rows.append({"name": "interval", "valueCode": interval})
    rows += (
        _group("bucket", {"name": "start", "valueInstant": format_instant(start)}, count)
        for start, count in found.buckets
    )
    rows += (_facet(code, values) for code, values in found.facets.items())
    return {"resourceType": "Parameters", "parameter": rows}


def _facet(code: str, values: Sequence[tuple[str, str | None, int]]) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"name": "parameter", "valueCode": code}]
    for value, display, count in values:
        group = _group("value", {"name": "value", "valueString": value}, count)
        if display:
            group["part"].insert(1, {"name": "display", "valueString": display})
        parts.append(group)
    return {"name": "facet", "part": parts}


def _group(name: str, what: dict[str, Any], count: int) -> dict[str, Any]:
    return {"name": name, "part": [what, _count("count", count)]}


def _count(name: str, count: int) -> dict[str, Any]:
    return {"name": name, "valueInteger": count}
