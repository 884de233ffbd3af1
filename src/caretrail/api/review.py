"""What is not an event and still must not get lost: gaps in sources' numbers, and quarantine."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail.api.failure import FORBIDDEN
from caretrail.api.http import Request, Response
from caretrail.errors import ForbiddenError, ParameterError
from caretrail.fhir.temporal import format_instant
from caretrail.limits import SEARCH_COUNT_DEFAULT

if TYPE_CHECKING:
    from caretrail.api.service import Service
    from caretrail.storage.contract import Gap, Quarantined

_COUNT_MAX: Final = 200


async def gaps(request: Request, service: Service) -> Response:
    """Operation `$gaps`: numbers that sources gave and the log never got."""
    found = await service.repository.prove(lambda proofs: proofs.gaps())
    if not request.view.is_whole:
        mine = request.identity.organisation
        found = [one for one in found if one.organisation == mine]
    return _parameters([{"name": "gap", "part": _gap(one)} for one in found], len(found))


def _gap(gap: Gap) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [
        {"name": "source", "valueString": gap.producer},
        {"name": "organisation", "valueString": gap.organisation},
        {"name": "first", "valueString": str(gap.first)},
        {"name": "last", "valueString": str(gap.last)},
        {"name": "missing", "valueInteger": min(gap.last - gap.first + 1, 2**31 - 1)},
        {"name": "since", "valueInstant": format_instant(gap.since)},
        {"name": "until", "valueInstant": format_instant(gap.until)},
    ]
    return [part for part in parts if part.get("valueString", "?")]


async def quarantine(request: Request, service: Service) -> Response:
    """Operation `$quarantine`: what was refused, with its bytes and the reasons, oldest first."""
    if not request.view.is_whole:
        raise ForbiddenError(FORBIDDEN)  # Nobody has said yet whose events these would be.
    asked = dict(request.pairs())
    after, count = _number(asked, "_after", 0), _number(asked, "_count", SEARCH_COUNT_DEFAULT)
    found = await service.repository.quarantined(after=after, limit=min(count, _COUNT_MAX))
    rows: list[dict[str, Any]] = [{"name": "refused", "part": _refused(one)} for one in found]
    if len(found) == min(count, _COUNT_MAX):
        rows.append({"name": "next", "valueString": f"_after={found[-1].number}"})
    return _parameters(rows, len(found))


def _parameters(rows: list[dict[str, Any]], count: int) -> Response:
    body = {"resourceType": "Parameters"} | ({"parameter": rows} if rows else {})
    return Response(200, msgspec.json.encode(body), rows=count)


def _number(asked: dict[str, str], name: str, default: int) -> int:
    text = asked.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise ParameterError(f"`{name}` is a whole number")
    return int(text)


def _refused(one: Quarantined) -> list[dict[str, Any]]:
    issues = [
        {"severity": issue.severity, "code": issue.code, "diagnostics": issue.diagnostics}
        | ({"expression": [issue.expression]} if issue.expression else {})
        for issue in one.issues
    ]
    outcome = {"resourceType": "OperationOutcome", "issue": issues}
    parts: list[dict[str, Any]] = [
        {"name": "number", "valueString": str(one.number)},
        {"name": "source", "valueString": one.producer},
        {"name": "received", "valueInstant": format_instant(one.received)},
        {"name": "content", "valueBase64Binary": b64encode(one.body).decode()},
    ]
    return [*parts, {"name": "reasons", "resource": outcome}] if issues else parts
