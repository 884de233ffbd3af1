"""`metadata` of repository and clinic together (FHIR R4, http, capabilities)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import msgspec

from caretrail.clinic.parameters import KINDS, parameters

_INTERACTIONS: Final = (
    "read", "vread", "update", "patch", "delete", "history-instance", "history-type", "create",
    "search-type",
)  # fmt: skip
_SYSTEM: Final = ("batch", "transaction", "search-system", "history-system")
_CLINIC: Final = """\
All other types: JSON only, and one version a write. A relative reference value is of this server. \
Quantities are compared as they are, without conversion of units. Codes of elements of type code \
have no system. A Bundle has AuditEvents only or none."""


@lru_cache(8)
def statement(repository: bytes) -> bytes:
    """Return the CapabilityStatement of the repository with the clinic's types added."""
    found: dict[str, Any] = msgspec.json.decode(repository)
    (rest,) = found["rest"]
    rest["resource"] = sorted(
        [*rest["resource"], *map(_resource, KINDS)], key=lambda row: str(row["type"])
    )
    known = {row["code"] for row in rest["interaction"]}
    rest["interaction"] += [{"code": code} for code in _SYSTEM if code not in known]
    rest["documentation"] = f"{rest['documentation']} {_CLINIC}"
    found["patchFormat"] = ["application/json-patch+json"]
    return msgspec.json.encode(found)


def _resource(kind: str) -> dict[str, Any]:
    rows = parameters(kind).values()
    references = sorted(row.code for row in rows if row.kind == "reference")
    found: dict[str, Any] = {
        "type": kind,
        "interaction": [{"code": code} for code in _INTERACTIONS],
        "versioning": "versioned-update",
        "readHistory": True,
        "updateCreate": True,
        "conditionalCreate": True,
        "conditionalRead": "full-support",
        "conditionalUpdate": True,
        "conditionalDelete": "single",
        "referencePolicy": ["literal", "logical"],
        "searchInclude": [f"{kind}:{code}" for code in references],
        "searchParam": [{"name": row.code, "type": row.kind} for row in rows],
    }
    if kind == "Patient":
        definition = "http://hl7.org/fhir/OperationDefinition/Patient-everything"
        found["operation"] = [{"name": "everything", "definition": definition}]
    # An empty array is no valid FHIR.
    return {name: value for name, value in found.items() if value != []}
