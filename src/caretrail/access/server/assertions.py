"""A client proves who it is by a JWT that it has signed (RFC 7523; SMART Backend Services)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from authlib.oauth2.rfc6749.errors import InvalidClientError
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from joserfc import jwt
from joserfc.errors import JoseError

from caretrail.access.server import clients

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

    from caretrail.access.server.clients import Client
    from caretrail.access.server.desk import Desk
    from caretrail.access.server.store import Act

METHOD: Final = "private_key_jwt"
# SMART App Launch 2: these two, and an assertion is valid for at most five minutes.
ALGORITHMS: Final = ("RS384", "ES384")
_SECONDS_MAX: Final = 300
_LEEWAY_SECONDS: Final = 60
_JTI_CHARACTERS_MAX: Final = 256


class Assertion(JWTBearerClientAssertion):  # type: ignore[misc]  # Authlib says nothing of its types.
    """Authlib's authentication by assertion, with SMART's algorithms and a memory of what was used."""

    CLIENT_AUTH_METHOD = METHOD

    def __init__(self, act: Act, desk: Desk) -> None:
        super().__init__(leeway=_LEEWAY_SECONDS)
        self._act, self._desk = act, desk

    def get_audiences(self) -> list[str]:
        """Return the address of the token endpoint."""
        return [f"{self._desk.rules.issuer}/token"]

    def resolve_client_public_key(self, client: Client) -> KeySet:
        """Return the keys that the client has registered."""
        found = clients.keys(client)
        if found is None:
            raise InvalidClientError
        return found

    def process_assertion_claims(self, assertion: str, resolve_key: KeySet) -> dict[str, Any]:
        """Check signature and claims; the algorithm is one of SMART's, whatever the header says."""
        try:
            found = jwt.decode(assertion, resolve_key, algorithms=list(ALGORITHMS))
            self._check_times(found.claims)
            self.verify_claims(found.claims)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise InvalidClientError from error
        return dict(found.claims)

    def _check_times(self, claims: dict[str, Any]) -> None:
        now, end, jti = self._act.now, claims["exp"], claims["jti"]
        if not isinstance(end, int | float) or not isinstance(jti, str):
            raise InvalidClientError
        if not now - _LEEWAY_SECONDS < end <= now + _SECONDS_MAX + _LEEWAY_SECONDS:
            raise InvalidClientError

    def verify_claims(self, claims: dict[str, Any]) -> None:
        """Check who it is from and for; the time is that of the act, and was checked before."""
        audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if claims["iss"] != claims["sub"] or not set(audience) & set(self.get_audiences()):
            raise InvalidClientError
        if not self.validate_jti(claims, claims["jti"]):
            raise InvalidClientError

    def validate_jti(self, claims: dict[str, Any], jti: str) -> bool:
        """Tell whether an id was not used before, and remember it until the assertion expires."""
        if not 0 < len(jti) <= _JTI_CHARACTERS_MAX:
            return False
        return bool(
            self._act.do(
                "INSERT OR IGNORE INTO assertion (client, jti, expires) VALUES (?, ?, ?)",
                *(claims["sub"], jti, int(claims["exp"]) + _LEEWAY_SECONDS + 1),
            )
        )
