"""What the client sends and wants: media types, `_format`, `Prefer` (FHIR R4, http, 3.1.0.1).

Everything here is a function of short header values that clients repeat, so the results are kept.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.api.http import FORM, PLAIN, Format, Request
from caretrail.errors import MediaTypeError, NotAcceptableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_JSON_TYPES: Final = ("application/fhir+json", "application/json", "text/json")
_XML_TYPES: Final = ("application/fhir+xml", "application/xml", "text/xml")
_FORMATS: Final = {
    **dict.fromkeys(("json", *_JSON_TYPES), False),
    **dict.fromkeys(("xml", *_XML_TYPES), True),
}
_RELEASES: Final = {
    **dict.fromkeys(("4.0", "4.0.1"), "4.0"),
    **dict.fromkeys(("5.0", "5.0.0"), "5.0"),
    **dict.fromkeys(("3.0", "3.0.1", "3.0.2"), "3.0"),
}
_RETURNS: Final = ("minimal", "representation", "OperationOutcome")
# Browsers send 150 characters; what comes after this many is not read, nor kept in a cache.
_HEADER_CHARACTERS_MAX: Final = 1_000


class Content(NamedTuple):
    """The form of a body; `release` is the FHIR version that its media type names, if any."""

    xml: bool = False
    release: str | None = None


class Preference(NamedTuple):
    """What `Prefer` asks for: `returns` is "" when it does not say.

    `receipt` is "now" for a receipt at once, "wait" for one with its proof, else "".
    `respond_async` lets the answer come later, at another address (RFC 7240, 4.1).
    """

    returns: str = ""
    strict: bool = False
    receipt: str = ""
    respond_async: bool = False


_NO_PREFERENCE: Final = Preference()


def response_format(request: Request) -> Format:
    """Return the format to answer in, or raise NotAcceptableError."""
    headers = request.headers
    sent = headers.get(b"content-type", b"")
    asked = pretty = ""
    if request.query or sent.startswith(FORM):
        for name, value in request.pairs():
            if name == "_format":
                asked = value
            elif name == "_pretty":
                pretty = value
    if asked:
        xml = _named(asked)
    else:
        xml = _wants_xml(headers.get(b"accept", b"")[:_HEADER_CHARACTERS_MAX], b"xml" in sent)
    return Format(xml, pretty == "true") if xml or pretty else PLAIN


def content(request: Request) -> Content:
    """Return the form of the body, or raise MediaTypeError."""
    return _content(request.headers.get(b"content-type", b"")[:_HEADER_CHARACTERS_MAX])


def require_form(request: Request) -> None:
    """Raise MediaTypeError when there is a body that is no form."""
    kind, _ = _media(request.header(b"content-type"))
    if request.body and kind != FORM.decode():
        raise MediaTypeError(f"parameters in a body are sent as {FORM.decode()}")


def preference(request: Request) -> Preference:
    """Return what the client prefers; what we do not know of is left out (RFC 7240)."""
    prefer = request.headers.get(b"prefer")
    return _preference(prefer[:_HEADER_CHARACTERS_MAX]) if prefer else _NO_PREFERENCE


def _named(asked: str) -> bool:
    # A "+" that was not percent-encoded has become a space.
    kind, _ = _media(asked.strip().replace("fhir ", "fhir+"))
    if kind not in _FORMATS:
        raise NotAcceptableError("_format can be json or xml")
    return _FORMATS[kind]


@lru_cache(256)
def _wants_xml(accept: bytes, xml_sent: bool) -> bool:
    """Choose by quality; where both are as good, by what is named first, or what was sent."""
    ranges = list(_ranges(accept.decode("latin-1")))
    if not accept.strip():
        return xml_sent
    json, xml = _quality(ranges, _JSON_TYPES), _quality(ranges, _XML_TYPES)
    if json <= 0 and xml <= 0:
        raise NotAcceptableError("the answer can be application/fhir+json or application/fhir+xml")
    if json != xml:
        return xml > json
    named = [_FORMATS[kind] for kind, _ in ranges if kind in _FORMATS]
    return named[0] if named else xml_sent


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    """Yield the media ranges that we can look at, with their quality."""
    for item in accept.split(","):
        kind, parameters = _media(item)
        if parameters.get("fhirversion", "4.0") not in ("4.0", "4.0.1"):
            continue
        try:
            quality = float(parameters.get("q", "1"))
        except ValueError:
            continue
        if kind and 0 <= quality <= 1:
            yield kind, quality


def _quality(ranges: Sequence[tuple[str, float]], types: Sequence[str]) -> float:
    """Return the quality of a format: the closest range that fits decides (RFC 9110, 12.5.1)."""
    for wanted in (types, ("application/*", "text/*"), ("*/*",)):
        found = [quality for kind, quality in ranges if kind in wanted]
        if found:
            return max(found)
    return 0


@lru_cache(256)
def _content(header: bytes) -> Content:
    kind, parameters = _media(header.decode("latin-1"))
    if kind not in _JSON_TYPES and kind not in _XML_TYPES:
        raise MediaTypeError("the content must be application/fhir+json or application/fhir+xml")
    if parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8", "us-ascii"):
        raise MediaTypeError("the charset must be UTF-8")
    version = parameters.get("fhirversion")
    if version is not None and version not in _RELEASES:
        raise MediaTypeError("the fhirVersion must be 4.0 or 5.0")
    return Content(kind in _XML_TYPES, _RELEASES[version] if version else None)


@lru_cache(256)
def _preference(prefer: bytes) -> Preference:
    returns, strict, receipt, respond_async = "", False, "", False
    # Preferences are separated by commas; many clients write semicolons instead.
    for item in prefer.decode("latin-1").replace(";", ",").split(","):
        name, _, value = (part.strip().strip('"').lower() for part in item.partition("="))
        if name == "return":
            returns = next((known for known in _RETURNS if known.lower() == value), returns)
        elif name == "handling":
            strict = value == "strict"
        elif name == "caretrail-receipt":
            receipt = "wait" if value == "wait" else "now"
        elif name == "respond-async":
            respond_async = True
    return Preference(returns, strict, receipt, respond_async)


def _media(text: str) -> tuple[str, dict[str, str]]:
    """Return a media type or range in lower case, and its parameters by lower-case name."""
    kind, *rest = text.split(";")
    parameters = {}
    for parameter in rest:
        name, _, value = parameter.partition("=")
        parameters[name.strip().lower()] = value.strip().strip('"')
    return kind.strip().lower(), parameters
