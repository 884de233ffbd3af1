"""Opaque access tokens: their issuer is asked what they are (RFC 7662, token introspection)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx
import msgspec

from caretrail.access import jwks
from caretrail.access.bearer import Issuer, Verified, normal
from caretrail.errors import UnauthenticatedError, UnavailableError
from caretrail.limits import (
    CLOCK_SKEW_SECONDS,
    INTROSPECTION_SECONDS_KEPT,
    INTROSPECTIONS_AT_ONCE,
    TOKEN_BYTES_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_UNKNOWN: Final = "the credential is not known here"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to ask, and as whom (RFC 7662, 2.1: the endpoint is not open to everybody)."""

    url: str
    client_id: str
    secret: str


class Introspection:
    """Asks one issuer about tokens that nobody here can read."""

    def __init__(
        self,
        endpoint: Endpoint,
        issuer: Issuer,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        jwks.require_safe(endpoint.url)
        self._endpoint, self._issuer = endpoint, issuer
        self._client = jwks.client(transport)
        # A flood of made-up tokens must not become a flood of questions.
        self._turns = asyncio.Semaphore(INTROSPECTIONS_AT_ONCE)

    async def verify(self, token: str, *, now: float) -> Verified | None:
        """Return what the issuer says of a token; raise UnauthenticatedError or UnavailableError.

        What it said is good for some seconds, so that a token that is revoked is soon refused.
        """
        if len(token) > TOKEN_BYTES_MAX:
            return None
        if self._turns.locked():
            raise UnavailableError("too many unknown tokens are being asked about: try again")
        async with self._turns:
            claims = await self._asked(token)
        if claims.get("active") is not True:
            raise UnauthenticatedError(_UNKNOWN)
        self._check(claims, now)
        until = now + INTROSPECTION_SECONDS_KEPT
        expires = claims.get("exp")
        if isinstance(expires, int | float):
            until = min(until, expires + CLOCK_SKEW_SECONDS)
        return Verified(normal(claims, self._issuer), until)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _asked(self, token: str) -> Mapping[str, Any]:
        where = self._endpoint
        try:
            return await jwks.json_of(
                self._client,
                where.url,
                data={"token": token, "token_type_hint": "access_token"},
                auth=(where.client_id, where.secret),
            )
        except (httpx.HTTPError, msgspec.MsgspecError, ValueError) as error:
            raise UnavailableError(
                "the issuer does not say what this token is: try again"
            ) from error

    def _check(self, claims: Mapping[str, Any], now: float) -> None:
        """Raise UnauthenticatedError where the answer is about another server's token."""
        audience = claims.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        known = any(one in self._issuer.audiences for one in named if isinstance(one, str))
        expires = claims.get("exp", now)
        is_current = isinstance(expires, int | float) and expires + CLOCK_SKEW_SECONDS > now
        if not known or not is_current or claims.get("iss", self._issuer.url) != self._issuer.url:
            raise UnauthenticatedError(_UNKNOWN)
