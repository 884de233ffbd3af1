"""The real thing: `caretrail serve` in a process, browsers and SMART clients over HTTP."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, redirect_stderr, redirect_stdout
from html import unescape
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import pyotp
import pytest
from fhirclient.client import FHIRClient
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from caretrail import cli
from tests.serving import Served, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

CARETRAIL: Final = Path(sys.executable).parent / "caretrail"
PASSWORD: Final = "correct horse battery"
REDIRECT: Final = "http://127.0.0.1:9/callback"


def command(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, in this process: half of a command's time is Python's start."""
    told, problems, code = StringIO(), StringIO(), 0
    given = ["caretrail", *arguments, "--data", "data"]
    with (
        chdir(folder),
        redirect_stdout(told),
        redirect_stderr(problems),
        pytest.MonkeyPatch.context() as patched,
        # A browser's own loop may run in this thread, and a command begins one.
        ThreadPoolExecutor(1) as other,
    ):
        patched.setattr(sys, "argv", given)
        try:
            other.submit(cli.main).result()
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(given, code, told.getvalue(), problems.getvalue())


class Place:
    """A running server, its folder, and the link that it printed."""

    def __init__(self, served: Served, folder: Path) -> None:
        self.address, self.folder = served.address, folder
        assert served.process.stdout is not None
        lines = iter(served.process.stdout.readline, "")
        self.link = next(line.strip() for line in lines if "/auth/set-up" in line)

    def access(self, *arguments: str, problem: bool = False) -> list[str]:
        """Run a command on the folder that the server works on."""
        done = command("access", *arguments, "--public-url", self.address, folder=self.folder)
        assert (done.returncode != 0) is problem, done.stderr
        return (done.stderr if problem else done.stdout).splitlines()

    def token(self) -> str:
        """Return the token of the data folder, which may read events."""
        return (self.folder / "data" / "token").read_text().strip()

    def events(self, query: str) -> list[dict[str, Any]]:
        headers = {"authorization": f"Bearer {self.token()}"}
        found = httpx.get(f"{self.address}/fhir/AuditEvent?{query}", headers=headers, timeout=60)
        assert found.status_code == 200, found.text
        return [one["resource"] for one in found.json().get("entry", [])]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("served")
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [str(CARETRAIL), "serve", "--port", "0", "--data", "data"]
    with serving(command, folder=folder, environment=environment) as served:
        yield Place(served, folder)


def submit(browser: httpx.Client, page: httpx.Response, **typed: str) -> httpx.Response:
    """Fill in the form of a page; the answer may lead elsewhere."""
    action = re.search(r'<form method="post" action="([^"]+)"', page.text)
    assert action is not None, page.text
    rows = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page.text)
    form = {name: unescape(value) for name, value in rows} | typed
    return follow(browser, browser.post(str(page.url.join(action[1])), data=form))


def follow(browser: httpx.Client, answer: httpx.Response) -> httpx.Response:
    """Follow redirects as long as they stay on the server."""
    while answer.is_redirect:
        target = answer.url.join(answer.headers["location"])
        if str(target).startswith(REDIRECT):
            return answer
        answer = browser.get(str(target))
    return answer


def enrol(browser: httpx.Client, page: httpx.Response) -> str:
    found = re.search(r"<code>([A-Z2-7 ]+)</code>", page.text)
    assert found is not None, page.text
    secret = found[1].replace(" ", "")
    page = submit(browser, page, code=pyotp.TOTP(secret).now())
    assert "Your account" in page.text
    return secret


def test_one_process_is_enough(place: Place) -> None:
    """From the first start to a SMART application that reads whom it is for."""
    with httpx.Client(timeout=60) as admin:
        page = admin.get(place.link)
        page = submit(
            admin, page, name="ada", display="Ada Test", password=PASSWORD, again=PASSWORD
        )
        enrol(admin, page)
    *_, link = place.access(
        "add-user", "pat", "--display", "Pat Test", "--role", "patient", "--patient", "p5"
    )
    with httpx.Client(timeout=60) as browser:
        submit(browser, browser.get(link), password=PASSWORD, again=PASSWORD)
    place.access(
        *("add-client", "viewer", "--name", "Viewer", "--method", "none"),
        *("--grant", "authorization_code", "--grant", "refresh_token"),
        *("--redirect", REDIRECT),
        *("--scope", "launch/patient openid profile offline_access patient/AuditEvent.rs"),
    )
    smart = FHIRClient(
        {
            "app_id": "viewer",
            "api_base": f"{place.address}/fhir",
            "redirect_uri": REDIRECT,
            "scope": "openid profile offline_access patient/AuditEvent.rs",
        }
    )
    with httpx.Client(timeout=60) as browser:
        page = follow(browser, browser.get(smart.authorize_url))
        assert "Viewer asks you to sign in" in page.text
        page = submit(browser, page, name="pat", password=PASSWORD)
        assert "about the patient p5" in page.text
        answer = submit(browser, page, decision="permit")
    smart.handle_callback(answer.headers["location"])
    assert smart.patient_id == "p5"
    claims = verified(place, smart.server.auth.access_token)
    assert claims["patient"] == "p5"
    assert claims["roles"] == ["patient"]
    assert smart.reauthorize()
    assert verified(place, smart.server.auth.access_token)["jti"] != claims["jti"]
    (consent,) = place.events("subtype=AuthZ-Consent")
    assert consent["entity"][0]["what"] == {"reference": "Patient/p5"}
    assert len(place.events("subtype=ITI-71&outcome=0")) == 2
    assert len(place.events("subtype=110122&outcome=0")) == 3


def verified(place: Place, token: str) -> dict[str, Any]:
    """Check a token as a resource server does that knows the issuer alone."""
    base = f"{place.address}/auth"
    found = httpx.get(f"{base}/.well-known/openid-configuration", timeout=60).json()
    assert found["issuer"] == base
    keys = KeySet.import_key_set(httpx.get(found["jwks_uri"], timeout=60).json())
    checked = jwt.decode(token, keys, algorithms=["RS256"])
    wanted = {"essential": True, "value": f"{place.address}/fhir"}
    jwt.JWTClaimsRegistry(aud=wanted, iss={"essential": True, "value": base}).validate(
        checked.claims
    )
    return dict(checked.claims)


def test_a_backend_service_gets_its_token(place: Place) -> None:
    key = ECKey.generate_key("P-384", auto_kid=True)
    file = place.folder / "keys.json"
    file.write_text(json.dumps(KeySet([key]).as_dict(private=False)))
    place.access(
        *("add-client", "feeder", "--name", "Feeder", "--grant", "client_credentials"),
        *("--keys", str(file), "--scope", "system/AuditEvent.c", "--role", "source"),
    )
    smart = httpx.get(f"{place.address}/fhir/.well-known/smart-configuration", timeout=60).json()
    claims = {
        "iss": "feeder",
        "sub": "feeder",
        "aud": smart["token_endpoint"],
        "jti": secrets.token_urlsafe(),
        "exp": int(time.time()) + 240,
    }
    header = {"alg": "ES384", "kid": key.kid}
    form = {
        "grant_type": "client_credentials",
        "scope": "system/AuditEvent.c",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": jwt.encode(header, claims, key, algorithms=["ES384"]),
    }
    answer = httpx.post(smart["token_endpoint"], data=form, timeout=60)
    assert answer.status_code == 200, answer.text
    assert verified(place, answer.json()["access_token"])["roles"] == ["source"]


def test_a_wrong_change_is_one_clear_line(place: Place) -> None:
    for arguments, wanted in (
        (("disable-user", "nobody"), "there is no user of this name"),
        (("add-user", "x y", "--display", "X"), "a user name has"),
        (("add-user", "x", "--display", "X", "--role", "king"), "roles are: administrator"),
        (
            ("add-user", "x", "--display", "X", "--role", "administrator", "--role", "auditor"),
            "an administrator reads no events",
        ),
        (("add-user", "x", "--display", "X", "--role", "patient"), "needs the id of a Patient"),
        (("reset-client", "nobody"), "there is no client of this id"),
    ):
        (line,) = place.access(*arguments, problem=True)
        assert line.startswith("caretrail: ")
        assert wanted in line


def test_the_capability_statement_says_where_to_sign_in(place: Place) -> None:
    found = httpx.get(f"{place.address}/fhir/metadata", timeout=60).json()
    security = found["rest"][0]["security"]
    assert security["service"][0]["coding"][0]["code"] == "SMART-on-FHIR"
    uris = {row["url"]: row["valueUri"] for row in security["extension"][0]["extension"]}
    assert uris["token"] == f"{place.address}/auth/token"


def test_an_unknown_address_under_auth_is_not_found(place: Place) -> None:
    assert httpx.get(f"{place.address}/auth/nothing", timeout=60).status_code == 404
    assert httpx.get(f"{place.address}/authority", timeout=60).status_code == 401


def test_changes_are_made_without_a_server_too(tmp_path: Path) -> None:
    def access(*arguments: str) -> subprocess.CompletedProcess[str]:
        return command("access", *arguments, folder=tmp_path)

    missing = access("users")
    assert missing.returncode == 2
    assert "there is no data folder" in missing.stderr
    (tmp_path / "data").mkdir(mode=0o700)
    added = access("add-user", "ada", "--display", "Ada Test", "--role", "administrator")
    assert added.returncode == 0, added.stderr
    assert "/auth/set-up?invitation=" in added.stdout
    assert access("users").stdout == "ada: Ada Test (administrator)\n"
    wrong = access("set-roles", "ada", "--role", "administrator", "--role", "auditor")
    assert wrong.returncode == 1
    assert access("rotate-keys").returncode == 0
