"""The middleware around an application with an authorization server of its own."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from caretrail.capture.middleware import AuditMiddleware
from caretrail.capture.token_endpoints import TokenEndpoints, client_of
from caretrail.errors import ConfigurationError
from caretrail.limits import TOKEN_ENDPOINTS_MAX
from caretrail.patterns.exchange import NOBODY, Exchange, Message
from caretrail.patterns.observation import identified
from tests.capture.sinks import FailingSink, ListSink, recorder, run
from tests.patterns.exchanges import SERVER, claims

if TYPE_CHECKING:
    from starlette.requests import Request

BASIC = "Basic " + base64.b64encode(b"ward-app:canary-secret").decode()
METADATA = {
    "authorization_endpoint": "https://fhir.example.org/sign/in",
    "token_endpoint": "https://fhir.example.org/sign/tokens",
    "revocation_endpoint": "https://[broken",
    "introspection_endpoint": 7,
}


async def token(request: Request) -> Response:
    form = dict(parse_qsl((await request.body()).decode()))
    if form.get("grant_type") != "client_credentials":
        return JSONResponse({"error": "invalid_grant"}, 400)
    return JSONResponse({"access_token": "canary", "token_type": "bearer"})


async def authorize(request: Request) -> Response:
    return RedirectResponse("https://app.example.org/cb?code=canary", 302)


async def metadata(request: Request) -> Response:
    return JSONResponse(METADATA)


async def shop(request: Request) -> Response:
    return JSONResponse({"cart": []})


APPLICATION = Starlette(
    routes=[
        Route("/fhir/.well-known/smart-configuration", metadata),
        Route("/auth/token", token, methods=["POST"]),
        Route("/auth/authorize", authorize),
        Route("/sign/tokens", token, methods=["POST"]),
        Route("/shop/token", shop, methods=["POST"]),
    ]
)


def sent(*asked: tuple[str, str, dict[str, str]], sink: Any, **rest: Any) -> list[httpx.Response]:
    wrapped = AuditMiddleware(APPLICATION, recorder(sink), base="/fhir", **rest)

    async def main() -> list[httpx.Response]:
        transport = httpx.ASGITransport(wrapped)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return [
                await client.request(
                    method, path, data=form or None, headers={"Authorization": BASIC}
                )
                for method, path, form in asked
            ]

    return run(main())


GRANT = {"grant_type": "client_credentials", "scope": "system/*.rs"}
CODE = {"grant_type": "authorization_code", "code": "canary", "code_verifier": "canary"}


def test_tokens_that_are_given_out_leave_an_event_each_and_no_secret() -> None:
    sink = ListSink()
    answers = sent(
        ("POST", "/auth/token", GRANT),
        ("POST", "/auth/token", CODE),
        ("GET", "/auth/authorize?response_type=code&client_id=ward-app&state=canary", {}),
        ("POST", "/shop/token", {}),
        sink=sink,
    )
    assert [answer.status_code for answer in answers] == [200, 400, 302, 200]
    issued, refused, asked = sink.events
    assert claims(issued) == ["IHE.IUA.71"]
    assert issued["agent"][0]["who"] == identified("ward-app")
    assert (refused["outcome"], refused["outcomeDesc"]) == ("4", "invalid_grant")
    assert [row["code"] for row in asked["subtype"]] == ["authorization"]
    text = json.dumps(sink.events)
    queries = [row.get("query", "") for one in sink.events for row in one.get("entity", ())]
    for part in (text, *(base64.b64decode(one).decode() for one in queries)):
        assert "canary" not in part


def test_no_token_is_given_out_that_cannot_be_recorded() -> None:
    (answer,) = sent(("POST", "/auth/token", GRANT), sink=FailingSink())
    assert answer.status_code == 503
    assert "canary" not in answer.text


def test_the_metadata_tell_where_the_endpoints_are() -> None:
    sink = ListSink()
    asked = (
        ("POST", "/sign/tokens", GRANT),
        ("GET", "/fhir/.well-known/smart-configuration", {}),
        ("POST", "/sign/tokens", GRANT),
    )
    sent(*asked, sink=sink)
    kinds = [[row["code"] for row in event["subtype"]] for event in sink.events]
    assert kinds == [["ITI-103"], ["ITI-71"]]


def test_endpoints_can_be_named_or_switched_off() -> None:
    sink = ListSink()
    sent(
        ("POST", "/shop/token", {}),
        sink=sink,
        endpoints=TokenEndpoints.parse("token=/shop/token, revoke=/x/"),
    )
    assert len(sink.events) == 1
    sink = ListSink()
    sent(("POST", "/auth/token", GRANT), sink=sink, endpoints=TokenEndpoints.parse(" none "))
    assert sink.events == []
    assert TokenEndpoints.parse("revoke=/x/").is_named("POST", "/x")
    assert not TokenEndpoints.parse("revoke=/x/").is_named("GET", "/x")
    for wrong in ("tokens=/x", "token", "token=x"):
        with pytest.raises(ConfigurationError, match="token=/oauth2/token"):
            TokenEndpoints.parse(wrong)


def learned(answer: Any, **rest: Any) -> Exchange:
    made = {
        "method": "GET", "path": "/.well-known/smart-configuration", "status": 200,
        "end": "2026-11-24T09:30:00Z", "server": SERVER, "interaction": "server-metadata",
        "response": Message(body=json.dumps(answer).encode()),
    }  # fmt: skip
    return Exchange(**(made | rest))


def test_no_more_paths_are_learned_than_there_are_servers() -> None:
    known = TokenEndpoints()
    for answer in ([], 7, {"token_endpoint": ""}, {"token_endpoint": "https://a"}):
        known.learn(learned(answer))
    known.learn(learned({"token_endpoint": "/refused"}, status=404))
    for number in range(2 * TOKEN_ENDPOINTS_MAX):
        known.learn(learned({"token_endpoint": f"https://a/{number}"}))
    found = [known.interaction("POST", f"/{number}") for number in range(2 * TOKEN_ENDPOINTS_MAX)]
    assert found.count("token") == TOKEN_ENDPOINTS_MAX
    assert known.interaction("POST", "/refused") == ""


@pytest.mark.parametrize(
    ("value", "client"),
    [
        (BASIC.encode(), "ward-app"),
        (b"basic " + base64.b64encode(b"a%20b:canary"), "a b"),
        (b"Basic !!", None),
        (b"Basic " + base64.b64encode(b"canary-without-a-colon"), None),
        (b"Basic " + base64.b64encode(b":canary"), None),
        (b"Bearer canary", None),
    ],
)
def test_only_the_client_s_id_is_read_of_its_credentials(value: bytes, client: str | None) -> None:
    found = client_of([(b"host", b"x"), (b"authorization", value)])
    assert found.client == (identified(client) if client else None)
    assert client is not None or found is NOBODY
