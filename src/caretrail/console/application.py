"""The console as an ASGI application: who is there, which page it is, and in which form.

A page is one row of PAGES. Without a session nobody learns which pages there are: every address
leads to the sign-in, and a program is told 401.
"""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from caretrail.access.pages import HEADERS
from caretrail.api.http import decode_pairs
from caretrail.console import (
    administration,
    browser,
    coverage,
    event,
    exports,
    integrity,
    overview,
    people,
    rendering,
    search,
    signing,
)
from caretrail.console.asking import Asking, RefusedError
from caretrail.console.desk import TWIN, ActionRow, Desk, PageRow
from caretrail.console.rendering import ROOT, Page, message
from caretrail.errors import Error, ForbiddenError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from caretrail.access.identity import Identity
    from caretrail.access.relying_party import RelyingParty
    from caretrail.api.service import Service
    from caretrail.console.asking import Inventory
    from caretrail.console.sessions import Session

_log: Final = logging.getLogger(__name__)

# A page is one row here; its JSON twin is at the same address with `.json`.
PAGES: Final = (
    # For those who look after a log: others see events of it, and not how it fares.
    PageRow("overview", overview.overview, ("$stats", "search-type", "$gaps"), "Overview"),
    PageRow("search", search.search, ("search-type",), "Search"),
    PageRow("events/{id}", event.event, ("read",)),
    PageRow("patients/{id}", people.patient, ("search-type",)),
    PageRow("users", people.user, ("search-type",)),
    PageRow("integrity", integrity.integrity, ("log",), "Integrity"),
    PageRow("coverage", coverage.coverage, ("definitions",), "Coverage"),
    PageRow("exports", exports.exports, ("$export", "$export-status"), "Exports"),
    PageRow("administration", administration.administration, ("metrics",), "Administration"),
)


# What a form does is one row here; it answers where the browser goes then.
ACTIONS: Final = (
    ActionRow("exports", exports.begin, ("$export",)),
    ActionRow("exports/cancel", exports.cancel, ("$export-cancel",)),
)


class Console:
    """The console of one log: give `application` the requests below `/console`."""

    def __init__(
        self,
        service: Service,
        *,
        idle_seconds: float,
        relying_party: RelyingParty | None = None,
        inventory: Inventory | None = None,
    ) -> None:
        """People sign in with `relying_party`; `inventory` lists what administrators look after."""
        self._desk = Desk(
            service,
            PAGES,
            idle_seconds=idle_seconds,
            relying_party=relying_party,
            inventory=inventory,
        )
        routes = [
            Route(ROOT, self._home, methods=["GET"]),
            Route(f"{ROOT}/", self._home, methods=["GET"]),
            Route(f"{ROOT}/static/{{name}}", _static, methods=["GET"]),
        ]
        routes += [
            Route(f"{ROOT}/{path}", self._signing(handler), methods=[method])
            for path, method, handler in signing.ADDRESSES
        ]
        for row in PAGES:
            routes.append(Route(f"{ROOT}/{row.path}{TWIN}", self._page(row), methods=["GET"]))
            routes.append(Route(f"{ROOT}/{row.path}", self._page(row), methods=["GET"]))
        for action in ACTIONS:
            routes.append(Route(f"{ROOT}/{action.path}", self._action(action), methods=["POST"]))
        file = f"{ROOT}/exports/{{job}}/{{file}}"
        routes.append(Route(file, self._file, methods=["GET"]))
        original = f"{ROOT}/events/{{id}}/original"
        routes.append(Route(original, self._original, methods=["GET"]))
        routes.append(Route(f"{ROOT}/{{rest:path}}", self._nowhere))
        self.application = Starlette(routes=routes)

    async def close(self) -> None:
        """Let go of connections to an issuer."""
        if self._desk.relying_party is not None:
            await self._desk.relying_party.close()

    def _page(self, row: PageRow) -> Callable[[Request], Awaitable[Response]]:
        async def handled(request: Request) -> Response:
            session = browser.session_of(request, self._desk)
            is_twin = browser.wants_json(request)
            try:
                identity = await self._desk.identify(session)
            except Error as error:
                return self._render(request, session, None, _problem(error))
            if identity is None:
                return _sign_in_first(request, is_twin=is_twin)
            page = await self._made(row, request, session, identity)
            return self._render(request, session, identity, page, row=row)

        return handled

    async def _made(
        self, row: PageRow, request: Request, session: Session | None, identity: Identity
    ) -> Page:
        try:
            asking = self._asking(request, session, identity)
            if not asking.may(*row.needs):
                await self._denied(request, identity, row)
                raise ForbiddenError("your role does not see this page")
            return await row.make(asking)
        except Exception as error:
            return _problem(error)

    def _asking(self, request: Request, session: Session | None, identity: Identity) -> Asking:
        captures = [str(value).removesuffix(TWIN) for value in request.path_params.values()]
        return Asking(
            self._desk.routers,
            identity=identity,
            bearer=session.bearer if session is not None else "",
            peer=browser.address_of(request),
            scheme=request.url.scheme,
            host=request.headers.get("host", ""),
            pairs=decode_pairs(request.scope["query_string"].decode("latin-1")),
            captures=captures,
            inventory=self._desk.inventory,
        )

    async def _denied(self, request: Request, identity: Identity, row: PageRow | ActionRow) -> None:
        """Record that somebody has asked for a page that is not for him, as the API does."""
        auditing = self._desk.service.auditing
        if auditing is not None:
            asked = browser.as_api(request, identity)
            await auditing.denied(asked, row.needs[0], 403)

    def _render(
        self,
        request: Request,
        session: Session | None,
        identity: Identity | None,
        page: Page,
        *,
        row: PageRow | None = None,
    ) -> Response:
        if browser.wants_json(request):
            return rendering.twin(page)
        frame = self._desk.frame(request, session, identity, row=row)
        try:
            return rendering.html(page, frame)
        except Exception as error:
            return rendering.html(_problem(error), frame)

    async def _home(self, request: Request) -> Response:
        """Lead to the first page that the person sees."""
        try:
            identity = await self._desk.identify(browser.session_of(request, self._desk))
        except Error as error:
            return self._render(request, None, None, _problem(error))
        if identity is None:
            return _sign_in_first(request, is_twin=False)
        first = self._desk.home(identity)
        if first is None:
            page = message("Nothing to see", "Your role has no page of the console.", status=403)
            session = browser.session_of(request, self._desk)
            return self._render(request, session, identity, page)
        return browser.see(f"{ROOT}/{first.path}")

    def _action(self, row: ActionRow) -> Callable[[Request], Awaitable[Response]]:
        async def handled(request: Request) -> Response:
            session = browser.session_of(request, self._desk)
            identity = None
            try:
                identity = await self._desk.identify(session)
                if identity is None:
                    return _sign_in_first(request, is_twin=False)
                form = await browser.form_of(request, self._desk, session)
                asking = self._asking(request, session, identity)
                if not asking.may(*row.needs):
                    await self._denied(request, identity, row)
                    raise ForbiddenError("your role may not do this")
                return browser.see(await row.make(asking, form))
            except Exception as error:
                return self._render(request, session, identity, _problem(error))

        return handled

    async def _file(self, request: Request) -> Response:
        """Hand out the file of an export to whoever began it."""
        session = browser.session_of(request, self._desk)
        identity = None
        try:
            identity = await self._desk.identify(session)
            if identity is None:
                return _sign_in_first(request, is_twin=False)
            asking = self._asking(request, session, identity)
            job, name = (quote(one, safe="") for one in request.path_params.values())
            found = await asking.answer(f"/fhir/$export/{job}/{name}")
        except Exception as error:
            return self._render(request, session, identity, _problem(error))
        headers = {**HEADERS, "content-disposition": f'attachment; filename="{name}"'}
        headers["content-security-policy"] = "sandbox; default-src 'none'"
        return rendering.file(found, headers)

    async def _original(self, request: Request) -> Response:
        """Hand out the bytes of an event as a file, whatever they are."""
        session = browser.session_of(request, self._desk)
        try:
            identity = await self._desk.identify(session)
            if identity is None:
                return _sign_in_first(request, is_twin=False)
            asking = self._asking(request, session, identity)
            path = f"/fhir/AuditEvent/{quote(asking.captures[0], safe='')}/$original"
            found = await asking.answer(path)
        except Exception as error:
            return self._render(request, session, None, _problem(error))
        ending = "xml" if b"xml" in found.media else "json"
        # It is never shown here: what others have sent is a file, and no page of ours.
        headers = {
            **HEADERS,
            "content-disposition": f'attachment; filename="AuditEvent.{ending}"',
            "content-security-policy": "sandbox; default-src 'none'",
        }
        return Response(found.body, 200, headers, media_type=found.media.decode())

    async def _nowhere(self, request: Request) -> Response:
        session = browser.session_of(request, self._desk)
        try:
            identity = await self._desk.identify(session)
        except Error as error:
            return self._render(request, session, None, _problem(error))
        if identity is None:
            return _sign_in_first(request, is_twin=browser.wants_json(request))
        return self._render(request, session, identity, _problem(NotFoundError("no such page")))

    def _signing(self, handler: signing.Handler) -> Callable[[Request], Awaitable[Response]]:
        async def handled(request: Request) -> Response:
            try:
                return await handler(request, self._desk)
            except Exception as error:
                return self._render(request, None, None, _problem(error))

        return handled


def _sign_in_first(request: Request, *, is_twin: bool) -> Response:
    if is_twin or request.method not in ("GET", "HEAD"):
        return JSONResponse({"title": "Sign in first"}, 401, dict(HEADERS))
    query = request.scope["query_string"].decode("latin-1")
    goal = quote(request.url.path) + (f"?{query}" if query else "")
    return browser.see(f"{ROOT}/sign-in?{urlencode({'goal': goal})}")


def _problem(error: Exception) -> Page:
    """Return the page of an error; what nobody thought of says nothing of what was asked."""
    if isinstance(error, RefusedError):
        return message("This did not work", str(error), status=error.code)
    if isinstance(error, Error):
        text = str(error)
        headings = {403: "Not for your role", 404: "Not found"}
        heading = headings.get(error.status, "This did not work")
        return message(heading, f"{text[:1].upper()}{text[1:]}.", status=error.status)
    rows = traceback.extract_tb(error.__traceback__)
    places: list[Any] = [f"{row.filename}:{row.lineno}" for row in rows]
    _log.error("the console met a fault", extra={"error": type(error).__name__, "places": places})
    return message("This did not work", "The server met a fault; its log says where.", status=500)


async def _static(request: Request) -> Response:
    found = rendering.static(request.path_params["name"])
    return found or RedirectResponse(f"{ROOT}/", 303, dict(HEADERS))
