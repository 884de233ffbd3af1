"""The addresses that programs ask: tokens, revocation, introspection, launches, keys, discovery."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from authlib.oauth2.rfc6749.errors import InvalidRequestError, OAuth2Error
from starlette.responses import JSONResponse, Response

from caretrail.access.server import browser, clients, discovery, endpoints, people
from caretrail.access.server.grants import Answer, Asked, Server
from caretrail.access.server.store import hashed

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from caretrail.access.server.browser import Site
    from caretrail.access.server.store import Act

_LAUNCH_SECONDS: Final = 300
# No cookie opens anything here, so that a script of any site may ask like any other program.
_OPEN: Final = {"access-control-allow-origin": "*"}
_SECRET: Final = {**_OPEN, "cache-control": "no-store", "pragma": "no-cache"}
_LASTING: Final = {**_OPEN, "cache-control": "public, max-age=300"}


async def token(request: Request) -> Response:
    """Answer at the token endpoint (RFC 6749, 3.2)."""
    return await _answered(request, lambda server, asked: server.token(asked))


async def revoke(request: Request) -> Response:
    """Answer at the revocation endpoint (RFC 7009)."""

    def work(server: Server, asked: Asked) -> Answer:
        endpoints.register(server)
        return server.endpoint(endpoints.REVOCATION, asked, address="revoke")

    return await _answered(request, work)


async def introspect(request: Request) -> Response:
    """Answer at the introspection endpoint (RFC 7662)."""

    def work(server: Server, asked: Asked) -> Answer:
        endpoints.register(server)
        return server.endpoint(endpoints.INTROSPECTION, asked, address="introspect")

    return await _answered(request, work)


async def launch(request: Request) -> Response:
    """Let an EHR launch an application for a patient: the answer is SMART's `launch` parameter.

    The form names the application as `target` and the id of the patient as `patient`.
    """
    return await _answered(request, _launched)


def _launched(server: Server, asked: Asked) -> Answer:
    try:
        client = server.authenticate_client(asked, endpoints.CONFIDENTIAL, "launch")
        asked.client = client
        target = clients.active(server.act, asked.form.get("target", ""))
        patient = asked.form.get("patient", "")
        if clients.LAUNCH not in client.grants or target is None:
            raise InvalidRequestError("this client may not launch that one")
        if not people.is_patient_id(patient):
            raise InvalidRequestError("patient is the id of a Patient")
    except OAuth2Error as error:
        server.refused(asked, str(error.error), endpoint="launch")
        return server.handle_error_response(asked, error)
    secret = secrets.token_urlsafe(32)
    server.act.do(
        "INSERT INTO launch (hash, client, patient, expires) VALUES (?, ?, ?, ?)",
        *(hashed(secret), target.id, patient, server.act.now + _LAUNCH_SECONDS),
    )
    number = hashed(secret).hex()[:16]
    server.act.note(
        server.desk.events.launched(server.seen, client, launch=number, patient=patient)
    )
    body = {"launch": secret, "iss": server.desk.rules.audience, "expires_in": _LAUNCH_SECONDS}
    return Answer(200, body, [])


async def _answered(request: Request, work: Callable[[Server, Asked], Answer]) -> Response:
    site = browser.site_of(request)
    form = await browser.form_of(request)
    authorization = request.headers.get("authorization", "")
    proofs = [bool(authorization), "client_secret" in form, "client_assertion" in form]
    asked = Asked("POST", form, authorization)

    def act(act: Act) -> Answer:
        server = Server(act, site.desk, browser.seen(request, act))
        # RFC 6749, 2.3: one way in a request, so that nobody picks which of two was looked at.
        is_clear = sum(proofs) <= 1 and (not authorization or browser.is_basic(authorization))
        try:
            if is_clear:
                return work(server, asked)
        except (ValueError, RecursionError):
            # Authlib quotes what was asked, and that has letters that no error may hold; or it is
            # JSON of too many levels.
            pass
        error = InvalidRequestError("a client proves who it is in one way, in plain letters")
        server.refused(asked, "invalid_request")
        return server.handle_error_response(asked, error)

    answer = await site.store.run(act)
    if answer.status >= 400:
        site.throttle.refused(browser.address_of(request))
    return JSONResponse(_plain(answer.body), answer.status, _headers(answer, authorization))


def _plain(body: Any) -> dict[str, Any]:
    return dict(body) if body else {}


def _headers(answer: Answer, authorization: str) -> dict[str, str]:
    # RFC 6749, 5.2: who tried by this header is answered by its counterpart.
    if answer.status == 401 and authorization:
        return {**_SECRET, "www-authenticate": 'Basic realm="caretrail"'}
    return dict(_SECRET)


async def jwks(request: Request) -> Response:
    """Show the public keys of tokens (RFC 7517)."""
    return JSONResponse(browser.site_of(request).desk.keys.public(), 200, _LASTING)


async def smart_configuration(request: Request) -> Response:
    """Show SMART's discovery document."""
    return _document(browser.site_of(request), discovery.smart_configuration)


async def openid_configuration(request: Request) -> Response:
    """Show OpenID Connect's discovery document."""
    return _document(browser.site_of(request), discovery.openid_configuration)


def _document(site: Site, make: Callable[..., dict[str, Any]]) -> Response:
    return JSONResponse(make(site.desk.rules), 200, _LASTING)
