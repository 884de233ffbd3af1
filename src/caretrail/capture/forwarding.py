"""What a gateway may pass on of a request and of an answer (RFC 9110, 7.6; RFC 9112, 6.1, 9.3).

A request that two readers could understand differently is refused, so that what is recorded is what
the server did.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

from caretrail.errors import ConfigurationError, InvalidError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Self

Header = tuple[bytes, bytes]

# RFC 9110, 7.6.1, and what older proxies say. `expect` is answered by the gateway itself, and
# trailers end here, as a recipient may decide (RFC 9110, 6.5.1).
_HOP_BY_HOP: Final = frozenset(
    [b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate",
     b"proxy-authorization", b"proxy-authentication-info", b"te", b"trailer",
     b"transfer-encoding", b"upgrade", b"expect", b"http2-settings"]
)  # fmt: skip
# What a client says of its way here is not believed, as the server's links would follow it.
_OURS: Final = frozenset(
    [b"host", b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto",
     b"x-forwarded-port", b"x-forwarded-prefix", b"x-forwarded-server"]
)  # fmt: skip
_DROPPED: Final = _HOP_BY_HOP | _OURS
_LINKS: Final = frozenset([b"location", b"content-location", b"link"])
# Codings that capture can look into; a client that offers others gets one of these.
_CODINGS: Final = (b"gzip", b"x-gzip", b"deflate", b"identity")
_VISIBLE: Final = re.compile(rb"[!-~]*")
_ENCODED: Final = re.compile(
    rb"%(?![0-9A-Fa-f]{2})|%(?:2[Ff]|5[Cc]|00|0[0-9A-Fa-f]|1[0-9A-Fa-f]|7[Ff])"
)
_AUTHORITY: Final = re.compile(r"[A-Za-z0-9._\-\[\]:]+")
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Base(NamedTuple):
    """The base of a FHIR server: its origin, and its path without a slash at the end."""

    origin: str
    path: str

    @classmethod
    def parse(cls, text: str, *, what: str) -> Self:
        """Return the base; raise ConfigurationError for what is no such URL."""
        try:
            parts = urlsplit(text)
            valid = parts.port is None or parts.port > 0
            check_path(parts.path.encode())
        except (ValueError, InvalidError):
            valid = False
        if (
            not valid
            or parts.scheme not in ("http", "https")
            or not _AUTHORITY.fullmatch(parts.netloc)
            or parts.query
            or parts.fragment
        ):
            raise ConfigurationError(
                f"{what} is the URL of a FHIR server such as http://127.0.0.1:8080/fhir, without"
                " user, query and fragment"
            )
        return cls(f"{parts.scheme}://{parts.netloc.lower()}", parts.path.rstrip("/"))

    @property
    def url(self) -> str:
        """Return the whole base."""
        return self.origin + self.path

    @property
    def authority(self) -> bytes:
        """Return what stands in a Host header."""
        return self.origin.partition("://")[2].encode()


def check_path(path: bytes) -> None:
    """Refuse a path that another reader could resolve to another one. Raises InvalidError."""
    if not _VISIBLE.fullmatch(path) or b"\\" in path or _ENCODED.search(path):
        raise InvalidError("the path holds what does not belong there: control characters, encoded"
                           " slashes, or a percent sign that encodes nothing")  # fmt: skip
    for segment in path.split(b"/"):
        plain = unquote_to_bytes(segment).partition(b";")[0]
        if plain in (b".", b".."):
            raise InvalidError("the path has dot segments")


def raw_path(scope: Mapping[str, Any]) -> bytes:
    """Return the path as the client wrote it, encoded."""
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    return path


def check_request(scope: Mapping[str, Any]) -> None:
    """Refuse what could be read in two ways (RFC 9112, 11.2). Raises InvalidError."""
    check_path(raw_path(scope))
    if not _VISIBLE.fullmatch(scope["query_string"]):
        raise InvalidError("the query holds characters that have to be encoded")
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    codings = [value for name, value in scope["headers"] if name == b"transfer-encoding"]
    if (lengths and codings) or len(lengths) > 1 or not all(one.isdigit() for one in lengths):
        raise InvalidError("the length of the body is told in two ways, or in none that is valid")
    if codings and [one.strip().lower() for one in codings] != [b"chunked"]:
        raise InvalidError("the only transfer coding is chunked")
    if sum(name == b"host" for name, _ in scope["headers"]) > 1:
        raise InvalidError("there is more than one Host")
    if sum(name == b"authorization" for name, _ in scope["headers"]) > 1:
        # The server may look at one of them and the record name whoever is in the other.
        raise InvalidError("there is more than one Authorization")


def has_body(headers: Iterable[Header]) -> bool:
    """Tell whether a request announces a body."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in headers
    )


def request_headers(
    scope: Mapping[str, Any], upstream: Base, public: Base, *, is_rewritten: bool
) -> list[Header]:
    """Return the headers of the request to the server."""
    given = scope["headers"]
    dropped = _DROPPED | named_by_connection(given)
    kept = [(b"host", upstream.authority)]
    is_chunked = False
    accepted: list[bytes] = []
    for name, value in given:
        if name == b"accept-encoding":
            accepted.append(value)
        elif name == b"transfer-encoding":
            is_chunked = True
        elif name not in dropped:
            kept.append((name, value))
    if is_chunked:
        kept.append((b"transfer-encoding", b"chunked"))
    kept.append((b"accept-encoding", b"identity" if is_rewritten else _codings(accepted)))
    return kept + _forwarded(scope, public)


def _codings(accepted: list[bytes]) -> bytes:
    offered = [one.strip() for one in b",".join(accepted).split(b",")]
    known = [one for one in offered if one.partition(b";")[0].strip().lower() in _CODINGS]
    return b", ".join(known) or b"identity"


def _forwarded(scope: Mapping[str, Any], public: Base) -> list[Header]:
    """Return who asked, and where (RFC 7239, and its elder brothers)."""
    client = (scope.get("client") or ("",))[0].encode()
    before = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    scheme, host = public.origin.partition("://")[0].encode(), public.authority
    node = b'"[%b]"' % client if b":" in client else client or b"unknown"
    headers = [
        (b"x-forwarded-host", host),
        (b"x-forwarded-proto", scheme),
        (b"forwarded", b'for=%b;host="%b";proto=%b' % (node, host, scheme)),
    ]
    if client:
        headers.append((b"x-forwarded-for", b", ".join([*before, client])))
    return headers


def response_headers(
    given: Iterable[Header], *, status: int, links: tuple[str, str] | None, is_rewritten: bool
) -> list[Header]:
    """Return the headers of the answer to the client.

    With `links` addresses under the first base become addresses under the second one.
    """
    lowered = [(name.lower(), value) for name, value in given]
    dropped = _HOP_BY_HOP | named_by_connection(lowered)
    # An answer without a body has no length to keep; one that is rewritten has another one.
    if is_rewritten:
        dropped |= {b"content-length", b"content-encoding", b"content-md5", b"digest",
                    b"content-digest", b"repr-digest", b"accept-ranges"}  # fmt: skip
    if status in (204, 304):
        dropped |= {b"content-length"}
    kept = []
    for name, value in lowered:
        if name not in dropped:
            shown = moved(value, *links) if links and name in _LINKS else value
            kept.append((name, shown))
    return kept


def moved(value: bytes, old: str, new: str) -> bytes:
    """Return a header's value with its addresses under `old` under `new`."""
    border = rb"(?=[/?#>;,\s]|$)"
    return re.sub(re.escape(old.encode()) + border, lambda _: new.encode(), value)


def named_by_connection(headers: Iterable[Header]) -> set[bytes]:
    """Return the headers that are for the next hop alone, as Connection names them."""
    named = {
        one.strip().lower()
        for name, value in headers
        if name == b"connection"
        for one in value.split(b",")
    }
    # Nobody may take these away from us by naming them.
    return {one for one in named if _TOKEN.fullmatch(one)} - {
        b"content-length", b"content-type", b"content-encoding", b"authorization", b"host",
        b"x-request-id",
    }  # fmt: skip
