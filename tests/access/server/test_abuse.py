"""What attackers try (RFC 9700, RFC 6819): each of it is refused, and told."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from caretrail.access.server import granting
from caretrail.access.server.application import AuthorizationServer
from caretrail.access.server.sign_in import WRONG
from caretrail.access.server.store import connect
from caretrail.access.server.throttle import REFUSALS_MAX
from tests.access.server.office import APP, PASSWORD, SECURE, Account, Flow, Office

if TYPE_CHECKING:
    from pathlib import Path

REFUSED = ("110114", "ITI-71", "4")
REVOKED = ("110113", "110135", "4")
FAILED = ("110114", "110122", "4")
LOCKED = ("110113", "110137", "0")


@pytest.fixture
def key(office: Office) -> ECKey:
    made = ECKey.generate_key("P-384", auto_kid=True)
    office.add_service(made)
    return made


@pytest.fixture(scope="module")
def service_key(lasting: Office) -> ECKey:
    made = ECKey.generate_key("P-384", auto_kid=True)
    lasting.add_service(made)
    return made


@pytest.fixture(scope="module")
def app(lasting: Office) -> None:
    lasting.add_user("nurse", "auditor")
    lasting.add_app()


@pytest.fixture
def registered(lasting: Office, app: None) -> Office:
    """Return the lasting office, with nothing told, an hour after whatever was tried there."""
    lasting.now += 3600
    lasting.told.clear()
    return lasting


def _unsigned(claims: dict[str, object]) -> str:
    rows = ({"alg": "none", "typ": "JWT"}, claims)
    parts = [base64.urlsafe_b64encode(json.dumps(row).encode()).rstrip(b"=") for row in rows]
    return b".".join([*parts, b""]).decode()


def test_an_assertion_without_a_signature_is_refused(office: Office, key: ECKey) -> None:
    claims = jwt.decode(office.assertion(key), key, algorithms=["ES384"]).claims
    assert office.client_token(_unsigned(dict(claims))).json()["error"] == "invalid_client"
    assert office.subtypes() == [REFUSED]


def test_a_public_key_is_no_shared_secret(office: Office, key: ECKey) -> None:
    """Sign with HMAC under the public key's bytes, which everybody has."""
    public = json.dumps(key.as_dict(private=False)).encode()
    claims = dict(jwt.decode(office.assertion(key), key, algorithms=["ES384"]).claims)
    forged = jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(public), algorithms=["HS256"])
    assert office.client_token(forged).status_code == 400


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://elsewhere.example/token"},
        {"aud": 7},
        {"iss": "somebody"},
        {"exp": 1_790_000_000 - 120},
        {"exp": 1_790_000_000 + 3600},
        {"exp": "soon"},
        {"jti": ""},
        {"jti": 5},
        {"sub": "nobody", "iss": "nobody"},
        {"sub": 5},
        {"sub": None},
    ],
    ids=str,
)
def test_an_assertion_with_wrong_claims_is_refused(
    registered: Office, service_key: ECKey, claims: dict[str, object]
) -> None:
    answer = registered.client_token(registered.assertion(service_key, **claims))
    assert answer.json()["error"] == "invalid_client"
    assert "access_token" not in answer.json()


def test_an_assertion_by_another_key_or_algorithm_is_refused(office: Office, key: ECKey) -> None:
    other = ECKey.generate_key("P-384", parameters={"kid": key.kid})
    assert office.client_token(office.assertion(other)).status_code == 400
    rsa = RSAKey.generate_key(2048, auto_kid=True)
    office.add_service(rsa, "old")
    assert office.client_token(office.assertion(rsa, "old", alg="RS256")).status_code == 400


def test_an_assertion_is_good_once(office: Office, key: ECKey) -> None:
    assertion = office.assertion(key)
    assert office.client_token(assertion).status_code == 200
    assert office.client_token(assertion).json()["error"] == "invalid_client"
    office.close()
    office.open()
    assert office.client_token(assertion).json()["error"] == "invalid_client"


@pytest.mark.parametrize("scope", ["", "user/AuditEvent.rs", "system/AuditEvent.d", "openid"])
def test_a_service_gets_nothing_that_it_is_not_registered_for(
    office: Office, key: ECKey, scope: str
) -> None:
    answer = office.client_token(office.assertion(key), scope)
    assert answer.json()["error"] == "invalid_scope"


def test_two_proofs_in_one_request_are_refused(office: Office, key: ECKey) -> None:
    answer = office.post(
        "token",
        auth="feeder:secret",
        grant_type="client_credentials",
        scope="system/AuditEvent.c",
        client_assertion_type="urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        client_assertion=office.assertion(key),
    )
    assert answer.json()["error"] == "invalid_request"


def test_a_public_client_gets_no_token_for_itself(office: Office) -> None:
    office.add_app()
    answer = office.post(
        "token", grant_type="client_credentials", client_id="app", scope="system/AuditEvent.c"
    )
    assert answer.status_code in (400, 401)


@pytest.fixture
def nurse(office: Office) -> Account:
    account = office.add_user("nurse", "auditor")
    office.add_app()
    return account


def test_a_code_that_is_used_twice_ends_what_it_gave(office: Office, nurse: Account) -> None:
    flow = Flow(office)
    code = office.browser().permit(nurse, flow)["code"]
    tokens = office.code_token(code, flow.verifier).json()
    assert office.code_token(code, flow.verifier).json()["error"] == "invalid_grant"
    assert office.server.is_revoked(office.claims(tokens["access_token"])["jti"])
    assert office.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    assert REVOKED in office.subtypes()
    assert REFUSED in office.subtypes()


def test_a_code_is_for_one_client(office: Office, nurse: Account) -> None:
    office.add_app("other", redirect_uris=[APP])
    flow = Flow(office)
    code = office.browser().permit(nurse, flow)["code"]
    stolen = office.code_token(code, flow.verifier, client_id="other")
    assert stolen.json()["error"] == "invalid_grant"


def test_a_code_is_good_for_a_minute(office: Office, nurse: Account) -> None:
    flow = Flow(office)
    code = office.browser().permit(nurse, flow)["code"]
    office.now += 61
    assert office.code_token(code, flow.verifier).json()["error"] == "invalid_grant"


def test_a_code_needs_its_verifier_and_its_address(office: Office, nurse: Account) -> None:
    flow = Flow(office)
    code = office.browser().permit(nurse, flow)["code"]
    assert office.code_token(code, "v" * 43).json()["error"] == "invalid_grant"
    assert office.code_token(code, "").json()["error"] == "invalid_request"
    elsewhere = office.code_token(code, flow.verifier, redirect_uri="https://evil.example/")
    assert elsewhere.json()["error"] == "invalid_grant"
    assert office.code_token(code, flow.verifier).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": None},
        {"aud": "https://elsewhere.example/fhir"},
        {"aud": None},
        {"state": None},
        {"response_type": "token"},
        {"scope": "system/AuditEvent.rs"},
        {"scope": "launch patient/AuditEvent.rs", "launch": "guessed"},
    ],
    ids=str,
)
def test_a_weak_request_goes_back_with_an_error(
    registered: Office, change: dict[str, str | None]
) -> None:
    browser = registered.browser()
    browser.open(Flow(registered, **change).url)
    assert browser.url.startswith(APP)
    answer = browser.answer()
    assert "error" in answer
    assert answer["iss"] == registered.rules.issuer
    assert registered.subtypes() == [REFUSED]


@pytest.mark.parametrize(
    "change",
    [
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": f"{APP}/more"},
        {"redirect_uri": f"{APP}?more=1"},
        {"redirect_uri": "https://app.example.evil.example/callback"},
        {"redirect_uri": 'javascript:alert("x")'},
        {"redirect_uri": None},
        {"client_id": "nobody"},
        {"client_id": None},
        {"request_uri": "https://evil.example/"},
        {"response_mode": "form_post"},
    ],
    ids=str,
)
def test_nobody_is_sent_where_the_client_is_not_registered(
    registered: Office, change: dict[str, str | None]
) -> None:
    browser = registered.browser()
    response = browser.request("GET", Flow(registered, **change).url)
    assert response.status_code == 400
    assert "location" not in response.headers
    assert "evil.example" not in response.text
    assert registered.subtypes() == [REFUSED]


def test_a_parameter_is_there_once(office: Office, nurse: Account) -> None:
    browser = office.browser()
    browser.open(f"{Flow(office).url}&redirect_uri=https%3A%2F%2Fevil.example")
    assert browser.status == 400
    answer = office.post("token", grant_type="x")
    assert answer.json()["error"] == "unsupported_grant_type"


def test_a_stolen_refresh_token_ends_the_family(office: Office, nurse: Account) -> None:
    flow = Flow(office)
    code = office.browser().permit(nurse, flow)["code"]
    stolen = office.code_token(code, flow.verifier).json()["refresh_token"]
    latest = office.refresh(stolen).json()
    assert office.refresh(stolen).json()["error"] == "invalid_grant"
    assert office.refresh(latest["refresh_token"]).json()["error"] == "invalid_grant"
    assert office.server.is_revoked(office.claims(latest["access_token"])["jti"])
    assert office.subtypes().count(REVOKED) == 1


def test_a_refresh_token_is_for_one_client_and_grows_no_scopes(
    office: Office, nurse: Account
) -> None:
    office.add_app("other")
    flow = Flow(office)
    code = office.browser().permit(nurse, flow)["code"]
    token = office.code_token(code, flow.verifier).json()["refresh_token"]
    assert office.refresh(token, client_id="other").json()["error"] == "invalid_grant"
    wide = office.refresh(token, scope="user/AuditEvent.rs")
    assert wide.json()["error"] == "invalid_scope"
    assert office.refresh(token).status_code == 200


def test_wrong_passwords_lock_the_account_for_longer_and_longer(
    office: Office, nurse: Account
) -> None:
    browser = office.browser()
    browser.open("/auth/sign-in")
    for _ in range(5):
        browser.submit(name="nurse", password="wrong wrong wrong")
        assert WRONG in browser.text
    assert office.subtypes() == [FAILED] * 5 + [LOCKED]
    browser.submit(name="nurse", password=PASSWORD)
    assert WRONG in browser.text
    office.now += 31
    browser.submit(name="nurse", password="wrong wrong wrong")
    office.now += 31  # The second time it takes twice as long.
    browser.submit(name="nurse", password=PASSWORD)
    assert WRONG in browser.text
    office.now += 30
    browser.submit(name="nurse", password=PASSWORD)
    assert browser.url.endswith("/auth/second-factor")


def test_wrong_codes_lock_the_account_too(office: Office, nurse: Account) -> None:
    browser = office.browser()
    browser.open("/auth/sign-in")
    browser.submit(name="nurse", password=PASSWORD)
    for _ in range(5):
        browser.submit(code="000000")
    assert office.subtypes()[-1] == LOCKED
    office.now += 25
    browser.submit(code=nurse.code(office.now))
    assert browser.status == 400
    again = office.browser()
    again.open("/auth/sign-in")
    again.submit(name="nurse", password=PASSWORD)
    assert WRONG in again.text


def test_a_right_password_does_not_buy_more_codes(office: Office, nurse: Account) -> None:
    for _ in range(5):
        browser = office.browser()
        browser.open("/auth/sign-in")
        browser.submit(name="nurse", password=PASSWORD)
        browser.submit(code="000000")
    assert office.subtypes()[-1] == LOCKED


def test_a_code_of_the_second_factor_is_good_once(office: Office, nurse: Account) -> None:
    office.now += 30
    code = nurse.code(office.now)
    first, second = office.browser(), office.browser()
    for browser in (first, second):
        browser.open("/auth/sign-in")
        browser.submit(name="nurse", password=PASSWORD)
        browser.submit(code=code)
    assert first.url.endswith("/auth/account")
    assert second.status == 400


def test_nobody_learns_which_users_there_are(office: Office, nurse: Account) -> None:
    office.change("add-user", name="new", display="New", roles=[])
    office.change("switch-user", name="nurse", active=False)
    seen = set()
    for name in ("nobody", "nurse", "new", "x" * 5000, ""):
        browser = office.browser()
        browser.open("/auth/sign-in")
        browser.submit(name=name, password="wrong wrong wrong")
        page = browser.text.replace(browser.fields()["csrf"], "")
        seen.add((browser.status, page))
    assert len(seen) == 1
    assert "nobody" not in json.dumps(office.told)


def test_forms_of_other_sites_are_refused(office: Office, nurse: Account) -> None:
    browser = office.browser()
    browser.open(Flow(office).url)
    typed = {"name": "nurse", "password": PASSWORD}
    assert browser.request("POST", "/auth/sign-in", data=typed).status_code == 403
    guess = typed | {"csrf": "guessed"}
    assert browser.request("POST", "/auth/sign-in", data=guess).status_code == 403
    browser.open("/auth/sign-in")
    real = typed | browser.fields()
    evil = {"origin": "https://evil.example"}
    assert browser.request("POST", "/auth/sign-in", data=real, headers=evil).status_code == 403
    browser.open("/auth/sign-in")
    browser.sign_in(nurse)
    assert "Permit" in browser.text
    fields = browser.fields()
    wrong = {**fields, "csrf": "guessed", "decision": "permit", "patient": "p1"}
    assert browser.request("POST", "/auth/consent", data=wrong).status_code == 403
    assert browser.request("POST", "/auth/sign-out", data={"csrf": "x"}).status_code == 403
    permitted = {**fields, "decision": "permit", "patient": "p1"}
    assert browser.request("POST", "/auth/consent", data=permitted).status_code == 303
    assert browser.request("POST", "/auth/consent", data=permitted).status_code == 400


def test_a_request_is_of_one_browser(office: Office, nurse: Account) -> None:
    """Whoever plants the number of his own request in somebody else's browser gets nothing."""
    mine, theirs = office.browser(), office.browser()
    mine.open(Flow(office).url)
    mine.sign_in(nurse)
    number = mine.fields()["request"]
    office.now += 30
    theirs.sign_in(nurse)
    theirs.open(f"/auth/consent?request={number}")
    assert theirs.status == 400


def test_a_planted_cookie_is_worth_nothing(office: Office, nurse: Account) -> None:
    """Session fixation: the cookie from before the sign-in opens nothing after it."""
    browser = office.browser()
    browser.open("/auth/sign-in")
    planted = httpx.Cookies(browser.cookies)
    browser.submit(name="nurse", password=PASSWORD)
    between = httpx.Cookies(browser.cookies)
    office.now += 30
    browser.submit(code=nurse.code(office.now))
    assert browser.url.endswith("/auth/account")
    for cookies in (planted, between):
        other = office.browser()
        other.cookies = cookies
        other.open("/auth/account")
        assert other.url.endswith("/auth/sign-in")


def test_half_a_sign_in_opens_nothing(office: Office, nurse: Account) -> None:
    browser = office.browser()
    browser.open(Flow(office).url)
    browser.submit(name="nurse", password=PASSWORD)
    for path in ("/auth/account", "/auth/consent?request=x", "/auth/second-factor/set-up"):
        other = browser.request("GET", path)
        assert other.status_code in (303, 403)
        assert "Nurse" not in other.text


def test_sign_out_leads_nowhere_else(office: Office, nurse: Account) -> None:
    for query in (
        "post_logout_redirect_uri=https://evil.example/",
        "post_logout_redirect_uri=https://evil.example/&client_id=app",
        f"post_logout_redirect_uri={APP}&client_id=app",
    ):
        browser = office.browser()
        browser.open(f"/auth/sign-out?{query}")
        assert browser.status == 200
        assert "You are signed out" in browser.text
    browser.open("/auth/sign-out?id_token_hint=e30.e30.x")
    assert browser.status == 400


def test_a_link_from_elsewhere_signs_nobody_out(office: Office, nurse: Account) -> None:
    browser = office.browser()
    browser.sign_in(nurse)
    browser.open("/auth/sign-out")
    assert "Do you want to sign out?" in browser.text
    browser.open("/auth/account")
    assert "Nurse Test" in browser.text


def test_an_address_that_is_refused_too_often_waits(office: Office) -> None:
    wrong = {"grant_type": "x", "from_address": "192.0.2.7"}
    for _ in range(REFUSALS_MAX):
        assert office.post("token", **wrong).status_code == 400
    told = len(office.told)
    answer = office.post("token", **wrong)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert len(office.told) == told
    assert office.post("token", grant_type="x", from_address="192.0.2.8").status_code == 400
    office.now += 60
    assert office.post("token", **wrong).status_code == 400


NAMES = (
    *("grant_type", "client_id", "client_secret", "code", "token", "scope", "response_type"),
    *("redirect_uri", "client_assertion", "client_assertion_type", "state", "prompt"),
)
VALUES = (
    *("authorization_code", "refresh_token", "client_credentials", "code", "app", APP, "none"),
    *("urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "e30.e30.e30", "a.b.c"),
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    path=st.sampled_from(["token", "revoke", "introspect", "launch", "authorize", "sign-in"]),
    form=st.dictionaries(
        st.sampled_from(NAMES), st.text(max_size=20) | st.sampled_from(VALUES), min_size=1
    ),
    auth=st.none() | st.binary(max_size=20),
)
def test_no_form_brings_the_server_down(
    office: Office, path: str, form: dict[str, str], auth: bytes | None
) -> None:
    headers = {} if auth is None else {"authorization": b"Basic " + base64.b64encode(auth)}
    answer = office.browser().request("POST", f"/auth/{path}", data=form, headers=headers)
    assert answer.status_code < 500
    assert "Traceback" not in answer.text


def test_no_unencrypted_address_is_an_issuer() -> None:
    from caretrail.access.server.desk import base_of
    from caretrail.errors import ConfigurationError

    assert base_of(SECURE + "/", address="http://0.0.0.0:8080") == SECURE
    assert base_of("", address="http://127.0.0.1:80") == "http://127.0.0.1:80"
    for public in ("http://care.example", "ftp://127.0.0.1", "https://a@care.example", ""):
        with pytest.raises(ConfigurationError):
            base_of(public, address="http://0.0.0.0:8080")


def test_an_event_that_cannot_be_kept_lets_nothing_happen(tmp_path: Path) -> None:
    """The log comes first: without an event there is no token."""
    with Office(tmp_path) as office:
        key = ECKey.generate_key("P-384", auto_kid=True)
        office.add_service(key)
        office.runner.run(office.repository.close())
        answer = office.client_token(office.assertion(key))
        assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
        office.runner.run(office.server.close())
        with closing(connect(tmp_path)) as database:
            assert database.execute("SELECT jti FROM access").fetchall() == []
        office.open()


@settings(max_examples=200, deadline=None)
@given(
    asked=st.lists(st.sampled_from([*granting.SCOPES_SUPPORTED, "user/*.rs", "patient/*.read"])),
    allowed=st.lists(st.sampled_from([*granting.SCOPES_SUPPORTED, "user/*.cruds", "user/*.s"])),
)
def test_nothing_is_granted_that_is_not_asked_for_and_allowed(
    asked: list[str], allowed: list[str]
) -> None:
    found = granting.granted(" ".join(asked), " ".join(allowed))
    for word in found.split():
        scope = granting.parse(word)
        if scope is None:
            assert word in asked
            assert word in allowed
            continue
        for side in (asked, allowed):
            rows = [one for text in side if (one := granting.parse(text)) is not None]
            assert any(
                one.context == scope.context
                and one.kind in (scope.kind, "*")
                and set(scope.letters) <= set(one.letters)
                for one in rows
            )
        if scope.kind == "AuditEvent":
            assert not {"u", "d"} & set(scope.letters)
            assert any(".AuditEvent" in f".{text.partition('/')[2]}" for text in asked)


def test_a_revoked_token_is_refused_at_every_moment_of_a_sweep(office: Office) -> None:
    """The list of revoked tokens is made anew in another thread than that which asks."""
    ids = [f"token-{number}" for number in range(20_000)]
    with closing(connect(office.folder)) as database:
        database.execute("BEGIN")
        database.executemany(
            "INSERT INTO access (jti, client, claims, expires, revoked) VALUES (?, 'app', '', ?, 1)",
            [(one, int(office.now) + 300) for one in ids],
        )
        database.execute("COMMIT")

    async def watched() -> int:
        await office.server.sweep()
        asked, sweep = 0, asyncio.create_task(office.server.sweep())
        while not sweep.done():
            assert office.server.is_revoked(ids[-1])
            asked += 1
            await asyncio.sleep(0)
        return asked

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        assert office.runner.run(watched())
    finally:
        sys.setswitchinterval(before)
    office.now += 301
    office.runner.run(office.server.sweep())
    assert not office.server.is_revoked(ids[-1])


def test_a_change_that_met_a_fault_is_made_in_the_next_round(office: Office) -> None:
    faults = iter([OSError("the log is not there for a moment")])

    async def record(_: dict[str, object]) -> None:
        for fault in faults:
            raise fault

    async def ask() -> str | None:
        server = AuthorizationServer(office.folder, office.rules, record=record, origin="log")
        try:
            await server.start()
            with closing(connect(office.folder)) as database:
                change = json.dumps({"change": "rotate-keys", "by": "root"})
                database.execute("INSERT INTO change (asked, made) VALUES (?, 0)", (change,))
                for _ in range(600):
                    await asyncio.sleep(0.1)
                    (answer,) = database.execute("SELECT answer FROM change").fetchone()
                    if answer is not None:
                        return str(answer)
        finally:
            await server.close()
        return None

    answer = office.runner.run(ask())
    assert answer is not None
    assert "lines" in json.loads(answer)
