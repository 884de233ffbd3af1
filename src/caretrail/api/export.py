"""`$export`: FHIR Bulk Data's asynchronous exports, and evidence bundles the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlencode

import msgspec

from caretrail.api import negotiation
from caretrail.api.http import FORM, JSON, Header, Pairs, Request, Response, http_date
from caretrail.errors import (
    RETRY_AFTER_SECONDS,
    ConfigurationError,
    InvalidError,
    Issue,
    MediaTypeError,
    NotFoundError,
    ParameterError,
)
from caretrail.exporting import bundle, formats
from caretrail.exporting.jobs import Job, Wanted
from caretrail.exporting.selection import Filter, Selection
from caretrail.fhir.temporal import format_instant
from caretrail.limits import SEARCH_VALUES_MAX

if TYPE_CHECKING:
    from caretrail.api.service import Service
    from caretrail.exporting.formats import Format
    from caretrail.exporting.jobs import Exports

_MEDIA: Final = ", ".join(one.media for one in formats.FORMATS)
_ONCE: Final = ("_since", "_outputFormat", "_start", "_end")
_PARAMETERS: Final = frozenset([*_ONCE, "_type", "_typeFilter", "_subject"])
_HINT: Final = "an export is made while you wait elsewhere: send `Prefer: respond-async`"
_PRIVATE: Final[Header] = (b"content-disposition", b"attachment")


class _Named(msgspec.Struct):
    """A parameter of a Parameters resource; other kinds of values are not among ours."""

    name: str
    valueString: str | None = None  # noqa: N815
    valueCode: str | None = None  # noqa: N815
    valueInstant: str | None = None  # noqa: N815
    valueInteger: int | None = None  # noqa: N815

    def text(self) -> str:
        """Return the value as a query string has it."""
        found = (self.valueString, self.valueCode, self.valueInstant, self.valueInteger)
        return next((str(one) for one in found if one is not None), "")


class _Parameters(msgspec.Struct):
    resourceType: Literal["Parameters"]  # noqa: N815
    parameter: list[_Named] = []


_decoder: Final = msgspec.json.Decoder(_Parameters)


async def begin(request: Request, service: Service) -> Response:
    """Kick-off (Bulk Data, 2.5.5): the answer is 202, and the address to ask at."""
    exports = _exports(service)
    if not negotiation.preference(request).respond_async:
        raise InvalidError((Issue("required", _HINT),))
    pairs = _pairs(request)
    filters = [value for name, value in pairs if name == "_typeFilter" and value]
    one = dict(pairs)
    if one.get("_since"):
        since = urlencode({"_lastUpdated": f"gt{one['_since']}"})
        filters = [f"{text}&{since}" for text in filters or [""]]
    base, now = request.base, service.now()
    selection = Selection.of(
        filters=[Filter.parse(text, base=base, now=now) for text in filters],
        subjects=[value for name, value in pairs if name == "_subject"],
        start=_number(one, "_start"),
        end=_number(one, "_end"),
    ).within(request.view.clauses, request.view.binding)
    form = _form(one.get("_outputFormat", ""))
    if selection.subjects and form is not None:
        raise _wrong("_subject", f"_subject goes with _outputFormat={bundle.MEDIA}")
    job = exports.begin(Wanted(selection, form, _asked(request), request.identity.producer))
    address = f"{request.base}/$export/{job.id}".encode()
    return Response(202, headers=((b"content-location", address),))


async def status(request: Request, service: Service) -> Response:
    """Status (Bulk Data, 2.5.7): 202 and how far it is, the manifest, or why it failed."""
    job = _job(request, service)
    if job.error is not None:
        raise job.error
    if job.exported is None:
        headers: tuple[Header, ...] = (
            (b"x-progress", job.progress().encode()),
            (b"retry-after", str(RETRY_AFTER_SECONDS).encode()),
        )
        return Response(202, headers=headers)
    expires: Header = (b"expires", http_date(int(job.expires)).encode())
    body = msgspec.json.encode(_manifest(job, request.base, service))
    return Response(200, body, headers=(expires,), media=JSON)


async def cancel(request: Request, service: Service) -> Response:
    """Delete (Bulk Data, 2.5.6): end the job and remove its files."""
    await _exports(service).remove(_job(request, service))
    return Response(202)


async def download(request: Request, service: Service) -> Response:
    """Output file (Bulk Data, 2.5.9): to whoever began the export, with the credential."""
    job = _job(request, service)
    if job.exported is None or request.captures[1] != job.wanted.file_name:
        raise NotFoundError("this export has no such file")
    media = job.wanted.media.encode()
    rows = job.exported.events
    return Response(200, headers=(_PRIVATE,), media=media, file=job.file.open("rb"), rows=rows)


def _exports(service: Service) -> Exports:
    if service.exports is None:
        raise NotFoundError("exports are not made here")
    return service.exports


def _job(request: Request, service: Service) -> Job:
    return _exports(service).find(request.captures[0], request.identity.producer)


def _manifest(job: Job, base: str, service: Service) -> dict[str, Any]:
    exported, wanted = job.exported, job.wanted
    assert exported is not None
    output: list[dict[str, Any]] = []
    # Of nothing there is no file in NDJSON; a bundle that shows nothing still proves something.
    if exported.events or wanted.form is not formats.NDJSON:
        url = f"{base}/$export/{job.id}/{wanted.file_name}"
        output.append({"type": "AuditEvent", "url": url, "count": exported.events})
    return {
        "transactionTime": format_instant(exported.at),
        "request": wanted.request,
        "requiresAccessToken": not service.gate.insecure,
        "outputFormat": wanted.media,
        "output": output,
        "error": [],
    }


def _pairs(request: Request) -> Pairs:
    """Return the parameters; one that is not known could mean less than is let out."""
    pairs = request.pairs()
    if request.body and not request.headers.get(b"content-type", b"").lower().startswith(FORM):
        pairs += _resource(request)
    if not _PARAMETERS.issuperset(name for name, _ in pairs):
        # An unknown name is the sender's own text, and is not repeated.
        raise _wrong("", f"an export takes {', '.join(sorted(_PARAMETERS))}, and nothing else")
    if any(sum(one == name for one, _ in pairs) > 1 for name in _ONCE):
        raise _wrong("", f"each of {', '.join(_ONCE)} is given once")
    if any(value != "AuditEvent" for name, value in pairs if name == "_type"):
        raise _wrong("_type", "_type is AuditEvent: there are no other resources here")
    return pairs


def _resource(request: Request) -> Pairs:
    if negotiation.content(request).xml:
        raise MediaTypeError("the parameters of an export are a form, or Parameters in JSON")
    try:
        rows = _decoder.decode(request.body).parameter
    except msgspec.MsgspecError as error:
        raise InvalidError("the body is no Parameters resource of strings and numbers") from error
    if len(rows) > SEARCH_VALUES_MAX:
        raise InvalidError(f"there are more than {SEARCH_VALUES_MAX} parameters")
    return [(row.name, row.text()) for row in rows]


def _form(asked: str) -> Format | None:
    """Return the form of a file, or None for an evidence bundle."""
    # A "+" that was not percent-encoded has become a space.
    kind = asked.strip().replace(" ", "+").lower()
    if kind == bundle.MEDIA:
        return None
    form = formats.of_name(kind) if kind else formats.NDJSON
    if form is None:
        raise _wrong("_outputFormat", f"_outputFormat is {_MEDIA} or {bundle.MEDIA}")
    try:
        form.check()
    except ConfigurationError as error:
        raise _wrong("_outputFormat", str(error)) from error
    return form


def _number(pairs: dict[str, str], name: str) -> int | None:
    text = pairs.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise _wrong(name, f"{name} is a whole number of at most 18 digits")
    return int(text)


def _asked(request: Request) -> str:
    """Return the address that the client asked at, as it wrote it."""
    address = request.base + request.path.removeprefix("/fhir")
    return f"{address}?{request.query}" if request.query else address


def _wrong(place: str, what: str) -> ParameterError:
    return ParameterError((Issue("not-supported", what, place),))
