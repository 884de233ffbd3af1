"""The keys of an issuer: fetched when they are needed, kept, and fetched again when they rotate.

Tokens come from anybody, so an unknown key id makes one request in some seconds and no more, however
many tokens name one (JWKS flood), and what an issuer answers is bounded.
"""

from __future__ import annotations

import asyncio
import logging
import time
import warnings
from typing import TYPE_CHECKING, Any, Final, Protocol

import httpx
import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from caretrail.errors import ConfigurationError, UnavailableError
from caretrail.limits import (
    ISSUER_BYTES_MAX,
    ISSUER_KEYS_MAX,
    ISSUER_SECONDS_MAX,
    JWKS_SECONDS_BETWEEN,
    JWKS_SECONDS_KEPT,
    JWKS_SECONDS_STALE,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from joserfc.jwk import Key

_log: Final = logging.getLogger(__name__)
_DISCOVERY: Final = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class Keys(Protocol):
    """Where the keys of an issuer come from."""

    async def find(self, kid: str | None) -> Key | None:
        """Return the key of that id, or the only one there is where a token names none.

        Raises UnavailableError when it cannot be told whether there is one.
        """

    async def close(self) -> None:
        """Let go of what it holds."""


class HeldKeys:
    """Keys that are at hand, such as those of an authorization server in this process."""

    def __init__(self, jwks: Callable[[], dict[str, Any]]) -> None:
        self._jwks = jwks

    async def find(self, kid: str | None) -> Key | None:
        """Return the key of that id."""
        return _chosen(_keys_of(self._jwks()), kid)

    async def close(self) -> None:
        """Hold on: they are not ours."""


class RemoteKeys:
    """The JWK Set of an issuer, at `address` or where its metadata says (RFC 8414, OIDC Discovery).

    One instance serves one event loop.
    """

    def __init__(
        self,
        issuer: str,
        *,
        address: str = "",
        clock: Callable[[], float] = time.monotonic,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Check the addresses; raise ConfigurationError for one that is not HTTPS or loopback."""
        require_safe(issuer)
        if address:
            require_safe(address)
        self._issuer, self._address, self._clock = issuer, address, clock
        self._keys: list[Key] = []
        self._fetched = self._tried = float("-inf")
        self._turn = asyncio.Lock()
        self._client = client(transport)

    async def find(self, kid: str | None) -> Key | None:
        """Return the key of that id, after a look at the issuer where that may help."""
        found = _chosen(self._keys, kid)
        if found is not None and self._clock() - self._fetched < JWKS_SECONDS_KEPT:
            return found
        await self._refresh()
        if self._clock() - self._fetched > JWKS_SECONDS_STALE:
            raise UnavailableError("the issuer's keys cannot be had now: try again later")
        return _chosen(self._keys, kid)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _refresh(self) -> None:
        begun = self._clock()
        async with self._turn:
            # Whoever waited here while another fetched has what he waited for.
            if self._tried >= begun or self._clock() - self._tried < JWKS_SECONDS_BETWEEN:
                return
            try:
                self._keys = await self._fetch()
                self._fetched = self._clock()
            except (
                httpx.HTTPError,
                msgspec.MsgspecError,
                JoseError,
                ValueError,
                TypeError,
            ) as error:
                # What was fetched before stays good for a while.
                _log.warning("an issuer's keys", extra={"error": type(error).__name__})
            finally:
                self._tried = self._clock()

    async def _fetch(self) -> list[Key]:
        self._address = self._address or await self._discovered()
        return _keys_of(await json_of(self._client, self._address))

    async def _discovered(self) -> str:
        base = self._issuer.rstrip("/")
        for path in _DISCOVERY:
            try:
                metadata = await json_of(self._client, base + path)
            except httpx.HTTPStatusError:
                continue
            # An issuer speaks for itself alone (RFC 8414, 3.3).
            if metadata.get("issuer") != self._issuer:
                raise ValueError("the metadata is another issuer's")
            address = str(metadata.get("jwks_uri", ""))
            try:
                require_safe(address)
            except ConfigurationError as error:
                raise ValueError("the metadata names no safe address") from error
            return address
        raise ValueError("the issuer has no metadata")


def require_safe(address: str) -> None:
    """Raise ConfigurationError unless `address` is HTTPS, or HTTP on loopback."""
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.userinfo or not (
        (url.scheme == "https" and url.host) or (url.scheme == "http" and url.host in _LOOPBACK)
    ):
        raise ConfigurationError(
            "an issuer's address is https://..., or http:// on loopback, without a password"
        )


def client(transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """Return a client that follows nobody anywhere, and does not wait long."""
    return httpx.AsyncClient(
        transport=transport, timeout=ISSUER_SECONDS_MAX, follow_redirects=False, trust_env=False
    )


async def json_of(client: httpx.AsyncClient, address: str, **request: Any) -> dict[str, Any]:
    """Return the JSON object at an address; raise HTTPError, MsgspecError or ValueError.

    With `data` it is posted.
    """
    method = "POST" if "data" in request else "GET"
    headers = {"accept": "application/json"}
    async with client.stream(method, address, headers=headers, **request) as answer:
        if answer.status_code != httpx.codes.OK:
            raise httpx.HTTPStatusError("refused", request=answer.request, response=answer)
        body = b""
        async for piece in answer.aiter_bytes():
            body += piece
            if len(body) > ISSUER_BYTES_MAX:
                raise ValueError("the answer is too large")
    found = msgspec.json.decode(body)
    if not isinstance(found, dict):
        raise ValueError("the answer is no object")  # noqa: TRY004 - like any other odd answer
    return found


def _keys_of(jwks: dict[str, Any]) -> list[Key]:
    """Return the keys of a JWK Set that sign; others, and those that are unknown here, are left."""
    rows = jwks.get("keys")
    if not isinstance(rows, list) or len(rows) > ISSUER_KEYS_MAX:
        raise ValueError("this is no JWK Set")
    found: list[Key] = []
    for row in rows:
        # A symmetric key in a public place is a secret that everybody knows.
        if not isinstance(row, dict) or row.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        if row.get("use", "sig") != "sig":
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # A weak key verifies nothing: see `bearer.fits`.
                found += KeySet.import_key_set({"keys": [row]}).keys
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    return found


def _chosen(keys: list[Key], kid: str | None) -> Key | None:
    if kid is None:
        return keys[0] if len(keys) == 1 else None
    return next((key for key in keys if key.get("kid") == kid), None)
