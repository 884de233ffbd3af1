"""What a browser sends: its cookie, its forms, where it comes from, and which form it wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

from starlette.responses import RedirectResponse, Response

from caretrail.access.pages import HEADERS, form_bytes
from caretrail.api.http import Request as ApiRequest
from caretrail.console.rendering import ROOT
from caretrail.errors import ForbiddenError, InvalidError
from caretrail.limits import CONSOLE_FORM_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from caretrail.access.identity import Identity
    from caretrail.console.desk import Desk
    from caretrail.console.sessions import Session

# The header of a request that no person has made: a table that follows the log.
LIVE: Final = "x-live"
_FIELDS_MAX: Final = 64
# A browser lets no other host and no plain page set the first one (RFC 6265bis, 4.1.3.2).
_COOKIE_ENCRYPTED: Final = "__Host-caretrail-console"
_COOKIE_HERE: Final = "caretrail-console"
_GOALS: Final = f"{ROOT}/"


def session_of(request: Request, desk: Desk) -> Session | None:
    """Return the session of a browser, None where it has none."""
    cookie = request.cookies.get(_cookie_name(request, desk), "")
    return desk.sessions.find(cookie, is_present=LIVE not in request.headers)


def with_cookie(response: Response, cookie: str, request: Request, desk: Desk) -> Response:
    """Give a browser its cookie; "" takes it away."""
    name = _cookie_name(request, desk)
    response.set_cookie(
        name,
        cookie,
        max_age=None if cookie else 0,
        path="/",
        secure=name == _COOKIE_ENCRYPTED,
        httponly=True,
        # The answer of an issuer elsewhere, and the link in an alert, have to find it.
        samesite="lax",
    )
    return response


def _cookie_name(request: Request, desk: Desk) -> str:
    is_encrypted = origin_of(request, desk).startswith("https://")
    return _COOKIE_ENCRYPTED if is_encrypted else _COOKIE_HERE


def origin_of(request: Request, desk: Desk) -> str:
    """Return the origin of the console as the browser knows it."""
    public = urlsplit(desk.service.public_url)
    if public.netloc:
        return f"{public.scheme}://{public.netloc}"
    return f"{request.url.scheme}://{request.headers.get('host', '')}"


def address_of(request: Request) -> str:
    """Return where a request comes from, as far as the network tells."""
    return request.client.host if request.client is not None else ""


def wants_json(request: Request) -> bool:
    """Tell whether the JSON twin of a page is wanted."""
    accept = request.headers.get("accept", "")
    return request.url.path.endswith(".json") or (
        "application/json" in accept and "text/html" not in accept
    )


def as_api(request: Request, identity: Identity) -> ApiRequest:
    """Return a request as the audit of the audit knows it; its query stays out."""
    return ApiRequest(
        request.method, request.url.path, "", {}, identity=identity, peer=address_of(request)
    )


def see(address: str) -> Response:
    """Send a browser to a page of ours."""
    return RedirectResponse(address, 303, dict(HEADERS))


def goal_of(text: str) -> str:
    """Return where a browser wanted to go, if that is a page of the console (open redirects)."""
    is_ours = text.startswith(_GOALS) and "\\" not in text and text.isprintable()
    return text if is_ours and not urlsplit(text).netloc else _GOALS


async def form_of(request: Request, desk: Desk, session: Session | None) -> Mapping[str, str]:
    """Return the fields of a form that this session was given; raises ForbiddenError (CSRF)."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise ForbiddenError("the form comes from another site")
    origin = request.headers.get("origin")
    if origin is not None and origin != origin_of(request, desk):
        raise ForbiddenError("the form comes from another site")
    body = await form_bytes(request, CONSOLE_FORM_BYTES_MAX)
    try:
        rows = parse_qsl(body.decode("ascii"), max_num_fields=_FIELDS_MAX, errors="strict")
    except ValueError as error:
        raise InvalidError("the form cannot be read") from error
    form = dict(rows)
    if session is None or not session.has(form.get("csrf", "")):
        raise ForbiddenError("the form is too old: go back, load the page and try again")
    return form
