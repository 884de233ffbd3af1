"""Who sends a request: decided from its credential, before anything else is looked at."""

from __future__ import annotations

import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Protocol

from caretrail.access import token
from caretrail.access.admission import Admission
from caretrail.access.identity import ANONYMOUS, FULL, Identity
from caretrail.errors import UnauthenticatedError
from caretrail.limits import CREDENTIALS_REMEMBERED, REFUSED_SECONDS_KEPT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from caretrail.access.bearer import Verified
    from caretrail.access.certificates import Certificates

__all__ = ["ANONYMOUS", "Gate", "Identity", "Verifier"]

_SCHEME: Final = "bearer "
_NEEDED: Final = "this address needs a credential: a bearer token"
_UNKNOWN: Final = "the credential is not known here"


class Verifier(Protocol):
    """Tells whether a bearer token is genuine, and what it says."""

    async def verify(self, token: str, *, now: float) -> Verified | None:
        """Return what a token says, None where it is of a kind that is not known here.

        `now` is in seconds since 1970. Raises UnauthenticatedError, or UnavailableError when it
        cannot be told now.
        """

    async def close(self) -> None:
        """Let go of connections."""


class Gate:
    """Turns the Authorization of a request into an Identity."""

    def __init__(
        self,
        secret: str | None,
        *,
        producer: str = "token",
        organisation: str = "",
        holder: Identity | None = None,
        verifiers: Sequence[Verifier] = (),
        admission: Admission | None = None,
        certificates: Certificates | None = None,
        is_revoked: Callable[[str], bool] = lambda _: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open for the bearer of `secret`; for everybody when it is None (trials on loopback).

        The bearer of `secret` may do everything, or, with `holder`, what that identity may. A token
        whose id `is_revoked` is refused before its time.
        """
        if secret == "":
            raise ValueError("an empty token would let everybody in")
        self._secret = secret
        self._holder = holder or Identity(producer, organisation, FULL)
        # A credential that is known takes one look-up, by all of its bytes: the order of a
        # dictionary's comparisons says nothing of how much was right.
        self._fixed = {f"Bearer {secret}".encode(): self._holder} if secret else {}
        self._verifiers, self._certificates = tuple(verifiers), certificates
        self._admission = admission or Admission(base="")
        self._clock, self._is_revoked = clock, is_revoked
        # By their digests: who reads this memory has no token from it.
        self._remembered: dict[bytes, tuple[Identity, float]] = {}
        self._refused: dict[bytes, float] = {}

    @property
    def insecure(self) -> bool:
        """Tell whether requests need no credential."""
        return self._secret is None

    def known(self, headers: Mapping[bytes, bytes]) -> Identity | None:
        """Return who sends a request with a credential that has been seen before, else None."""
        if self._secret is None:
            return ANONYMOUS
        authorization = headers.get(b"authorization")
        if authorization is None:
            return None
        found = self._fixed.get(authorization)
        if found is not None or not self._remembered:
            return found
        remembered = self._remembered.get(_digest(_bearer(authorization)))
        if remembered is None or remembered[1] <= self._clock():
            return None
        return None if self._is_revoked(remembered[0].token_id) else remembered[0]

    async def identify(self, headers: Mapping[bytes, bytes], certificate: str = "") -> Identity:
        """Return who sends a request with these headers, or raise UnauthenticatedError.

        `certificate` is that of the client, in PEM, if its connection has proved one. Raises
        UnavailableError when an issuer cannot be asked.
        """
        found = self.known(headers)
        if found is not None:
            return found
        authorization = headers.get(b"authorization")
        if authorization is None:
            found = self._certificates.find(certificate) if self._certificates else None
            if found is None:
                raise UnauthenticatedError(_NEEDED)
            return found
        text = _bearer(authorization)
        if not text:
            raise UnauthenticatedError(_UNKNOWN)
        if self._secret is not None and token.same(text, self._secret):
            return self._holder  # Under another spelling of the scheme.
        return await self._verified(text)

    def source(self, certificate: str) -> Identity | None:
        """Return the source whose certificate this is, in PEM; None where there is no such."""
        return self._certificates.find(certificate) if self._certificates else None

    async def close(self) -> None:
        """Let go of connections to issuers."""
        for one in self._verifiers:
            await one.close()

    async def _verified(self, text: str) -> Identity:
        digest, now = _digest(text), self._clock()
        if self._refused.get(digest, now) > now:
            raise UnauthenticatedError(_UNKNOWN)
        try:
            for one in self._verifiers:
                verified = await one.verify(text, now=now)
                if verified is not None:
                    break
            else:
                raise UnauthenticatedError(_UNKNOWN)
        except UnauthenticatedError:
            _remember(self._refused, digest, now + REFUSED_SECONDS_KEPT)
            raise
        identity, ends = self._admission.admit(verified.claims, now=now)
        if self._is_revoked(identity.token_id):
            raise UnauthenticatedError(_UNKNOWN)
        until = verified.expires if ends is None else min(verified.expires, ends)
        _remember(self._remembered, digest, (identity, until))
        return identity


def _remember(memory: dict[bytes, Any], digest: bytes, value: Any) -> None:
    """Keep a value; what was kept first goes when there are too many."""
    memory.pop(digest, None)
    while len(memory) >= CREDENTIALS_REMEMBERED:
        del memory[next(iter(memory))]
    memory[digest] = value


def _bearer(authorization: bytes) -> str:
    """Return the token of the header (RFC 6750, 2.1), "" where it has none."""
    text = authorization.decode("latin-1")
    return text[len(_SCHEME) :].strip(" ") if text[: len(_SCHEME)].lower() == _SCHEME else ""


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "replace")).digest()
