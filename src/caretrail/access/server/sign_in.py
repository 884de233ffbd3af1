"""Signing in: password, second factor, and what happens when they are wrong.

What is wrong is never told apart: an unknown name, a wrong password, a closed or a locked account
get the same answer after the same time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.responses import RedirectResponse, Response

from caretrail.access.pages import HEADERS
from caretrail.access.server import browser, clients, people, second_factor, sessions
from caretrail.access.server.desk import ROOT
from caretrail.access.server.pages import page
from caretrail.errors import UnauthenticatedError

if TYPE_CHECKING:
    from starlette.requests import Request

    from caretrail.access.server.browser import Visit
    from caretrail.access.server.desk import Desk, Rules
    from caretrail.access.server.events import Seen
    from caretrail.access.server.people import Attempt, Person
    from caretrail.access.server.sessions import Session
    from caretrail.access.server.store import Act

WRONG: Final = "The user name or the password is wrong, or the account is locked for now."
_WRONG_CODE: Final = "The code is wrong, was used before, or the account is locked for now."
_ISSUER_NAME: Final = "CareTrail"
_PAGES: Final = {
    sessions.NOBODY: f"{ROOT}/sign-in",
    sessions.PASSWORD: f"{ROOT}/second-factor",
    sessions.ENROL: f"{ROOT}/second-factor/set-up",
}


def see(address: str) -> RedirectResponse:
    """Send a browser to another page of ours, by GET."""
    return RedirectResponse(address, 303, dict(HEADERS))


def next_page(session: Session) -> str:
    """Return where a browser goes from here."""
    if session.level != sessions.FULL:
        return _PAGES[session.level]
    return f"{ROOT}/consent?request={session.request}" if session.request else f"{ROOT}/account"


async def show(request: Request) -> Response:
    """Show the page for a user name and a password."""
    site = browser.site_of(request)

    def work(act: Act) -> tuple[Session, str, str]:
        here = browser.visit(request, act, site.desk)
        if here.session is not None:
            return here.session, "", _who_asks(act, here.session)
        session, cookie = sessions.begin(act)
        return session, cookie, ""

    session, cookie, client = await site.store.run(work)
    if session.level != sessions.NOBODY:
        return see(next_page(session))
    response = page("sign-in", csrf=session.csrf, client=client)
    return browser.with_cookie(response, cookie, site.desk.rules) if cookie else response


def _who_asks(act: Act, session: Session) -> str:
    query = sessions.request_of(act, session, session.request) if session.request else None
    if query is None:
        return ""
    client = clients.active(act, browser.parameters(query.encode()).get("client_id", ""))
    return client.name if client is not None else ""


class Check(NamedTuple):
    """An answer that is to be checked: in which session, and of whom, if there is such a person."""

    session: Session
    attempt: Attempt | None


async def sign_in(request: Request) -> Response:
    """Take a user name and a password."""
    site = browser.site_of(request)
    form = await browser.form_of(request)
    check = await site.store.run(lambda act: _begin(request, act, site.desk, form))
    kept = check.attempt.password if check.attempt is not None else None
    fits = await site.passwords.fits(form.get("password", ""), kept)
    name = form.get("name", "")

    def work(act: Act) -> tuple[Session, str] | None:
        here = browser.visit(request, act, site.desk)
        session = browser.check_form(request, here, form, site.desk.rules)
        at = browser.seen(request, act)
        attempt, person = check.attempt, people.find(act, name)
        if not fits or attempt is None or not people.is_current(act, attempt):
            wrong(act, site.desk, at, attempt, person, reason=_reason(attempt, person))
            return None
        return _passed(act, site.desk, at, session, attempt)

    found = await site.store.run(work)
    if found is None:
        site.throttle.refused(browser.address_of(request))
        return page("sign-in", status=400, csrf=check.session.csrf, problem=WRONG)
    session, cookie = found
    return browser.with_cookie(see(next_page(session)), cookie, site.desk.rules)


def _begin(request: Request, act: Act, desk: Desk, form: dict[str, str]) -> Check:
    here = browser.visit(request, act, desk)
    session = browser.check_form(request, here, form, desk.rules)
    if session.level != sessions.NOBODY:
        raise UnauthenticatedError("somebody is signed in here already: sign out first")
    person = people.find(act, form.get("name", ""))
    return Check(session, people.attempt(act, person) if person is not None else None)


def _reason(attempt: Attempt | None, person: Person | None) -> str:
    """Return what the log is told, and the person is not."""
    if person is None:
        return "unknown user name"
    return "wrong password" if attempt is not None else "locked or closed account"


def _passed(
    act: Act, desk: Desk, at: Seen, session: Session, attempt: Attempt
) -> tuple[Session, str]:
    """Return the session after a right password: not everybody is there yet."""
    person = attempt.person
    if attempt.totp is not None:
        # Else who knows the password could try codes for ever.
        people.take_back(act, person)
        return sessions.rise(act, session, level=sessions.PASSWORD, person=person.id)
    people.succeeded(act, person)
    if needs_second_factor(person, desk.rules):
        return sessions.rise(act, session, level=sessions.ENROL, person=person.id)
    act.note(desk.events.signed_in(at, person, by="password"))
    return sessions.rise(act, session, level=sessions.FULL, person=person.id)


def needs_second_factor(person: Person, rules: Rules) -> bool:
    """Tell whether somebody has to set up a second factor first."""
    is_privileged = not people.PRIVILEGED.isdisjoint(person.roles)
    return rules.require_second_factor and is_privileged and not person.has_totp


def wrong(
    act: Act,
    desk: Desk,
    at: Seen,
    attempt: Attempt | None,
    person: Person | None,
    *,
    reason: str,
) -> None:
    """Tell of a failed sign-in, and of the lock-out that may follow from it."""
    act.note(desk.events.not_signed_in(at, person, reason=reason))
    if attempt is not None and attempt.closes:
        act.note(desk.events.locked(at, attempt.person))


def _at(here: Visit, *levels: str) -> tuple[Session, Person]:
    """Return who is at this step of signing in; raises UnauthenticatedError."""
    if here.session is None or here.person is None or here.session.level not in levels:
        raise UnauthenticatedError("sign in first")
    return here.session, here.person


async def show_second_factor(request: Request) -> Response:
    """Show the page for a one-time password."""
    site = browser.site_of(request)
    here = await site.store.run(lambda act: browser.visit(request, act, site.desk))
    session, _ = _at(here, sessions.PASSWORD)
    return page("second-factor", csrf=session.csrf)


async def check_second_factor(request: Request) -> Response:
    """Take a one-time password."""
    site = browser.site_of(request)
    form = await browser.form_of(request)

    def work(act: Act) -> tuple[Session, str]:
        here = browser.visit(request, act, site.desk)
        browser.check_form(request, here, form, site.desk.rules)
        session, person = _at(here, sessions.PASSWORD)
        at, attempt = browser.seen(request, act), people.attempt(act, person)
        step = None
        if attempt is not None and attempt.totp is not None:
            step = second_factor.step_of(
                form.get("code", ""), attempt.totp, now=act.now, after=attempt.totp_step
            )
        if step is None:
            reason = "wrong code" if attempt is not None else "locked account"
            wrong(act, site.desk, at, attempt, person, reason=reason)
            return session, ""
        people.succeeded(act, person, step=step)
        act.note(site.desk.events.signed_in(at, person, by="password and one-time password"))
        return sessions.rise(act, session, level=sessions.FULL, person=person.id)

    session, cookie = await site.store.run(work)
    if not cookie:
        site.throttle.refused(browser.address_of(request))
        return page("second-factor", status=400, csrf=session.csrf, problem=_WRONG_CODE)
    return browser.with_cookie(see(next_page(session)), cookie, site.desk.rules)


async def show_enrolment(request: Request) -> Response:
    """Show the key of a new second factor."""
    site = browser.site_of(request)

    def work(act: Act) -> tuple[Session, Person, str]:
        here = browser.visit(request, act, site.desk)
        session, person = _at(here, sessions.ENROL, sessions.FULL)
        _check_bare(person)
        secret = session.secret or second_factor.new_secret()
        sessions.keep_secret(act, session, secret)
        return session, person, secret

    session, person, secret = await site.store.run(work)
    return _enrolment(session, person, secret)


def _enrolment(session: Session, person: Person, secret: str, *, problem: str = "") -> Response:
    address = second_factor.link(secret, name=person.name, issuer=_ISSUER_NAME)
    spaced = " ".join(secret[at : at + 4] for at in range(0, len(secret), 4))
    status = 400 if problem else 200
    return page(
        "enrol", status=status, csrf=session.csrf, secret=spaced, link=address, problem=problem
    )


async def enrol(request: Request) -> Response:
    """Take the first code of a new second factor."""
    site = browser.site_of(request)
    form = await browser.form_of(request)

    def work(act: Act) -> tuple[Session, Person, str]:
        here = browser.visit(request, act, site.desk)
        browser.check_form(request, here, form, site.desk.rules)
        session, person = _at(here, sessions.ENROL, sessions.FULL)
        _check_bare(person)
        code = form.get("code", "")
        step = (
            second_factor.step_of(code, session.secret, now=act.now, after=0)
            if session.secret
            else None
        )
        if step is None:
            return session, person, ""
        at, events = browser.seen(request, act), site.desk.events
        after = people.set_totp(act, person, session.secret, step=step)
        act.note(events.changed(at, person, person, after, what="the second factor was set up"))
        if session.level == sessions.ENROL:
            act.note(events.signed_in(at, after, by="password and one-time password"))
        new, cookie = sessions.rise(act, session, level=sessions.FULL, person=person.id)
        return new, after, cookie

    session, person, cookie = await site.store.run(work)
    if not cookie:
        return _enrolment(session, person, session.secret, problem="The code is wrong.")
    return browser.with_cookie(see(next_page(session)), cookie, site.desk.rules)


def _check_bare(person: Person) -> None:
    if person.has_totp:
        raise UnauthenticatedError("there is a second factor already: an administrator resets it")
