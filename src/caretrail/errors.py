"""One tree of errors: a class exists because a caller acts differently on it.

Every message names the element and the rule, never the value: an error may be logged, and no
patient data leaves an event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Issue(NamedTuple):
    """One row of an OperationOutcome (FHIR R4, OperationOutcome.issue).

    `code` is of the value set issue-type, `expression` a FHIRPath such as
    `AuditEvent.agent[0].requestor` ("" where no element can be named).
    """

    code: str
    diagnostics: str
    expression: str = ""
    severity: str = "error"


class Error(Exception):
    """Something that the caller is told: a status of HTTP and a FHIR issue type."""

    status: ClassVar[int] = 500
    issue: ClassVar[str] = "exception"

    def issues(self) -> Sequence[Issue]:
        """Return what an OperationOutcome says of this error."""
        return (Issue(self.issue, str(self)),)


class InvalidError(Error):
    """The content breaks rules of FHIR; each broken rule is one issue."""

    status, issue = 400, "invalid"

    def __init__(self, issues: Sequence[Issue] | str) -> None:
        if isinstance(issues, str):
            issues = (Issue(self.issue, issues),)
        self._issues = tuple(issues)
        super().__init__("; ".join(row.diagnostics for row in self._issues))

    def issues(self) -> Sequence[Issue]:
        """Return every problem found, in document order."""
        return self._issues


class UnprocessableError(InvalidError):
    """Well-formed content that a business rule refuses."""

    status, issue = 422, "processing"


class ParameterError(InvalidError):
    """A search parameter's value, modifier or prefix cannot be used."""

    status, issue = 400, "invalid"


class TooCostlyError(Error):
    """The answer would take more than the search may spend: narrow the question."""

    status, issue = 400, "too-costly"


class UnauthenticatedError(Error):
    """No credential, or one that is not known here."""

    status, issue = 401, "login"


class ForbiddenError(Error):
    """The credential is known, and does not let its bearer do this."""

    status, issue = 403, "forbidden"


class NotFoundError(Error):
    """There is nothing at this address."""

    status, issue = 404, "not-found"


class ImmutableError(Error):
    """An audit event is never changed (DESIGN, decision 4)."""

    status, issue = 405, "not-supported"


class ApprovalNeededError(Error):
    """A second person has to approve this first; the message says how."""

    status, issue = 403, "suppressed"


class NotAcceptableError(Error):
    """None of the asked-for formats can be given."""

    status, issue = 406, "not-supported"


class ConflictError(Error):
    """The state is not the one that the caller took for granted."""

    status, issue = 409, "conflict"


class ExpiredError(Error):
    """A page link that is not ours or no longer valid."""

    status, issue = 410, "expired"


class GoneError(Error):
    """What was at this address has been deleted."""

    status, issue = 410, "deleted"


class VersionError(Error):
    """The client's version of a resource is not the current one."""

    status, issue = 412, "conflict"


class PreconditionError(Error):
    """A condition that the caller set does not hold."""

    status, issue = 412, "multiple-matches"


class TooLargeError(Error):
    """More bytes, entries or levels than a limit allows."""

    status, issue = 413, "too-long"


class MediaTypeError(Error):
    """The content's media type cannot be read here."""

    status, issue = 415, "not-supported"


class ThrottledError(Error):
    """The repository is full for now: send it again later."""

    status, issue = 503, "throttled"


class RateError(Error):
    """A source sends more than it may: send it again later."""

    status, issue = 429, "throttled"


class UnavailableError(Error):
    """A helper outside, such as a signer or a time-stamping authority, gives no answer now."""

    status, issue = 503, "transient"


class StoreError(Error):
    """The store failed, and whether the write survives is unknown: send it again."""

    status, issue = 503, "no-store"


class VerificationError(Error):
    """Evidence does not fit: something was changed, lost or put in."""

    status, issue = 500, "exception"


class ConfigurationError(Error):
    """A setting or a data folder does not allow a start; the message says what to do."""

    status, issue = 500, "exception"


class InUseError(ConfigurationError):
    """Another process works on the data folder: ask that one instead."""


RETRY_AFTER_SECONDS: Final = 2
