"""THE table of elements: AuditEvent and every datatype that can occur in it (FHIR R4, 4.0.1).

Validation (unknown elements, cardinality, types, required bindings), XML (order, arrays, kinds)
and `_summary` / `_elements` are read from these rows. All datatypes are given in full; contained
resources are not: their rows say only which of their elements repeat, as XML cannot tell.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

from caretrail.fhir.primitives import PRIMITIVES

MANY: Final = None


class Element(NamedTuple):
    """A row: one element of a type, in the order of the type's definition.

    `types` has several names only for a choice (`value[x]`); `most` None is `*`; `codes` are those
    of a required binding, None where the binding is not required or too long to list (currencies).
    """

    name: str
    types: tuple[str, ...]
    least: int = 0
    most: int | None = 1
    codes: frozenset[str] | None = None
    choice: bool = False
    summary: bool = False
    modifier: bool = False

    @property
    def mandatory(self) -> bool:
        """Whether every instance has it (`_elements` never leaves it out)."""
        return self.least > 0


class Member(NamedTuple):
    """A member of the JSON object: the element it belongs to, and the one type it has."""

    element: Element
    type: str


def _one(name: str, kind: str, codes: str = "", *, least: int = 0) -> Element:
    return Element(name, (kind,), least, 1, frozenset(codes.split()) if codes else None)


def _must(name: str, kind: str, codes: str = "") -> Element:
    return _one(name, kind, codes, least=1)


def _many(name: str, kind: str, codes: str = "", *, least: int = 0) -> Element:
    return Element(name, (kind,), least, MANY, frozenset(codes.split()) if codes else None)


def _choice(name: str, kinds: str, *, least: int = 0) -> Element:
    return Element(name, tuple(kinds.split()), least, 1, None, choice=True)


_ELEMENT: Final = (_one("id", "string"), _many("extension", "Extension"))
_BACKBONE: Final = (*_ELEMENT, _many("modifierExtension", "Extension"))

_ANY: Final = (
    "base64Binary boolean canonical code date dateTime decimal id instant integer markdown oid"
    " positiveInt string time unsignedInt uri url uuid Address Age Annotation Attachment"
    " CodeableConcept Coding ContactPoint Count Distance Duration HumanName Identifier Money Period"
    " Quantity Range Ratio Reference SampledData Signature Timing ContactDetail Contributor"
    " DataRequirement Expression ParameterDefinition RelatedArtifact TriggerDefinition UsageContext"
    " Dosage Meta"
)
_TIME_UNITS: Final = "s min h d wk mo a"
_DAYS: Final = "mon tue wed thu fri sat sun"
_TIMING: Final = (
    "MORN MORN.early MORN.late NOON AFT AFT.early AFT.late EVE EVE.early EVE.late NIGHT PHS"
    " HS WAKE C CM CD CV AC ACM ACD ACV PC PCM PCD PCV"
)
_QUANTITY: Final = (
    *_ELEMENT,
    _one("value", "decimal"),
    _one("comparator", "code", "< <= >= >"),
    _one("unit", "string"),
    _one("system", "uri"),
    _one("code", "code"),
)

_EVENT: Final = (
    _one("id", "id")._replace(summary=True),
    _one("meta", "Meta")._replace(summary=True),
    _one("implicitRules", "uri")._replace(summary=True, modifier=True),
    _one("language", "code"),
    _one("text", "Narrative"),
    _many("contained", "Resource"),
    _many("extension", "Extension"),
    _many("modifierExtension", "Extension")._replace(modifier=True),
    _must("type", "Coding")._replace(summary=True),
    _many("subtype", "Coding")._replace(summary=True),
    _one("action", "code", "C R U D E")._replace(summary=True),
    _one("period", "Period"),
    _must("recorded", "instant")._replace(summary=True),
    _one("outcome", "code", "0 4 8 12")._replace(summary=True),
    _one("outcomeDesc", "string")._replace(summary=True),
    _many("purposeOfEvent", "CodeableConcept")._replace(summary=True),
    _many("agent", "AuditEvent.agent", least=1),
    _must("source", "AuditEvent.source"),
    _many("entity", "AuditEvent.entity"),
)

TYPES: Final[dict[str, tuple[Element, ...]]] = {
    "AuditEvent": _EVENT,
    "AuditEvent.agent": (
        *_BACKBONE,
        _one("type", "CodeableConcept"),
        _many("role", "CodeableConcept"),
        _one("who", "Reference")._replace(summary=True),
        _one("altId", "string"),
        _one("name", "string"),
        _must("requestor", "boolean")._replace(summary=True),
        _one("location", "Reference"),
        _many("policy", "uri"),
        _one("media", "Coding"),
        _one("network", "AuditEvent.agent.network"),
        _many("purposeOfUse", "CodeableConcept"),
    ),
    "AuditEvent.agent.network": (
        *_BACKBONE,
        _one("address", "string"),
        _one("type", "code", "1 2 3 4 5"),
    ),
    "AuditEvent.source": (
        *_BACKBONE,
        _one("site", "string"),
        _must("observer", "Reference")._replace(summary=True),
        _many("type", "Coding"),
    ),
    "AuditEvent.entity": (
        *_BACKBONE,
        _one("what", "Reference")._replace(summary=True),
        _one("type", "Coding"),
        _one("role", "Coding"),
        _one("lifecycle", "Coding"),
        _many("securityLabel", "Coding"),
        _one("name", "string")._replace(summary=True),
        _one("description", "string"),
        _one("query", "base64Binary")._replace(summary=True),
        _many("detail", "AuditEvent.entity.detail"),
    ),
    "AuditEvent.entity.detail": (
        *_BACKBONE,
        _must("type", "string"),
        _choice("value", "string base64Binary", least=1),
    ),
    # What stands in the `_name` sibling of a primitive.
    "Element": _ELEMENT,
    "Meta": (
        *_ELEMENT,
        _one("versionId", "id"),
        _one("lastUpdated", "instant"),
        _one("source", "uri"),
        _many("profile", "canonical"),
        _many("security", "Coding"),
        _many("tag", "Coding"),
    ),
    "Narrative": (
        *_ELEMENT,
        _must("status", "code", "generated extensions additional empty"),
        _must("div", "xhtml"),
    ),
    "Extension": (*_ELEMENT, _must("url", "uri"), _choice("value", _ANY)),
    "Coding": (
        *_ELEMENT,
        _one("system", "uri"),
        _one("version", "string"),
        _one("code", "code"),
        _one("display", "string"),
        _one("userSelected", "boolean"),
    ),
    "CodeableConcept": (*_ELEMENT, _many("coding", "Coding"), _one("text", "string")),
    "Identifier": (
        *_ELEMENT,
        _one("use", "code", "usual official temp secondary old"),
        _one("type", "CodeableConcept"),
        _one("system", "uri"),
        _one("value", "string"),
        _one("period", "Period"),
        _one("assigner", "Reference"),
    ),
    "Reference": (
        *_ELEMENT,
        _one("reference", "string"),
        _one("type", "uri"),
        _one("identifier", "Identifier"),
        _one("display", "string"),
    ),
    "Period": (*_ELEMENT, _one("start", "dateTime"), _one("end", "dateTime")),
    "Quantity": _QUANTITY,
    "Age": _QUANTITY,
    "Count": _QUANTITY,
    "Distance": _QUANTITY,
    "Duration": _QUANTITY,
    "Money": (*_ELEMENT, _one("value", "decimal"), _one("currency", "code")),
    "Range": (*_ELEMENT, _one("low", "Quantity"), _one("high", "Quantity")),
    "Ratio": (*_ELEMENT, _one("numerator", "Quantity"), _one("denominator", "Quantity")),
    "Attachment": (
        *_ELEMENT,
        _one("contentType", "code"),
        _one("language", "code"),
        _one("data", "base64Binary"),
        _one("url", "url"),
        _one("size", "unsignedInt"),
        _one("hash", "base64Binary"),
        _one("title", "string"),
        _one("creation", "dateTime"),
    ),
    "HumanName": (
        *_ELEMENT,
        _one("use", "code", "usual official temp nickname anonymous old maiden"),
        _one("text", "string"),
        _one("family", "string"),
        _many("given", "string"),
        _many("prefix", "string"),
        _many("suffix", "string"),
        _one("period", "Period"),
    ),
    "Address": (
        *_ELEMENT,
        _one("use", "code", "home work temp old billing"),
        _one("type", "code", "postal physical both"),
        _one("text", "string"),
        _many("line", "string"),
        _one("city", "string"),
        _one("district", "string"),
        _one("state", "string"),
        _one("postalCode", "string"),
        _one("country", "string"),
        _one("period", "Period"),
    ),
    "ContactPoint": (
        *_ELEMENT,
        _one("system", "code", "phone fax email pager url sms other"),
        _one("value", "string"),
        _one("use", "code", "home work temp old mobile"),
        _one("rank", "positiveInt"),
        _one("period", "Period"),
    ),
    "Timing": (
        *_BACKBONE,
        _many("event", "dateTime"),
        _one("repeat", "Timing.repeat"),
        _one("code", "CodeableConcept"),
    ),
    "Timing.repeat": (
        *_ELEMENT,
        _choice("bounds", "Duration Range Period"),
        _one("count", "positiveInt"),
        _one("countMax", "positiveInt"),
        _one("duration", "decimal"),
        _one("durationMax", "decimal"),
        _one("durationUnit", "code", _TIME_UNITS),
        _one("frequency", "positiveInt"),
        _one("frequencyMax", "positiveInt"),
        _one("period", "decimal"),
        _one("periodMax", "decimal"),
        _one("periodUnit", "code", _TIME_UNITS),
        _many("dayOfWeek", "code", _DAYS),
        _many("timeOfDay", "time"),
        _many("when", "code", _TIMING),
        _one("offset", "unsignedInt"),
    ),
    "Signature": (
        *_ELEMENT,
        _many("type", "Coding", least=1),
        _must("when", "instant"),
        _must("who", "Reference"),
        _one("onBehalfOf", "Reference"),
        _one("targetFormat", "code"),
        _one("sigFormat", "code"),
        _one("data", "base64Binary"),
    ),
    "Annotation": (
        *_ELEMENT,
        _choice("author", "Reference string"),
        _one("time", "dateTime"),
        _must("text", "markdown"),
    ),
    "SampledData": (
        *_ELEMENT,
        _must("origin", "Quantity"),
        _must("period", "decimal"),
        _one("factor", "decimal"),
        _one("lowerLimit", "decimal"),
        _one("upperLimit", "decimal"),
        _must("dimensions", "positiveInt"),
        _one("data", "string"),
    ),
    "ContactDetail": (*_ELEMENT, _one("name", "string"), _many("telecom", "ContactPoint")),
    "Contributor": (
        *_ELEMENT,
        _must("type", "code", "author editor reviewer endorser"),
        _must("name", "string"),
        _many("contact", "ContactDetail"),
    ),
    "DataRequirement": (
        *_ELEMENT,
        _must("type", "code"),
        _many("profile", "canonical"),
        _choice("subject", "CodeableConcept Reference"),
        _many("mustSupport", "string"),
        _many("codeFilter", "DataRequirement.codeFilter"),
        _many("dateFilter", "DataRequirement.dateFilter"),
        _one("limit", "positiveInt"),
        _many("sort", "DataRequirement.sort"),
    ),
    "DataRequirement.codeFilter": (
        *_ELEMENT,
        _one("path", "string"),
        _one("searchParam", "string"),
        _one("valueSet", "canonical"),
        _many("code", "Coding"),
    ),
    "DataRequirement.dateFilter": (
        *_ELEMENT,
        _one("path", "string"),
        _one("searchParam", "string"),
        _choice("value", "dateTime Period Duration"),
    ),
    "DataRequirement.sort": (
        *_ELEMENT,
        _must("path", "string"),
        _must("direction", "code", "ascending descending"),
    ),
    "Expression": (
        *_ELEMENT,
        _one("description", "string"),
        _one("name", "id"),
        _must("language", "code"),
        _one("expression", "string"),
        _one("reference", "uri"),
    ),
    "ParameterDefinition": (
        *_ELEMENT,
        _one("name", "code"),
        _must("use", "code", "in out"),
        _one("min", "integer"),
        _one("max", "string"),
        _one("documentation", "string"),
        _must("type", "code"),
        _one("profile", "canonical"),
    ),
    "RelatedArtifact": (
        *_ELEMENT,
        _must(
            "type",
            "code",
            "documentation justification citation predecessor successor derived-from depends-on"
            " composed-of",
        ),
        _one("label", "string"),
        _one("display", "string"),
        _one("citation", "markdown"),
        _one("url", "url"),
        _one("document", "Attachment"),
        _one("resource", "canonical"),
    ),
    "TriggerDefinition": (
        *_ELEMENT,
        _must(
            "type",
            "code",
            "named-event periodic data-changed data-added data-modified data-removed data-accessed"
            " data-access-ended",
        ),
        _one("name", "string"),
        _choice("timing", "Timing Reference date dateTime"),
        _many("data", "DataRequirement"),
        _one("condition", "Expression"),
    ),
    "UsageContext": (
        *_ELEMENT,
        _must("code", "Coding"),
        _choice("value", "CodeableConcept Quantity Range Reference", least=1),
    ),
    "Dosage": (
        *_BACKBONE,
        _one("sequence", "integer"),
        _one("text", "string"),
        _many("additionalInstruction", "CodeableConcept"),
        _one("patientInstruction", "string"),
        _one("timing", "Timing"),
        _choice("asNeeded", "boolean CodeableConcept"),
        _one("site", "CodeableConcept"),
        _one("route", "CodeableConcept"),
        _one("method", "CodeableConcept"),
        _many("doseAndRate", "Dosage.doseAndRate"),
        _one("maxDosePerPeriod", "Ratio"),
        _one("maxDosePerAdministration", "Quantity"),
        _one("maxDosePerLifetime", "Quantity"),
    ),
    "Dosage.doseAndRate": (
        *_ELEMENT,
        _one("type", "CodeableConcept"),
        _choice("dose", "Range Quantity"),
        _choice("rate", "Ratio Range Quantity"),
    ),
}

# What `_summary=true` keeps, what is never left out, and what changes the meaning of the rest.
SUMMARY: Final = tuple(row.name for row in _EVENT if row.summary)
MANDATORY: Final = tuple(row.name for row in _EVENT if row.mandatory)
MODIFIER: Final = tuple(row.name for row in _EVENT if row.modifier)


def is_primitive(kind: str) -> bool:
    """Whether the type has a value of its own, and a `_name` sibling for its extensions."""
    return kind in PRIMITIVES


@cache
def members(kind: str) -> dict[str, Member]:
    """Return the members of a type's JSON object by name, in the order of the definition."""
    found: dict[str, Member] = {}
    for row in TYPES[kind]:
        for choice in row.types:
            name = row.name + choice[0].upper() + choice[1:] if row.choice else row.name
            found[name] = Member(row, choice)
    return found
