"""The audit of the audit: each read of the log, and each attempt that is refused, is an event of it.

What was read is durable in the log before the answer leaves: whoever cannot be recorded reads
nothing. The events take the way of all others and share their transactions; making one asks the
repository, not a route, so that none makes another (DESIGN, decision 12).
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from caretrail.access.denials import Denials, Flood
from caretrail.errors import Error, ForbiddenError, UnauthenticatedError
from caretrail.limits import DENIAL_SECONDS_WINDOW
from caretrail.patterns import criteria, own
from caretrail.patterns.claims import settled
from caretrail.patterns.exchange import Exchange, Message
from caretrail.patterns.log_use import Asker, Use, log_used
from caretrail.patterns.observation import Machine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from caretrail.access.identity import Identity
    from caretrail.api.http import Request, Response
    from caretrail.repository import Repository

_log: Final = logging.getLogger(__name__)
_ROOT: Final = "/fhir/"
_KIND: Final = "AuditEvent"
_NOWHERE: Final = Machine(who={"display": "log"}, address="")


class Auditing:
    """Records uses of one log, in its event loop."""

    def __init__(
        self, repository: Repository, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._repository = repository
        self._denials = _Counted(self._tell_denied, clock)
        self._handshakes = _Counted(self._tell_handshakes, clock)

    async def answered(
        self, request: Request, what: str, response: Response, is_recorded: bool
    ) -> None:
        """Record an answer that shows events; raise when that cannot be done."""
        if response.is_denied:
            await self.denied(request, what, 403)
        if is_recorded or response.rows is not None:
            await self._used(request, what, response.status, response.rows or 0)

    async def failed(self, request: Request, what: str, error: Error, is_recorded: bool) -> None:
        """Record an attempt that came to nothing; the answer says the error in any case."""
        try:
            if isinstance(error, UnauthenticatedError | ForbiddenError):
                await self.denied(request, what, error.status)
            elif is_recorded and error.status < 500:
                await self._used(request, what, error.status, 0)
        except Error as other:
            _log.error("an attempt was not recorded", extra={"error": type(other).__name__})

    async def denied(self, request: Request, what: str, status: int) -> None:
        """Record an attempt that was refused, or count it where there were many."""
        await self.refused(asker_of(request), what, status, request.identity.organisation)

    async def refused(self, asker: Asker, what: str, status: int, organisation: str = "") -> None:
        """Record an attempt of somebody, by whatever way, or count it where there were many."""
        if not await self._denials.is_told(asker.address):
            return
        # What is asked for at an address that may not exist is the sender's own text: it stays out.
        await self._record(asker, Use(what, status), organisation)

    async def node_refused(self, address: str, reason: str) -> None:
        """Record a TLS handshake that came to nothing, or count it where there were many."""
        try:
            if await self._handshakes.is_told(address):
                await self._say_refused(address, reason)
        except Error as error:
            _log.error("a handshake was not recorded", extra={"error": type(error).__name__})

    async def close(self) -> None:
        """Record what was only counted so far."""
        await self._denials.close()
        await self._handshakes.close()

    async def _used(self, request: Request, what: str, status: int, rows: int) -> None:
        event_id = request.captures[0] if what in _OF_ONE and status < 400 else ""
        use = Use(what, status, rows, _query(request), event_id)
        await self._record(asker_of(request), use, request.identity.organisation)

    async def _record(self, asker: Asker, use: Use, organisation: str) -> None:
        event = settled(log_used(self._repository.speaking(), asker, use))
        await self._repository.record_own_bytes(event, organisation=organisation)

    async def _tell_denied(self, flood: Flood) -> None:
        asker = Asker(address=flood.peer)
        use = Use("denied", 403, attempts=flood.attempts, seconds=DENIAL_SECONDS_WINDOW)
        await self._record(asker, use, "")

    async def _tell_handshakes(self, flood: Flood) -> None:
        await self._say_refused(flood.peer, "many", flood.attempts, DENIAL_SECONDS_WINDOW)

    async def _say_refused(
        self, address: str, reason: str, attempts: int = 1, seconds: int = 0
    ) -> None:
        said = own.node_refused(
            self._repository.speaking(),
            address=address,
            reason=reason,
            attempts=attempts,
            seconds=seconds,
        )
        await self._repository.record_own_bytes(settled(said))


class _Counted:
    """Refusals of one kind: few are told one by one, the others when their window is over."""

    def __init__(
        self, tell: Callable[[Flood], Awaitable[None]], clock: Callable[[], float]
    ) -> None:
        self._tell, self._denials = tell, Denials(clock)
        self._timer: asyncio.TimerHandle | None = None
        self._telling: set[asyncio.Task[None]] = set()

    async def is_told(self, peer: str) -> bool:
        """Count one; return whether it is to be told for itself."""
        await self._tell_ended()
        if self._denials.count(peer):
            return True
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(DENIAL_SECONDS_WINDOW, self._window_over)
        return False

    async def close(self) -> None:
        """Tell what was only counted so far."""
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*self._telling)
        await self._tell_ended(finally_=True)

    def _window_over(self) -> None:
        self._timer = None
        task = asyncio.get_running_loop().create_task(self._tell_late())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell_late(self) -> None:
        try:
            await self._tell_ended(finally_=True)
        except Error as error:
            _log.error("refused attempts were not recorded", extra={"error": type(error).__name__})

    async def _tell_ended(self, *, finally_: bool = False) -> None:
        for flood in self._denials.ended(finally_=finally_):
            await self._tell(flood)


# Interactions whose first part in braces is the id of an event.
_OF_ONE: Final = frozenset(["read", "vread", "history-instance", "$original", "$proof"])


def asker_of(request: Request) -> Asker:
    """Return who asks, as the log tells of it."""
    one: Identity = request.identity
    if not one.grants and not one.subject:
        return Asker(address=request.peer)
    return Asker(
        one.subject or one.producer,
        one.issuer,
        one.client,
        one.name,
        one.reference,
        one.token_id,
        one.roles,
        request.peer,
    )


def _query(request: Request) -> str:
    """Return the path and the search, minimised."""
    headers = {"content-type": request.header(b"content-type")}
    exchange = Exchange(
        method=request.method,
        path=request.path.removeprefix(_ROOT),
        end="",
        server=_NOWHERE,
        query=request.query,
        request=Message(headers=headers, body=request.body),
    )
    return criteria.minimised(exchange, _KIND)
