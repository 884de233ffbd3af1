"""The console as a Relying Party, against the real authorization server, and against what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from caretrail.access.relying_party import Begun, RelyingParty, Tokens
from caretrail.errors import ConfigurationError, UnauthenticatedError, UnavailableError
from tests.access.server.office import APP, HERE, Account, Office

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENT = "caretrail-console"
SCOPE = "openid profile fhirUser online_access user/AuditEvent.rs"


class Desk:
    """An office whose auditor signs in to a console."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.otto = office.add_user("otto", "auditor")
        self.run = office.runner.run
        self.party = self.made()

    def made(self, **other: Any) -> RelyingParty:
        server = self.office.server

        async def prepare() -> None:
            await server.register_console(CLIENT, redirect_uri=APP, after=f"{APP}/out", scope=SCOPE)

        wanted = {
            "redirect_uri": APP,
            "after": f"{APP}/out",
            "audience": self.office.rules.audience,
            "application": server.application,
            "jwks": server.jwks,
            "prepare": prepare,
            "present": server.note_presence,
            "clock": lambda: self.office.now,
        }
        return RelyingParty(self.office.rules.issuer, CLIENT, **wanted | other)

    def permitted(self, account: Account | None = None) -> tuple[Begun, dict[str, str]]:
        """Return a sign-in that is under way, and the issuer's answer to it."""
        begun = self.run(self.party.begin(SCOPE))
        browser = self.office.browser()
        browser.open(begun.address)
        browser.sign_in(account or self.otto)
        browser.submit(decision="permit")
        return begun, browser.answer()

    def tokens(self) -> Tokens:
        begun, answer = self.permitted()
        return self.run(self.party.finish(begun, answer))


@pytest.fixture
def desk(office: Office) -> Iterator[Desk]:
    made = Desk(office)
    yield made
    office.runner.run(made.party.close())


def test_a_person_signs_in_by_code_and_pkce(desk: Desk) -> None:
    begun, answer = desk.permitted()
    asked = {name: value for name, (value,) in parse_qs(urlsplit(begun.address).query).items()}
    assert asked["code_challenge_method"] == "S256"
    assert begun.verifier not in begun.address
    tokens = desk.run(desk.party.finish(begun, answer))
    claims = desk.office.claims(tokens.access)
    assert (claims["client_id"], claims["name"]) == (CLIENT, "Otto Test")
    assert claims["roles"] == ["auditor"]


def test_the_client_is_registered_at_the_first_sign_in_and_told(desk: Desk) -> None:
    assert not any(CLIENT in line for line in desk.office.change("clients"))
    desk.office.told.clear()
    desk.run(desk.party.begin(SCOPE))
    assert len(desk.office.told) == 1
    desk.run(desk.party.begin(SCOPE))
    # Another start of the server changes nothing, and another address is told.
    desk.run(desk.made().begin(SCOPE))
    assert len(desk.office.told) == 1
    moved = f"{APP}/moved"
    desk.run(
        desk.office.server.register_console(
            CLIENT, redirect_uri=moved, after=f"{APP}/out", scope=SCOPE
        )
    )
    assert len(desk.office.told) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "other"},
        {"state": ""},
        {"iss": "https://evil.example/auth"},
        {"code": "other"},
        {"error": "access_denied", "code": None},
    ],
)
def test_an_answer_that_does_not_fit_signs_nobody_in(desk: Desk, wrong: dict[str, Any]) -> None:
    """Cross-site requests and mix-up (RFC 9700, 4.4 and 4.7)."""
    begun, answer = desk.permitted()
    changed = {name: value for name, value in (answer | wrong).items() if value is not None}
    with pytest.raises(UnauthenticatedError):
        desk.run(desk.party.finish(begun, changed))


def test_a_code_is_good_once_and_for_its_own_sign_in(desk: Desk) -> None:
    begun, answer = desk.permitted()
    other, _ = desk.permitted()
    # The code of another browser, put under this one's state: PKCE tells.
    with pytest.raises(UnauthenticatedError):
        desk.run(desk.party.finish(other, answer | {"state": other.state}))
    begun, answer = desk.permitted()
    desk.run(desk.party.finish(begun, answer))
    with pytest.raises(UnauthenticatedError):
        desk.run(desk.party.finish(begun, answer))


def test_an_identity_of_another_sign_in_is_refused(desk: Desk) -> None:
    begun, answer = desk.permitted()
    with pytest.raises(UnauthenticatedError, match="identity"):
        desk.run(desk.party.finish(begun._replace(nonce="other"), answer))


def test_tokens_are_renewed_before_they_end_and_for_as_long_as_somebody_is_there(
    desk: Desk,
) -> None:
    tokens = desk.tokens()
    assert not tokens.is_due(desk.office.now)
    for _ in range(8):
        desk.office.now += 290
        assert tokens.is_due(desk.office.now)
        desk.run(desk.party.tell_presence(tokens))
        desk.run(desk.office.server.sweep())
        renewed = desk.run(desk.party.renewed(tokens))
        assert renewed.access != tokens.access
        assert renewed.refresh != tokens.refresh
        tokens = renewed
    # Half an hour of silence ends the session at the issuer, and with it what it gave.
    desk.office.now += 30 * 60
    desk.run(desk.office.server.sweep())
    with pytest.raises(UnauthenticatedError):
        desk.run(desk.party.renewed(tokens))
    with pytest.raises(UnauthenticatedError):
        desk.run(desk.party.renewed(tokens._replace(refresh="")))


def test_a_sign_out_ends_the_session_at_the_issuer(desk: Desk) -> None:
    begun = desk.run(desk.party.begin(SCOPE))
    browser = desk.office.browser()
    browser.open(begun.address)
    browser.sign_in(desk.otto)
    browser.submit(decision="permit")
    tokens = desk.run(desk.party.finish(begun, browser.answer()))
    browser.open(desk.run(desk.party.end_address(tokens)))
    assert browser.url == f"{APP}/out"
    with pytest.raises(UnauthenticatedError):
        desk.run(desk.party.renewed(tokens))


def test_an_issuer_that_speaks_for_another_is_not_asked(desk: Desk) -> None:
    class Other:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            body = b'{"issuer":"https://evil.example"}'
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})

    party = desk.made(application=Other())
    with pytest.raises(UnavailableError, match="another"):
        desk.run(party.begin(SCOPE))


def test_an_issuer_that_cannot_be_asked_is_a_problem_of_now(desk: Desk) -> None:
    class Broken:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            raise httpx.ConnectError("refused")

    with pytest.raises(UnavailableError):
        desk.run(desk.made(application=Broken()).begin(SCOPE))


def test_an_issuer_is_asked_by_https_alone() -> None:
    for issuer in ("http://id.example", "https://me:secret@id.example"):
        with pytest.raises(ConfigurationError):
            RelyingParty(issuer, CLIENT, redirect_uri=APP, after=APP, audience=f"{HERE}/fhir")
