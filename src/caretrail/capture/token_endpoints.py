"""Where an authorization server's endpoints are: named, told by its metadata, or at usual paths."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus, urlsplit

from caretrail.errors import ConfigurationError
from caretrail.limits import TOKEN_ENDPOINTS_MAX
from caretrail.patterns import authorization, results
from caretrail.patterns.exchange import NOBODY, Identity
from caretrail.patterns.observation import identified
from caretrail.patterns.providers.reading import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Self

    from caretrail.patterns.exchange import Exchange

_BASIC: Final = b"basic "


class TokenEndpoints:
    """Tells which request is to an authorization server.

    `named` are absolute paths by their endpoint, such as `/oauth2/token`: `token`. With `usual` the
    paths that are common are known besides, and those that the server's metadata tell are learned.
    """

    def __init__(self, named: Mapping[str, str] = {}, *, usual: bool = True) -> None:
        self._named, self._usual = dict(named), usual
        self._learned: dict[str, str] = {}

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the endpoints of a setting: `token=/oauth2/token, revoke=/x`; "none" for none.

        Raises ConfigurationError.
        """
        if text.strip() == "none":
            return cls(usual=False)
        named = {}
        for part in filter(None, (one.strip() for one in text.split(","))):
            name, _, path = part.partition("=")
            if name not in authorization.ENDPOINTS or not path.startswith("/"):
                raise ConfigurationError(
                    "--token-endpoints has parts such as token=/oauth2/token; the endpoints are"
                    f" {', '.join(authorization.ENDPOINTS)}"
                )
            named[path.rstrip("/")] = name
        return cls(named)

    def is_named(self, method: str, path: str) -> bool:
        """Tell whether somebody who set this up has named the path."""
        return bool(self._of(self._named, method, path))

    def interaction(self, method: str, path: str) -> str:
        """Return the endpoint that a request to this absolute path is to, or ""."""
        found = self._of(self._named, method, path) or self._of(self._learned, method, path)
        return found or (authorization.usual(method, path) if self._usual else "")

    @staticmethod
    def _of(known: Mapping[str, str], method: str, path: str) -> str:
        name = known.get(path.rstrip("/"), "")
        return name if name and method in authorization.ENDPOINTS[name].methods else ""

    def learn(self, exchange: Exchange) -> None:
        """Take in where the metadata of an authorization server say that its endpoints are."""
        if not self._usual or exchange.interaction != "server-metadata" or exchange.status != 200:
            return
        told = results.tree(exchange.response)
        for name, row in authorization.ENDPOINTS.items():
            url = told.get(row.member) if row.member and isinstance(told, dict) else None
            path = _path(url) if isinstance(url, str) else ""
            if path and len(self._learned) < TOKEN_ENDPOINTS_MAX:
                self._learned[path.rstrip("/")] = name


def client_of(headers: Iterable[tuple[bytes, bytes]]) -> Identity:
    """Return the client that authenticates by HTTP Basic (RFC 6749, 2.3.1), without its secret."""
    for name, value in headers:
        if name == b"authorization" and value[: len(_BASIC)].lower() == _BASIC:
            try:
                pair = base64.b64decode(value[len(_BASIC) :].strip(), validate=True)
            except binascii.Error:
                return NOBODY
            client, colon, _ = pair.partition(b":")
            text = clean(unquote_plus(client.decode("utf-8", "replace"))) if colon else None
            return Identity(client=identified(text)) if text else NOBODY
    return NOBODY


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""
