"""What comes in: bytes in any accepted form to one valid R4 event (ITI-20; DESIGN, decision 1).

The bytes stay as they are; the form that is stored beside them says how to read them again.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from caretrail.errors import InvalidError, Issue, TooLargeError
from caretrail.fhir import audit_event, r5, strict_json, validation
from caretrail.fhir import xml as fhir_xml
from caretrail.fhir.audit_event import AuditEvent  # noqa: TC001 - named by Intake at run time.
from caretrail.fhir.decoding import decode
from caretrail.fhir.r5 import Release
from caretrail.limits import EVENT_BYTES_MAX

_NAMES: Final = {"0": "DSTU1", "1": "DSTU2", "3": "STU3"}


class Form(enum.IntEnum):
    """How the received bytes are written; the numbers are stored and never change."""

    JSON_R4 = 0
    XML_R4 = 1
    JSON_R5 = 2
    XML_R5 = 3
    # Those of DICOM, which `originals` reads.
    AUDIT_MESSAGE = 4
    SYSLOG = 5


class Intake(NamedTuple):
    """A valid event, and the form of the bytes that it was read from."""

    event: AuditEvent
    form: Form


def parse(body: bytes, *, xml: bool = False, release: str | None = None) -> Intake:
    """Return the event in `body`, or raise InvalidError with every problem found.

    `release` is the fhirVersion of the media type, such as `4.0`. An R5 event is known by it or by
    its shape, and is judged as the R4 event that it becomes; its problems name R4's elements.
    """
    if len(body) > EVENT_BYTES_MAX:
        raise TooLargeError(f"an event may not be larger than {EVENT_BYTES_MAX} bytes")
    _check_release(release)
    if not xml:
        event = decode(body)
        if event is not None:
            return Intake(event, Form.JSON_R4)
    json = fhir_xml.to_json(body) if xml else body.removeprefix(strict_json.BOM)
    document = strict_json.parse(json)
    issues = validation.judge(document)
    if not issues:
        return Intake(audit_event.read(json), Form.XML_R4 if xml else Form.JSON_R4)
    shape = r5.release_of(document.tree)
    if shape in (Release.STU3, Release.DSTU2):
        raise InvalidError((_not_supported(shape.name),))
    if isinstance(document.tree, dict) and (shape is Release.R5 or (release or "")[:1] == "5"):
        # What R4's validation found in an R5 event says nothing.
        document = document._replace(tree=r5.to_r4(document.tree))
        issues = validation.judge(document)
    if issues:
        raise InvalidError(issues)
    event = audit_event.read(strict_json.encode(document.tree))
    return Intake(event, Form.XML_R5 if xml else Form.JSON_R5)


def view(body: bytes, form: Form) -> bytes:
    """Return the R4 JSON of stored bytes that `parse` accepted in this form."""
    if form is Form.JSON_R4:
        return body.removeprefix(strict_json.BOM)
    json = fhir_xml.to_json(body) if form in (Form.XML_R4, Form.XML_R5) else body
    if form is Form.XML_R4:
        return json
    return strict_json.encode(r5.to_r4(strict_json.read(json)))


def event_of(body: bytes, form: Form) -> AuditEvent:
    """Return the event of stored bytes that `parse` accepted in this form."""
    return audit_event.read(view(body, form))


def _check_release(release: str | None) -> None:
    """Refuse a release that cannot be read here, whatever the content looks like."""
    major = (release or "4").partition(".")[0]
    if major not in ("4", "5"):
        raise InvalidError((_not_supported(_NAMES.get(major, "this release")),))


def _not_supported(name: str) -> Issue:
    return Issue("not-supported", f"the event is {name}: R4 and R5 are accepted", "AuditEvent")
