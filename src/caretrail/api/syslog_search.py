"""ITI-82 Retrieve Syslog Event: the frames that came by syslog, by the fields of their header.

How the supplement spells the parameters and the answer could not be read in its own text: here are
RFC 5424's names (docs/reference/http.md). All spelling is in `PARAMETERS` and the two functions
`_json` and `_xml`, so that another one is a change of this module alone.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

import msgspec

from caretrail.api.http import Request, Response
from caretrail.dicom import frame
from caretrail.errors import InvalidError, Issue, ParameterError, TooCostlyError
from caretrail.fhir.intake import Form
from caretrail.fhir.temporal import format_instant
from caretrail.limits import SEARCH_COUNT_MAX, SEARCH_SECONDS_MAX
from caretrail.search import query as search_query

if TYPE_CHECKING:
    from collections.abc import Callable

    from caretrail.api.service import Service
    from caretrail.dicom.frame import Frame
    from caretrail.search.record import Record

# Parameter, and the field of the frame that it is compared with.
PARAMETERS: Final = {
    "pri": "pri",
    "version": "version",
    "hostname": "hostname",
    "app-name": "app_name",
    "procid": "procid",
    "msg-id": "msgid",
}
_MESSAGE: Final = "msg"
_JSON: Final = b"application/json"
_XML: Final = b"application/xml"
_DATED: Final = Issue("required", "a search for syslog messages names a date (ITI-82)", "date")
_TOO_MANY: Final = f"more than {SEARCH_COUNT_MAX} messages fit: give a shorter time"
_TOO_LONG: Final = "the search took longer than it may: give a shorter time"


async def search(request: Request, service: Service) -> Response:
    """Return the frames of a time whose fields have the values that are asked for.

    The dates are those of the events, which are the frames' own where these say none.
    """
    pairs = request.pairs()
    dates = [pair for pair in pairs if pair[0] == "date"]
    if not dates:
        raise InvalidError((_DATED,))
    fits = _wanted([pair for pair in pairs if pair[0] not in ("date", "_format", "_pretty")])
    # All of them came converted, so the index leaves out what came as JSON.
    asked = [*dates, ("flag", "converted"), ("_sort", "date")]
    parsed = search_query.parse(asked, strict=True, base=request.base, now=service.now())
    ends = time.monotonic() + SEARCH_SECONDS_MAX
    found: list[tuple[Record, Frame]] = []
    async for record in service.repository.every(request.view.over(parsed)):
        if time.monotonic() > ends:
            raise TooCostlyError(_TOO_LONG)
        if record.form == Form.SYSLOG:
            parts = frame.parse(record.body)
            if fits(parts):
                found.append((record, parts))
        if len(found) > SEARCH_COUNT_MAX:
            raise TooCostlyError(_TOO_MANY)
    rows = [_row(record, parts) for record, parts in found]
    if _wants_xml(request):
        return Response(200, _xml(rows), media=_XML, rows=len(rows))
    return Response(200, _json(rows), media=_JSON, rows=len(rows))


def _wanted(pairs: list[tuple[str, str]]) -> Callable[[Frame], bool]:
    """Return what tells whether a frame fits: all parameters, and of each one of its values."""
    tests: list[tuple[str, tuple[str, ...]]] = []
    for name, value in pairs:
        if name != _MESSAGE and name not in PARAMETERS:
            known = ", ".join(["date", *PARAMETERS, _MESSAGE])
            raise ParameterError(f"`{name}` is none of {known}")
        tests.append((name, tuple(value.split(","))))

    def fits(parts: Frame) -> bool:
        for name, values in tests:
            if name == _MESSAGE:
                if not any(value.encode() in parts.message for value in values):
                    return False
            elif getattr(parts, PARAMETERS[name]) not in values:
                return False
        return True

    return fits


def _wants_xml(request: Request) -> bool:
    asked = dict(request.pairs()).get("_format", "") or request.header(b"accept")
    return "xml" in asked and "json" not in asked


def _row(record: Record, parts: Frame) -> dict[str, str]:
    """Return the members of one message; bytes that are no UTF-8 are in `$original` alone."""
    found = {
        "Pri": parts.pri,
        "Version": parts.version,
        "Timestamp": parts.timestamp,
        "Hostname": parts.hostname,
        "App-name": parts.app_name,
        "Procid": parts.procid,
        "Msg-id": parts.msgid,
        "Structured-data": parts.structured_data,
        "Msg": parts.message.decode("utf-8", "replace").removeprefix("\ufeff"),
    }
    received = {"Received": format_instant(record.received), "AuditEvent": record.id}
    return {name: text for name, text in (found | received).items() if text}


def _json(rows: list[dict[str, str]]) -> bytes:
    return msgspec.json.encode({"totalCount": len(rows), "syslogMessages": rows})


def _xml(rows: list[dict[str, str]]) -> bytes:
    inner = "".join(
        "<SyslogMessage>"
        + "".join(f"<{name}>{escape(_clean(text))}</{name}>" for name, text in row.items())
        + "</SyslogMessage>"
        for row in rows
    )
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    return f'{head}<SyslogMessages totalCount="{len(rows)}">{inner}</SyslogMessages>'.encode()


def _clean(text: str) -> str:
    """Return the text with a mark for each character that XML has no place for."""
    return "".join(
        one if one >= " " or one in "\t\n\r" else "\ufffd"
        for one in text
        if one not in "\ufffe\uffff"
    )
