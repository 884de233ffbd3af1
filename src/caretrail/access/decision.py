"""Who sends a request: decided from its credential, before anything else is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.access import token
from caretrail.errors import UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Identity(NamedTuple):
    """Who sends a request; `producer` and `organisation` are written beside what it records."""

    producer: str
    organisation: str = ""


ANONYMOUS: Final = Identity("anonymous")
_SCHEME: Final = "bearer "


class Gate:
    """Turns the Authorization of a request into an Identity."""

    def __init__(
        self, secret: str | None, *, producer: str = "token", organisation: str = ""
    ) -> None:
        """Open for the bearer of `secret`; for everybody when it is None (trials on loopback)."""
        if secret == "":
            raise ValueError("an empty token would let everybody in")
        self._secret = secret
        self._identity = Identity(producer, organisation)

    @property
    def insecure(self) -> bool:
        """Tell whether requests need no credential."""
        return self._secret is None

    def identify(self, headers: Mapping[bytes, bytes]) -> Identity:
        """Return who sends a request with these headers, or raise UnauthenticatedError."""
        if self._secret is None:
            return ANONYMOUS
        authorization = headers.get(b"authorization")
        if authorization is None:
            raise UnauthenticatedError("this address needs a credential: a bearer token")
        text = authorization.decode("latin-1")
        if text[: len(_SCHEME)].lower() != _SCHEME or not token.same(
            text[len(_SCHEME) :].strip(" "), self._secret
        ):
            raise UnauthenticatedError("the credential is not known here")
        return self._identity
