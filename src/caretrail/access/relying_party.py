"""Signing in with an issuer: the console as an OpenID Connect Relying Party, by Authlib.

Authorization code with PKCE (RFC 7636), `state` and `nonce`; the answer's `iss` is compared (RFC
9207), and the id token verified, before anybody is signed in. An issuer in this process is asked
without the network.
"""

from __future__ import annotations

import hmac
import secrets
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

import httpx
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from msgspec import MsgspecError

from caretrail.access.bearer import Issuer, JwtVerifier
from caretrail.access.jwks import HeldKeys, RemoteKeys, client, json_of, require_safe
from caretrail.errors import UnauthenticatedError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from caretrail.access.jwks import Keys

_METADATA: Final = "/.well-known/openid-configuration"
_NOT_NOW: Final = "the issuer cannot be asked now: try again later"
# An access token is exchanged this long before its end, so that it lasts for the request.
_EARLY_SECONDS: Final = 20.0


class Begun(NamedTuple):
    """A sign-in that is under way: where the browser goes, and what its answer has to fit."""

    address: str
    state: str
    nonce: str
    verifier: str


class Tokens(NamedTuple):
    """What an issuer gave; `ends` is when the access token does, in seconds since 1970."""

    access: str
    refresh: str
    identity: str
    ends: float

    def is_due(self, now: float) -> bool:
        """Tell whether the access token has to be exchanged before it is used."""
        return now >= self.ends - _EARLY_SECONDS


class RelyingParty:
    """One client at one issuer. `application` is the issuer's own, where it is in this process."""

    def __init__(
        self,
        issuer: str,
        client_id: str,
        *,
        redirect_uri: str,
        after: str,
        audience: str,
        secret: str = "",
        application: Any = None,
        jwks: Callable[[], dict[str, Any]] | None = None,
        prepare: Callable[[], Awaitable[None]] | None = None,
        present: Callable[[str], Awaitable[None]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`after` is where a browser comes back to when it has signed out.

        `prepare` is awaited before the first sign-in begins: it registers the client, say.
        `present` tells an issuer in this process that whoever holds an access token is there.
        """
        require_safe(issuer)
        self._issuer, self._client_id, self._secret = issuer, client_id, secret
        self._redirect_uri, self._after, self._audience = redirect_uri, after, audience
        self._transport = httpx.ASGITransport(application) if application is not None else None
        self._clock, self._prepare, self._present = clock, prepare, present
        self._metadata: dict[str, Any] | None = None
        keys: Keys = HeldKeys(jwks) if jwks is not None else RemoteKeys(issuer)
        self._verifier = JwtVerifier([Issuer(issuer, (client_id,), keys, types=("jwt", ""))])

    @property
    def issuer(self) -> str:
        """Return who is asked."""
        return self._issuer

    async def begin(self, scope: str) -> Begun:
        """Return where a browser has to go to sign in; raises UnavailableError."""
        if self._prepare is not None:
            await self._prepare()
            self._prepare = None
        metadata = await self._known()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        address = prepare_grant_uri(
            _safe(metadata, "authorization_endpoint"),
            self._client_id,
            "code",
            redirect_uri=self._redirect_uri,
            scope=scope,
            state=state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
            aud=self._audience,
        )
        return Begun(address, state, nonce, verifier)

    async def finish(self, begun: Begun, answer: Mapping[str, str]) -> Tokens:
        """Return the tokens that the answer to a sign-in stands for; raises UnauthenticatedError."""
        state = answer.get("state", "")
        if not hmac.compare_digest(state.encode("utf-8", "replace"), begun.state.encode()):
            raise UnauthenticatedError("the answer is not to this sign-in: begin again")
        if answer.get("iss", self._issuer) != self._issuer:
            raise UnauthenticatedError("the answer is from another issuer: begin again")
        if "code" not in answer:
            raise UnauthenticatedError("the sign-in was given up or refused")
        tokens = await self._exchanged(
            grant_type="authorization_code",
            code=answer["code"],
            code_verifier=begun.verifier,
            redirect_uri=self._redirect_uri,
        )
        verified = await self._verifier.verify(tokens.identity, now=self._clock())
        nonce = verified.claims.get("nonce") if verified is not None else None
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce, begun.nonce):
            raise UnauthenticatedError("the identity is not of this sign-in: begin again")
        return tokens

    async def renewed(self, tokens: Tokens) -> Tokens:
        """Return new tokens for those of which the time is over; raises UnauthenticatedError."""
        if not tokens.refresh:
            raise UnauthenticatedError("the time of this sign-in is over")
        found = await self._exchanged(grant_type="refresh_token", refresh_token=tokens.refresh)
        return found._replace(
            refresh=found.refresh or tokens.refresh, identity=found.identity or tokens.identity
        )

    async def tell_presence(self, tokens: Tokens) -> None:
        """Let the issuer know that somebody is there, so that its session does not end as idle."""
        if self._present is not None:
            await self._present(tokens.access)

    async def end_address(self, tokens: Tokens) -> str:
        """Return where a browser signs out of the issuer, "" where that is nowhere."""
        metadata = await self._known()
        if "end_session_endpoint" not in metadata:
            return ""
        asked = {
            "id_token_hint": tokens.identity,
            "client_id": self._client_id,
            "post_logout_redirect_uri": self._after,
        }
        return f"{_safe(metadata, 'end_session_endpoint')}?{urlencode(asked)}"

    async def close(self) -> None:
        """Let go of connections."""
        await self._verifier.close()

    async def _exchanged(self, **asked: str) -> Tokens:
        metadata = await self._known()
        form = {**asked, "client_id": self._client_id}
        auth = (self._client_id, self._secret) if self._secret else None
        try:
            async with client(self._transport) as asking:
                address = _safe(metadata, "token_endpoint")
                found = await json_of(asking, address, data=form, auth=auth)
        except httpx.HTTPStatusError as error:
            if error.response.status_code >= 500:
                raise UnavailableError(_NOT_NOW) from error
            raise UnauthenticatedError("the issuer has refused this sign-in") from error
        except (httpx.HTTPError, MsgspecError, ValueError) as error:
            raise UnavailableError(_NOT_NOW) from error
        access, seconds = found.get("access_token"), found.get("expires_in", 300)
        if not isinstance(access, str) or not isinstance(seconds, int | float):
            raise UnavailableError(_NOT_NOW)
        refresh, identity = (str(found.get(one) or "") for one in ("refresh_token", "id_token"))
        return Tokens(access, refresh, identity, self._clock() + seconds)

    async def _known(self) -> dict[str, Any]:
        """Return the issuer's metadata, which is asked for once."""
        if self._metadata is None:
            try:
                async with client(self._transport) as asking:
                    found = await json_of(asking, self._issuer.rstrip("/") + _METADATA)
            except (httpx.HTTPError, MsgspecError, ValueError) as error:
                raise UnavailableError(_NOT_NOW) from error
            # An issuer speaks for itself alone (RFC 8414, 3.3).
            if found.get("issuer") != self._issuer:
                raise UnavailableError("the issuer's metadata is another's")
            self._metadata = found
        return self._metadata


def _safe(metadata: Mapping[str, Any], name: str) -> str:
    address = str(metadata.get(name, ""))
    require_safe(address)
    return address
