"""Access tokens that are JWTs (RFC 9068), and what may pass for one: nothing else.

The order of checks is that of RFC 8725: the header against what is allowed here, the issuer against
those that are set, the key by that issuer alone and fit for the algorithm, the signature, and only
then the claims.
"""

from __future__ import annotations

import base64
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from joserfc import jws
from joserfc.errors import JoseError

from caretrail.errors import UnauthenticatedError
from caretrail.limits import CLOCK_SKEW_SECONDS, TOKEN_BYTES_MAX, TOKEN_SECONDS_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from joserfc.jwk import Key

    from caretrail.access.jwks import Keys

# Algorithms with a public key, and the kind of key that each takes: an attacker who is free to
# choose could have the server take a public key for a secret one, or ask for no signature at all.
ALGORITHMS: Final = {
    "RS256": ("RSA", ""),
    "PS256": ("RSA", ""),
    "ES256": ("EC", "P-256"),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
}
TYPES: Final = ("at+jwt",)
_RSA_BYTES_MIN: Final = 256
_UNKNOWN: Final = "the credential is not known here"


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose tokens are taken: its `iss`, what their `aud` has to name, and its keys.

    `types` are the values of the header `typ`, in lower case and without `application/`. `roles`
    and `organisation` are the paths of claims, with dots; `home` is the organisation of all of its
    tokens, whatever they claim.
    """

    url: str
    audiences: tuple[str, ...]
    keys: Keys
    types: tuple[str, ...] = TYPES
    roles: str = "roles"
    organisation: str = "organisation"
    home: str = ""


class Verified(NamedTuple):
    """The claims of a token that is genuine, and until when it is good, in seconds since 1970."""

    claims: Mapping[str, Any]
    expires: float


class JwtVerifier:
    """Verifies tokens of the issuers that are set."""

    def __init__(self, issuers: Sequence[Issuer]) -> None:
        self._issuers = {one.url: one for one in issuers}

    async def verify(self, token: str, *, now: float) -> Verified | None:
        """Return a token's claims, None where this is no JWT of these; `now` is in seconds since 1970.

        Raises UnauthenticatedError for one that does not hold, and UnavailableError when its
        issuer's keys cannot be had.
        """
        parts = token.split(".")
        if len(parts) != 3 or len(token) > TOKEN_BYTES_MAX:
            return None
        header, claims = _object(parts[0]), _object(parts[1])
        if header is None or claims is None:
            return None
        issuer = self._issuers.get(str(claims.get("iss")))
        if issuer is None:
            return None
        algorithm = _checked_header(header, issuer)
        kid = header.get("kid")
        key = await issuer.keys.find(kid if isinstance(kid, str) else None)
        if key is None or not fits(key, algorithm):
            raise UnauthenticatedError(_UNKNOWN)
        _check_signature(token, key, algorithm)
        return _checked_claims(claims, issuer, now)

    async def close(self) -> None:
        """Let go of the issuers' keys."""
        for one in self._issuers.values():
            await one.keys.close()


def fits(key: Key, algorithm: str) -> bool:
    """Tell whether a key may verify by that algorithm, as it says and as it is."""
    kind, curve = ALGORITHMS[algorithm]
    if key.key_type != kind or key.get("alg", algorithm) not in (
        algorithm,
        _SYNONYMS.get(algorithm),
    ):
        return False
    if kind == "RSA":
        modulus = str(key.as_dict(private=False).get("n", ""))
        return len(_decoded(modulus) or b"") >= _RSA_BYTES_MIN
    return key.get("crv") == curve


_SYNONYMS: Final = {"EdDSA": "Ed25519", "Ed25519": "EdDSA"}


def _checked_header(header: Mapping[str, Any], issuer: Issuer) -> str:
    algorithm = header.get("alg")
    kind = str(header.get("typ", "")).lower().removeprefix("application/")
    # What a header says must be understood (`crit`) is not; keys that it brings are not looked at.
    if algorithm not in ALGORITHMS or kind not in issuer.types or "crit" in header:
        raise UnauthenticatedError(_UNKNOWN)
    return str(algorithm)


def _check_signature(token: str, key: Key, algorithm: str) -> None:
    try:
        with warnings.catch_warnings():
            # EdDSA is Ed25519's old name (RFC 9864), and what most issuers still write.
            warnings.simplefilter("ignore")
            jws.deserialize_compact(token, key, algorithms=[algorithm])
    except (JoseError, ValueError, TypeError) as error:
        raise UnauthenticatedError(_UNKNOWN) from error


def _checked_claims(claims: Mapping[str, Any], issuer: Issuer, now: float) -> Verified:
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if not any(one in issuer.audiences for one in named if isinstance(one, str)):
        raise UnauthenticatedError(_UNKNOWN)
    expires = _instant(claims, "exp")
    begins = max(_instant(claims, "nbf") or 0, _instant(claims, "iat") or 0)
    if expires is None or not (begins - CLOCK_SKEW_SECONDS <= now < expires + CLOCK_SKEW_SECONDS):
        raise UnauthenticatedError("the credential is not valid now")
    if expires - now > TOKEN_SECONDS_MAX:
        raise UnauthenticatedError("the credential is valid for too long to be taken")
    return Verified(normal(claims, issuer), expires + CLOCK_SKEW_SECONDS)


def normal(claims: Mapping[str, Any], issuer: Issuer) -> dict[str, Any]:
    """Return the claims under the names that are used here."""
    roles = _at(claims, issuer.roles)
    organisation = issuer.home or _at(claims, issuer.organisation)
    return {**claims, "iss": issuer.url, "roles": roles, "organisation": organisation}


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """Return the claim at a path; a name with dots in it is one name, if there is one."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _instant(claims: Mapping[str, Any], name: str) -> float | None:
    """Return a NumericDate; anything else makes the token invalid."""
    value = claims.get(name)
    if value is None:
        return None
    # A number that is no instant would compare in odd ways.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise UnauthenticatedError(_UNKNOWN)
    return float(value)


def _object(part: str) -> dict[str, Any] | None:
    raw = _decoded(part)
    if raw is None:
        return None
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _decoded(part: str) -> bytes | None:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
