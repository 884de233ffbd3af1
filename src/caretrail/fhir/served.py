"""An AuditEvent as it is served: what was received, under our id (DESIGN, decision 1).

Only `id`, `meta.versionId` and `meta.lastUpdated` are the repository's. Every other member keeps
its bytes: the number of digits, the order, the white space inside it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from caretrail.fhir.temporal import format_instant

VERSION_ID: Final = "1"

_Members = dict[str, msgspec.Raw]
_decoder: Final = msgspec.json.Decoder(_Members)
_encoder: Final = msgspec.json.Encoder()


def served(json: bytes, *, event_id: str, received_ms: int) -> bytes:
    """Return an event's R4 JSON with the id and the version that the repository gave it."""
    members = _decoder.decode(json)
    members.pop("resourceType", None)
    members.pop("id", None)
    sent = members.pop("meta", None)
    version = {"versionId": VERSION_ID, "lastUpdated": format_instant(received_ms)}
    meta: dict[str, object] = {**version}
    if sent is not None:
        meta |= _decoder.decode(sent)
        meta |= version
    return _encoder.encode({"resourceType": "AuditEvent", "id": event_id, "meta": meta, **members})
