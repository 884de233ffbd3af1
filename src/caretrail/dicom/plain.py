"""A syslog message without an audit message: what its header says, as an event (RFC 5424, 6.2)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from caretrail.dicom.audit_message import UNKNOWN_EVENT, Beside, source_of
from caretrail.dicom.identifiers import instant

if TYPE_CHECKING:
    from caretrail.dicom.frame import Frame

_ADDRESS: Final = re.compile(
    r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f.]{0,15}){2,8}"
)
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\ufffe\uffff]")
# The fields that an event has no element for, by the names of RFC 5424.
_DETAILS: Final = (
    ("PRI", "pri"),
    ("VERSION", "version"),
    ("TIMESTAMP", "timestamp"),
    ("PROCID", "procid"),
    ("MSGID", "msgid"),
)


def beside(frame: Frame, *, received: str) -> Beside:
    """Return what a frame's header says beside its message; `received` is its receipt, an instant."""
    found = instant(frame.timestamp)
    recorded = found[0] if found is not None else received
    return Beside(recorded, clean(frame.hostname), clean(frame.app_name))


def event(frame: Frame, beside: Beside) -> dict[str, Any]:
    """Return the event of a message that holds no audit message; its text is in the original."""
    agent: dict[str, Any] = {}
    if beside.application:
        agent["who"] = {"identifier": {"value": beside.application}}
    agent["requestor"] = False
    if beside.host:
        kind = "2" if _ADDRESS.fullmatch(beside.host) else "1"
        agent["network"] = {"address": beside.host, "type": kind}
    found: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "type": UNKNOWN_EVENT,
        "recorded": beside.recorded,
        "agent": [agent],
        "source": source_of(beside),
    }
    texts = [(name, clean(getattr(frame, member))) for name, member in _DETAILS]
    details = [{"type": name, "valueString": text} for name, text in texts if text]
    if details:
        found["entity"] = [{"detail": details}]
    return found


def clean(text: str) -> str:
    """Return a header's field without what a FHIR string has no place for."""
    return _UNPRINTABLE.sub("\ufffd", text).strip()
