"""The authorization endpoint and what it asks a person (RFC 6749, 4.1; SMART App Launch 2)."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlencode

from authlib.oauth2.rfc6749.errors import InvalidRequestError, OAuth2Error
from authlib.oidc.core.errors import ConsentRequiredError, LoginRequiredError
from starlette.responses import RedirectResponse, Response

from caretrail.access.pages import HEADERS
from caretrail.access.server import browser, granting, people, sessions, sign_in
from caretrail.access.server.grants import Answer, Asked, Decision, Server, launch_of
from caretrail.access.server.pages import message, page, wishes
from caretrail.access.server.store import hashed
from caretrail.errors import InvalidError, UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from caretrail.access.server.browser import Site
    from caretrail.access.server.clients import Client
    from caretrail.access.server.grants import CodeGrant
    from caretrail.access.server.people import Person
    from caretrail.access.server.sessions import Session
    from caretrail.access.server.store import Act


# Anybody can have one kept, for a quarter of an hour.
_QUERY_CHARACTERS_MAX: Final = 8 * 1024
_UNSUPPORTED: Final = ("request", "request_uri")
# Where nobody may be sent back to, the person is told.
_NOT_REGISTERED: Final = "The application's request is not one that it is registered for."


class Wanted(NamedTuple):
    """An authorization request that is good, and whose patient it is about.

    `patient` is "" where the person has to choose, or there is none; `choose` tells which.
    """

    server: Server
    asked: Asked
    grant: CodeGrant
    client: Client
    scope: str
    redirect_uri: str
    patient: str
    choose: bool


async def authorize(request: Request) -> Response:
    """Take an authorization request, by GET or by POST, and bring the person to the next page."""
    site = browser.site_of(request)
    if request.method == "POST":
        given = await browser.form_of(request)
    else:
        given = browser.query_of(request)

    def work(act: Act) -> tuple[str, str] | Answer:
        wanted = _wanted(request, act, site, given)
        if isinstance(wanted, Answer):
            return wanted
        here = browser.visit(request, act, site.desk)
        refusal = _without_asking(wanted, given, signed_in=here.signed_in)
        if refusal is not None:
            return refusal
        session, cookie = here.session, ""
        if session is None:
            session, cookie = sessions.begin(act)
        elif "login" in given.get("prompt", "").split() and here.signed_in:
            at = browser.seen(request, act)
            browser.close(act, site.desk, session, at, reason="the client asked to sign in again")
            session, cookie = sessions.begin(act)
        query = urlencode(given)
        if len(query) > _QUERY_CHARACTERS_MAX:
            raise InvalidError("the application's request is too long")
        number = sessions.keep_request(act, session, query)
        return sign_in.next_page(session._replace(request=number)), cookie

    found = await site.store.run(work)
    if isinstance(found, Answer):
        site.throttle.refused(browser.address_of(request))
        return _answer(found)
    target, cookie = found
    response = sign_in.see(target)
    return browser.with_cookie(response, cookie, site.desk.rules) if cookie else response


def _without_asking(wanted: Wanted, given: Mapping[str, str], *, signed_in: bool) -> Answer | None:
    """Return the refusal where a client wants nobody to be asked: everybody is, each time."""
    if given.get("prompt") != "none":
        return None
    kind = ConsentRequiredError if signed_in else LoginRequiredError
    error = kind(redirect_uri=wanted.redirect_uri)
    error.state = given.get("state")
    return wanted.server.handle_error_response(wanted.asked, error)


def _wanted(request: Request, act: Act, site: Site, given: Mapping[str, str]) -> Wanted | Answer:
    """Return the request if it is good; what is not is refused, at the client's address if known."""
    server = Server(act, site.desk, browser.seen(request, act))
    asked = Asked("GET", given)
    try:
        if (
            any(name in given for name in _UNSUPPORTED)
            or given.get("response_mode", "query") != "query"
        ):
            raise InvalidRequestError("the parameter is not supported")
        grant: CodeGrant = server.get_consent_grant(asked)
    except (OAuth2Error, ValueError) as error:
        # A ValueError is Authlib's: what was asked has letters that no error may hold.
        server.refused(asked, getattr(error, "error", "invalid_request"), endpoint="authorize")
        if getattr(error, "redirect_uri", None):
            return server.handle_error_response(asked, error)
        return Answer(400, _NOT_REGISTERED, [])
    words = asked.scope.split()
    launch = launch_of(act, asked) if granting.LAUNCH in words else None
    about = [one for word in words if (one := granting.parse(word)) is not None]
    is_about_one = granting.LAUNCH_PATIENT in words or any(
        one.context == "patient" for one in about
    )
    return Wanted(
        server,
        asked,
        grant,
        asked.client,
        asked.scope,
        grant.redirect_uri,
        launch or "",
        is_about_one and not launch,
    )


class Page(NamedTuple):
    """What the page of a decision shows."""

    session: Session
    person: Person
    wanted: Wanted
    number: str


def _open(request: Request, act: Act, site: Site, number: str) -> Page | Answer:
    here = browser.visit(request, act, site.desk)
    if here.session is None or here.person is None or not here.signed_in:
        raise UnauthenticatedError("sign in first")
    query = sessions.request_of(act, here.session, number)
    if query is None:
        raise InvalidError("the request is over: go back to the application and begin again")
    wanted = _wanted(request, act, site, browser.parameters(query.encode()))
    if isinstance(wanted, Answer):
        return wanted
    return Page(here.session, here.person, _of_person(wanted, here.person), number)


def _of_person(wanted: Wanted, person: Person) -> Wanted:
    """Return the request as this person may answer it: a patient's is about himself."""
    if "patient" not in person.roles:
        return wanted
    if wanted.patient not in ("", person.patient):
        raise InvalidError("the launch is about somebody else")
    about = person.patient if wanted.choose or wanted.patient else ""
    return wanted._replace(patient=about, choose=False)


async def show(request: Request) -> Response:
    """Ask the person."""
    site = browser.site_of(request)
    number = browser.query_of(request).get("request", "")
    found = await site.store.run(lambda act: _open(request, act, site, number))
    return _answer(found) if isinstance(found, Answer) else _page(found)


def _page(found: Page, *, problem: str = "") -> Response:
    wanted = found.wanted
    return page(
        "consent",
        status=400 if problem else 200,
        form_to=wanted.redirect_uri,
        csrf=found.session.csrf,
        request=found.number,
        client=wanted.client.name,
        person=found.person.display,
        wishes=wishes(wanted.scope),
        patient=wanted.patient,
        choose=wanted.choose,
        problem=problem,
    )


async def decide(request: Request) -> Response:
    """Take the person's decision, and bring it to the application."""
    site = browser.site_of(request)
    form = await browser.form_of(request)

    def work(act: Act) -> Page | Answer:
        here = browser.visit(request, act, site.desk)
        browser.check_form(request, here, form, site.desk.rules)
        found = _open(request, act, site, form.get("request", ""))
        if isinstance(found, Answer):
            return found
        permitted = form.get("decision") == "permit"
        wanted = found.wanted
        patient = wanted.patient or (form.get("patient", "").strip() if wanted.choose else "")
        if permitted and wanted.choose and not people.is_patient_id(patient):
            return found
        if not people.is_patient_id(patient):
            patient = ""
        return _decided(request, act, site, found, patient=patient, permitted=permitted)

    found = await site.store.run(work)
    if isinstance(found, Answer):
        return _answer(found)
    return _page(found, problem="Enter the id of a patient, such as it is in the record's address.")


def _decided(
    request: Request, act: Act, site: Site, found: Page, *, patient: str, permitted: bool
) -> Answer:
    wanted, number = found.wanted, str(uuid.uuid4())
    server = wanted.server
    server.decision = Decision(number, found.session.hash, patient, found.session.begun)
    act.note(
        site.desk.events.decided(
            browser.seen(request, act),
            wanted.client,
            found.person,
            consent=number,
            patient=patient,
            permitted=permitted,
            scope=wanted.scope,
        )
    )
    sessions.drop_request(act, found.number)
    answer: Answer = server.create_authorization_response(
        wanted.asked, grant_user=found.person if permitted else None, grant=wanted.grant
    )
    if permitted:
        server.issuer.add_issuer_parameter(server, answer)
    if granting.LAUNCH in wanted.scope.split():
        # Authlib has looked at the request once more by now; a launch is good once.
        launch = hashed(wanted.asked.payload.data.get("launch", ""))
        act.do("DELETE FROM launch WHERE hash = ?", launch)
    return answer


def _answer(answer: Answer) -> Response:
    """Send the browser back to the application."""
    if answer.location:
        return RedirectResponse(answer.location, 303, dict(HEADERS))
    return message("This did not work", str(answer.body), status=answer.status)
