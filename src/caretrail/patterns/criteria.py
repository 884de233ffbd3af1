"""The request of a search: raw as it was received, and in clear without what tells of somebody.

BALP 11, "Queries": the raw request, malicious parts included, is evidence; what stands in clear
beside it is read by many, and indexed.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from caretrail.limits import QUERY_BYTES_MAX, QUERY_TEXT_CHARACTERS_MAX
from caretrail.patterns.exchange import REQUEST_HEADERS
from caretrail.patterns.tables.search_parameters import SEARCH_PARAMETERS

if TYPE_CHECKING:
    from caretrail.patterns.exchange import Exchange

_FORM: Final = "application/x-www-form-urlencoded"
# Secrets are no part of a search, wherever they stand (RFC 6750, 2.3; RFC 6749, 2.3.1; RFC 7636).
_SECRET: Final = re.compile(
    rb"(?<=[?&\n])"
    rb"(access_token|refresh_token|client_secret|client_assertion|password|code_verifier)=[^&\s]*"
)
# Parameters that shape the answer and say nothing of a patient.
_SHAPING: Final = frozenset(
    ["_count", "_elements", "_format", "_include", "_lastUpdated", "_pretty", "_revinclude",
     "_sort", "_summary", "_total", "_type", "_since", "_outputFormat"]
)  # fmt: skip
# Kinds whose values say when and about what, in identifiers; a text, code or number may be a
# name or a diagnosis.
_PLAIN_KINDS: Final = ("reference", "date")
_PERSONAL_DATES: Final = ("birthdate", "death-date")


def parameters(exchange: Exchange) -> list[tuple[str, str]]:
    """Return the decoded parameters of the URL and, in a POST, of the form."""
    text = exchange.query
    if exchange.method == "POST" and _is_form(exchange):
        body = exchange.request.body.decode("utf-8", "replace")
        text = f"{text}&{body}" if text else body
    return parse_qsl(text, keep_blank_values=True, errors="replace") if text else []


def raw(exchange: Exchange, *, with_body: bool = False) -> bytes:
    """Return the request as BALP's examples write it: request line, headers, and a form's body.

    Other bodies stay out, as they hold resources, unless `with_body` says that this one is a
    query. Credentials are masked, and a request is cut off where it is too long for an event.
    """
    query = f"?{exchange.query}" if exchange.query else ""
    base = exchange.server.address.rstrip("/")
    lines = [f"{exchange.method} {base}/{exchange.path}{query}"]
    headers = exchange.request.headers
    lines += [f"{name}: {headers[name]}" for name in REQUEST_HEADERS if name in headers]
    if exchange.request_id is not None:
        lines.append(f"x-request-id: {exchange.request_id}")
    data = "\n".join(lines).encode("utf-8", "replace")
    if exchange.request.body and (with_body or _is_form(exchange)):
        data += b"\n\n" + exchange.request.body
    return _SECRET.sub(rb"\1=***", data)[:QUERY_BYTES_MAX]


def minimised(exchange: Exchange, kind: str) -> str:
    """Return the path and the parameters, with values only where they tell of nobody's health.

    A reference is kept, since the patient's own is in the event anyway.
    """
    parts = []
    for name, value in parameters(exchange):
        code = re.split(r"[:.]", name, maxsplit=1)[0]
        is_plain = code in _SHAPING or (code == name and _is_plain(kind, code))
        parts.append(f"{name}={value}" if is_plain else name)
    text = f"{exchange.path}?{'&'.join(parts)}" if parts else exchange.path
    return text[:QUERY_TEXT_CHARACTERS_MAX]


@cache
def _plain(kind: str) -> frozenset[str]:
    rows = SEARCH_PARAMETERS.get(kind, ())
    return frozenset(code for code, form, _, _ in rows if form in _PLAIN_KINDS)


def _is_plain(kind: str, code: str) -> bool:
    return code in _plain(kind) and code not in _PERSONAL_DATES


def _is_form(exchange: Exchange) -> bool:
    return exchange.request.headers.get("content-type", "").startswith(_FORM)
