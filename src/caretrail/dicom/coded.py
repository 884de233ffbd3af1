"""Coded values: DICOM's CodedValueType, as RFC 3881 writes it too, and FHIR's Coding."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

from caretrail.limits import PARTS_REMEMBERED

if TYPE_CHECKING:
    from collections.abc import Mapping

DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
RFC_3881: Final = "urn:ietf:rfc:3881"
IHE_TRANSACTIONS: Final = "urn:ihe:event-type-code"
SOURCE_TYPE: Final = "http://terminology.hl7.org/CodeSystem/security-source-type"
# A name that is no URI is kept behind this, so that it can be had back.
_NAMED: Final = "urn:caretrail:code-system:"

# Name in a message, URI in FHIR. The first row of a URI is the way back.
_SYSTEMS: Final = (
    ("DCM", DCM),
    ("1.2.840.10008.2.16.4", DCM),
    ("IHE Transactions", IHE_TRANSACTIONS),
    ("RFC-3881", RFC_3881),
    ("RFC3881", RFC_3881),
    ("SCT", "http://snomed.info/sct"),
    ("SNOMED CT", "http://snomed.info/sct"),
    ("SNOMED-CT", "http://snomed.info/sct"),
    ("2.16.840.1.113883.6.96", "http://snomed.info/sct"),
    ("LN", "http://loinc.org"),
    ("IHE XDS Metadata", "urn:oid:1.3.6.1.4.1.19376.1.2.6"),
)
_URI: Final = dict(_SYSTEMS)
_NAME: Final = {uri: name for name, uri in reversed(_SYSTEMS)}
_OID: Final = re.compile(r"[0-9]+(?:\.[0-9]+)+")
_HAS_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_DCM_CODE: Final = re.compile(r"1101[0-9]{2}|1100[0-9]{2}")
_TRANSACTION: Final = re.compile(r"(?:ITI|RAD|PCC|QRPH|CARD|PHARM)-[0-9]+")


def coding(attributes: Mapping[str, str], default: str = "") -> dict[str, str] | None:
    """Return the Coding of an element's attributes; None where they say nothing.

    `default` is the code system that the code is of where neither the element nor the code's shape
    says one.
    """
    get = attributes.get
    return _coding(
        get("csd-code") or get("code") or "",
        get("codeSystemName") or get("codeSystem") or "",
        get("originalText") or get("displayName") or "",
        default,
    )


def differs(attributes: Mapping[str, str]) -> bool:
    """Tell whether the two spellings of the code say two things: `csd-code` is taken then."""
    one, other = attributes.get("csd-code"), attributes.get("code")
    return bool(one) and bool(other) and one != other


@lru_cache(PARTS_REMEMBERED)
def _coding(code: str, name: str, text: str, default: str) -> dict[str, str] | None:
    code, text = " ".join(code.split()), text.strip()
    found = {}
    if code:
        system = system_of(name) if name.strip() else _assumed(code, default)
        if system:
            found["system"] = system
        found["code"] = code
    if text:
        found["display"] = text
    return found or None


def _assumed(code: str, default: str) -> str:
    if default == RFC_3881 and code.isdigit() and len(code) <= 2:
        return RFC_3881
    if default == SOURCE_TYPE:
        return SOURCE_TYPE
    if _TRANSACTION.fullmatch(code):
        return IHE_TRANSACTIONS
    return DCM if _DCM_CODE.fullmatch(code) else ""


def system_of(name: str) -> str:
    """Return the URI of a code system that a message names by its name, OID or URI."""
    name = name.strip()
    known = _URI.get(name)
    if known is not None:
        return known
    if _OID.fullmatch(name):
        return f"urn:oid:{name}"
    return name if _HAS_SCHEME.fullmatch(name) else _NAMED + quote(name, safe="")


def name_of(system: str) -> str:
    """Return the name of a code system in a message."""
    known = _NAME.get(system)
    if known is not None:
        return known
    if system.startswith(_NAMED):
        return unquote(system.removeprefix(_NAMED))
    oid = system.removeprefix("urn:oid:")
    return oid if _OID.fullmatch(oid) else system


def attributes_of(coding: Mapping[str, Any]) -> dict[str, str]:
    """Return the attributes of a CodedValueType; the required ones are always there (A.5.1)."""
    code, system = str(coding.get("code", "")), str(coding.get("system", ""))
    return {
        "csd-code": code,
        "codeSystemName": name_of(system),
        "originalText": str(coding.get("display", "") or code),
    }
