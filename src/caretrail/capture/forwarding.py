"""What a gateway may pass on of a request and of an answer (RFC 9110, 7.6; RFC 9112, 6.1, 9.3).

A request that two readers could understand differently is refused, so that what is recorded is what
the server did.
"""

from __future__ import annotations

import re
from functools import lru_cache
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
_DROPPED: Final = _HOP_BY_HOP | _OURS | {b"accept-encoding"}
# What is said of a body and no longer true of one that was rewritten.
_OF_ONE_BODY: Final = frozenset(
    [b"content-length", b"content-encoding", b"content-md5", b"digest", b"content-digest",
     b"repr-digest", b"accept-ranges"]
)  # fmt: skip
_LENGTH: Final = frozenset([b"content-length"])
_LINKS: Final = frozenset([b"location", b"content-location", b"link"])
# Codings that capture can look into; a client that offers others gets one of these.
_CODINGS: Final = (b"gzip", b"x-gzip", b"deflate", b"identity")
# A path of which nothing has to be looked at closer: no segment begins with a dot.
_PLAIN: Final = re.compile(rb"(?:/[A-Za-z0-9_$~-][A-Za-z0-9_.$~-]*)*/?")
_VISIBLE: Final = re.compile(rb"[!-~]*")
_ENCODED: Final = re.compile(
    rb"%(?![0-9A-Fa-f]{2})|%(?:2[Ff]|5[Cc]|00|0[0-9A-Fa-f]|1[0-9A-Fa-f]|7[Ff])"
)
_TOLD_ONCE: Final = frozenset([b"content-length", b"transfer-encoding", b"host", b"authorization"])
_LENGTHS: Final = "the length of the body is told in two ways, or in none that is valid"
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
    if _PLAIN.fullmatch(path):
        return
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
    told = [row for row in scope["headers"] if row[0] in _TOLD_ONCE]
    names = [name for name, _ in told]
    if len(set(names)) == len(names) and b"transfer-encoding" not in names:
        if all(value.isdigit() for name, value in told if name == b"content-length"):
            return
        raise InvalidError(_LENGTHS)
    if names.count(b"content-length") + (b"transfer-encoding" in names) > 1:
        raise InvalidError(_LENGTHS)
    codings = [value.strip().lower() for name, value in told if name == b"transfer-encoding"]
    if codings and codings != [b"chunked"]:
        raise InvalidError("the only transfer coding is chunked")
    if names.count(b"host") > 1:
        raise InvalidError("there is more than one Host")
    if names.count(b"authorization") > 1:
        # The server may look at one of them and the record name whoever is in the other.
        raise InvalidError("there is more than one Authorization")


def has_body(headers: Iterable[Header]) -> bool:
    """Tell whether a request announces a body."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in headers
    )


def request_head(
    scope: Mapping[str, Any], target: bytes, upstream: Base, public: Base, *, is_rewritten: bool
) -> bytes:
    """Return the request to the server, all but its body."""
    given = scope["headers"]
    dropped = _dropped(given, _DROPPED)
    rows = [
        b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (scope["method"].encode(), target, upstream.authority)
    ]
    accepted: list[bytes] = []
    before: list[bytes] = []
    for name, value in given:
        if name not in dropped:
            rows.append(b"%b: %b\r\n" % (name, value))
        elif name == b"accept-encoding":
            accepted.append(value)
        elif name == b"transfer-encoding":
            rows.append(b"transfer-encoding: chunked\r\n")
        elif name == b"x-forwarded-for":
            before.append(value)
    coding = b"identity" if is_rewritten else _codings(b",".join(accepted))
    client = (scope.get("client") or ("",))[0]
    rows.append(
        b"accept-encoding: %b\r\n%b\r\n" % (coding, _forwarded(client, tuple(before), public))
    )
    return b"".join(rows)


def _dropped(headers: Iterable[Header], always: frozenset[bytes]) -> frozenset[bytes]:
    """Return the headers that end here: those that always do, and what Connection names."""
    for name, value in headers:
        if name == b"connection" and value.lower() not in (b"keep-alive", b"close"):
            return always | named_by_connection(headers)
    return always


@lru_cache(256)
def _codings(accepted: bytes) -> bytes:
    offered = [one.strip() for one in accepted.split(b",")]
    known = [one for one in offered if one.partition(b";")[0].strip().lower() in _CODINGS]
    return b", ".join(known) or b"identity"


@lru_cache(1_024)
def _forwarded(address: str, before: tuple[bytes, ...], public: Base) -> bytes:
    """Return the headers of who asked, and where (RFC 7239, and its elder brothers)."""
    client = address.encode()
    scheme, host = public.origin.partition("://")[0].encode(), public.authority
    node = b'"[%b]"' % client if b":" in client else client or b"unknown"
    headers = [
        (b"x-forwarded-host", host),
        (b"x-forwarded-proto", scheme),
        (b"forwarded", b'for=%b;host="%b";proto=%b' % (node, host, scheme)),
    ]
    if client:
        headers.append((b"x-forwarded-for", b", ".join([*before, client])))
    return b"".join(b"%b: %b\r\n" % row for row in headers)


def response_headers(
    given: Iterable[Header], *, status: int, links: tuple[str, str] | None, is_rewritten: bool
) -> list[Header]:
    """Return the headers of the answer to the client; names are in lower case.

    With `links` addresses under the first base become addresses under the second one.
    """
    dropped = _dropped(given, _HOP_BY_HOP)
    # An answer without a body has no length to keep; one that is rewritten has another one.
    if is_rewritten:
        dropped |= _OF_ONE_BODY
    if status in (204, 304):
        dropped |= _LENGTH
    if links is None:
        return [row for row in given if row[0] not in dropped]
    return [
        (name, moved(value, *links) if name in _LINKS else value)
        for name, value in given
        if name not in dropped
    ]


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
