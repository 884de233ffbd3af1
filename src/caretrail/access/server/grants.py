"""The grants of OAuth 2.0 by Authlib: code with PKCE, refresh with rotation, client credentials.

A server of Authlib's lives for one act: it looks nothing up but in the act's transaction, and what
it answers and refuses is told as an event.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from authlib.oauth2.rfc6749 import AuthorizationServer, OAuth2Request
from authlib.oauth2.rfc6749.errors import InvalidRequestError, InvalidScopeError, OAuth2Error
from authlib.oauth2.rfc6749.grants import (
    AuthorizationCodeGrant,
    ClientCredentialsGrant,
    RefreshTokenGrant,
)
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc9207.parameter import IssuerParameter

from caretrail.access.server import clients, granting, override, people, tokens
from caretrail.access.server.assertions import METHOD, Assertion
from caretrail.access.server.store import hashed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from caretrail.access.server.clients import Client
    from caretrail.access.server.desk import Desk
    from caretrail.access.server.events import Seen
    from caretrail.access.server.people import Person
    from caretrail.access.server.store import Act
    from caretrail.access.server.tokens import Consent, Token

# It logs tokens where somebody asks for every detail.
logging.getLogger("authlib").setLevel(logging.WARNING)

_METHODS: Final = [METHOD, "client_secret_basic", "client_secret_post", "none"]
_CODE_SECONDS: Final = 60
CHALLENGE_METHOD: Final = "S256"


class Asked(OAuth2Request):  # type: ignore[misc]  # Authlib says nothing of its types.
    """A request, read strictly: each parameter once."""

    def __init__(self, method: str, parameters: Mapping[str, str], authorization: str = "") -> None:
        # Which addresses may be reached without encryption is for `desk.base_of` to say.
        super().__init__(method, "https://localhost", headers={"Authorization": authorization})
        self._parameters = dict(parameters)
        self.payload = BasicOAuth2Payload(self._parameters)

    @property
    def form(self) -> dict[str, str]:
        """Return the parameters of a form."""
        return self._parameters

    @property
    def args(self) -> dict[str, str]:
        """Return the parameters of an address."""
        return self._parameters


class Answer:
    """An answer of Authlib's; `location` may be added to (RFC 9207)."""

    def __init__(self, status: int, body: Any, headers: list[tuple[str, str]]) -> None:
        self.status, self.body = status, body
        self.headers = dict(headers)

    @property
    def location(self) -> str:
        """Return where a browser is sent, or ""."""
        return self.headers.get("Location", "")

    @location.setter
    def location(self, value: str) -> None:
        self.headers["Location"] = value


class Decision(NamedTuple):
    """What a person decided about a request: where, for which patient, signed in since when."""

    id: str
    session: bytes
    patient: str
    signed_in: int


class Issuer(IssuerParameter):  # type: ignore[misc]  # As above.
    """Names the server in every answer that goes through a browser (RFC 9207, 2)."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer

    def get_issuer(self) -> str:
        """Return the issuer."""
        return self._issuer


class Server(AuthorizationServer):  # type: ignore[misc]  # As above.
    """Authlib's server, for one act."""

    def __init__(self, act: Act, desk: Desk, seen: Seen) -> None:
        super().__init__()
        self.act, self.desk, self.seen = act, desk, seen
        self.consent: Consent | None = None
        self.decision: Decision | None = None
        self.claims: dict[str, Any] = {}
        self.issuer = Issuer(desk.rules.issuer)
        self.register_grant(CodeGrant, [Challenge(), SmartRequest()])
        self.register_grant(RefreshGrant)
        self.register_grant(ClientGrant)
        self.register_client_auth_method(METHOD, Assertion(act, desk))

    def query_client(self, client_id: str) -> Client | None:
        """Return a client that is active."""
        return clients.active(self.act, client_id)

    def generate_token(
        self, *, client: Client, user: Person | None = None, scope: str = "", **_: Any
    ) -> dict[str, Any]:
        """Make the tokens of an answer."""
        consent = self.consent
        is_emergency = consent is not None and override.covers(
            self.act, consent.person, consent.patient
        )
        issued = tokens.issue(
            self.act,
            self.desk,
            client,
            scope=scope,
            person=user,
            consent=consent,
            purposes=(override.PURPOSE,) if is_emergency else (),
        )
        self.claims = issued.claims
        return issued.answer

    def save_token(self, token: dict[str, Any], request: Asked) -> None:  # noqa: ARG002
        """Tell that tokens were issued; they are kept already."""
        made = self.desk.events.token_issued(
            self.seen, request.client, request.user, request.form, claims=self.claims
        )
        self.act.note(made)

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Authlib tells of itself; nobody listens."""

    def create_oauth2_request(self, request: Asked) -> Asked:
        """Return the request, which is one already."""
        return request

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> Answer:
        """Return the answer."""
        return Answer(status, body, headers)

    def handle_error_response(self, request: Asked, error: OAuth2Error) -> Answer:
        """Return a refusal that does not tell what exactly was wrong with a client's proof."""
        if error.error == "invalid_client":
            error.description = "the client is not known here, or did not prove who it is"
        answer: Answer = super().handle_error_response(request, error)
        if answer.location:
            self.issuer.add_issuer_parameter(self, answer)
        return answer

    def token(self, request: Asked) -> Answer:
        """Answer a request for tokens; a refusal is an event, too."""
        answer: Answer = self.create_token_response(request)
        if answer.status >= 400:
            self.refused(request, dict(answer.body).get("error", "invalid_request"))
        return answer

    def endpoint(self, name: str, request: Asked, *, address: str) -> Answer:
        """Answer a request to another endpoint, which is at this address."""
        answer: Answer = self.create_endpoint_response(name, request)
        if answer.status >= 400:
            reason = dict(answer.body).get("error", "invalid_request")
            self.refused(request, reason, endpoint=address)
        return answer

    def refused(self, request: Asked, reason: str, *, endpoint: str = "token") -> None:
        """Tell that a client was refused; its id is as it says, unless it is known."""
        said = request.client.id if request.client is not None else request.form.get("client_id")
        made = self.desk.events.token_refused(
            self.seen, said, request.user, request.form, reason=reason, endpoint=endpoint
        )
        self.act.note(made)

    def steal(self, consent: Consent, client: str, *, reason: str) -> None:
        """End a family, of which somebody has shown a part a second time."""
        ended = tokens.revoke(self.act, self.desk, consents=(consent.id,))
        person = people.get(self.act, consent.person)
        made = self.desk.events.token_revoked(
            self.seen, client, person, tokens=ended or [consent.id], reason=reason, outcome="4"
        )
        self.act.note(made)


class Code(NamedTuple):
    """An authorization code, as Authlib asks for it."""

    hash: bytes
    consent: Consent
    redirect_uri: str
    code_challenge: str
    code_challenge_method: str = CHALLENGE_METHOD

    def get_redirect_uri(self) -> str:
        """Return where the code was sent."""
        return self.redirect_uri

    def get_scope(self) -> str:
        """Return what the person agreed to."""
        return self.consent.scope


class Challenge(CodeChallenge):  # type: ignore[misc]  # As above.
    """PKCE by SHA-256 alone (RFC 7636; RFC 9700, 2.1.1)."""

    SUPPORTED_CODE_CHALLENGE_METHOD = [CHALLENGE_METHOD]  # noqa: RUF012  (Authlib's own way)

    def validate_code_challenge(self, grant: CodeGrant, redirect_uri: str) -> None:
        """Ask every client for a challenge, also those that have a secret."""
        data = grant.request.payload.data
        if not data.get("code_challenge") or data.get("code_challenge_method") != CHALLENGE_METHOD:
            raise InvalidRequestError("PKCE is needed: code_challenge_method S256")
        super().validate_code_challenge(grant, redirect_uri)


class SmartRequest:
    """What SMART App Launch 2 asks of an authorization request beside OAuth."""

    def __call__(self, grant: CodeGrant) -> None:
        """Have the request looked at once Authlib has found it good."""
        grant.register_hook("after_validate_authorization_request_payload", self.check)

    def check(self, grant: CodeGrant, redirect_uri: str) -> None:  # noqa: ARG002
        """Raise InvalidRequestError or InvalidScopeError."""
        request, server = grant.request, grant.server
        data = request.payload.data
        if data.get("aud", "").rstrip("/") != server.desk.rules.audience:
            raise InvalidRequestError("aud is not the FHIR base of this server")
        if not data.get("state"):
            raise InvalidRequestError("state is needed")
        scope = granting.of_context(request.scope, "patient", "user")
        if not scope:
            raise InvalidScopeError
        if granting.LAUNCH in scope.split() and launch_of(server.act, request) is None:
            raise InvalidRequestError("the launch is not known here, or over")
        request.scope = scope


def launch_of(act: Act, request: Asked) -> str | None:
    """Return the patient whom an EHR launched the client for, or None."""
    row = act.one(
        "SELECT patient FROM launch WHERE hash = ? AND client = ? AND expires >= ?",
        *(hashed(request.payload.data.get("launch", "")), request.payload.client_id, act.now),
    )
    return str(row["patient"]) if row is not None else None


class CodeGrant(AuthorizationCodeGrant):  # type: ignore[misc]  # As above.
    """Authorization code: good once, for one client, for a minute (RFC 6749, 4.1; RFC 9700)."""

    TOKEN_ENDPOINT_AUTH_METHODS = _METHODS

    def save_authorization_code(self, code: str, request: Asked) -> None:
        """Keep the code's hash, and what the person agreed to."""
        server: Server = self.server
        act, decision = server.act, server.decision
        assert decision is not None
        consent = tokens.Consent(
            id=decision.id,
            client=request.client.id,
            person=request.user.id,
            session=decision.session,
            scope=request.scope,
            patient=decision.patient,
            given=act.now,
            signed_in=decision.signed_in,
            nonce=request.payload.data.get("nonce", ""),
            revoked=False,
        )
        tokens.keep_consent(act, consent)
        act.do(
            "INSERT INTO code (hash, consent, redirect_uri, challenge, expires)"
            " VALUES (?, ?, ?, ?, ?)",
            *(hashed(code), consent.id, request.payload.redirect_uri),
            *(request.payload.data["code_challenge"], act.now + _CODE_SECONDS),
        )

    def generate_authorization_code(self) -> str:
        """Return a code that nobody can guess."""
        return secrets.token_urlsafe(32)

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        """Return the code, if it is good and this client's; a used one ends its family."""
        server: Server = self.server
        row = server.act.one("SELECT * FROM code WHERE hash = ?", hashed(code))
        consent = tokens.consent_of(server.act, row["consent"]) if row is not None else None
        if row is None or consent is None or consent.client != client.id:
            return None
        if row["used"]:
            server.steal(consent, client.id, reason="an authorization code was used twice")
            return None
        if row["expires"] < server.act.now or consent.revoked:
            return None
        server.consent = consent
        return Code(row["hash"], consent, row["redirect_uri"], row["challenge"])

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """Let the code be used; it is kept a while, to know it should it come again."""
        act = self.server.act
        again = act.now + self.server.desk.rules.refresh_seconds
        act.do(
            "UPDATE code SET used = 1, expires = ? WHERE hash = ?", again, authorization_code.hash
        )

    def authenticate_user(self, authorization_code: Code) -> Person | None:
        """Return the person, unless the account was closed meanwhile."""
        return tokens.person_of(self.server.act, authorization_code.consent)


class RefreshGrant(RefreshTokenGrant):  # type: ignore[misc]  # As above.
    """Refresh: each token is good once; a second use ends the family (RFC 9700, 4.14.2)."""

    TOKEN_ENDPOINT_AUTH_METHODS = _METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> Token | None:
        """Return the token, if it is good and this client's."""
        server: Server = self.server
        token = tokens.look(server.act, server.desk, refresh_token)
        if token is None or token.kind != tokens.REFRESH_TOKEN or token.consent is None:
            return None
        if not token.check_client(self.request.client):
            return None
        if token.revoked and not token.consent.revoked:
            server.steal(token.consent, token.client, reason="a refresh token was used twice")
            return None
        if token.is_revoked() or token.is_expired():
            return None
        server.consent = token.consent
        return token

    def authenticate_user(self, refresh_token: Token) -> Person | None:
        """Return the person, unless the account was closed meanwhile."""
        assert refresh_token.consent is not None
        return tokens.person_of(self.server.act, refresh_token.consent)

    def revoke_old_credential(self, refresh_token: Token) -> None:  # noqa: ARG002
        """Let the old token be used; the new one is kept already."""
        used = hashed(self.request.form["refresh_token"])
        self.server.act.do("UPDATE refresh SET used = 1 WHERE hash = ?", used)


class ClientGrant(ClientCredentialsGrant):  # type: ignore[misc]  # As above.
    """Client credentials: the client acts for itself (RFC 6749, 4.4; SMART Backend Services)."""

    TOKEN_ENDPOINT_AUTH_METHODS = _METHODS[:-1]

    def validate_requested_scope(self) -> None:
        """Grant what is the client's own of what it asks for; raises InvalidScopeError."""
        client: Client = self.request.client
        allowed = client.get_allowed_scope(self.request.payload.scope or "") or ""
        words = [word for word in allowed.split() if word.startswith("system/")]
        if not words:
            raise InvalidScopeError
        self.request.scope = " ".join(words)

    def create_token_response(self) -> tuple[int, dict[str, Any], Any]:
        """Issue an access token, and no refresh token."""
        token = self.generate_token(scope=self.request.scope, include_refresh_token=False)
        self.save_token(token)
        return 200, token, self.TOKEN_RESPONSE_HEADER
