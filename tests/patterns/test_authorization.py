"""Exchanges with an authorization server: one event each, and no secret in any of them."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caretrail.fhir import profiles
from caretrail.patterns import authorization
from caretrail.patterns.exchange import NOBODY, Exchange, Identity, Message
from caretrail.patterns.observation import User, identified
from caretrail.patterns.recording import Policy, events, record
from caretrail.patterns.rules import Rule, Rules
from tests.patterns.exchanges import SERVER, claims, parsed, replace

FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}
SECRETS = {
    name: f"canary-{name}"
    for name in (
        "access_token", "actor_token", "assertion", "client_assertion", "client_secret", "code",
        "code_verifier", "device_code", "id_token_hint", "launch", "nonce", "password",
        "refresh_token", "state", "subject_token", "token", "x-unknown", "canary=x",
    )
}  # fmt: skip


def jwt(**payload: Any) -> str:
    middle = base64.urlsafe_b64encode(json.dumps(payload).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJub25lIn0.{middle}.canarysignature"


def exchange(name: str, asked: dict[str, str], answer: Any = None, **rest: Any) -> Exchange:
    method = rest.pop("method", "POST")
    status = rest.pop("status", 200)
    form = urlencode(asked)
    body = b"" if answer is None else json.dumps(answer).encode()
    location = rest.pop("location", None)
    headers = JSON if location is None else {"location": location}
    return Exchange(
        method=method,
        path=f"/auth/{name}",
        query=form if method == "GET" else "",
        request=Message(headers=FORM, body=form.encode() if method == "POST" else b""),
        response=Message(headers=headers, body=body),
        status=status,
        end="2026-11-24T09:30:00.000Z",
        server=SERVER,
        address="192.0.2.7",
        interaction=name,
        **{"identity": NOBODY, "request_id": "request-1", **rest},
    )


def event(made: Exchange) -> dict[str, Any]:
    (found,) = events(made)
    assert parsed(found)
    text = json.dumps(found)
    raw = [entity["query"] for entity in found.get("entity", ()) if "query" in entity]
    for part in (text, *(base64.b64decode(one).decode() for one in raw)):
        assert "canary" not in part
        assert "eyJ" not in part
    return found


def query(found: dict[str, Any]) -> str:
    (raw,) = [entity["query"] for entity in found["entity"] if "query" in entity]
    return base64.b64decode(raw).decode()


def agent(found: dict[str, Any], code: str) -> dict[str, Any]:
    (row,) = [one for one in found["agent"] if one["type"]["coding"][0]["code"] == code]
    return row


def details(found: dict[str, Any]) -> dict[str, str]:
    rows = [row for entity in found["entity"] for row in entity.get("detail", ())]
    return {row["type"]: row["valueString"] for row in rows}


def test_a_token_that_is_issued_meets_iua_and_names_who_got_it() -> None:
    asked = {
        "grant_type": "authorization_code",
        "client_id": "ward-app",
        "redirect_uri": "https://ward.example.org/cb?session=canary",
        **SECRETS,
    }
    token = jwt(sub="user-42", iss="https://as.example.org")
    answer = {"access_token": jwt(jti="canary"), "refresh_token": "canary", "id_token": token}
    found = event(exchange("token", asked, answer))
    assert claims(found) == ["IHE.IUA.71"]
    assert profiles.unmet(parsed(found)) == ()
    filled = profiles.filled(parsed(found), found["meta"]["profile"][0])
    empty = {name for name, count in filled.items() if not count}
    assert empty == {"entity:token-response"}  # No event can have it (BALP 13, 5).
    assert agent(found, "110150")["who"] == identified("ward-app")
    assert agent(found, "IRCP")["who"] == identified("user-42", system="https://as.example.org")
    first, header, blank, form = query(found).split("\n")
    assert first == "POST https://fhir.example.org/auth/token"
    assert (header, blank) == ("x-request-id: request-1", "")
    assert "redirect_uri=https://ward.example.org/cb&" in form
    assert "code=(left+out)" in form


def test_a_refusal_tells_the_error_and_claims_nothing() -> None:
    asked = {"grant_type": "password", "username": "canary", "client_id": "ward-app", **SECRETS}
    answer = {"error": "invalid_grant", "error_description": "canary"}
    found = event(exchange("token", asked, answer, status=400))
    assert (found["outcome"], found["outcomeDesc"]) == ("4", "invalid_grant")
    assert claims(found) == []
    assert len(found["agent"]) == 2  # What a failed one typed as his name may be his password.
    assert details(found) == {"endpoint": "token", "answer": "error"}


def test_the_user_of_a_password_grant_that_succeeded_is_named() -> None:
    asked = {"grant_type": "password", "username": "ada", "password": "canary"}
    found = event(exchange("token", asked, {"access_token": "canary"}))
    assert agent(found, "IRCP")["who"] == identified("ada")
    assert agent(found, "110150")["who"] == {"display": "unknown client"}


def test_a_client_is_known_by_basic_by_its_id_or_by_an_assertion_that_was_accepted() -> None:
    granted = {"access_token": "canary"}
    asked = {"grant_type": "client_credentials", "client_assertion": jwt(sub="nightly")}
    accepted = event(exchange("token", asked, granted))
    assert agent(accepted, "110150")["who"] == identified("nightly")
    refused = event(exchange("token", asked, {"error": "invalid_client"}, status=401))
    assert agent(refused, "110150")["who"] == {"display": "unknown client"}
    basic = Identity(client=identified("basic"))
    named = event(exchange("token", {"client_id": "other"}, granted, identity=basic))
    assert agent(named, "110150")["who"] == identified("basic")


@pytest.mark.parametrize("assertion", ["x", "a.b.c", "a.W10.c", "a.é.c", "a.e30.c"])
def test_an_assertion_that_cannot_be_read_names_nobody(assertion: str) -> None:
    found = event(exchange("token", {"client_assertion": assertion}, {"access_token": "canary"}))
    assert agent(found, "110150")["who"] == {"display": "unknown client"}


def test_a_json_request_is_read_as_well() -> None:
    body = {
        "grant_type": "refresh_token",
        "client_id": "ward-app",
        "refresh_token": "canary",
        "n": 1,
    }
    made = exchange("token", {}, {"error": "odd ERROR"}, status=403)
    request = Message(headers=JSON, body=json.dumps(body).encode())
    found = event(replace(made, request=request))
    assert [row["code"] for row in found["subtype"]] == ["ITI-71", "token-refresh"]
    assert found["outcomeDesc"] == "error"
    assert agent(found, "110150")["who"] == identified("ward-app")


@pytest.mark.parametrize(
    ("location", "outcome", "answer"),
    [
        ("https://app/cb?code=canary&state=canary", "0", "code"),
        ("https://app/cb#access_token=canary", "0", "access token"),
        ("https://app/cb#id_token=canary", "0", "id token"),
        ("https://app/cb?error=access_denied&error_description=canary", "4", "error"),
        ("https://app/cb?error=CANARY+canary", "4", "error"),
        ("https://as/login?to=canary", "0", "redirection"),
        (None, "0", None),
    ],
)
def test_an_authorization_tells_how_it_ended(
    location: str | None, outcome: str, answer: str | None
) -> None:
    asked = {"response_type": "code", "client_id": "ward-app", "scope": "openid", "state": "canary"}
    status = 200 if location is None else 302
    made = exchange("authorize", asked, method="GET", status=status, location=location)
    found = event(made)
    assert (found["outcome"], details(found).get("answer")) == (outcome, answer)
    assert query(found).startswith("GET https://fhir.example.org/auth/authorize?response_type=code")
    assert agent(found, "110150")["who"] == identified("ward-app")


def test_introspection_revocation_and_logout_tell_no_token() -> None:
    client = Identity(client=identified("fhir-server"), user=User(who=identified("ada")))
    for active, told in ((True, "active"), (False, "not active")):
        found = event(exchange("introspect", {"token": "canary"}, {"active": active, "sub": "x"}))
        assert details(found)["answer"] == told
    revoked = event(exchange("revoke", {"token": "canary"}, identity=client))
    assert agent(revoked, "IRCP")["who"] == identified("ada")
    hint = {"id_token_hint": jwt(sub="user-42", iss=7)}
    left = event(exchange("logout", hint, method="GET", status=302, location="https://app/"))
    assert left["agent"][0]["who"] == identified("user-42")
    bare = event(exchange("logout", {}, status=204, request_id=None))
    assert details(bare) == {"endpoint": "logout"}


def test_a_server_that_fails_is_told_apart() -> None:
    found = event(exchange("token", {}, {"error": "server_error"}, status=503))
    assert (found["outcome"], found["outcomeDesc"]) == ("12", "server_error")
    silent = event(exchange("token", {}, status=0, failure="timeout"))
    assert silent["outcome"] == "8"


def test_a_rule_can_leave_an_endpoint_out() -> None:
    rules = Rules((Rule(False, frozenset(["server-metadata"])),))
    made = exchange("server-metadata", {}, {}, method="GET")
    assert record(made, Policy(rules=rules)) == []


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/auth/token", "token"),
        ("POST", "/token", "token"),
        ("POST", "/oauth2/token/", "token"),
        ("POST", "/oauth2/v1/token", "token"),
        ("POST", "/oauth2/default/v1/token", "token"),
        ("POST", "/realms/x/protocol/openid-connect/token", "token"),
        ("GET", "/realms/x/protocol/openid-connect/auth", "authorize"),
        ("POST", "/realms/x/protocol/openid-connect/token/introspect", "introspect"),
        ("POST", "/realms/x/protocol/openid-connect/logout", "logout"),
        ("GET", "/oauth2/authorize", "authorize"),
        ("POST", "/auth/revoke", "revoke"),
        ("POST", "/connect/introspect", "introspect"),
        ("GET", "/connect/endsession", "logout"),
        ("GET", "/fhir/.well-known/smart-configuration", "server-metadata"),
        ("GET", "/auth/token", ""),
        ("PUT", "/auth/token", ""),
        ("POST", "/shop/token", ""),
        ("POST", "/fhir/Patient/token", ""),
        ("GET", "/fhir/Patient/logout", ""),
        ("GET", "/auth", ""),
    ],
)
def test_a_usual_path_is_known(method: str, path: str, name: str) -> None:
    assert authorization.usual(method, path) == name


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(
    asked=st.dictionaries(st.text(max_size=20), st.text(max_size=60), max_size=6),
    answer=st.dictionaries(
        st.sampled_from(["error", "active", "id_token", "x"]),
        st.text(max_size=30) | st.booleans() | st.integers(),
        max_size=3,
    ),
    name=st.sampled_from(sorted(authorization.ENDPOINTS)),
    method=st.sampled_from(["GET", "POST"]),
    location=st.none() | st.text(max_size=60),
    status=st.sampled_from([0, 200, 302, 400, 401, 500, 503]),
)
def test_whatever_is_asked_leaves_one_valid_event(
    asked: dict[str, str], answer: dict[str, Any], name: str, method: str,
    location: str | None, status: int,
) -> None:  # fmt: skip
    made = exchange(name, asked, answer, method=method, location=location, status=status)
    (found,) = events(made)
    assert parsed(found)
    assert profiles.unmet(parsed(found)) == ()
