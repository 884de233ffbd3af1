"""What an interaction works with: one transaction of the store, and what the server knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from caretrail.api import negotiation
from caretrail.api.http import Header, Response, decode_pairs, last_modified
from caretrail.clinic import query as clinic_query
from caretrail.clinic.contract import Search
from caretrail.clinic.parameters import KINDS
from caretrail.clinic.query import Place
from caretrail.clinic.terminology import Terminology
from caretrail.errors import GoneError, NotFoundError, ParameterError, PreconditionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from caretrail.api.http import Request
    from caretrail.clinic.contract import Session, Version


class Work(NamedTuple):
    """One interaction.

    `about` takes references of patients that its answer does not show, if somebody asks for them.
    `now` is in milliseconds since 1970; `key` makes page links of no use when they are changed.
    `content` is what a Bundle's entry has brought, read already, in place of the request's body.
    """

    session: Session
    now: int
    new_id: Callable[[], str]
    key: bytes
    about: list[str] | None
    content: dict[str, Any] | None = None

    def place(self, request: Request) -> Place:
        """Return where a search is made."""
        return Place(request.base, self.now, Terminology(self.session))


def kind_of(text: str) -> str:
    """Return the resource type that an address names, or raise NotFoundError."""
    if text not in KINDS:
        raise NotFoundError("there is no such resource type here")
    return text


def find(work: Work, request: Request, kind: str, condition: str) -> Version | None:
    """Return the one resource that fits a condition; raise PreconditionError for several.

    What is not known in a condition makes it none: then ParameterError is raised (FHIR R4, http).
    """
    text = condition.partition("?")[2] if "?" in condition else condition
    query = clinic_query.parse(decode_pairs(text), [kind], strict=True, place=work.place(request))
    if not query.conditions:
        raise ParameterError("a condition has a search parameter")
    found = work.session.search(Search((kind,), query.filter, limit=2))
    if len(found) > 1:
        raise PreconditionError("several resources fit the condition")
    return found[0].version if found else None


def latest(work: Work, kind: str, name: str) -> Version:
    """Return the current version, or raise NotFoundError or GoneError."""
    found = work.session.current(kind, name)
    if found is None:
        raise NotFoundError("there is no resource of this type and id")
    if found.is_deleted:
        raise GoneError("the resource has been deleted")
    return found


def etag(version: Version) -> str:
    """Return the weak entity tag of a version (FHIR R4, http, 3.1.0.5)."""
    return f'W/"{version.number}"'


def headers(version: Version) -> tuple[Header, ...]:
    """Return the headers that say which version an answer is about."""
    return (
        (b"etag", etag(version).encode()),
        last_modified(version.updated),
    )


def answer(request: Request, version: Version, status: int) -> Response:
    """Return the answer to a write, with as much of the resource as the client prefers."""
    address = f"{request.base}/{version.kind}/{version.id}/_history/{version.number}"
    told = ((b"location", address.encode()), *headers(version))
    match negotiation.preference(request).returns:
        case "minimal":
            return Response(status, headers=told)
        case "OperationOutcome":
            return Response(status, _OUTCOME, told)
    return Response(status, version.body, told)


_OUTCOME = (
    b'{"resourceType":"OperationOutcome","issue":[{"severity":"information",'
    b'"code":"informational","diagnostics":"the resource is stored"}]}'
)
