"""What works: set-up, sign-in, the SMART launches, and every grant, each of them an event."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from joserfc.jwk import ECKey, RSAKey

from tests.access.server.office import APP, SCOPE, SECURE, Flow, Office

if TYPE_CHECKING:
    from pathlib import Path

LOGIN, LOGOUT = ("110114", "110122", "0"), ("110114", "110123", "0")
TOKEN = ("110114", "ITI-71", "0")


def test_the_first_link_makes_an_administrator_with_a_second_factor(office: Office) -> None:
    link = office.runner.run(office.server.set_up_link())
    assert link is not None
    browser = office.browser()
    browser.open(link)
    browser.submit(name="Ada", display="Ada Test", password="a longer password", again="other")
    assert "The two passwords differ" in browser.text
    browser.submit(name="Ada", display="Ada Test", password="short", again="short")
    assert "at least 12 characters" in browser.text
    password = "a longer password"
    browser.submit(name="Ada", display="Ada Test", password=password, again=password)
    assert browser.url.endswith("/auth/second-factor/set-up")
    browser.enrol()
    assert browser.url.endswith("/auth/account")
    assert "Ada Test (ada)" in browser.text
    assert office.runner.run(office.server.set_up_link()) is None
    browser = office.browser()
    browser.open(link)
    assert browser.status == 404
    assert office.subtypes() == [
        ("110113", "110137", "0"),
        ("110113", "110137", "0"),
        LOGIN,
    ]


def test_a_standalone_launch_gives_a_patients_token(office: Office) -> None:
    account = office.add_user("nurse", "auditor", organisation="Ward 7", fhir_user="Practitioner/7")
    office.add_app()
    browser, flow = office.browser(), Flow(office, nonce="n-1")
    told = browser.permit(account, flow, patient="p1")
    assert browser.url.startswith(APP)
    assert told["state"] == "state-1"
    assert told["iss"] == office.rules.issuer
    answer = office.code_token(told["code"], flow.verifier).json()
    assert answer["patient"] == "p1"
    assert answer["token_type"] == "Bearer"
    assert set(answer["scope"].split()) == set(SCOPE.split())
    claims = office.claims(answer["access_token"])
    assert claims["aud"] == office.rules.audience
    assert claims["iss"] == office.rules.issuer
    assert claims["client_id"] == "app"
    assert claims["roles"] == ["auditor"]
    assert claims["organisation"] == "Ward 7"
    assert claims["patient"] == "p1"
    assert claims["fhirUser"] == "Practitioner/7"
    assert claims["name"] == "Nurse Test"
    assert claims["exp"] - claims["iat"] == office.rules.access_seconds
    about = office.claims(answer["id_token"], kind="JWT")
    assert (about["aud"], about["nonce"], about["sub"]) == ("app", "n-1", claims["sub"])
    assert about["amr"] == ["pwd", "otp"]
    assert office.subtypes() == [LOGIN, ("110113", "AuthZ-Consent", "0"), TOKEN]


def test_an_ehr_launch_brings_its_patient(office: Office) -> None:
    account = office.add_user("nurse", "auditor")
    office.add_app(scope="launch patient/AuditEvent.rs openid")
    secret = office.change(
        "add-client", id="ehr", name="EHR", method="client_secret_basic", grants=["launch"]
    )[-1]
    answer = office.post("launch", auth=f"ehr:{secret}", target="app", patient="p9")
    assert answer.json()["iss"] == office.rules.audience
    launch = answer.json()["launch"]
    browser = office.browser()
    flow = Flow(office, scope="launch patient/AuditEvent.rs", launch=launch)
    browser.open(flow.url)
    browser.sign_in(account)
    assert "patient p9" in browser.text
    browser.submit(decision="permit")
    tokens = office.code_token(browser.answer()["code"], flow.verifier).json()
    assert tokens["patient"] == "p9"
    assert "refresh_token" not in tokens
    browser.open(flow.url)  # A launch is good once.
    assert browser.answer()["error"] == "invalid_request"


def test_a_patient_is_asked_about_no_other_patient(office: Office) -> None:
    account = office.add_user("pat", "patient", patient="p5")
    office.add_app()
    browser, flow = office.browser(), Flow(office)
    told = browser.permit(account, flow, patient="p1")
    assert office.code_token(told["code"], flow.verifier).json()["patient"] == "p5"


def test_a_refusal_reaches_the_application(office: Office) -> None:
    account = office.add_user("nurse", "auditor")
    office.add_app()
    browser = office.browser()
    browser.open(Flow(office).url)
    browser.sign_in(account)
    browser.submit(decision="refuse")
    answer = browser.answer()
    assert (answer["error"], answer["state"]) == ("access_denied", "state-1")
    assert answer["iss"] == office.rules.issuer
    assert office.subtypes()[-1] == ("110113", "AuthZ-Role", "8")


def test_scopes_are_narrowed_to_what_is_registered(office: Office) -> None:
    account = office.add_user("nurse", "auditor")
    office.add_app(scope="user/AuditEvent.rs openid")
    browser = office.browser()
    flow = Flow(office, scope="openid user/AuditEvent.cruds system/AuditEvent.rs user/*.rs")
    told = browser.permit(account, flow)
    answer = office.code_token(told["code"], flow.verifier).json()
    assert answer["scope"] == "openid user/AuditEvent.rs"
    assert "patient" not in answer
    assert office.subtypes()[1] == ("110113", "AuthZ-Role", "0")


def test_a_refresh_token_is_exchanged_for_another(office: Office) -> None:
    account = office.add_user("nurse", "auditor")
    office.add_app()
    flow = Flow(office)
    told = office.browser().permit(account, flow)
    first = office.code_token(told["code"], flow.verifier).json()
    second = office.refresh(first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert second["patient"] == "p1"
    narrow = office.refresh(second["refresh_token"], scope="patient/AuditEvent.rs").json()
    assert narrow["scope"] == "patient/AuditEvent.rs"
    assert office.subtypes()[-3:] == [TOKEN, TOKEN, TOKEN]
    office.now += office.rules.refresh_seconds + 1
    assert office.refresh(narrow["refresh_token"]).json()["error"] == "invalid_grant"


def test_a_backend_service_gets_a_token_by_its_key(office: Office) -> None:
    for key in (
        ECKey.generate_key("P-384", auto_kid=True),
        RSAKey.generate_key(2048, auto_kid=True),
    ):
        name = f"feeder-{key.key_type.lower()}"
        office.add_service(key, name)
        answer = office.client_token(office.assertion(key, name))
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        claims = office.claims(answer.json()["access_token"])
        assert claims["sub"] == claims["client_id"] == name
        assert claims["roles"] == ["source"]
        assert claims["organisation"] == "Ward 7"
        assert claims["scope"] == "system/AuditEvent.c"
        assert "refresh_token" not in answer.json()
        assert office.subtypes() == [TOKEN]


def test_a_client_with_a_secret_gets_a_token_either_way(office: Office) -> None:
    secret = office.change(
        "add-client",
        id="siem",
        name="SIEM",
        method="client_secret_basic",
        grants=["client_credentials"],
        scope="system/AuditEvent.rs",
        roles=["auditor"],
    )[-1]
    form = {"grant_type": "client_credentials", "scope": "system/AuditEvent.rs"}
    assert office.post("token", auth=f"siem:{secret}", **form).status_code == 200
    by_post = office.post("token", client_id="siem", client_secret=secret, **form)
    assert by_post.status_code == 200
    wrong = office.post("token", auth="siem:wrong", **form)
    assert wrong.status_code == 401
    assert wrong.headers["www-authenticate"].startswith("Basic")
    assert secret not in (office.folder / "authorization.sqlite").read_bytes().decode("latin-1")


def test_tokens_are_introspected_and_revoked(office: Office) -> None:
    account = office.add_user("nurse", "auditor")
    office.add_app()
    secret = office.change(
        "add-client", id="rs", name="RS", method="client_secret_basic", grants=["introspect"]
    )[-1]
    flow = Flow(office)
    told = office.browser().permit(account, flow)
    tokens = office.code_token(told["code"], flow.verifier).json()
    found = office.post("introspect", auth=f"rs:{secret}", token=tokens["access_token"]).json()
    assert found["active"]
    assert found["patient"] == "p1"
    assert found["client_id"] == "app"
    found = office.post("introspect", auth=f"rs:{secret}", token=tokens["refresh_token"]).json()
    assert found["active"]
    assert office.post("introspect", auth=f"rs:{secret}", token="x").json() == {"active": False}
    jti = office.claims(tokens["access_token"])["jti"]
    assert not office.server.is_revoked(jti)
    done = office.post("revoke", client_id="app", token=tokens["refresh_token"])
    assert done.status_code == 200
    assert office.server.is_revoked(jti)
    for token in (tokens["access_token"], tokens["refresh_token"]):
        answer = office.post("introspect", auth=f"rs:{secret}", token=token).json()
        assert answer == {"active": False}
    assert office.post("revoke", client_id="app", token="unknown").status_code == 200
    assert ("110113", "110132", "0") in office.subtypes()
    assert ("110113", "110135", "0") in office.subtypes()


def test_revoked_tokens_are_known_after_a_restart(office: Office) -> None:
    key = ECKey.generate_key("P-384", auto_kid=True)
    office.add_service(key)
    token = office.client_token(office.assertion(key)).json()["access_token"]
    jti = office.claims(token)["jti"]
    office.change("switch-client", id="feeder", active=False)
    assert office.server.is_revoked(jti)
    assert office.client_token(office.assertion(key)).status_code == 400
    office.close()
    office.open()
    office.runner.run(office.server.start())
    assert office.server.is_revoked(jti)
    assert office.claims(token)["jti"] == jti


def test_signing_out_ends_what_was_to_last_as_long(office: Office) -> None:
    account = office.add_user("nurse", "auditor")
    office.add_app(
        scope="online_access user/AuditEvent.rs openid", logout_uris=["https://app.example/bye"]
    )
    browser, flow = office.browser(), Flow(office, scope="online_access user/AuditEvent.rs openid")
    told = browser.permit(account, flow)
    tokens = office.code_token(told["code"], flow.verifier).json()
    jti = office.claims(tokens["access_token"])["jti"]
    end = {
        "id_token_hint": tokens["id_token"],
        "post_logout_redirect_uri": "https://app.example/bye",
        "state": "s",
    }
    browser.open(f"/auth/sign-out?{'&'.join(f'{name}={value}' for name, value in end.items())}")
    assert browser.url == "https://app.example/bye?state=s"
    assert office.server.is_revoked(jti)
    assert office.refresh(tokens["refresh_token"]).status_code == 400
    browser.open("/auth/account")
    assert browser.url.endswith("/auth/sign-in")
    assert LOGOUT in office.subtypes()


def test_an_idle_session_ends_and_is_told(office: Office) -> None:
    account = office.add_user("nurse", "auditor")
    browser = office.browser()
    browser.sign_in(account)
    office.now += office.rules.idle_seconds - 1
    browser.open("/auth/account")
    assert "Nurse Test" in browser.text
    office.now += office.rules.idle_seconds
    office.runner.run(office.server.sweep())
    assert office.subtypes()[-1] == LOGOUT
    assert "idle" in office.told[-1]["outcomeDesc"]
    browser.open("/auth/account")
    assert browser.url.endswith("/auth/sign-in")


def test_other_roles_end_sessions_and_tokens(office: Office) -> None:
    account = office.add_user("nurse", "auditor")
    office.add_app()
    browser, flow = office.browser(), Flow(office)
    told = browser.permit(account, flow)
    tokens = office.code_token(told["code"], flow.verifier).json()
    office.change("set-roles", name="nurse", roles=["privacy-officer"])
    assert office.server.is_revoked(office.claims(tokens["access_token"])["jti"])
    assert office.refresh(tokens["refresh_token"]).status_code == 400
    changed = next(one for one in office.told if one["subtype"][0]["code"] == "110136")
    details = {row["type"]: row["valueString"] for row in changed["entity"][0]["detail"]}
    assert "roles=auditor" in details["before"]
    assert "roles=privacy-officer" in details["after"]


def test_discovery_names_what_there_is(office: Office) -> None:
    smart = office.get("/fhir/.well-known/smart-configuration").json()
    oidc = office.get("/auth/.well-known/openid-configuration").json()
    for document in (smart, oidc):
        assert document["issuer"] == office.rules.issuer
        assert document["code_challenge_methods_supported"] == ["S256"]
        assert office.get(document["jwks_uri"]).status_code == 200
    assert "launch-standalone" in smart["capabilities"]
    assert oidc["end_session_endpoint"].endswith("/auth/sign-out")
    for key in office.get("/auth/jwks").json()["keys"]:
        assert not {"d", "p", "q"} & key.keys()


def test_another_key_signs_and_the_old_one_is_still_known(office: Office) -> None:
    key = ECKey.generate_key("P-384", auto_kid=True)
    office.add_service(key)
    old = office.client_token(office.assertion(key)).json()["access_token"]
    office.change("rotate-keys")
    assert office.subtypes()[-1] == ("110113", "110129", "0")
    new = office.client_token(office.assertion(key)).json()["access_token"]
    assert office.claims(old)["sub"] == office.claims(new)["sub"]
    assert len(office.get("/auth/jwks").json()["keys"]) == 2
    office.now += 3 * 24 * 3600
    office.change("rotate-keys")
    assert len(office.get("/auth/jwks").json()["keys"]) == 2


def test_a_key_is_rotated_when_its_time_is_over(office: Office) -> None:
    (before,) = office.get("/auth/jwks").json()["keys"]
    office.now += 91 * 24 * 3600
    office.runner.run(office.server.sweep())
    after, shown = office.get("/auth/jwks").json()["keys"]
    assert shown["kid"] == before["kid"] != after["kid"]


def test_files_are_for_their_owner_only(office: Office) -> None:
    for name in ("authorization.sqlite", "authorization-keys.json"):
        assert (office.folder / name).stat().st_mode & 0o777 == 0o600


def test_over_https_the_cookie_is_bound_to_the_host(tmp_path: Path) -> None:
    with Office(tmp_path, base=SECURE) as office:
        browser = office.browser()
        browser.open("/auth/sign-in")
        cookie = browser.response.headers["set-cookie"]
        assert cookie.startswith("__Host-caretrail=")
        for attribute in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"):
            assert attribute in cookie
        headers = browser.response.headers
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "<script" not in browser.text
        assert "style=" not in browser.text


def test_no_secret_reaches_the_log(office: Office) -> None:
    account = office.add_user("nurse", "auditor")
    secret = office.add_app(method="client_secret_basic")
    browser, flow = office.browser(), Flow(office)
    told = browser.permit(account, flow)
    tokens = office.code_token(
        told["code"], flow.verifier, client_id="app", client_secret=secret
    ).json()
    office.refresh(tokens["refresh_token"], client_secret=secret)
    office.client_token("e30.e30.x")
    import base64

    text = json.dumps(office.told)
    for one in office.told:
        for entity in one.get("entity", []):
            text += base64.b64decode(entity.get("query", "")).decode()
    assert "grant_type=authorization_code" in text
    for value in (
        *(told["code"], flow.verifier, secret, account.password, account.totp),
        *(tokens["access_token"], tokens["refresh_token"], tokens["id_token"], "e30.e30"),
    ):
        assert value not in text


def test_emergency_access_is_told_and_marks_tokens(office: Office) -> None:
    account = office.add_user("doc", "auditor")
    office.add_app()
    browser, flow = office.browser(), Flow(office)
    browser.sign_in(account)
    browser.open("/auth/emergency-access")
    browser.submit(patient="p1", reason="", decision="start")
    assert "Enter a reason" in browser.text
    browser.submit(patient="p1", reason="unconscious", decision="start")
    assert "emergency access to the patient p1" in browser.text
    told = browser.permit(account, flow, patient="p1")
    tokens = office.code_token(told["code"], flow.verifier).json()
    assert office.claims(tokens["access_token"])["purpose_of_use"] == ["BTG"]
    browser.open("/auth/emergency-access")
    browser.submit(decision="stop")
    later = office.refresh(tokens["refresh_token"]).json()["access_token"]
    assert "purpose_of_use" not in office.claims(later)
    browser.submit(patient="p2", reason="bleeding", decision="start")
    other = Flow(office)
    told = browser.permit(account, other, patient="p1")
    tokens = office.code_token(told["code"], other.verifier).json()
    assert "purpose_of_use" not in office.claims(tokens["access_token"])
    office.now += 5 * 3600
    office.runner.run(office.server.sweep())
    subtypes = [subtype for _, subtype, _ in office.subtypes()]
    assert subtypes.count("110127") == subtypes.count("110138") == 2


def test_a_mistake_leaves_an_emergency_access_as_it_is(office: Office) -> None:
    account = office.add_user("doc", "auditor")
    browser = office.browser()
    browser.sign_in(account)
    browser.open("/auth/emergency-access")
    browser.submit(patient="p1", reason="unconscious", decision="start")
    told = len(office.told)
    # As from another window, in which the form was open.
    browser.submit(patient="p2", reason="", decision="start")
    assert browser.status == 400
    assert "Enter a reason" in browser.text
    assert "emergency access to the patient p1" in browser.text
    assert len(office.told) == told


def test_emergency_access_is_for_those_who_care(office: Office) -> None:
    account = office.add_user("pat", "patient", patient="p5")
    browser = office.browser()
    browser.sign_in(account)
    browser.open("/auth/emergency-access")
    assert browser.status == 403
