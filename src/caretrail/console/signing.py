"""Signing in to the console and out: with an issuer (OpenID Connect), or with the folder's token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from caretrail.api.http import NOBODY
from caretrail.console import browser, rendering
from caretrail.console.rendering import ROOT, Page
from caretrail.errors import NotFoundError, UnauthenticatedError
from caretrail.patterns import security
from caretrail.patterns.observation import Machine, Observation, User, identified
from caretrail.patterns.own import ORIGIN_SYSTEM

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from caretrail.access.identity import Identity
    from caretrail.console.desk import Desk
    from caretrail.console.sessions import Session
    from caretrail.patterns.observation import Json

Handler = Callable[["Request", "Desk"], Awaitable["Response"]]

_HOME: Final = f"{ROOT}/"
_COMMON: Final = "openid profile fhirUser online_access"
# What is asked for: by staff for what their roles see, by a patient for what is about him.
SCOPES: Final = {
    "staff": f"{_COMMON} user/AuditEvent.rs",
    "patient": f"{_COMMON} launch/patient patient/AuditEvent.rs",
}


async def show(request: Request, desk: Desk) -> Response:
    """Show the ways to sign in."""
    goal = browser.goal_of(request.query_params.get("goal", ""))
    if desk.service.gate.insecure:
        return browser.see(goal)
    session = browser.session_of(request, desk)
    cookie = ""
    if session is None or session.is_signed_in:
        session, cookie = desk.sessions.begin()
    session.goal = goal
    response = _page(request, desk, session)
    return browser.with_cookie(response, cookie, request, desk) if cookie else response


def _page(
    request: Request, desk: Desk, session: Session, *, problem: str = "", status: int = 200
) -> Response:
    party = desk.relying_party
    data = {"issuer": party.issuer if party is not None else "", "problem": problem}
    # A form that leads to an issuer elsewhere needs its leave.
    parts = urlsplit(party.issuer if party is not None else "")
    target = f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
    frame = desk.frame(request, session, None, form_to=target)
    return rendering.html(Page("sign-in", "Sign in", data, status), frame)


async def with_token(request: Request, desk: Desk) -> Response:
    """Sign in with a bearer token, which the browser does not keep."""
    session = browser.session_of(request, desk)
    form = await browser.form_of(request, desk, session)
    assert session is not None
    bearer = form.get("token", "").strip()
    try:
        if not bearer.isascii() or not bearer.isprintable():
            raise UnauthenticatedError("the credential is not known here")
        identity = await desk.service.gate.identify(
            {b"authorization": b"Bearer " + bearer.encode()}
        )
    except UnauthenticatedError:
        auditing = desk.service.auditing
        if auditing is not None:
            await auditing.denied(browser.as_api(request, NOBODY), "console", 401)
        problem = "This token is not good here."
        return _page(request, desk, session, problem=problem, status=401)
    await _tell(request, desk, identity, security.login)
    goal = session.goal
    _, cookie = desk.sessions.rise(session, bearer=bearer)
    return browser.with_cookie(browser.see(goal or _HOME), cookie, request, desk)


async def begin(request: Request, desk: Desk) -> Response:
    """Send the browser to the issuer."""
    session = browser.session_of(request, desk)
    form = await browser.form_of(request, desk, session)
    if session is None or desk.relying_party is None:
        raise NotFoundError("there is no issuer to sign in with")
    scope = SCOPES.get(form.get("as", "staff"), SCOPES["staff"])
    session.begun = await desk.relying_party.begin(scope)
    return browser.see(session.begun.address)


async def callback(request: Request, desk: Desk) -> Response:
    """Take the issuer's answer; whoever it is for is signed in."""
    session = browser.session_of(request, desk)
    if session is None or session.begun is None or desk.relying_party is None:
        raise UnauthenticatedError("the sign-in took too long: begin again")
    begun, session.begun = session.begun, None
    try:
        tokens = await desk.relying_party.finish(begun, dict(request.query_params))
    except UnauthenticatedError as error:
        text = str(error)
        problem = f"{text[:1].upper()}{text[1:]}."
        return _page(request, desk, session, problem=problem, status=401)
    goal = session.goal
    _, cookie = desk.sessions.rise(session, bearer=tokens.access, tokens=tokens)
    return browser.with_cookie(browser.see(goal or _HOME), cookie, request, desk)


async def sign_out(request: Request, desk: Desk) -> Response:
    """Forget the session, and sign out of the issuer as well."""
    session = browser.session_of(request, desk)
    await browser.form_of(request, desk, session)
    assert session is not None
    identity = await desk.identify(session)
    if identity is not None and session.tokens is None:
        await _tell(request, desk, identity, security.logout)
    desk.sessions.end(session)
    party, address = desk.relying_party, f"{ROOT}/sign-in"
    if party is not None and session.tokens is not None:
        address = await party.end_address(session.tokens) or address
    return browser.with_cookie(browser.see(address), "", request, desk)


async def _tell(
    request: Request, desk: Desk, identity: Identity, what: Callable[[Observation], Json]
) -> None:
    """Record a sign-in or a sign-out by token, before it takes effect; an issuer tells its own."""
    repository = desk.service.repository
    log = repository.speaking()
    server = Machine(
        who=identified(log.origin, system=ORIGIN_SYSTEM),
        address=f"{browser.origin_of(request, desk)}{ROOT}",
        address_type="5",
    )
    observed = Observation(
        recorded=log.recorded,
        client=Machine(who=identified("caretrail-console"), address=browser.address_of(request)),
        server=server,
        user=User(
            who=identified(identity.subject or identity.producer, system=identity.issuer or None),
            name=identity.name or None,
        ),
        outcome_text="a bearer token",
    )
    if desk.service.auditing is not None:
        await repository.record_own(what(observed), organisation=identity.organisation)


# An address is one row here: where, by which method, and what answers.
ADDRESSES: Final = (
    ("sign-in", "GET", show),
    ("sign-in", "POST", with_token),
    ("sign-in/issuer", "POST", begin),
    ("callback", "GET", callback),
    ("sign-out", "POST", sign_out),
)
