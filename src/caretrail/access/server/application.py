"""The authorization server as an ASGI application, and what it does beside requests."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from caretrail.access.server import (
    administration,
    browser,
    clients,
    consenting,
    emergency,
    oauth,
    override,
    pages,
    people,
    sessions,
    set_up,
    sign_in,
    sign_out,
    tokens,
)
from caretrail.access.server.browser import Site
from caretrail.access.server.desk import ROOT, Desk, Rules
from caretrail.access.server.events import Events, Seen
from caretrail.access.server.keys import SigningKeys
from caretrail.access.server.passwords import Passwords
from caretrail.access.server.store import Store, forget
from caretrail.access.server.throttle import Throttle
from caretrail.errors import Error, ThrottledError, UnauthenticatedError

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

    from caretrail.access.server.administration import Waiting
    from caretrail.access.server.store import Act, Record

_log: Final = logging.getLogger(__name__)

SMART_CONFIGURATION: Final = "/fhir/.well-known/smart-configuration"
_ITSELF: Final = "caretrail"
_NO_STORE: Final = {"cache-control": "no-store"}
_LATER: Final = {**_NO_STORE, "retry-after": "60"}
_TICK_SECONDS: Final = 0.5
_SWEEP_SECONDS: Final = 30
_CONSENT_SECONDS: Final = 24 * 3600

# An address is one row here: where, by which method, what answers, and whether a program asks.
_PAGES: Final = (
    ("sign-in", "GET", sign_in.show),
    ("sign-in", "POST", sign_in.sign_in),
    ("second-factor", "GET", sign_in.show_second_factor),
    ("second-factor", "POST", sign_in.check_second_factor),
    ("second-factor/set-up", "GET", sign_in.show_enrolment),
    ("second-factor/set-up", "POST", sign_in.enrol),
    ("set-up", "GET", set_up.show),
    ("set-up", "POST", set_up.set_up),
    ("authorize", "GET", consenting.authorize),
    ("authorize", "POST", consenting.authorize),
    ("consent", "GET", consenting.show),
    ("consent", "POST", consenting.decide),
    ("emergency-access", "GET", emergency.show),
    ("emergency-access", "POST", emergency.change),
    ("sign-out", "GET", sign_out.show),
    ("sign-out", "POST", sign_out.sign_out),
)
_PROGRAMS: Final = (
    ("token", "POST", oauth.token),
    ("revoke", "POST", oauth.revoke),
    ("introspect", "POST", oauth.introspect),
    ("launch", "POST", oauth.launch),
    ("jwks", "GET", oauth.jwks),
    (".well-known/openid-configuration", "GET", oauth.openid_configuration),
)


async def _account(request: Request) -> Response:
    """Show who is signed in."""
    site = browser.site_of(request)
    here = await site.store.run(lambda act: browser.visit(request, act, site.desk))
    if here.session is None or here.person is None or not here.signed_in:
        return sign_in.see(f"{ROOT}/sign-in")
    person = here.person
    return pages.page(
        "account",
        csrf=here.session.csrf,
        person=person.display,
        name=person.name,
        roles=", ".join(person.roles),
        has_totp=person.has_totp,
        cares=override.is_for(person),
    )


async def _style(_: Request) -> Response:
    return pages.style()


Handler = Callable[["Request"], Awaitable[Response]]


def _of_page(handler: Handler) -> Handler:
    """Let a page say what went wrong."""

    async def handled(request: Request) -> Response:
        try:
            _check_throttle(request)
            return await handler(request)
        except UnauthenticatedError as error:
            return pages.message("Not now", pages.sentence(error), status=403, again=True)
        except Error as error:
            return pages.message("This did not work", pages.sentence(error), status=error.status)
        except Exception as error:
            _log_fault(error)
            return pages.message("This did not work", "The server met a fault.", status=500)

    return handled


def _of_program(handler: Handler) -> Handler:
    """Let a program be told what went wrong as OAuth does."""

    async def handled(request: Request) -> Response:
        try:
            _check_throttle(request)
            return await handler(request)
        except Error as error:
            is_ours = error.status >= 500
            kind = "temporarily_unavailable" if is_ours else "invalid_request"
            body = {"error": kind, "error_description": str(error)}
            return JSONResponse(body, error.status, _LATER if is_ours else _NO_STORE)
        except Exception as error:
            _log_fault(error)
            return JSONResponse({"error": "server_error"}, 500, _NO_STORE)

    return handled


def _check_throttle(request: Request) -> None:
    if browser.site_of(request).throttle.is_over(browser.address_of(request)):
        raise ThrottledError("too many wrong answers from this address: wait a minute")


def _log_fault(error: Exception) -> None:
    """Log where it happened; the exception's own text may quote what was asked."""
    rows = traceback.extract_tb(error.__traceback__)
    places = [f"{row.filename}:{row.lineno}" for row in rows]
    _log.error(
        "the authorization server met a fault",
        extra={"error": type(error).__name__, "places": places},
    )


def _routes() -> list[Route]:
    table = [(path, method, _of_page(handler)) for path, method, handler in _PAGES]
    table += [(path, method, _of_program(handler)) for path, method, handler in _PROGRAMS]
    table.append(("account", "GET", _of_page(_account)))
    table.append(("style.css", "GET", _style))
    routes = [Route(f"{ROOT}/{path}", handler, methods=[method]) for path, method, handler in table]
    smart = _of_program(oauth.smart_configuration)
    return [*routes, Route(SMART_CONFIGURATION, smart, methods=["GET"])]


ROUTES: Final = tuple(_routes())


class AuthorizationServer:
    """The authorization server of one log: give `application` the requests of its addresses.

    `record` keeps an event in the log, and returns once it is durable.
    """

    def __init__(
        self,
        folder: Path,
        rules: Rules,
        *,
        record: Record,
        origin: str,
        organisation: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the database and the keys in the folder; raises ConfigurationError."""
        events = Events(origin=origin, issuer=rules.issuer, organisation=organisation)
        self._store = Store(folder, record=record, clock=clock)
        self._desk = Desk(rules, SigningKeys(folder, now=int(clock())), events)
        self._passwords = Passwords()
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self.application = Starlette(routes=list(ROUTES))
        self.application.state.site = Site(
            self._store, self._desk, self._passwords, Throttle(clock)
        )

    @property
    def others(self) -> frozenset[str]:
        """Return the addresses outside of `/auth` that are this server's."""
        return frozenset([SMART_CONFIGURATION])

    @property
    def rules(self) -> Rules:
        """Return what is set."""
        return self._desk.rules

    def jwks(self) -> dict[str, Any]:
        """Return the public keys, for whoever checks tokens in this process."""
        return self._desk.keys.public()

    def is_revoked(self, jti: str) -> bool:
        """Tell whether an access token was revoked before its time."""
        return jti in self._desk.revoked

    async def start(self) -> None:
        """Begin what is done beside requests."""
        await self._store.run(lambda act: tokens.load_revoked(act, self._desk))
        self._task = asyncio.create_task(self._beside())

    async def set_up_link(self) -> str | None:
        """Return the link for the first administrator, good once; None when there are people."""

        def work(act: Act) -> str | None:
            if people.everybody(act):
                return None
            secret = people.invite(act, None)
            return f"{self._desk.rules.issuer}/set-up?invitation={secret}"

        return await self._store.run(work)

    async def register_console(
        self, client_id: str, *, redirect_uri: str, after: str, scope: str
    ) -> None:
        """See that the console in this process is a client, with its address of today."""
        wanted = {
            "id": client_id,
            "name": "The console of this log",
            "method": "none",
            "redirect_uris": [redirect_uri],
            "logout_uris": [after],
            "grants": [clients.AUTHORIZATION_CODE, clients.REFRESH_TOKEN],
            "scope": scope,
        }
        change = {"change": "keep-client", "by": _ITSELF, **wanted}
        await self._store.run(lambda act: administration.make(act, self._desk, change))

    async def note_presence(self, token: str) -> None:
        """Note that the person of an access token is there: the session does not end as idle."""

        def work(act: Act) -> None:
            found = tokens.look(act, self._desk, token)
            consent = found.consent if found is not None and not found.is_revoked() else None
            if consent is not None and consent.session is not None:
                sessions.touch_by(act, consent.session)

        await self._store.run(work)

    async def change(self, asked: administration.Change) -> list[str]:
        """Make a change; return what to say of it. Raises Error."""
        return await self._store.run(lambda act: administration.make(act, self._desk, asked))

    async def make_waiting(self) -> None:
        """Make the changes that other processes wait for."""
        for one in await self._store.run(administration.waiting):
            await self._make(one)

    async def _make(self, one: Waiting) -> None:
        try:
            await self._store.run(lambda act: administration.answer(act, self._desk, one))
        except Error as error:
            refusal = error
            await self._store.run(lambda act: administration.refuse(act, one, refusal))

    async def sweep(self) -> None:
        """End what is over: sessions, links, tokens, and the time of a signing key."""
        await self._store.run(self._sweep)

    def _sweep(self, act: Act) -> None:
        desk = self._desk
        for session in sessions.every_over(act, idle_seconds=desk.rules.idle_seconds):
            at = Seen("127.0.0.1", act.milliseconds)
            browser.close(act, desk, session, at, reason="the session was idle for too long")
        override.stop_all_over(act, desk, Seen("127.0.0.1", act.milliseconds))
        forget(act)
        over = act.now - desk.rules.refresh_seconds - _CONSENT_SECONDS
        act.do("DELETE FROM consent WHERE given < ?", over)
        tokens.load_revoked(act, desk)
        if desk.keys.is_due(act.now):
            administration.make(act, desk, {"change": "rotate-keys", "by": _ITSELF})

    async def _beside(self) -> None:
        known, swept = 0, self._clock()
        while True:
            try:
                changed = await self._store.changes()
                if changed != known:
                    await self.make_waiting()
                    known = changed
                if self._clock() - swept >= _SWEEP_SECONDS:
                    swept = self._clock()
                    await self.sweep()
            except Exception as error:
                # The next round tries again; what is wrong stays to be seen.
                _log.error(
                    "the authorization server met a fault", extra={"error": type(error).__name__}
                )
            await asyncio.sleep(_TICK_SECONDS)

    async def close(self) -> None:
        """End what is done beside requests, and let go of the database."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._store.close()
        self._passwords.close()
