"""What XML does not say of resources around and inside an AuditEvent: which elements repeat.

JSON writes a repeating element as an array even when it occurs once; XML just writes it. For an
AuditEvent `definitions` knows. For the resources that senders put into `contained`, and for the
Bundle, these rows know; in any other resource an element is an array when it occurs twice, or when
its name is one of those that repeat nearly everywhere.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

from caretrail.fhir.definitions import TYPES


class Shape(NamedTuple):
    """What is known of an element by its name: its type ("" unknown), and whether it repeats."""

    type: str
    repeats: bool


# `name:Type` has a type of `definitions` or of this table, `*` repeats.
_ROWS: Final = {
    "": (
        "meta:Meta text:Narrative contained*:Resource extension*:Extension"
        " modifierExtension*:Extension identifier*:Identifier telecom*:ContactPoint coding*:Coding"
        " note*:Annotation photo*:Attachment endpoint*:Reference link* contact* active:boolean"
    ),
    "Bundle": "identifier:Identifier total:unsignedInt link* entry*:Bundle.entry",
    "Bundle.entry": "link* resource:Resource",
    "Device": (
        "definition:Reference udiCarrier* statusReason*:CodeableConcept deviceName*"
        " type:CodeableConcept specialization* version* property* patient:Reference owner:Reference"
        " location:Reference safety*:CodeableConcept parent:Reference"
    ),
    "Endpoint": (
        "connectionType:Coding payloadType*:CodeableConcept payloadMimeType* header*"
        " managingOrganization:Reference period:Period contact*:ContactPoint"
    ),
    "Location": (
        "alias* type*:CodeableConcept address:Address position:Location.position"
        " managingOrganization:Reference partOf:Reference hoursOfOperation*"
        " physicalType:CodeableConcept operationalStatus:Coding"
    ),
    "Location.position": "longitude:decimal latitude:decimal altitude:decimal",
    "Organization": (
        "type*:CodeableConcept alias* address*:Address partOf:Reference contact*:Organization.contact"
    ),
    "Organization.contact": "purpose:CodeableConcept name:HumanName address:Address",
    "Patient": (
        "name*:HumanName address*:Address maritalStatus:CodeableConcept contact*:Patient.contact"
        " communication*:Patient.communication generalPractitioner*:Reference"
        " managingOrganization:Reference link*:Patient.link"
    ),
    "Patient.communication": "language:CodeableConcept preferred:boolean",
    "Patient.contact": "relationship*:CodeableConcept name:HumanName address:Address period:Period",
    "Patient.link": "other:Reference",
    "Practitioner": (
        "name*:HumanName address*:Address qualification*:Practitioner.qualification"
        " communication*:CodeableConcept"
    ),
    "Practitioner.qualification": "code:CodeableConcept period:Period issuer:Reference",
    "PractitionerRole": (
        "period:Period practitioner:Reference organization:Reference code*:CodeableConcept"
        " specialty*:CodeableConcept location*:Reference healthcareService*:Reference"
        " availableTime* notAvailable*"
    ),
    "RelatedPerson": (
        "patient:Reference relationship*:CodeableConcept name*:HumanName address*:Address"
        " period:Period communication*:Patient.communication"
    ),
}


@cache
def shapes(kind: str) -> dict[str, Shape]:
    """Return what is known of the elements of a resource or one of its parts."""
    rows = f"{_ROWS['']} {_ROWS.get(kind, '')}" if kind else _ROWS[""]
    found: dict[str, Shape] = {}
    for row in rows.split():
        name, _, of = row.partition(":")
        found[name.removesuffix("*")] = Shape(of, name.endswith("*"))
    return found


def shape(kind: str, name: str) -> Shape:
    """Return what is known of one element; a choice tells its type by its name."""
    known = shapes(kind).get(name)
    if known is not None:
        return known
    for of in _CHOICES:
        if name.endswith(of[0].upper() + of[1:]) and name != of:
            return Shape(of, repeats=False)
    return Shape("", repeats=False)


_CHOICES: Final = (
    *(name for name in TYPES if "." not in name and name != "AuditEvent"),
    *("boolean", "integer", "decimal"),
)
