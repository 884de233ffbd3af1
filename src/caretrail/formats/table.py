"""THE table of formats: in which words a feed tells an event.

A row is the whole of a format: what it is called, how it is made, and what it leaves out of an
event unless a feed says otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from caretrail.formats import cef, ecs, ocsf
from caretrail.formats.told import told

if TYPE_CHECKING:
    from collections.abc import Callable

    from caretrail.fhir.event_tree import Json


class Format(NamedTuple):
    """One format; `write` makes the bytes of an event (one line) for a version of this product.

    With `is_plain` a feed that says nothing of redaction leaves patients in. `message_id` is what
    syslog calls it, `what` what it is for people.
    """

    code: str
    what: str
    media: str
    message_id: str
    write: Callable[[Json, str], bytes]
    is_plain: bool = False


def _fhir(event: Json, _: str) -> bytes:
    return msgspec.json.encode(event)


def _ocsf(event: Json, _: str) -> bytes:
    return msgspec.json.encode(ocsf.document(told(event)))


def _ecs(event: Json, _: str) -> bytes:
    return msgspec.json.encode(ecs.document(told(event)))


def _cef(event: Json, version: str) -> bytes:
    return cef.line(told(event), version=version).encode("utf-8", "replace")


FORMATS: Final = (
    Format("fhir", "the FHIR R4 AuditEvent, as it is served", "application/fhir+json", "FHIR", _fhir, is_plain=True),
    Format("ocsf", "OCSF 1.3, API Activity or Authentication", "application/json", "OCSF", _ocsf),
    Format("ecs", "Elastic Common Schema 8.11", "application/json", "ECS", _ecs),
    Format("cef", "Common Event Format, one line", "text/plain", "CEF", _cef),
)  # fmt: skip
BY_CODE: Final = {row.code: row for row in FORMATS}
