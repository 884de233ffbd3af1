"""A request and its response, as the interactions see them: no framework, no socket."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple
from urllib.parse import parse_qsl

from caretrail.access.identity import Identity
from caretrail.access.view import NOTHING, View
from caretrail.errors import InvalidError
from caretrail.limits import SEARCH_VALUES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

Header = tuple[bytes, bytes]
Pairs = list[tuple[str, str]]

# The media types that our answers have.
FHIR_JSON: Final = b"application/fhir+json; charset=utf-8"
FHIR_XML: Final = b"application/fhir+xml; charset=utf-8"
JSON: Final = b"application/json"

# An audit event has one version for ever.
VERSION: Final = "1"
ETAG: Final = f'W/"{VERSION}"'
ETAG_HEADER: Final = (b"etag", ETAG.encode())


class DisconnectedError(Exception):
    """The client went away before its request was read; nobody waits for an answer."""


class Format(NamedTuple):
    """How an answer is written; handlers write plain JSON and the router does the rest."""

    xml: bool = False
    pretty: bool = False


PLAIN: Final = Format()
# Who sends a request that needs no credential: he may do nothing that does.
NOBODY: Final = Identity("anonymous")


class Request(NamedTuple):
    """One request. `headers` has names in lower case, `query` is as sent, `base` is our FHIR base.

    `captures` holds what stood in the braces of the route's path. `view` is what is there for the
    sender in this interaction. `peer` is the address that it came from, `certificate` what that
    has proved by TLS, in PEM.
    """

    method: str
    path: str
    query: str
    headers: Mapping[bytes, bytes]
    base: str = ""
    body: bytes = b""
    identity: Identity = NOBODY
    captures: tuple[str, ...] = ()
    view: View = NOTHING
    peer: str = ""
    certificate: str = ""

    def header(self, name: bytes) -> str:
        """Return the header, or "" where it is absent."""
        return self.headers.get(name, b"").decode("latin-1")

    def pairs(self) -> Pairs:
        """Return the parameters of the URL and, of a form, those of the body."""
        found = decode_pairs(self.query) if self.query else []
        if self.body and self.headers.get(b"content-type", b"").lower().startswith(FORM):
            try:
                found += decode_pairs(self.body.decode("ascii"))
            except UnicodeDecodeError as error:
                raise InvalidError(
                    "the form has characters that are not percent-encoded"
                ) from error
        return found


class Response(NamedTuple):
    """One answer. A body of media type FHIR_JSON is a resource, which the router may rewrite.

    With `lasting` it never changes and is about nobody: anyone on the way may keep it. `form`
    is the format of a resource where the handler, and not the router, negotiates it. `file` is an
    open file instead of a body: whoever sends the answer reads it piece by piece and closes it.
    `rows` is how many events it shows, None where it is of none; `is_denied` says that a part of
    what was asked for was refused.
    """

    status: int
    body: bytes = b""
    headers: tuple[Header, ...] = ()
    media: bytes = FHIR_JSON
    lasting: bool = False
    form: Format | None = None
    file: BinaryIO | None = None
    rows: int | None = None
    is_denied: bool = False


FORM: Final = b"application/x-www-form-urlencoded"


def decode_pairs(text: str) -> Pairs:
    """Return the names and values of a query string, or raise InvalidError."""
    try:
        return parse_qsl(
            text, keep_blank_values=True, errors="strict", max_num_fields=SEARCH_VALUES_MAX
        )
    except UnicodeDecodeError as error:
        raise InvalidError("a parameter is not UTF-8 after percent-decoding") from error
    except ValueError as error:
        raise InvalidError(f"there are more than {SEARCH_VALUES_MAX} parameters") from error


@lru_cache(1024)
def http_date(seconds: int) -> str:
    """Return the date of HTTP (RFC 9110, 5.6.7) for seconds since 1970."""
    return formatdate(seconds, usegmt=True)


def last_modified(received: int) -> Header:
    """Return the header for an event received at that millisecond."""
    return (b"last-modified", http_date(received // 1000).encode())
