"""What clients ask about tokens: revocation (RFC 7009), introspection (RFC 7662), end of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oidc.rpinitiated import EndSessionEndpoint

from caretrail.access.server import clients, people, tokens
from caretrail.access.server.assertions import METHOD
from caretrail.access.server.keys import ALGORITHM

if TYPE_CHECKING:
    from caretrail.access.server.clients import Client
    from caretrail.access.server.grants import Asked, Server
    from caretrail.access.server.tokens import Token

REVOCATION: Final = "revocation"
INTROSPECTION: Final = "introspection"
END_SESSION: Final = "end_session"
CONFIDENTIAL: Final = [METHOD, "client_secret_basic", "client_secret_post"]
# Of an access token; a client that holds it could read them itself.
_TOLD: Final = (
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "jti",
    "roles",
    "organisation",
    "patient",
    "name",
)


class Revocation(RevocationEndpoint):  # type: ignore[misc]  # Authlib says nothing of its types.
    """A client gives a token back: an access token alone, a refresh token with its family."""

    CLIENT_AUTH_METHODS = [*CONFIDENTIAL, "none"]  # noqa: RUF012  (Authlib's own way)
    server: Server

    def query_token(self, token_string: str, token_type_hint: str | None) -> Token | None:  # noqa: ARG002
        """Return the token, whatever the hint says."""
        return tokens.look(self.server.act, self.server.desk, token_string)

    def revoke_token(self, token: Token, request: Asked) -> None:
        """Let the token be good no longer, and tell so."""
        server = self.server
        if token.kind == tokens.ACCESS_TOKEN:
            ended = tokens.revoke(server.act, server.desk, jti=token.jti)
        else:
            assert token.consent is not None
            ended = tokens.revoke(server.act, server.desk, consents=(token.consent.id,))
            ended = ended or [token.consent.id]
        if not ended:
            return
        person = people.get(server.act, token.consent.person) if token.consent else None
        made = server.desk.events.token_revoked(
            server.seen, request.client.id, person, tokens=ended, reason="the client asked for it"
        )
        server.act.note(made)


class Introspection(IntrospectionEndpoint):  # type: ignore[misc]  # As above.
    """A resource server asks whether a token is good; a client may ask about its own."""

    CLIENT_AUTH_METHODS = CONFIDENTIAL
    server: Server

    def query_token(self, token_string: str, token_type_hint: str | None) -> Token | None:  # noqa: ARG002
        """Return the token, whatever the hint says."""
        return tokens.look(self.server.act, self.server.desk, token_string)

    def check_permission(self, token: Token, client: Client, request: Asked) -> bool:
        """Tell whether the client may know; the asking is told either way."""
        may = token.check_client(client) or clients.INTROSPECT in client.grants
        good = may and not token.is_expired() and not token.is_revoked()
        server = self.server
        server.act.note(
            server.desk.events.introspected(
                server.seen, request.client, token.claims if good else None
            )
        )
        return may

    def introspect_token(self, token: Token) -> dict[str, Any]:
        """Return what is told of a token that is good."""
        told = {name: token.claims[name] for name in _TOLD if name in token.claims}
        kind = "Bearer" if token.kind == tokens.ACCESS_TOKEN else token.kind
        own = {"active": True, "client_id": token.client, "scope": token.get_scope()}
        return {"exp": token.expires, **told, **own, "token_type": kind}


class EndSession(EndSessionEndpoint):  # type: ignore[misc]  # As above.
    """Checks a request to sign out (OpenID Connect RP-Initiated Logout); the pages do the rest."""

    server: Server

    def get_server_jwks(self) -> dict[str, Any]:
        """Return the keys that have signed id tokens."""
        return self.server.desk.keys.public()

    def get_algorithms(self) -> list[str]:
        """Return the one algorithm of our own."""
        return [ALGORITHM]


def register(server: Server) -> Server:
    """Give a server of Authlib's these endpoints."""
    for endpoint in (Revocation, Introspection, EndSession):
        server.register_endpoint(endpoint)
    return server
