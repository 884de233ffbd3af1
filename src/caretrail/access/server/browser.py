"""What a request is: its parameters, where it comes from, and whose browser it is."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl

from caretrail.access.pages import form_bytes
from caretrail.access.server import override, people, sessions, tokens
from caretrail.access.server.events import Seen
from caretrail.errors import InvalidError, UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from caretrail.access.server.desk import Desk, Rules
    from caretrail.access.server.passwords import Passwords
    from caretrail.access.server.people import Person
    from caretrail.access.server.sessions import Session
    from caretrail.access.server.store import Act, Store
    from caretrail.access.server.throttle import Throttle

# The largest is a client's assertion in a form.
_FORM_BYTES_MAX: Final = 64 * 1024
_PARAMETERS_MAX: Final = 64
# A browser lets no other host and no plain page set the first one (RFC 6265bis, 4.1.3.2).
_COOKIE_ENCRYPTED: Final = "__Host-caretrail"
_COOKIE_HERE: Final = "caretrail-session"


@dataclass(frozen=True, slots=True)
class Site:
    """What the handlers of addresses work with."""

    store: Store
    desk: Desk
    passwords: Passwords
    throttle: Throttle


class Visit(NamedTuple):
    """A browser's session, None where it has none, and who is signed in to it."""

    session: Session | None
    person: Person | None

    @property
    def signed_in(self) -> bool:
        """Tell whether somebody is signed in, with all that this takes."""
        return self.session is not None and self.session.level == sessions.FULL


def site_of(request: Request) -> Site:
    """Return what the application was made with."""
    found: Site = request.app.state.site
    return found


def address_of(request: Request) -> str:
    """Return where a request comes from, as far as the network tells."""
    return request.client.host if request.client is not None else "unknown"


def seen(request: Request, act: Act) -> Seen:
    """Return from where and when something is asked."""
    return Seen(address_of(request), act.milliseconds)


def query_of(request: Request) -> dict[str, str]:
    """Return the parameters of an address; raises InvalidError."""
    return parameters(request.scope["query_string"])


async def form_of(request: Request) -> dict[str, str]:
    """Return the parameters of a form; raises InvalidError or TooLargeError."""
    body = await form_bytes(request, _FORM_BYTES_MAX)
    return parameters(body)


def parameters(data: bytes) -> dict[str, str]:
    """Return parameters, each of which is there once (RFC 6749, 3.1 and 3.2)."""
    try:
        rows = parse_qsl(
            data.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_PARAMETERS_MAX,
        )
    except ValueError as error:
        raise InvalidError("the parameters cannot be read") from error
    found = dict(rows)
    if len(found) < len(rows):
        raise InvalidError("a parameter is there twice")
    # An empty parameter is as good as none (RFC 6749, 3.1).
    return {name: value for name, value in found.items() if value}


def is_basic(authorization: str) -> bool:
    """Tell whether a header is that of HTTP Basic, with a name and a password (RFC 7617, 2)."""
    kind, _, encoded = authorization.partition(" ")
    try:
        found = base64.b64decode(encoded, validate=True).decode()
    except ValueError:
        return False
    return kind.lower() == "basic" and ":" in found


def visit(request: Request, act: Act, desk: Desk) -> Visit:
    """Return whose browser it is; a session that is over ends here, and is told as ended."""
    cookie = request.cookies.get(_cookie_name(desk.rules))
    session = sessions.of(act, cookie) if cookie else None
    if session is None:
        return Visit(None, None)
    at = seen(request, act)
    if sessions.is_over(session, now=act.now, idle_seconds=desk.rules.idle_seconds):
        close(act, desk, session, at, reason="the session was idle for too long")
        return Visit(None, None)
    person = people.get(act, session.person) if session.person is not None else None
    if session.person is not None and (person is None or not person.active):
        close(act, desk, session, at, reason="the account is closed")
        return Visit(None, None)
    sessions.touch(act, session)
    return Visit(session, person)


def close(act: Act, desk: Desk, session: Session, at: Seen, *, reason: str) -> None:
    """End a session with all that was to last as long, and tell so."""
    sessions.end(act, session)
    person = people.get(act, session.person) if session.person is not None else None
    if person is None or session.level != sessions.FULL:
        return
    act.note(desk.events.signed_out(at, person, reason=reason))
    override.stop(act, desk, at, person, why=reason)
    ended = tokens.end_of_session(act, desk, session.hash)
    if ended:
        made = desk.events.token_revoked(at, "", person, tokens=ended, reason=reason)
        act.note(made)


def check_form(request: Request, here: Visit, form: Mapping[str, str], rules: Rules) -> Session:
    """Return the session that a form was given to; raises UnauthenticatedError (CSRF)."""
    origin = request.headers.get("origin")
    if origin is not None and origin != rules.base:
        raise UnauthenticatedError("the form comes from another site")
    if here.session is None or not here.session.has(form.get("csrf", "")):
        raise UnauthenticatedError("the form is too old: go back, load the page and try again")
    return here.session


def with_cookie(response: Response, cookie: str, rules: Rules) -> Response:
    """Give a browser its cookie; "" takes it away."""
    response.set_cookie(
        _cookie_name(rules),
        cookie,
        max_age=None if cookie else 0,
        path="/",
        secure=rules.is_encrypted,
        httponly=True,
        samesite="lax",
    )
    return response


def _cookie_name(rules: Rules) -> str:
    return _COOKIE_ENCRYPTED if rules.is_encrypted else _COOKIE_HERE
