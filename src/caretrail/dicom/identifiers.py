"""Identifiers in messages: HL7 CX values, DICOM UIDs, base64, and instants as senders write them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from caretrail.fhir import temporal
from caretrail.limits import PARTS_REMEMBERED

DICOM_UID: Final = "urn:dicom:uid"
_OID_URN: Final = "urn:oid:"
# HL7 v2 CX with nothing but an id, and an authority known by an OID; any other one stays whole.
_CX: Final = re.compile(r"([^\^&\s][^\^&]*)\^\^\^([^\^&]*)&([0-9]+(?:\.[0-9]+)+)&ISO")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_INSTANT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?)"
    r"(?:([Zz])|([+-][0-9]{2}):?([0-9]{2}))?"
)


@lru_cache(PARTS_REMEMBERED)
def identifier(text: str) -> dict[str, Any] | None:
    """Return the Identifier of an id: `id^^^name&oid&ISO` (CX) is taken apart, others stay whole."""
    text = text.strip()
    if not text:
        return None
    found = _CX.fullmatch(text)
    if found is None:
        return {"value": text}
    value, name, oid = found.groups()
    parts: dict[str, Any] = {"system": _OID_URN + oid, "value": value.strip()}
    return parts | {"assigner": {"display": name.strip()}} if name.strip() else parts


def text_of(identifier: dict[str, Any]) -> str:
    """Return the id as messages write it: an OID's in the form of CX."""
    value, system = str(identifier.get("value", "")), str(identifier.get("system", ""))
    if not value or not system:
        return value
    if system == DICOM_UID:
        return value.removeprefix(_OID_URN)
    if not system.startswith(_OID_URN):
        return value
    assigner = identifier.get("assigner", {})
    name = assigner.get("display", "") if isinstance(assigner, dict) else ""
    return f"{value}^^^{name}&{system.removeprefix(_OID_URN)}&ISO"


def uid(text: str) -> dict[str, str]:
    """Return the Identifier of a DICOM UID (FHIR R4, ImagingStudy: `urn:dicom:uid`)."""
    return {"system": DICOM_UID, "value": _OID_URN + text}


def base64(text: str) -> str | None:
    """Return base64 without white space; None where it is not base64, or there is none."""
    joined = "".join(text.split())
    return joined if len(joined) % 4 == 0 and _BASE64.fullmatch(joined) else None


@lru_cache(64)
def instant(text: str) -> tuple[str, bool] | None:
    """Return the FHIR instant, and whether it was written as one; None where there is none.

    Without a zone it is UTC. All digits of the second are kept.
    """
    found = _INSTANT.fullmatch(text.strip())
    if found is None:
        return None
    day, time, utc, hours, minutes = found.groups()
    zone = f"{hours}:{minutes}" if hours else "Z"
    written = f"{day}T{time}{zone}"
    try:
        temporal.instant(written)
    except ValueError:
        return None
    return written, written == text.strip() and (utc is not None or hours is not None)
