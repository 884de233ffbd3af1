"""An authorization server with a real log behind it, a clock to turn, and browsers that click."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import re
import secrets
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, urlsplit

import httpx
import pyotp
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from caretrail.access.server.application import AuthorizationServer
from caretrail.access.server.desk import Rules
from caretrail.repository import Repository
from caretrail.storage.sqlite import SqliteStorage

if TYPE_CHECKING:
    from pathlib import Path

HERE = "http://127.0.0.1:8080"
SECURE = "https://caretrail.example"
PASSWORD = "correct horse battery"
APP = "https://app.example/callback"
SCOPE = "launch/patient openid profile fhirUser offline_access patient/AuditEvent.rs"
START = 1_790_000_000


class Office:
    """A server in this process; everything but the socket is the real thing."""

    def __init__(self, folder: Path, *, base: str = HERE, **rules: Any) -> None:
        self.now = float(START)
        self.folder, self.base = folder, base
        self.told: list[dict[str, Any]] = []
        self.runner = asyncio.Runner()
        self.rules = Rules(base=base, **rules)
        self.open()

    def open(self) -> None:
        self.repository = Repository(SqliteStorage(self.folder), clock=lambda: self.now)
        self.runner.run(self._open())

    async def _open(self) -> None:
        async def record(event: dict[str, Any]) -> None:
            await self.repository.record_own(event)
            self.told.append(event)

        self.server = AuthorizationServer(
            self.folder,
            self.rules,
            record=record,
            origin=self.repository.origin,
            organisation="Synthetic Hospital",
            clock=lambda: self.now,
        )

    def close(self) -> None:
        self.runner.run(self.server.close())
        self.runner.run(self.repository.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self.runner.close()

    def change(self, change: str, **given: Any) -> list[str]:
        return self.runner.run(self.server.change({"change": change, "by": "root", **given}))

    def subtypes(self) -> list[tuple[str, str, str]]:
        """Return type, subtype and outcome of what was told."""
        return [
            (one["type"]["code"], one["subtype"][0]["code"], one["outcome"]) for one in self.told
        ]

    def browser(self) -> Browser:
        return Browser(self)

    # People and applications.

    def add_user(self, name: str, *roles: str, totp: bool = False, **given: Any) -> Account:
        """Add a user who has set a password, and perhaps a second factor."""
        lines = self.change(
            "add-user", name=name, display=f"{name.title()} Test", roles=roles, **given
        )
        browser = self.browser()
        browser.open(lines[-1])
        browser.submit(password=PASSWORD, again=PASSWORD)
        account = Account(name, PASSWORD, "")
        if "second-factor" in browser.url:
            account = Account(name, PASSWORD, browser.enrol())
        elif totp:
            browser.open("/auth/second-factor/set-up")
            account = Account(name, PASSWORD, browser.enrol())
        browser.sign_out()
        self.told.clear()
        return account

    def add_app(self, client_id: str = "app", **given: Any) -> str:
        """Register an application that acts for people; return its secret, "" of a public one."""
        wanted = {
            "id": client_id,
            "name": "Chart Viewer",
            "method": "none",
            "grants": ["authorization_code", "refresh_token"],
            "scope": SCOPE + " launch user/AuditEvent.rs",
            "redirect_uris": [APP],
        }
        lines = self.change("add-client", **wanted | given)
        self.told.clear()
        return lines[-1] if len(lines) > 1 else ""

    def add_service(self, key: ECKey | RSAKey, client_id: str = "feeder") -> None:
        """Register a backend service with its public key."""
        keys = KeySet([key]).as_dict(private=False)
        self.change(
            "add-client",
            id=client_id,
            name="Feeder",
            method="private_key_jwt",
            grants=["client_credentials"],
            scope="system/AuditEvent.c",
            jwks=_json(keys),
            roles=["source"],
            organisation="Ward 7",
        )
        self.told.clear()

    # Programs.

    def post(self, path: str, **form: str) -> httpx.Response:
        """Post a form as a program does; `auth` is by HTTP Basic."""
        auth, address = form.pop("auth", None), form.pop("from_address", "127.0.0.1")

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.server.application, client=(address, 1))
            async with httpx.AsyncClient(transport=transport, base_url=self.base) as client:
                pair = tuple(auth.split(":")) if auth else None
                return await client.post(f"/auth/{path}", data=form, auth=pair)

        return self.runner.run(send())

    def get(self, path: str) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.server.application)
            async with httpx.AsyncClient(transport=transport, base_url=self.base) as client:
                return await client.get(path)

        return self.runner.run(send())

    def claims(self, token: str, *, kind: str = "at+jwt") -> dict[str, Any]:
        """Check a token by the keys that are shown, as a resource server does."""
        keys = KeySet.import_key_set(self.get("/auth/jwks").json())
        found = jwt.decode(token, keys, algorithms=["RS256"])
        assert found.header["typ"] == kind
        return dict(found.claims)

    def assertion(self, key: ECKey | RSAKey, client_id: str = "feeder", **claims: Any) -> str:
        alg = claims.pop("alg", "ES384" if isinstance(key, ECKey) else "RS384")
        wanted = {
            "iss": client_id,
            "sub": client_id,
            "aud": f"{self.rules.issuer}/token",
            "jti": secrets.token_urlsafe(8),
            "exp": int(self.now) + 240,
        }
        header = {"alg": alg, "kid": key.kid}
        return jwt.encode(header, wanted | claims, key, algorithms=[alg])

    def client_token(self, assertion: str, scope: str = "system/AuditEvent.c") -> httpx.Response:
        return self.post(
            "token",
            grant_type="client_credentials",
            scope=scope,
            client_assertion_type="urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            client_assertion=assertion,
        )

    def code_token(self, code: str, verifier: str, **other: str) -> httpx.Response:
        wanted = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": APP,
            "client_id": "app",
        }
        return self.post("token", **wanted | other)

    def refresh(self, token: str, **other: str) -> httpx.Response:
        wanted = {"grant_type": "refresh_token", "refresh_token": token, "client_id": "app"}
        return self.post("token", **wanted | other)


class Account:
    """What a person knows and has."""

    def __init__(self, name: str, password: str, totp: str) -> None:
        self.name, self.password, self.totp = name, password, totp

    def code(self, now: float) -> str:
        return pyotp.TOTP(self.totp).at(int(now))


class Flow:
    """An authorization request of an application, and what it holds to prove itself."""

    def __init__(self, office: Office, **other: str | None) -> None:
        self.verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(self.verifier.encode()).digest()
        wanted = {
            "response_type": "code",
            "client_id": "app",
            "redirect_uri": APP,
            "scope": SCOPE,
            "state": "state-1",
            "aud": office.rules.audience,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        asked = {name: value for name, value in (wanted | other).items() if value is not None}
        self.url = f"/auth/authorize?{httpx.QueryParams(asked)}"


class Browser:
    """Follows links within the server, keeps cookies, and fills in forms; no script runs."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.cookies = httpx.Cookies()
        self.url, self.text, self.status = "", "", 0
        self.response: httpx.Response

    def request(self, method: str, url: str, **rest: Any) -> httpx.Response:
        """Ask once, without following."""

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.office.server.application)
            async with httpx.AsyncClient(
                transport=transport, base_url=self.office.base, cookies=self.cookies
            ) as client:
                response = await client.request(method, url, **rest)
                self.cookies = client.cookies
                return response

        response = self.office.runner.run(send())
        self.response, self.url = response, str(response.url)
        self.text, self.status = response.text, response.status_code
        return response

    def follow(self, response: httpx.Response) -> None:
        """Follow redirects as long as they stay here."""
        while response.is_redirect:
            target = str(response.url.join(response.headers["location"]))
            if not target.startswith(self.office.base):
                self.url = target
                return
            response = self.request("GET", target)

    def open(self, url: str) -> None:
        self.follow(self.request("GET", url))

    def fields(self) -> dict[str, str]:
        """Return the hidden fields of the page's form."""
        rows = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', self.text)
        return {name: html.unescape(value) for name, value in rows}

    def submit(self, **typed: str) -> None:
        """Fill in the page's form."""
        found = re.search(r'<form method="post" action="([^"]+)"', self.text)
        assert found is not None, self.text
        self.follow(self.request("POST", found[1], data=self.fields() | typed))

    def sign_in(self, account: Account) -> None:
        """Sign in on the page that is open."""
        if "sign-in" not in self.url:
            self.open("/auth/sign-in")
        self.submit(name=account.name, password=account.password)
        if account.totp:
            # A code is good once.
            self.office.now += 30
            self.submit(code=account.code(self.office.now))

    def enrol(self) -> str:
        """Set up the second factor that the page shows; return its secret."""
        found = re.search(r"<code>([A-Z2-7 ]+)</code>", self.text)
        assert found is not None, self.text
        secret = found[1].replace(" ", "")
        self.submit(code=pyotp.TOTP(secret).at(int(self.office.now)))
        return secret

    def sign_out(self) -> None:
        self.open("/auth/sign-out")
        self.submit()

    def answer(self) -> dict[str, str]:
        """Return what the application was told at its address."""
        return dict(parse_qsl(urlsplit(self.url).query))

    def permit(self, account: Account, flow: Flow, *, patient: str = "p1") -> dict[str, str]:
        """Sign in for an application, permit, and return what the application was told."""
        self.open(flow.url)
        if "sign-in" in self.url:
            self.sign_in(account)
        self.submit(decision="permit", **({"patient": patient} if "patient" in self.text else {}))
        return self.answer()


def _json(value: Any) -> str:
    import json

    return json.dumps(value)
