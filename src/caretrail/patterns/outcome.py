"""How an exchange ended, in AuditEvent's terms (FHIR R4, AuditEvent.outcome).

4 is a failure of the request, 8 one of the server, 12 a server that is not available.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from caretrail.patterns import codes
from caretrail.patterns.elements import coding, detail_list

if TYPE_CHECKING:
    from caretrail.patterns.exchange import Exchange
    from caretrail.patterns.observation import Json

_UNANSWERED: Final = {
    "timeout": ("8", "no answer in time"),
    "cancelled": ("4", "cancelled by the client before the answer"),
    "unreachable": ("12", "no connection to the server"),
    "": ("8", "no answer"),
}
_UNAVAILABLE: Final = 503
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
# Codes of issue-type and issue-severity. Diagnostics may hold what the request held, and stay out.
_CODE: Final = re.compile(r"[a-z]+(-[a-z]+)*")
_ISSUES_MAX: Final = 20


def outcome_of(exchange: Exchange) -> tuple[str, str | None]:
    """Return the outcome and what is said of it; nothing is said of a success."""
    if exchange.succeeded:
        return "0", None
    if exchange.failure or not exchange.status:
        return _UNANSWERED[exchange.failure]
    status = exchange.status
    text = f"{status} {_PHRASES.get(status, '')}".strip()
    if status == _UNAVAILABLE:
        return "12", text
    return ("4" if status < 500 else "8"), text


def outcome_entity(answer: Any) -> list[Json]:
    """Return the entity of an OperationOutcome: what kinds of issues it told (BALP 11)."""
    if not isinstance(answer, dict) or answer.get("resourceType") != "OperationOutcome":
        return []
    issues = answer.get("issue")
    told = [_told(row) for row in issues[:_ISSUES_MAX]] if isinstance(issues, list) else []
    details = [row for text in filter(None, told) for row in detail_list({"issue": text})]
    return (
        [{"type": coding(codes.resource_type("OperationOutcome")), "detail": details}]
        if details
        else []
    )


def _told(issue: Any) -> str:
    if not isinstance(issue, dict):
        return ""
    parts = [issue.get("severity"), issue.get("code")]
    known = [part for part in parts if isinstance(part, str) and _CODE.fullmatch(part)]
    return "/".join(known)
