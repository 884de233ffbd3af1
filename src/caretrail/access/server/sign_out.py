"""Signing out, from here or because an application asks for it (OIDC RP-Initiated Logout 1.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749.errors import OAuth2Error
from starlette.responses import RedirectResponse, Response

from caretrail.access.pages import HEADERS
from caretrail.access.server import browser, endpoints
from caretrail.access.server.grants import Asked, Server
from caretrail.access.server.pages import message, page
from caretrail.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from caretrail.access.server.browser import Site, Visit
    from caretrail.access.server.store import Act


def _validated(request: Request, act: Act, site: Site, given: Mapping[str, str]) -> Any:
    """Return Authlib's view of a request to sign out; where it leads to is registered, or nowhere."""
    server = endpoints.register(Server(act, site.desk, browser.seen(request, act)))
    try:
        return server.validate_endpoint_request(endpoints.END_SESSION, Asked("GET", given))
    except (OAuth2Error, ValueError, RecursionError) as error:
        raise InvalidError("the application's request to sign out cannot be followed") from error


def _is_of(found: Any, here: Visit) -> bool:
    """Tell whether an application has shown that it is this person's, and not somebody's link."""
    claims = found.id_token_claims
    return claims is not None and here.person is not None and claims.get("sub") == here.person.id


async def show(request: Request) -> Response:
    """Ask whether to sign out, unless the application has shown whom it means."""
    site = browser.site_of(request)
    given = browser.query_of(request)

    def work(act: Act) -> tuple[Visit, Any, bool]:
        found = _validated(request, act, site, given)
        here = browser.visit(request, act, site.desk)
        is_over = here.session is None or _is_of(found, here)
        if here.session is not None and is_over:
            at = browser.seen(request, act)
            browser.close(act, site.desk, here.session, at, reason="an application asked for it")
        return here, found, is_over

    here, found, is_over = await site.store.run(work)
    if is_over:
        return _gone(site, found)
    assert here.session is not None
    return page("sign-out", csrf=here.session.csrf, parameters=list(given.items()))


async def sign_out(request: Request) -> Response:
    """End the session."""
    site = browser.site_of(request)
    form = await browser.form_of(request)

    def work(act: Act) -> Any:
        here = browser.visit(request, act, site.desk)
        session = browser.check_form(request, here, form, site.desk.rules)
        found = _validated(request, act, site, form)
        at = browser.seen(request, act)
        browser.close(act, site.desk, session, at, reason="the person signed out")
        return found

    return _gone(site, await site.store.run(work))


def _gone(site: Site, found: Any) -> Response:
    response: Response = (
        RedirectResponse(found.redirect_uri, 303, dict(HEADERS))
        if found.redirect_uri
        else message("You are signed out", "You can close this window.", again=True)
    )
    return browser.with_cookie(response, "", site.desk.rules)
