"""What was received, in any form, as the R4 event that it is: one way to read stored bytes again.

What a form says must never change, as the index was made from it: another mapping is another form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from caretrail.dicom import audit_message, document, frame, plain
from caretrail.dicom.audit_message import Beside, Json
from caretrail.errors import InvalidError
from caretrail.fhir import audit_event, intake
from caretrail.fhir import served as fhir_served
from caretrail.fhir.intake import Form
from caretrail.fhir.strict_json import BOM
from caretrail.fhir.temporal import format_instant
from caretrail.search.record import NO_FLAGS, Flag

if TYPE_CHECKING:
    from caretrail.fhir.audit_event import AuditEvent

_encode: Final = msgspec.json.Encoder().encode
_AROUND: Final = b"\0 \t\r\n"


class Original(NamedTuple):
    """The event of an audit message or a syslog frame, and what was noticed about it."""

    event: AuditEvent
    flags: Flag


def view(body: bytes, form: Form, *, received_ms: int) -> bytes:
    """Return the R4 JSON of stored bytes; a message without a time has that of its receipt."""
    if form is Form.SYSLOG:
        return _encode(_syslog(body, received_ms)[0])
    if form is Form.AUDIT_MESSAGE:
        return _encode(_message(body, received_ms)[0])
    return intake.view(body, form)


def event_of(body: bytes, form: Form, *, received_ms: int) -> AuditEvent:
    """Return the event of stored bytes."""
    if form in (Form.SYSLOG, Form.AUDIT_MESSAGE):
        return audit_event.read(view(body, form, received_ms=received_ms))
    return intake.event_of(body, form)


def served(body: bytes, form: int, *, event_id: str, received_ms: int) -> bytes:
    """Return stored bytes as they are served: with the id and version that the repository gave."""
    json = view(body, Form(form), received_ms=received_ms)
    return fhir_served.served(json, event_id=event_id, received_ms=received_ms)


def of(body: bytes, form: Form, *, received_ms: int) -> Original:
    """Return the event of a syslog frame, of which there is one in any bytes: at least that they came.

    Or that of an audit message in XML; raises InvalidError where there is none.
    """
    event, flags = (_syslog if form is Form.SYSLOG else _message)(body, received_ms)
    return Original(audit_event.read(_encode(event)), flags)


def _syslog(body: bytes, received_ms: int) -> tuple[Json, Flag]:
    parts = frame.parse(body)
    beside = plain.beside(parts, received=format_instant(received_ms))
    # What is no XML at all is seldom worth an exception.
    if parts.message.lstrip(_AROUND).removeprefix(BOM).lstrip(_AROUND)[:1] == b"<":
        try:
            return _mapped(parts.message, beside)
        except InvalidError:
            pass
    return plain.event(parts, beside), Flag.UNPARSED


def _message(body: bytes, received_ms: int) -> tuple[Json, Flag]:
    return _mapped(body, Beside(format_instant(received_ms)))


def _mapped(body: bytes, beside: Beside) -> tuple[Json, Flag]:
    read = document.read(body)
    mapped = audit_message.to_event(audit_message.message_of(read.root), beside)
    is_sound = read.is_sound and not mapped.deviations
    return mapped.event, NO_FLAGS if is_sound else Flag.DEVIANT
