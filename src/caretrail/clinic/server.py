"""The clinic's routes: each interaction in one transaction of the store, answered like any other."""

from __future__ import annotations

import asyncio
import secrets
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from caretrail.access.identity import CLINIC_BUNDLE
from caretrail.access.roles import CLINIC
from caretrail.api import capability as repository_capability
from caretrail.api import negotiation
from caretrail.api.router import ROOT, Route
from caretrail.clinic import bundle, capability
from caretrail.clinic.bundle import RefusedEntryError
from caretrail.clinic.table import ROWS
from caretrail.clinic.work import Work
from caretrail.errors import Error, NotAcceptableError, TooLargeError
from caretrail.repository import event_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from caretrail.api.http import Request, Response
    from caretrail.api.service import Service
    from caretrail.clinic.contract import Session, Store
    from caretrail.clinic.table import Row

# Patients whose data a request touches without its answer showing them; whoever audits sets it.
ABOUT: Final[ContextVar[list[str] | None]] = ContextVar("about", default=None)
_RANDOM_BYTES: Final = 10
# A patient may be searched for in every request of a page load; a batch has that many at most.
READS_MAX: Final = 100


class Clinic:
    """A FHIR server for all types but AuditEvent, over one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> tuple[Route, ...]:
        """Return the rows of the route table."""
        rows = [
            Route(
                row.method,
                f"{ROOT}/{row.path}".rstrip("/"),
                self._handler(row),
                row.what,
                row.body,
                needs=CLINIC[row.letter],
            )
            for row in ROWS
        ]
        return (
            Route("POST", ROOT, self._bundle, "batch", body="bundle", needs=CLINIC_BUNDLE),
            Route("GET", f"{ROOT}/metadata", self._metadata, "capabilities", public=True),
            *rows,
        )

    def _handler(self, row: Row) -> Callable[[Request, Service], Awaitable[Response]]:
        async def handle(request: Request, service: Service) -> Response:
            _require_json(request)
            run = self._store.write if row.writes else self._store.read
            work = self._worker(service, ABOUT.get())
            return await run(lambda session: row.perform(work(session), request))

        return handle

    def _worker(self, service: Service, noted: list[str] | None) -> Callable[[Session], Work]:
        now = service.now()

        def new_id() -> str:
            return event_id(now, secrets.token_bytes(_RANDOM_BYTES))

        def begun(session: Session) -> Work:
            return Work(session, now, new_id, self._store.key, noted)

        return begun

    async def _metadata(self, request: Request, service: Service) -> Response:
        """FHIR capabilities: of the repository and the clinic."""
        answer = await repository_capability.metadata(request, service)
        _require_json(request)
        return answer._replace(body=capability.statement(answer.body))

    async def _bundle(self, request: Request, service: Service) -> Response:
        """FHIR batch and transaction."""
        _require_json(request)
        # Megabytes of JSON: others are answered meanwhile.
        parsed = await asyncio.to_thread(bundle.parse, request, service.bundle_entries_max)
        # A note is about a whole exchange; of a Bundle nobody could tell to which entry it belongs.
        work = self._worker(service, None)
        if parsed.type == "batch":
            return await self._batch(request, parsed.entries, work)
        try:
            return await self._store.write(
                lambda session: bundle.transaction(work(session), request, parsed.entries)
            )
        except RefusedEntryError as refused:
            return refused.response

    async def _batch(
        self, request: Request, entries: list[bundle.Entry], work: Callable[[Session], Work]
    ) -> Response:
        answers: list[Any] = []
        reads = 0
        for entry in entries:
            try:
                is_read = entry.method in ("GET", "HEAD")
                reads += is_read
                if is_read and reads > READS_MAX:
                    raise TooLargeError(f"a batch may hold {READS_MAX} reads and searches")
                run = self._store.read if is_read else self._store.write
                answers.append(await run(_entry(work, request, entry)))
            except Error as error:
                answers.append(bundle.failed(error))
        return bundle.response("batch", answers)


def _entry(
    work: Callable[[Session], Work], request: Request, entry: bundle.Entry
) -> Callable[[Session], dict[str, Any]]:
    return lambda session: bundle.batch_entry(work(session), request, entry)


def _require_json(request: Request) -> None:
    """Raise NotAcceptableError where XML is asked for: only AuditEvents are read and written so."""
    if negotiation.response_format(request).xml:
        raise NotAcceptableError("the answer can be application/fhir+json")
