"""An exchange with an authorization server: one event, and no secret in it (IHE IUA, RFC 6749).

A token that was issued is BALP's IUA.71. The request is written down with those parameters that
tell what was asked for; codes, tokens, passwords, assertions and everything unknown are left out.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
from msgspec.structs import replace

from caretrail.patterns import codes, criteria, kinds, results, security
from caretrail.patterns.elements import coding, detail_list, query_entity
from caretrail.patterns.observation import Machine, Observation, User, identified
from caretrail.patterns.outcome import outcome_of
from caretrail.patterns.providers.reading import LEFT_OUT, clean

if TYPE_CHECKING:
    from caretrail.patterns.exchange import Exchange
    from caretrail.patterns.kinds import Kind
    from caretrail.patterns.observation import Json


class Endpoint(NamedTuple):
    """A row: an endpoint's methods, the usual ends of its path, its member in the metadata."""

    methods: tuple[str, ...]
    ends: str
    member: str
    kind: Kind


# A row is the whole of an endpoint; its name is that of the interaction.
ENDPOINTS: Final[dict[str, Endpoint]] = {
    "authorize": Endpoint(
        ("GET", "POST"), "authorize|authorization", "authorization_endpoint", kinds.AUTHORIZATION
    ),
    "token": Endpoint(("POST",), "token", "token_endpoint", kinds.TOKEN_ISSUED),
    "revoke": Endpoint(("POST",), "revoke|revocation", "revocation_endpoint", kinds.TOKEN_REVOKED),
    "introspect": Endpoint(
        ("POST",),
        "introspect|introspection|token/introspect",
        "introspection_endpoint",
        kinds.TOKEN_INTROSPECTED,
    ),
    "logout": Endpoint(
        ("GET", "POST"), "logout|end-session|endsession", "end_session_endpoint", kinds.LOGOUT
    ),
    "server-metadata": Endpoint(("GET",), "", "", kinds.METADATA),
}
_METADATA: Final = re.compile(
    r".*/\.well-known/(?:smart-configuration|openid-configuration|oauth-authorization-server)"
)
# `/auth/token`, `/oauth2/v1/token`, `/oauth2/default/v1/token`,
# `/realms/x/protocol/openid-connect/token`, or `/token` alone.
_PREFIX: Final = (
    r"(?:(?:/[^/]+)*/(?:auth|oauth|oauth2|oidc|connect|openid-connect)"
    r"(?:(?:/[^/]+)?/v[0-9.]+)?)?"
)
_USUAL: Final = {
    name: re.compile(rf"{_PREFIX}/(?:{row.ends})/?")
    for name, row in ENDPOINTS.items()
    if row.ends
} | {"server-metadata": _METADATA}  # fmt: skip
_KEYCLOAK: Final = re.compile(r"(?:/[^/]+)*/openid-connect/auth/?")
# Parameters that tell what was asked for (RFC 6749, 7009, 7523, 7636, 7662, 8693, SMART, OIDC).
_SHOWN: Final = frozenset(
    ["acr_values", "aud", "audience", "client_assertion_type", "client_id",
     "code_challenge_method", "grant_type", "max_age", "post_logout_redirect_uri", "prompt",
     "redirect_uri", "requested_token_type", "resource", "response_mode", "response_type", "scope",
     "subject_token_type", "token_type_hint"]
)  # fmt: skip
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ERROR: Final = re.compile(r"[a-z_]{1,64}")
_PARAMETERS_MAX: Final = 100
_UNKNOWN_CLIENT: Final = {"display": "unknown client"}


def usual(method: str, path: str) -> str:
    """Return the endpoint that is usually at this absolute path, "" where it is another."""
    if method in ENDPOINTS["authorize"].methods and _KEYCLOAK.fullmatch(path):
        return "authorize"
    return next(
        (
            name
            for name, row in ENDPOINTS.items()
            if method in row.methods and _USUAL[name].fullmatch(path)
        ),
        "",
    )


def event(exchange: Exchange, name: str) -> Json:
    """Return the event of an exchange with the endpoint of that name; `path` is absolute."""
    row, asked = ENDPOINTS[name], _asked(exchange)
    answer = results.tree(exchange.response)
    answer = answer if isinstance(answer, dict) else {}
    outcome, text = outcome_of(exchange)
    error, told = _answered(exchange, answer)
    if error:
        outcome, text = ("4" if outcome == "0" else outcome), error
    seen = Observation(
        recorded=exchange.end,
        client=_client(exchange, asked, succeeded=outcome == "0"),
        server=exchange.server,
        user=exchange.identity.user or _user(asked, answer, succeeded=outcome == "0"),
        credential=exchange.identity.credential,
        query=_raw(exchange, asked),
        query_text=_text(asked),
        request_id=exchange.request_id,
        trace_id=exchange.trace_id,
        outcome=outcome,
        outcome_text=text,
        site=exchange.site,
    )
    if name == "token" and outcome == "0":
        return security.token_request(seen)
    kind = row.kind
    if asked.get("grant_type") == "refresh_token" and name == "token":
        kind = kinds.TOKEN_REFRESHED
    about = {
        "type": coding(codes.OTHER),
        "detail": detail_list({"endpoint": name, "answer": told}),
    }
    entities = query_entity(seen.query, seen.query_text) if asked else []
    return security.of_kind(replace(seen, related=(*entities, about)), kind)


def _asked(exchange: Exchange) -> dict[str, str]:
    """Return the first value of each parameter of the URL and the form, or of a JSON body."""
    pairs = criteria.parameters(exchange)
    body = results.tree(exchange.request)
    if isinstance(body, dict):
        pairs += [(name, value) for name, value in body.items() if isinstance(value, str)]
    found: dict[str, str] = {}
    for name, value in pairs[:_PARAMETERS_MAX]:
        found.setdefault(name, value)
    return found


def _shown(name: str, value: str) -> str:
    if name not in _SHOWN:
        return LEFT_OUT
    return clean(value.partition("?")[0] if name.endswith("_uri") else value) or ""


def _text(asked: dict[str, str]) -> str | None:
    """Return in clear what was asked for."""
    shown = {name: _shown(name, value) for name, value in asked.items() if name in _SHOWN}
    return " ".join(f"{name}={value}" for name, value in shown.items()) or None


def _raw(exchange: Exchange, asked: dict[str, str]) -> bytes:
    """Return the request as IUA.71 wants it, with every value left out that may be a secret."""
    parts = urlsplit(exchange.server.address)
    shown = urlencode(
        [
            (name if _NAME.fullmatch(name) else LEFT_OUT, _shown(name, value))
            for name, value in asked.items()
        ],
        safe=":/()",
    )
    target = f"{parts.scheme}://{parts.netloc}{exchange.path}"
    lines = [f"{exchange.method} {target}"]
    if exchange.method == "GET" and shown:
        lines = [f"{exchange.method} {target}?{shown}"]
    if exchange.request_id is not None:
        lines.append(f"x-request-id: {exchange.request_id}")
    if exchange.method != "GET":
        lines += ["", shown]
    return "\n".join(lines).encode("utf-8", "replace")


def _answered(exchange: Exchange, answer: Json) -> tuple[str, str | None]:
    """Return the error's code, "" where there is none, and what was answered, in a word."""
    error = answer.get("error")
    if isinstance(error, str):
        return (error if _ERROR.fullmatch(error) else "error"), "error"
    if isinstance(active := answer.get("active"), bool):
        return "", "active" if active else "not active"
    location = exchange.response.headers.get("location", "")
    # A code comes in the query of the redirection, a token in its fragment.
    _, _, told = location.replace("#", "?").partition("?")
    given = dict(parse_qsl(told.replace("?", "&")))
    if "error" in given:
        return (given["error"] if _ERROR.fullmatch(given["error"]) else "error"), "error"
    for name in ("code", "access_token", "id_token"):
        if name in given:
            return "", name.replace("_", " ")
    return "", "redirection" if location else None


def _client(exchange: Exchange, asked: dict[str, str], *, succeeded: bool) -> Machine:
    who = exchange.identity.client
    named = asked.get("client_id")
    if who is None and not named and succeeded:
        # RFC 7523, 3: the assertion's subject is the client; the server has checked it.
        named = _claims(asked.get("client_assertion")).get("sub")
    if who is None and isinstance(named, str) and (text := clean(named)):
        who = identified(text)
    return Machine(who=who or _UNKNOWN_CLIENT, address=exchange.address)


def _user(asked: dict[str, str], answer: Json, *, succeeded: bool) -> User | None:
    """Return the user whom the server has accepted; what a failed one typed may be a password."""
    if not succeeded:
        return None
    claims = _claims(answer.get("id_token")) or _claims(asked.get("id_token_hint"))
    subject, issuer = claims.get("sub"), claims.get("iss")
    if isinstance(subject, str) and (text := clean(subject)):
        return User(who=identified(text, system=issuer if isinstance(issuer, str) else None))
    if asked.get("grant_type") == "password" and (text := clean(asked.get("username", ""))):
        return User(who=identified(text))
    return None


def _claims(token: object) -> Json:
    """Return the claims of a token that the server has made or accepted, {} for none."""
    parts = token.split(".") if isinstance(token, str) else []
    if len(parts) != 3:
        return {}
    try:
        text = urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        found = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
