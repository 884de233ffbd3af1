"""Other releases: an R5 AuditEvent as R4, older ones by their shape (FHIR R5, AuditEvent).

Nothing is looked up and nothing refused here: a member that has no place is passed on, so that
validation names it. What R4 has no element for goes into the extensions that FHIR defines for
conversions between releases (`http://hl7.org/fhir/5.0/StructureDefinition/extension-...`).
"""

from __future__ import annotations

import enum
import re
from typing import Any, Final

from caretrail.fhir.strict_json import Number

_FROM_R5: Final = "http://hl7.org/fhir/5.0/StructureDefinition/extension-AuditEvent."
_FROM_R4: Final = "http://hl7.org/fhir/4.0/StructureDefinition/extension-AuditEvent."
_EXTENSION: Final = "http://hl7.org/fhir/StructureDefinition/auditevent-"

# The codes of R5's value set in other words than R4's (issue-severity, and the display names).
_OUTCOMES: Final = {
    "0": "0", "4": "4", "8": "8", "12": "12",
    "success": "0", "information": "0", "warning": "4", "error": "8", "fatal": "12",
}  # fmt: skip
_ADDRESS: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[?[0-9A-Fa-f]*:[0-9A-Fa-f:.]+\]?")
_ROLES: Final = "http://terminology.hl7.org/CodeSystem/object-role"
_TYPES: Final = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_RESOURCES: Final = "http://hl7.org/fhir/resource-types"
_PERSON: Final = {"system": _TYPES, "code": "1", "display": "Person"}
_PATIENT: Final = {"system": _ROLES, "code": "1", "display": "Patient"}

_Json = dict[str, Any]


class Release(enum.Enum):
    """The release of FHIR that an event was written for."""

    DSTU2 = "1.0"
    STU3 = "3.0"
    R4 = "4.0"
    R5 = "5.0"


def release_of(resource: object) -> Release:
    """Return the release whose shape `resource` has; R4 where none of the others shows."""
    if not isinstance(resource, dict):
        return Release.R4
    if "type" not in resource:
        if (
            "code" in resource
            or "category" in resource
            or isinstance(resource.get("outcome"), dict)
        ):
            return Release.R5
        if {"event", "participant", "object"} & resource.keys():
            return Release.DSTU2
    agents = [row for row in _listed(resource.get("agent")) if isinstance(row, dict)]
    if any("who" in row for row in agents):
        return Release.R4
    source = resource.get("source")
    old_agent = any("userId" in row or isinstance(row.get("reference"), dict) for row in agents)
    old_source = isinstance(source, dict) and "identifier" in source and "observer" not in source
    return Release.STU3 if old_agent or old_source else Release.R4


def to_r4(resource: _Json) -> _Json:
    """Return an R5 AuditEvent as R4, with as much of it as R4 can hold."""
    given = _without_new_types(dict(resource))
    codings = _codings(given.pop("code", None))
    kinds = [_codings(row) for row in _listed(given.pop("category", None))]
    first = [row for rows in kinds for row in rows] or codings
    kept = [
        *_extensions("severity", "valueCode", given.pop("severity", None)),
        *_extensions("basedOn", "valueReference", given.pop("basedOn", None)),
        *_extensions("encounter", "valueReference", given.pop("encounter", None)),
    ]
    event: _Json = {"resourceType": given.pop("resourceType", "AuditEvent")}
    if first:
        event["type"] = first[0]
    # What else the categories say is as near to a subtype as R4 gets.
    _set(event, "subtype", [*codings, *first[1:]] if first is not codings else codings)
    _set(event, "period", _period(given))
    kept += _put_outcome(event, given.pop("outcome", None))
    _set(event, "purposeOfEvent", _listed(given.pop("authorization", None)))
    _set(event, "agent", [_agent(row) for row in _listed(given.pop("agent", None))])
    if "source" in given:
        event["source"] = _source(given.pop("source"))
    entities = [_entity(row) for row in _listed(given.pop("entity", None))]
    _set(event, "entity", [*entities, *_patient(given.pop("patient", None), entities)])
    _set(event, "extension", [*_listed(given.pop("extension", None)), *kept])
    return {**event, **given}


def _put_outcome(event: _Json, outcome: Any) -> list[_Json]:
    """Set `outcome` and `outcomeDesc`; return extensions with what they cannot hold."""
    if not isinstance(outcome, dict):
        _set(event, "outcome", outcome)
        return []
    kept = []
    coding = outcome.get("code")
    code = _OUTCOMES.get(str(_get(coding, "code")).lower())
    if code is not None:
        event["outcome"] = code
    elif coding is not None:
        kept += _extensions("outcome.code", "valueCoding", coding)
    details = _listed(outcome.get("detail"))
    if details:
        _set(event, "outcomeDesc", _text(details[0]))
    lost = [row for row in details if row is not details[0] or _get(row, "coding")]
    return kept + _extensions("outcome.detail", "valueCodeableConcept", lost)


def _period(given: _Json) -> Any:
    moment = given.pop("occurredDateTime", None)
    period = given.pop("occurredPeriod", None)
    return {"start": moment, "end": moment} if period is None and moment is not None else period


def _agent(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    given = _with_r4_extensions(row, "agent")
    agent: _Json = {}
    if "_requestor" not in given:
        agent["requestor"] = given.pop("requestor", False)
    network = _network(given)
    _set(agent, "purposeOfUse", _listed(given.pop("authorization", None)))
    if "role" in given:
        agent["role"] = _listed(given.pop("role"))
    if network:
        agent["network"] = network
    if "altId" not in given:
        _set(agent, "altId", _alternative(given))
    return {**given, **agent}


def _network(given: _Json) -> Any:
    """Return R4's network of R5's network[x]; the type is known, or seen by its form."""
    known = given.pop("network", None)
    kind = _get(known, "type")
    uri, text = given.pop("networkUri", None), given.pop("networkString", None)
    endpoint = given.pop("networkReference", None)
    if uri is not None:
        return {"address": uri, "type": kind or "5"}
    if text is not None:
        is_address = isinstance(text, str) and _ADDRESS.fullmatch(text)
        return {"address": text, "type": kind or ("2" if is_address else "1")}
    if endpoint is not None:
        return {"address": _reference_text(endpoint), "type": kind or "5"}
    return known


def _alternative(given: _Json) -> Any:
    for row in _listed(given.get("extension")):
        if _get(row, "url") == f"{_EXTENSION}AlternativeUserID":
            return _get(_get(row, "valueIdentifier"), "value")
    return None


def _source(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    source = _with_r4_extensions(row, "source")
    if isinstance(source.get("site"), dict):
        _set(source, "site", _reference_text(source.pop("site")))
    if "type" in source:
        source["type"] = [coding for kind in _listed(source["type"]) for coding in _codings(kind)]
    return source


def _entity(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    entity = _with_r4_extensions(row, "entity")
    roles = _codings(entity.pop("role", None))
    _set(entity, "role", roles[0] if roles else None)
    labels = [
        coding for label in _listed(entity.pop("securityLabel", None)) for coding in _codings(label)
    ]
    _set(entity, "securityLabel", labels)
    _set(entity, "detail", [_detail(part) for part in _listed(entity.pop("detail", None))])
    target = _get(entity.get("what"), "type")
    if "type" not in entity and isinstance(target, str):
        entity["type"] = {"system": _RESOURCES, "code": target.rpartition("/")[2]}
    kept = [_kept_agent(agent) for agent in _listed(entity.pop("agent", None))]
    extensions = [*_listed(entity.pop("extension", None)), *(row for row in kept if row)]
    _set(entity, "extension", extensions)
    lifecycle = [row for row in extensions if _get(row, "url") == f"{_EXTENSION}Lifecycle"]
    if lifecycle and "lifecycle" not in entity:
        concept = lifecycle[0].get("valueCodeableConcept") or lifecycle[0].get("valueCoding")
        _set(entity, "lifecycle", next(iter(_codings(concept)), None))
    return entity


def _kept_agent(agent: Any) -> _Json | None:
    parts = [
        {"url": name, f"value{kind}": agent[name]}
        for name, kind in (("type", "CodeableConcept"), ("who", "Reference"))
        if _get(agent, name)
    ]
    return {"url": f"{_FROM_R5}entity.agent", "extension": parts} if parts else None


def _detail(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    detail = dict(row)
    if isinstance(detail.get("type"), dict):
        _set(detail, "type", _text(detail.pop("type")))
    for name in [name for name in detail if name.startswith("value")]:
        if name not in ("valueString", "valueBase64Binary"):
            detail["valueString"] = _text(detail.pop(name))
    return detail


def _patient(reference: Any, entities: list[Any]) -> list[_Json]:
    """Return the entity that R4 has for R5's patient, unless one of `entities` is it."""
    if reference is None or any(_get(row, "what") == reference for row in entities):
        return []
    return [{"what": reference, "type": _PERSON, "role": _PATIENT}]


def _with_r4_extensions(row: _Json, path: str) -> _Json:
    """Return a copy in which R4's elements have their values back from conversion extensions."""
    given, others = dict(row), []
    for extension in _listed(given.get("extension")):
        url = _get(extension, "url")
        prefix = f"{_FROM_R4}{path}."
        values = (
            [part for name, part in extension.items() if name.startswith("value")]
            if isinstance(extension, dict)
            else []
        )
        if isinstance(url, str) and url.startswith(prefix) and len(values) == 1:
            name, _, inner = url.removeprefix(prefix).partition(".")
            if name in ("altId", "description", "lifecycle", "media", "name", "type") and not inner:
                given.setdefault(name, values[0])
                continue
            if (name, inner) == ("network", "type"):
                given["network"] = {"type": values[0]}
                continue
        others.append(extension)
    if "extension" in given:
        given.pop("extension")
        _set(given, "extension", others)
    return given


def _without_new_types(tree: Any) -> Any:
    """Return `tree` with R5's integer64 as text: R4 has no extension of that type."""
    if isinstance(tree, list):
        return [_without_new_types(part) for part in tree]
    if not isinstance(tree, dict):
        return tree
    return {
        "valueString" if name == "valueInteger64" else name: _without_new_types(part)
        for name, part in tree.items()
    }


def _extensions(name: str, kind: str, values: Any) -> list[_Json]:
    return [{"url": f"{_FROM_R5}{name}", kind: value} for value in _listed(values)]


def _codings(concept: Any) -> list[Any]:
    """Return the codings of a CodeableConcept; its text, or it itself where it is a Coding."""
    if not isinstance(concept, dict):
        return []
    if "coding" in concept:
        return _listed(concept["coding"])
    if "text" in concept:
        return [{"display": concept["text"]}]
    return [concept] if {"system", "code", "display"} & concept.keys() else []


def _text(value: Any) -> Any:
    """Return the text that says most of what a value of any datatype says."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Number):
        return value.text
    if not isinstance(value, dict):
        return value if value is None else str(value)
    for name in ("text", "display", "code", "value", "reference"):
        if isinstance(value.get(name), str) and name != "code":
            return value[name] if "unit" not in value else f"{value[name]} {value['unit']}"
    if "coding" in value:
        return next((_text(row) for row in _listed(value["coding"])), None)
    if "value" in value:
        unit = value.get("unit", value.get("code"))
        return f"{_text(value['value'])} {unit}" if isinstance(unit, str) else _text(value["value"])
    for names, mark in _PAIRS:
        parts = [_text(value[name]) if name in value else None for name in names]
        if any(part is not None for part in parts):
            return mark.join(part or "" for part in parts)
    return value.get("code")


_PAIRS: Final = (
    (("low", "high"), " - "),
    (("numerator", "denominator"), " : "),
    (("start", "end"), " - "),
)


def _reference_text(reference: Any) -> Any:
    if not isinstance(reference, dict):
        return reference
    return (
        reference.get("display")
        or reference.get("reference")
        or _get(reference.get("identifier"), "value")
    )


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _listed(value: Any) -> list[Any]:
    """Return the rows of what may repeat; in XML one row of an element that R4 lacks is no list."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _set(element: _Json, name: str, value: Any) -> None:
    if value is not None and value != []:
        element[name] = value
