"""What every part of the authorization server works with; the application makes it once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from caretrail.errors import ConfigurationError

if TYPE_CHECKING:
    from caretrail.access.server.events import Events
    from caretrail.access.server.keys import SigningKeys

ROOT: Final = "/auth"
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What can be set: addresses, how long things are valid, and who needs a second factor.

    `base` is the address of this server as its clients see it, without a path.
    """

    base: str
    access_seconds: int = 300
    refresh_seconds: int = 30 * 24 * 3600
    idle_seconds: int = 15 * 60
    require_second_factor: bool = True

    @property
    def issuer(self) -> str:
        """Return the issuer of tokens: where this server is (RFC 8414, 2)."""
        return self.base + ROOT

    @property
    def audience(self) -> str:
        """Return whom tokens are for: the FHIR base."""
        return f"{self.base}/fhir"

    @property
    def is_encrypted(self) -> bool:
        """Tell whether browsers come by https."""
        return self.base.startswith("https://")


@dataclass(frozen=True, slots=True)
class Desk:
    """The rules, the keys, how acts are told, and the ids of tokens that were revoked early."""

    rules: Rules
    keys: SigningKeys
    events: Events
    revoked: set[str] = field(default_factory=set)


def base_of(public_url: str, *, address: str) -> str:
    """Return the base that an issuer is made of; raises ConfigurationError where it is unsafe.

    Passwords and tokens cross the network by https only; on one machine there is nobody between.
    """
    base = (public_url or address).rstrip("/")
    parts = urlsplit(base)
    is_here = parts.hostname in _LOOPBACK
    if parts.scheme != "https" and not (parts.scheme == "http" and is_here):
        raise ConfigurationError(
            "the authorization server needs --public-url with https, or --host 127.0.0.1;"
            " or switch it off with --no-authorization-server"
        )
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ConfigurationError("--public-url is an address without a user, a query or a #")
    return base
