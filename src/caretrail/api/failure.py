"""An error as the client sees it: a status, an OperationOutcome, and when to come back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caretrail.api.http import Header, Response
from caretrail.errors import RETRY_AFTER_SECONDS, Error, Issue
from caretrail.fhir.operation_outcome import outcome_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEADERS: Final[dict[int, tuple[Header, ...]]] = {
    401: ((b"www-authenticate", b'Bearer realm="CareTrail"'),),
    403: ((b"www-authenticate", b'Bearer realm="CareTrail", error="insufficient_scope"'),),
    429: ((b"retry-after", str(RETRY_AFTER_SECONDS).encode()),),
    503: ((b"retry-after", str(RETRY_AFTER_SECONDS).encode()),),
}
# The same for everything: nobody learns by it what there is, or what he would have to be.
FORBIDDEN: Final = "this credential does not allow that"
# Nothing of an exception that nobody thought of may leave: it can quote the event.
_UNEXPECTED: Final = Issue("exception", "the server failed; its log says where")


def failure(error: Error) -> Response:
    """Return the answer to a request that met `error`."""
    return refusal(error.status, error.issues())


def refusal(status: int, issues: Sequence[Issue], *headers: Header) -> Response:
    """Return an OperationOutcome under a status of failure."""
    return Response(status, outcome_bytes(issues), (*headers, *_HEADERS.get(status, ())))


def unexpected() -> Response:
    """Return the answer to a request that met a fault of ours."""
    return refusal(500, (_UNEXPECTED,))


def at_entry(error: Error, index: int) -> tuple[Issue, ...]:
    """Return the issues of a Bundle's entry with expressions that start at the Bundle."""
    entry = f"Bundle.entry[{index}]"
    return tuple(issue._replace(expression=_in_entry(entry, issue)) for issue in error.issues())


def _in_entry(entry: str, issue: Issue) -> str:
    # Other expressions name a parameter of the entry's condition: the entry says enough.
    if not issue.expression.startswith("AuditEvent"):
        return entry
    return f"{entry}.resource{issue.expression.removeprefix('AuditEvent')}"
