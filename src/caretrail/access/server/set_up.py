"""Set-up by a link that is good once: the first administrator, and everybody who is added later."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from caretrail.access.server import browser, passwords, people, sessions, sign_in
from caretrail.access.server.pages import page, sentence
from caretrail.errors import Error, NotFoundError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from caretrail.access.server.browser import Site, Visit
    from caretrail.access.server.people import Person
    from caretrail.access.server.sessions import Session
    from caretrail.access.server.store import Act


class Guest(NamedTuple):
    """A browser with a link: its session and cookie, and whom the link is for (None: the first)."""

    session: Session
    cookie: str
    person: Person | None


def _guest(request: Request, act: Act, site: Site, here: Visit, secret: str) -> Guest:
    found = people.invitation(act, secret)
    if found is None:
        raise NotFoundError("this link is good no longer: an administrator can make another one")
    if here.session is not None and here.session.level == sessions.NOBODY:
        return Guest(here.session, "", found.person)
    if here.session is not None:
        at = browser.seen(request, act)
        browser.close(act, site.desk, here.session, at, reason="another account is set up here")
    session, cookie = sessions.begin(act)
    return Guest(session, cookie, found.person)


async def show(request: Request) -> Response:
    """Show the page of a link."""
    site = browser.site_of(request)
    secret = browser.query_of(request).get("invitation", "")

    def look(act: Act) -> Guest:
        return _guest(request, act, site, browser.visit(request, act, site.desk), secret)

    guest = await site.store.run(look)
    response = _page(guest, secret)
    return (
        browser.with_cookie(response, guest.cookie, site.desk.rules) if guest.cookie else response
    )


def _page(
    guest: Guest, secret: str, *, problem: str = "", name: str = "", display: str = ""
) -> Response:
    return page(
        "set-up",
        status=400 if problem else 200,
        csrf=guest.session.csrf,
        invitation=secret,
        first=guest.person is None,
        name=guest.person.name if guest.person is not None else "",
        characters_min=passwords.CHARACTERS_MIN,
        typed_name=name,
        typed_display=display,
        problem=problem,
    )


async def set_up(request: Request) -> Response:
    """Take a password, and of the first administrator a name."""
    site = browser.site_of(request)
    form = await browser.form_of(request)
    secret, password = form.get("invitation", ""), form.get("password", "")

    def look(act: Act) -> Guest:
        here = browser.visit(request, act, site.desk)
        browser.check_form(request, here, form, site.desk.rules)
        return _guest(request, act, site, here, secret)

    guest = await site.store.run(look)
    name = guest.person.name if guest.person is not None else form.get("name", "")
    typed = {"name": form.get("name", ""), "display": form.get("display", "")}
    if password != form.get("again"):
        return _page(guest, secret, problem="The two passwords differ.", **typed)
    try:
        passwords.check_new(password, name=name)
        kept = await site.passwords.hash(password)
        session, cookie = await site.store.run(lambda act: _keep(request, act, site, form, kept))
    except NotFoundError:
        raise
    except Error as error:
        return _page(guest, secret, problem=sentence(error), **typed)
    return browser.with_cookie(sign_in.see(sign_in.next_page(session)), cookie, site.desk.rules)


def _keep(
    request: Request, act: Act, site: Site, form: dict[str, str], kept: str
) -> tuple[Session, str]:
    here = browser.visit(request, act, site.desk)
    browser.check_form(request, here, form, site.desk.rules)
    guest = _guest(request, act, site, here, form["invitation"])
    at, events, before = browser.seen(request, act), site.desk.events, guest.person
    person = before or people.add(
        act,
        name=form.get("name", ""),
        display=form.get("display", ""),
        roles=(people.ADMINISTRATOR,),
    )
    people.use_invitation(act, form["invitation"])
    people.set_password(act, person, kept)
    act.note(events.changed(at, person, before, person, what="a password was set"))
    if person.has_totp:
        level = sessions.PASSWORD
    elif sign_in.needs_second_factor(person, site.desk.rules):
        level = sessions.ENROL
    else:
        level = sessions.FULL
        act.note(events.signed_in(at, person, by="a link that is good once"))
    return sessions.rise(act, guest.session, level=level, person=person.id)
