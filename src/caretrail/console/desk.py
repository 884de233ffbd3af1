"""What every part of the console works with: the log, the sessions, and who sees which page."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.access.identity import ANONYMOUS, Identity
from caretrail.console.asking import Asking, Routers
from caretrail.console.badge import badge
from caretrail.console.rendering import Frame, Page
from caretrail.console.sessions import Sessions
from caretrail.errors import UnauthenticatedError

if TYPE_CHECKING:
    from starlette.requests import Request

    from caretrail.access.relying_party import RelyingParty, Tokens
    from caretrail.api.service import Service
    from caretrail.console.asking import Inventory
    from caretrail.console.sessions import Session

TWIN: Final = ".json"

# How often an issuer is told that somebody is still there.
_PRESENCE_SECONDS: Final = 30

Maker = Callable[[Asking], Awaitable[Page]]


class PageRow(NamedTuple):
    """One page. Who has grants for all interactions that it `needs` sees it (`access.roles`).

    With a `title` it is in the navigation. A part of `path` in braces stands for any text.
    """

    path: str
    make: Maker
    needs: tuple[str, ...]
    title: str = ""

    def is_for(self, identity: Identity) -> bool:
        """Tell whether somebody sees it."""
        return all(identity.grants.get(one) is not None for one in self.needs)


class ActionRow(NamedTuple):
    """What a form does: `make` does it and returns where the browser goes then."""

    path: str
    make: Callable[[Asking, Mapping[str, str]], Awaitable[str]]
    needs: tuple[str, ...]


class Desk:
    """The console's own state; `pages` is the table of `application`."""

    def __init__(
        self,
        service: Service,
        pages: tuple[PageRow, ...],
        *,
        idle_seconds: float,
        relying_party: RelyingParty | None = None,
        inventory: Inventory | None = None,
    ) -> None:
        self.inventory = inventory
        self.service, self.pages, self.relying_party = service, pages, relying_party
        self.routers = Routers(service)
        self.sessions = Sessions(idle_seconds=idle_seconds)

    async def identify(self, session: Session | None) -> Identity | None:
        """Return who is signed in to a session, with a fresh token; None where nobody is."""
        gate = self.service.gate
        if gate.insecure:
            return ANONYMOUS
        if session is None or not session.is_signed_in:
            return None
        try:
            if session.tokens is not None:
                await self._keep(session, session.tokens)
            return await gate.identify({b"authorization": b"Bearer " + session.bearer.encode()})
        except UnauthenticatedError:
            self.sessions.end(session)
            return None

    async def _keep(self, session: Session, tokens: Tokens) -> None:
        """Exchange tokens that are about to end, and let the issuer know that somebody is there."""
        assert self.relying_party is not None
        if session.seen - session.told > _PRESENCE_SECONDS:
            session.told = session.seen
            await self.relying_party.tell_presence(tokens)
        if tokens.is_due(time.time()):
            session.tokens = await self.relying_party.renewed(tokens)
            session.bearer = session.tokens.access

    def home(self, identity: Identity) -> PageRow | None:
        """Return the first page that somebody sees."""
        return next((one for one in self.pages if one.title and one.is_for(identity)), None)

    def frame(
        self,
        request: Request,
        session: Session | None,
        identity: Identity | None,
        *,
        row: PageRow | None = None,
        form_to: str = "",
    ) -> Frame:
        """Return what is around a page of somebody's, None for nobody's."""
        known = identity or Identity("")
        seen = [one for one in self.pages if one.title and one.is_for(known)]
        is_insecure = self.service.gate.insecure
        query = request.scope["query_string"].decode("latin-1")
        return Frame(
            person="" if is_insecure else known.name or known.subject or known.producer,
            roles=", ".join(known.roles),
            csrf=session.csrf if session is not None else "",
            insecure=is_insecure,
            navigation=tuple((one.path, one.title, one is row) for one in seen),
            badge=badge(self.service) if known.grants.get("log") is not None else None,
            twin=f"{request.url.path}{TWIN}{'?' + query if query else ''}" if row else "",
            form_to=form_to,
        )
