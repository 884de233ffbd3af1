"""The JSON tree of an event that may not be FHIR: what is of the wrong shape counts as absent."""

from __future__ import annotations

from typing import Any, Final

from caretrail.fhir.profile import Code
from caretrail.fhir.profile_codes import (
    APPLICATION,
    CUSTODIAN,
    DESTINATION,
    PATIENT_ROLE,
    PERSON,
    QUERY_ROLE,
    REST,
    SOURCE,
    SYSTEM_OBJECT,
)

Json = dict[str, Any]

# The displays of the codes that the doctor writes, as the guide's examples have them.
_DISPLAYS: Final = {
    REST: "Restful Operation",
    APPLICATION: "Application",
    DESTINATION: "Destination Role ID",
    SOURCE: "Source Role ID",
    CUSTODIAN: "Custodian",
    PERSON: "Person",
    SYSTEM_OBJECT: "System Object",
    PATIENT_ROLE: "Patient",
    QUERY_ROLE: "Query",
    Code(PATIENT_ROLE.system, "4"): "Domain Resource",
}


def members(owner: object, name: str) -> list[Json]:
    """Return the objects in the list `name` of `owner`."""
    found = owner.get(name) if isinstance(owner, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def child(owner: Json, name: str) -> Json:
    """Return the object `name` of `owner`, or an empty one."""
    found = owner.get(name)
    return found if isinstance(found, dict) else {}


def codings(agent: Json) -> list[Json]:
    """Return the codings of an agent's type."""
    return members(agent.get("type"), "coding")


def key(coding: object) -> Code | None:
    """Return what a profile compares of a Coding; None for one without system or code."""
    if not isinstance(coding, dict):
        return None
    system, code = coding.get("system"), coding.get("code")
    return Code(system, code) if isinstance(system, str) and isinstance(code, str) else None


def strings(owner: Json, name: str) -> list[str]:
    """Return the texts in the list `name` of `owner`."""
    found = owner.get(name)
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def written(code: Code) -> Json:
    """Return the Coding of a code that the doctor writes."""
    return {"system": code.system, "code": code.code, "display": _DISPLAYS[code]}
