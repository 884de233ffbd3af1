"""The page of emergency access."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caretrail.access.server import browser, override
from caretrail.access.server.pages import page, sentence
from caretrail.access.server.sign_in import see
from caretrail.errors import InvalidError, UnauthenticatedError
from caretrail.fhir.temporal import format_instant

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from caretrail.access.server.browser import Visit
    from caretrail.access.server.override import Override
    from caretrail.access.server.people import Person
    from caretrail.access.server.sessions import Session
    from caretrail.access.server.store import Act

_PATH: Final = "/auth/emergency-access"


def _signed_in(here: Visit) -> tuple[Session, Person]:
    if here.session is None or here.person is None or not here.signed_in:
        raise UnauthenticatedError("sign in first")
    if not override.is_for(here.person):
        raise UnauthenticatedError("emergency access is for those who care for patients")
    return here.session, here.person


async def show(request: Request) -> Response:
    """Show whether there is an emergency access, or ask for the reason of one."""
    return await _page(request)


async def _page(request: Request, *, problem: str = "") -> Response:
    site = browser.site_of(request)

    def work(act: Act) -> tuple[Session, Override | None]:
        session, person = _signed_in(browser.visit(request, act, site.desk))
        return session, override.of(act, person.id)

    session, found = await site.store.run(work)
    until = format_instant(found.expires * 1000) if found is not None else ""
    patient = found.patient if found is not None else ""
    return page(
        "override",
        status=400 if problem else 200,
        csrf=session.csrf,
        patient=patient,
        until=until,
        problem=problem,
    )


async def change(request: Request) -> Response:
    """Begin an emergency access, or end it."""
    site = browser.site_of(request)
    form = await browser.form_of(request)

    def work(act: Act) -> None:
        here = browser.visit(request, act, site.desk)
        browser.check_form(request, here, form, site.desk.rules)
        _, person = _signed_in(here)
        at = browser.seen(request, act)
        override.stop(act, site.desk, at, person, why="the person ended it")
        if form.get("decision") != "stop":
            patient, reason = form.get("patient", "").strip(), form.get("reason", "").strip()
            override.start(act, site.desk, at, person, patient=patient, reason=reason)

    try:
        await site.store.run(work)
    except InvalidError as error:
        # Nothing has taken effect: an emergency access of before goes on.
        return await _page(request, problem=sentence(error))
    return see(_PATH)
