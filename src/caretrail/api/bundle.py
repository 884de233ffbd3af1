"""POST of a Bundle to the base: batch, transaction and collection (FHIR R4, http, transaction)."""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw

from caretrail.access.view import NOTHING
from caretrail.api import negotiation, retrieve
from caretrail.api.entries import Entry, read_entries
from caretrail.api.failure import FORBIDDEN, at_entry, refusal
from caretrail.api.http import ETAG, Request, Response
from caretrail.api.record import (
    condition_query,
    flag_warnings,
    location,
    sender,
    submission,
    told,
)
from caretrail.errors import (
    Error,
    ForbiddenError,
    ImmutableError,
    InvalidError,
    Issue,
    NotFoundError,
    PreconditionError,
    TooCostlyError,
)
from caretrail.fhir import intake
from caretrail.fhir.operation_outcome import outcome_bytes
from caretrail.fhir.temporal import format_instant
from caretrail.limits import ISSUES_MAX
from caretrail.originals import served
from caretrail.repository import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.api.negotiation import Content
    from caretrail.api.service import Service
    from caretrail.repository import Submission
    from caretrail.search.query import Query
    from caretrail.storage.contract import Stored

# A read in a batch may take as long as any search; a few are a courtesy to clients.
READS_MAX: Final = 10
_DENIALS: Final = (ForbiddenError, ImmutableError)
# The events of a Bundle are received in the same few milliseconds.
_instant: Final = lru_cache(256)(format_instant)
_MORE: Final = Issue("incomplete", "there are more problems than are listed here")


async def process(request: Request, service: Service) -> Response:
    """FHIR batch and transaction; a collection is taken as a batch of creates."""
    content = negotiation.content(request)
    bundle = read_entries(request.body, xml=content.xml, entries_max=service.bundle_entries_max)
    if service.rate is not None:
        service.rate.take(request.identity.producer, len(bundle.entries))
    work = _Work(request, service, content, bundle.entries)
    if bundle.type == "transaction":
        return await work.transaction()
    return await work.batch()


class _Work:
    """The entries of one Bundle on their way; answers stay in the order of the entries."""

    def __init__(
        self, request: Request, service: Service, content: Content, entries: Sequence[Entry]
    ) -> None:
        self._request = request
        self._service = service
        self._content = content
        self._entries = entries
        self._returns = negotiation.preference(request).returns
        self._answers: list[Any] = [None] * len(entries)
        self._submissions: dict[int, Submission] = {}
        self._refused: list[Refused] = []
        # What the answer shows of events, and whether more was asked for than is allowed.
        self._rows: int | None = None
        self._is_denied = False

    async def batch(self) -> Response:
        """Answer each entry for itself; the good ones are committed together.

        Conditions are looked at before the other entries are there, reads see all of them.
        """
        conditional: list[int] = []
        reads: list[int] = []
        async for index, entry in self._service.repository.turns.each(enumerate(self._entries)):
            if entry.method in ("GET", "HEAD"):
                reads.append(index)
                continue
            try:
                self._submissions[index] = self._taken(entry)
            except Error as error:
                self._refuse(index, error)
            else:
                if entry.if_none_exist is not None:
                    conditional.append(index)
        for index in conditional:
            await self._record_conditionally(index)
        await self._append()
        for index in reads:
            await self._answer_read(index, allowed=index in reads[:READS_MAX])
        if self._refused:
            await self._service.repository.quarantine(self._refused, sender=sender(self._request))
        return self._response("batch-response")

    async def transaction(self) -> Response:
        """Record all entries, or none of them when any cannot be."""
        status, is_denied = 0, False
        issues: list[Issue] = []
        conditions: dict[int, Query] = {}
        async for index, entry in self._service.repository.turns.each(enumerate(self._entries)):
            try:
                self._submissions[index] = self._taken(entry)
                if entry.if_none_exist is not None:
                    conditions[index] = self._condition(entry)
            except Error as error:
                status = status or error.status
                is_denied |= isinstance(error, _DENIALS)
                issues += at_entry(error, index)
        if issues:
            more = (_MORE,) if len(issues) > ISSUES_MAX else ()
            refused = refusal(status, (*issues[:ISSUES_MAX], *more))
            return refused._replace(is_denied=is_denied)
        for index, condition in conditions.items():
            try:
                await self._look_for(index, condition)
            except Error as error:
                return refusal(error.status, at_entry(error, index))
        await self._append()
        return self._response("transaction-response")

    def _taken(self, entry: Entry) -> Submission:
        """Return the event of an entry that is a create, or raise why it is none."""
        if self._request.identity.view("create") is None:
            raise ForbiddenError(FORBIDDEN)
        if entry.method != "POST":
            raise ImmutableError("an entry can only be a create: an audit event is never changed")
        if entry.url.removeprefix(self._request.base).strip("/") != "AuditEvent":
            raise NotFoundError("a create goes to AuditEvent, the only type that is kept here")
        if entry.resource is None:
            what = "an entry without a resource creates nothing"
            raise InvalidError((Issue("required", what, "AuditEvent"),))
        xml, release = self._content
        taken = intake.parse(entry.resource, xml=xml, release=release)
        return submission(entry.resource, taken, self._request.identity)

    def _condition(self, entry: Entry) -> Query:
        asked = condition_query(entry.if_none_exist or "", self._request.base, self._service)
        return (self._request.identity.view("create") or NOTHING).over(asked)

    async def _append(self) -> None:
        """Commit what was taken, in one transaction."""
        if not self._submissions:
            return
        stored = await self._service.repository.append(
            list(self._submissions.values()), sender=sender(self._request)
        )
        for index, one in zip(self._submissions, stored, strict=True):
            self._answers[index] = self._stored(one, self._submissions[index])

    async def _record_conditionally(self, index: int) -> None:
        """Record an entry with `ifNoneExist`, in a transaction of its own."""
        submission = self._submissions.pop(index)
        try:
            (stored,) = await self._service.repository.append(
                [submission],
                sender=sender(self._request),
                unless=self._condition(self._entries[index]),
            )
        except (InvalidError, PreconditionError) as error:
            self._refuse(index, error)
        else:
            self._answers[index] = self._stored(stored, submission)

    async def _look_for(self, index: int, condition: Query) -> None:
        """Answer an entry of a transaction whose condition finds an event.

        An event that comes between this look and the commit is not seen: then both are kept.
        """
        page = await self._service.repository.search(condition)
        if len(page.records) > 1:
            raise PreconditionError("several events fit the condition")
        for found in page.records:
            del self._submissions[index]
            self._answers[index] = answer(
                200, found.id, received=found.received, base=self._request.base
            )

    async def _answer_read(self, index: int, *, allowed: bool) -> None:
        try:
            if not allowed:
                raise TooCostlyError(f"a batch may hold {READS_MAX} reads and searches")
            self._answers[index] = await self._read(self._entries[index])
        except Error as error:
            self._is_denied |= isinstance(error, _DENIALS)
            self._answers[index] = failed(error)

    async def _read(self, entry: Entry) -> Any:
        path, _, query = entry.url.removeprefix(self._request.base).strip("/").partition("?")
        handler, interaction = retrieve.read, "read"
        captures: tuple[str, ...] = ()
        match path.split("/"):
            case ["AuditEvent"]:
                handler, interaction = retrieve.search, "search-type"
            case ["AuditEvent", event_id]:
                captures = (event_id,)
            case ["AuditEvent", event_id, "_history", version]:
                captures, interaction = (event_id, version), "vread"
            case _:
                raise NotFoundError("there is nothing at this address")
        view = self._request.identity.view(interaction)
        if view is None:
            raise ForbiddenError(FORBIDDEN)
        self._rows = self._rows or 0
        headers = {b"prefer": self._request.headers.get(b"prefer", b"")}
        inner = self._request._replace(
            method="GET", query=query, headers=headers, body=b"", captures=captures, view=view
        )
        response = await handler(inner, self._service)
        self._rows += response.rows or 0
        return {"resource": Raw(response.body), "response": {"status": _status(response.status)}}

    def _refuse(self, index: int, error: Error) -> None:
        """Answer an entry with its problems, and keep it for its sender."""
        self._is_denied |= isinstance(error, _DENIALS)
        self._answers[index] = failed(error)
        resource = self._entries[index].resource
        if resource is not None:
            self._refused.append(Refused(resource, tuple(error.issues())))

    def _stored(self, stored: Stored, submission: Submission) -> Any:
        found = answer(
            201 if stored.created else 200,
            stored.id,
            received=stored.received,
            base=self._request.base,
        )
        # Unlike after a single create, the resource is sent back only to those who ask for it.
        if self._returns == "representation" and stored.created:
            event = served(
                submission.body, submission.form, event_id=stored.id, received_ms=stored.received
            )
            return {"resource": Raw(event), **found}
        if self._returns == "OperationOutcome":
            assert submission.event is not None, "an entry was read before it was stored"
            found["response"]["outcome"] = Raw(outcome_bytes(told(stored, submission.event)))
        elif stored.flags:
            found["response"]["outcome"] = Raw(outcome_bytes(flag_warnings(stored)))
        return found

    def _response(self, kind: str) -> Response:
        bundle: dict[str, Any] = {"resourceType": "Bundle", "type": kind}
        if self._answers:  # An empty array is no valid FHIR.
            bundle["entry"] = self._answers
        body = msgspec.json.encode(bundle)
        return Response(200, body, rows=self._rows, is_denied=self._is_denied)


def answer(status: int, event_id: str, *, received: int, base: str) -> dict[str, Any]:
    """Return what an entry that is recorded, or was before, is answered."""
    return {
        "response": {
            "status": _status(status),
            "location": location(event_id, base),
            "etag": ETAG,
            "lastModified": _instant(received),
        }
    }


def failed(error: Error) -> dict[str, Any]:
    """Return what an entry that is refused is answered."""
    outcome = Raw(outcome_bytes(error.issues()))
    return {"response": {"status": _status(error.status), "outcome": outcome}}


@lru_cache(64)
def _status(status: int) -> str:
    return f"{status} {HTTPStatus(status).phrase}"
