"""What is registered is checked at once, and files that are not as they should be are refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from joserfc.jwk import ECKey, KeySet, OctKey

from caretrail.access.server import granting
from caretrail.access.server.keys import SigningKeys
from caretrail.access.server.store import connect
from caretrail.errors import ConfigurationError, ConflictError, InvalidError, NotFoundError
from tests.access.server.office import APP, HERE, PASSWORD, Flow, Office

if TYPE_CHECKING:
    from pathlib import Path

KEY = ECKey.generate_key("P-384", auto_kid=True)
PUBLIC = json.dumps(KeySet([KEY]).as_dict(private=False))
PRIVATE = json.dumps(KeySet([KEY]).as_dict(private=True))
SHARED = json.dumps(KeySet([OctKey.generate_key(256)]).as_dict(private=True))
GOOD: dict[str, Any] = {
    "id": "app",
    "name": "App",
    "method": "none",
    "grants": ["authorization_code"],
    "redirect_uris": [APP],
}
KEYED = {"method": "private_key_jwt", "grants": ["client_credentials"], "redirect_uris": []}


@pytest.mark.parametrize(
    "change",
    [
        {"id": "an app"},
        {"id": ""},
        {"method": "tls"},
        {"grants": []},
        {"grants": ["password"]},
        {"grants": ["authorization_code", "client_credentials"]},
        {"redirect_uris": []},
        {"redirect_uris": ["http://app.example/callback"]},
        {"redirect_uris": ["https://*.example/callback"]},
        {"redirect_uris": ["https://app.example/#part"]},
        {"redirect_uris": ["https://user@app.example/"]},
        {"redirect_uris": ["javascript:alert(1)"]},
        {"redirect_uris": ["https:callback"]},
        {"logout_uris": ["data:text/html,x"]},
        {"scope": "everything"},
        {"scope": "patient/AuditEvent.d"},
        {"roles": ["king"]},
        KEYED,
        KEYED | {"jwks": "{"},
        KEYED | {"jwks": "[]"},
        KEYED | {"jwks": '{"keys": []}'},
        KEYED | {"jwks": PRIVATE},
        KEYED | {"jwks": SHARED},
        {"jwks": PUBLIC},
        {"nonsense": 1},
    ],
)
def test_a_client_that_cannot_be_is_refused(lasting: Office, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        lasting.change("add-client", **GOOD | change)
    assert lasting.change("clients") == ["there are no clients"]
    assert lasting.told == []


def test_an_apps_own_scheme_is_an_address(office: Office) -> None:
    office.change("add-client", **GOOD | {"redirect_uris": ["org.example.app:/callback"]})
    account = office.add_user("nurse", "external-auditor")
    browser = office.browser()
    browser.open(Flow(office, redirect_uri="org.example.app:/callback", scope="openid").url)
    assert browser.status == 303  # Its registration has no scope: the answer goes to the app.
    assert browser.url.startswith("org.example.app:/callback?")
    assert account.totp == ""


@pytest.mark.parametrize(
    "change",
    [
        {"name": "a b"},
        {"name": ""},
        {"display": ""},
        {"display": "a\nb"},
        {"roles": ["administrator", "privacy-officer"]},
        {"roles": ["patient"]},
        {"patient": "a/b"},
    ],
    ids=str,
)
def test_a_user_that_cannot_be_is_refused(lasting: Office, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        lasting.change("add-user", **{"name": "ada", "display": "Ada", "roles": []} | change)
    assert lasting.change("users") == ["there are no users"]


def test_a_name_is_taken_once(office: Office) -> None:
    given = {"name": "Ada", "display": "Ada", "roles": ["auditor"]}
    office.change("add-user", **given)
    with pytest.raises(ConflictError):
        office.change("add-user", **given | {"name": "ADA"})
    office.change("add-client", **GOOD)
    with pytest.raises(ConflictError):
        office.change("add-client", **GOOD)
    with pytest.raises(InvalidError):
        office.change("set-roles", name="ada", roles=["patient"])
    with pytest.raises(InvalidError, match="has no secret"):
        office.change("reset-client", id="app")
    with pytest.raises(NotFoundError):
        office.change("reset-user", name="eve", second_factor=False)
    with pytest.raises(InvalidError, match="knows no such change"):
        office.change("elect")
    with pytest.raises(InvalidError, match="not complete"):
        office.change("set-roles", name="ada")
    assert office.change("users") == ["ada: Ada (auditor)"]
    (line,) = office.change("clients")
    assert line.startswith("app: App (none; authorization_code; no scope)")


def test_a_reset_ends_what_was_begun_and_lets_begin_anew(office: Office) -> None:
    account = office.add_user("nurse", "auditor")
    browser = office.browser()
    browser.sign_in(account)
    link = office.change("reset-user", name="nurse", second_factor=False)[-1]
    browser.open("/auth/account")
    assert browser.url.endswith("/auth/sign-in")
    browser.submit(name="nurse", password=PASSWORD)
    assert browser.status == 400
    browser.open(link)
    browser.submit(password="another long one", again="another long one")
    assert browser.url.endswith("/auth/second-factor")  # That stays.
    office.now += 30
    browser.submit(code=account.code(office.now))
    assert browser.url.endswith("/auth/account")
    link = office.change("reset-user", name="nurse", second_factor=True)[-1]
    browser.open(link)
    browser.submit(password="nurse is my name", again="nurse is my name")
    assert "must not contain the user name" in browser.text
    browser.submit(password="aaaaaaaaaaaaaaaa", again="aaaaaaaaaaaaaaaa")
    assert "repeats itself" in browser.text
    browser.submit(password="another long one", again="another long one")
    assert browser.url.endswith("/auth/second-factor/set-up")
    browser.submit(code="000000")
    assert "The code is wrong" in browser.text
    browser.enrol()
    assert browser.url.endswith("/auth/account")


def test_a_link_is_good_for_a_day(office: Office) -> None:
    link = office.change("add-user", name="ada", display="Ada", roles=[])[-1]
    office.now += 24 * 3600 + 1
    browser = office.browser()
    browser.open(link)
    assert browser.status == 404
    office.change("switch-user", name="ada", active=False)
    office.change("switch-user", name="ada", active=True)


def test_another_secret_ends_the_old_one(office: Office) -> None:
    given = {
        "id": "siem",
        "name": "SIEM",
        "method": "client_secret_basic",
        "grants": ["client_credentials"],
        "scope": "system/AuditEvent.rs",
    }
    old = office.change("add-client", **given)[-1]
    form = {"grant_type": "client_credentials", "scope": "system/AuditEvent.rs"}
    token = office.post("token", auth=f"siem:{old}", **form).json()["access_token"]
    new = office.change("reset-client", id="siem")[-1]
    assert office.server.is_revoked(office.claims(token)["jti"])
    assert office.post("token", auth=f"siem:{old}", **form).status_code == 401
    assert office.post("token", auth=f"siem:{new}", **form).status_code == 200
    office.change("switch-client", id="siem", active=False)
    assert office.post("token", auth=f"siem:{new}", **form).status_code == 401
    office.change("switch-client", id="siem", active=True)
    assert office.post("token", auth=f"siem:{new}", **form).status_code == 200


def test_a_launch_is_for_those_who_may(office: Office) -> None:
    office.add_app()
    form = {"target": "app", "patient": "p1"}
    given = {"name": "EHR", "method": "client_secret_basic", "grants": ["launch"]}
    ehr = office.change("add-client", id="ehr", **given)[-1]
    other = office.change("add-client", id="other", **given | {"grants": ["introspect"]})[-1]
    assert office.post("launch", auth=f"ehr:{ehr}", **form).status_code == 200
    assert office.post("launch", auth=f"other:{other}", **form).status_code == 400
    wrong = office.post("launch", auth=f"ehr:{ehr}", target="app", patient="a b")
    assert wrong.status_code == 400
    assert office.post("launch", auth="ehr:wrong", **form).status_code == 401
    assert office.post("launch", **form).status_code in (400, 401)


def test_asking_without_a_page_is_refused(office: Office) -> None:
    account = office.add_user("nurse", "external-auditor")
    office.add_app()
    browser = office.browser()
    browser.open(Flow(office, prompt="none").url)
    assert browser.answer()["error"] == "login_required"
    browser = office.browser()
    browser.sign_in(account)
    browser.open(Flow(office, prompt="none").url)
    assert browser.answer()["error"] == "consent_required"
    browser.open(Flow(office, prompt="login").url)
    assert browser.url.endswith("/auth/sign-in")
    browser.sign_in(account)
    browser.submit(decision="permit", patient="not an id")
    assert "Enter the id of a patient" in browser.text
    browser.submit(decision="permit", patient="p1")
    assert browser.answer()["code"]


def test_files_that_others_may_read_are_refused(tmp_path: Path) -> None:
    connect(tmp_path).close()
    SigningKeys(tmp_path, now=0)
    for name in ("authorization.sqlite", "authorization-keys.json"):
        (tmp_path / name).chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        connect(tmp_path)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        SigningKeys(tmp_path, now=0)


@pytest.mark.parametrize("text", ["", "{", "[]", '[{"since": 1}]', '[{"jwk": {}, "since": 1}]'])
def test_damaged_files_are_refused_with_advice(tmp_path: Path, text: str) -> None:
    for name in ("authorization.sqlite", "authorization-keys.json"):
        (tmp_path / name).write_text(text if name.endswith("json") else "no database " * 100)
        (tmp_path / name).chmod(0o600)
    with pytest.raises(ConfigurationError, match="restore it"):
        SigningKeys(tmp_path, now=0)
    with pytest.raises(ConfigurationError, match="restore it"):
        connect(tmp_path)


def test_a_database_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    database = connect(tmp_path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(ConfigurationError, match="another version"):
        connect(tmp_path)


def test_scopes_of_version_1_are_read(office: Office) -> None:
    assert granting.granted("user/*.read", "user/*.cruds") == "user/*.rs"
    assert granting.granted("user/AuditEvent.write", "user/AuditEvent.cruds") == "user/AuditEvent.c"
    assert granting.granted("user/*.rs", "user/AuditEvent.rs") == ""
    assert granting.granted("user/AuditEvent.rs", "user/*.cruds") == ""
    narrow = "user/AuditEvent.rs?type=http://example.org|1"
    assert granting.granted("user/AuditEvent.rs", narrow) == narrow
    assert granting.granted(narrow, "user/AuditEvent.r") == narrow.replace(".rs", ".r")
    assert office.base == HERE


def test_who_sets_up_a_second_factor_keeps_what_was_permitted(office: Office) -> None:
    """The browser gets another cookie then; signing out still ends what the old one had begun."""
    account = office.add_user("nurse", "external-auditor")
    office.add_app(scope="online_access user/AuditEvent.rs")
    browser, flow = office.browser(), Flow(office, scope="online_access user/AuditEvent.rs")
    told = browser.permit(account, flow)
    tokens = office.code_token(told["code"], flow.verifier).json()
    browser.open("/auth/second-factor/set-up")
    browser.enrol()
    browser.sign_out()
    assert office.server.is_revoked(office.claims(tokens["access_token"])["jti"])
    assert office.refresh(tokens["refresh_token"]).status_code == 400


def test_a_link_of_a_closed_account_is_good_no_longer(office: Office) -> None:
    link = office.change("add-user", name="ada", display="Ada", roles=[])[-1]
    office.change("switch-user", name="ada", active=False)
    browser = office.browser()
    browser.open(link)
    assert browser.status == 404


def test_a_request_that_is_too_long_is_not_kept(office: Office) -> None:
    office.add_app()
    browser = office.browser()
    browser.open(Flow(office, nonce="n" * 9000).url)
    assert browser.status == 400
