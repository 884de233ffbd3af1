"""An audit message becomes a FHIR R4 AuditEvent (DICOM PS3.15, A.5; RFC 3881).

What each element becomes is a row of `table`; the participating objects are in `objects`. No value
is ever guessed: one that FHIR has no place for is left out, and `deviations` name the rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caretrail.dicom import coded
from caretrail.dicom.identifiers import identifier, instant
from caretrail.dicom.objects import entity
from caretrail.errors import InvalidError, Issue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from caretrail.dicom.document import Node

Json = dict[str, Any]

ROOT: Final = "AuditMessage"
ABSENT: Final = {
    "extension": [
        {
            "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason",
            "valueCode": "unknown",
        }
    ]
}
# A second AuditSourceIdentification, for which AuditEvent has no place.
OTHER_SOURCE: Final = "urn:caretrail:audit-source"
UNKNOWN_EVENT: Final = {
    "system": "urn:caretrail:syslog",
    "code": "message",
    "display": "Syslog message",
}
_ACTIONS: Final = frozenset("CRUDE")
_OUTCOMES: Final = frozenset(("0", "4", "8", "12"))
_NETWORK_TYPES: Final = frozenset("12345")
_TRUTH: Final = {"true": True, "1": True, "false": False, "0": False}
_DEVICE: Final = "2"
# PS3.15, CID 402: what part of the exchange somebody is, and not which role he has otherwise.
_PART_CODES: Final = frozenset(str(code) for code in range(110150, 110157))


class Beside(NamedTuple):
    """What is known beside a message and stands in for what it lacks.

    `recorded` is an instant, `host` and `application` are its sender's names.
    """

    recorded: str
    host: str = ""
    application: str = ""


class Mapped(NamedTuple):
    """The event, and the names of the rules that the message breaks."""

    event: Json
    deviations: frozenset[str]


def message_of(root: Node) -> Node:
    """Return the one AuditMessage of a document, which may be wrapped; raise InvalidError."""
    if root.name == ROOT:
        return root
    found = list(root.all(ROOT))
    if len(found) != 1:
        raise InvalidError((Issue("structure", "there is not exactly one AuditMessage", ROOT),))
    return found[0]


def to_event(message: Node, beside: Beside) -> Mapped:
    """Return the event of an AuditMessage; it is valid R4 whatever the message says."""
    deviations: set[str] = set()
    event: Json = {"resourceType": "AuditEvent"}
    event |= _identification(message, beside, deviations)
    participants = list(message.all("ActiveParticipant"))
    is_sole = len(participants) == 1
    event["agent"] = [_agent(one, deviations, is_sole=is_sole) for one in participants] or [
        {"requestor": False}
    ]
    if not participants:
        deviations.add("ActiveParticipant")
    event |= _sources(message, beside, deviations)
    found = (entity(one, deviations) for one in message.all("ParticipantObjectIdentification"))
    entities = [one for one in found if one]
    if entities:
        event["entity"] = entities
    return Mapped(event, frozenset(deviations))


def source_of(beside: Beside) -> Json:
    """Return the source of a message that names none: the one in the header of syslog."""
    name = beside.host or beside.application
    if not name:
        return {"observer": ABSENT}
    return {"observer": {"identifier": {"value": name}}}


def _identification(message: Node, beside: Beside, deviations: set[str]) -> Json:
    node = message.first("EventIdentification")
    attributes: Mapping[str, str] = node.attributes if node is not None else {}
    found: Json = {"type": _event_id(node, deviations)}
    if node is not None:
        subtypes = _codings(node, "EventTypeCode", deviations)
        if subtypes:
            found["subtype"] = subtypes
    action = attributes.get("EventActionCode", "").strip()
    if action in _ACTIONS and action:
        found["action"] = action
    elif action:
        deviations.add("EventActionCode")
    found["recorded"] = _recorded(attributes, beside, deviations)
    outcome = attributes.get("EventOutcomeIndicator", "").strip()
    if outcome in _OUTCOMES:
        found["outcome"] = outcome
    else:
        deviations.add("EventOutcomeIndicator")
    if node is None:
        return found
    described = node.first("EventOutcomeDescription")
    if described is not None and described.text:
        found["outcomeDesc"] = described.text
    purposes = _codings(node, "PurposeOfUse", deviations)
    if purposes:
        found["purposeOfEvent"] = [{"coding": [one]} for one in purposes]
    return found


def _event_id(node: Node | None, deviations: set[str]) -> Json:
    found = _codings(node, "EventID", deviations) if node is not None else []
    if not found:
        deviations.add("EventID")
        return UNKNOWN_EVENT
    return found[0]


def _recorded(attributes: Mapping[str, str], beside: Beside, deviations: set[str]) -> str:
    found = instant(attributes.get("EventDateTime", ""))
    if found is None:
        deviations.add("EventDateTime")
        return beside.recorded
    if not found[1]:
        deviations.add("EventDateTime")
    return found[0]


def _codings(node: Node, name: str, deviations: set[str], default: str = "") -> list[Json]:
    """Return the Codings of the children of that name which say something."""
    found: list[Json] = []
    for child in node.all(name):
        if coded.differs(child.attributes):
            deviations.add("csd-code")
        one = coded.coding(child.attributes, default)
        if one is None and child.text:
            one = coded.coding({"code": child.text}, default)
        if one is not None:
            found.append(one)
    return found


def _agent(node: Node, deviations: set[str], *, is_sole: bool) -> Json:
    get = node.attributes.get
    found: Json = {}
    roles = _codings(node, "RoleIDCode", deviations)
    if roles:
        found["type"] = {"coding": [_part(roles)]}
        found["role"] = [{"coding": [one]} for one in roles]
    # RFC 3881 wrote it with a missing letter at times.
    other, name = (
        (get("AlternativeUserID") or get("AlternativUserID") or "").strip(),
        get("UserName", "").strip(),
    )
    who = _who(node, name or other, deviations)
    if who:
        found["who"] = who
    if other:
        found["altId"] = other
    if name:
        found["name"] = name
    requestor = _TRUTH.get(get("UserIsRequestor", "").strip().lower())
    if requestor is None:
        deviations.add("UserIsRequestor")
        requestor = is_sole
    found["requestor"] = requestor
    media = _media(node, deviations)
    if media is not None:
        found["media"] = media
    network = _network(node, deviations)
    if network:
        found["network"] = network
    return found


def _who(node: Node, otherwise: str, deviations: set[str]) -> Json:
    known = identifier(node.attributes.get("UserID", ""))
    if known is None:
        deviations.add("UserID")
        return {"display": otherwise} if otherwise else {}
    kinds = _codings(node, "UserIDTypeCode", deviations, coded.RFC_3881)
    if kinds:
        known = {"type": {"coding": kinds[:1]}, **known}
    who: Json = {"identifier": known}
    if node.attributes.get("UserTypeCode", "").strip() == _DEVICE:
        who["type"] = "Device"
    return who


def _part(roles: list[Json]) -> Json:
    """Return the role that says which part of the exchange it was, else the first."""
    for one in roles:
        if one.get("system") == coded.DCM and one.get("code") in _PART_CODES:
            return one
    return roles[0]


def _media(node: Node, deviations: set[str]) -> Json | None:
    holder = node.first("MediaIdentifier") or node
    found = _codings(holder, "MediaType", deviations)
    return found[0] if found else None


def _network(node: Node, deviations: set[str]) -> Json:
    found: Json = {}
    address = node.attributes.get("NetworkAccessPointID", "").strip()
    kind = node.attributes.get("NetworkAccessPointTypeCode", "").strip()
    if address:
        found["address"] = address
    if kind in _NETWORK_TYPES and kind:
        found["type"] = kind
    elif kind:
        deviations.add("NetworkAccessPointTypeCode")
    return found


def _sources(message: Node, beside: Beside, deviations: set[str]) -> Json:
    nodes = list(message.all("AuditSourceIdentification"))
    if not nodes:
        deviations.add("AuditSourceIdentification")
        return {"source": source_of(beside)}
    found: Json = {"source": _source(nodes[0], beside, deviations)}
    others = []
    for node in nodes[1:]:
        deviations.add("AuditSourceIdentification")
        known = identifier(node.attributes.get("AuditSourceID", ""))
        if known is not None:
            others.append({"url": OTHER_SOURCE, "valueIdentifier": known})
    if others:
        found["extension"] = others
    return found


def _source(node: Node, beside: Beside, deviations: set[str]) -> Json:
    known = identifier(node.attributes.get("AuditSourceID", ""))
    if known is None:
        deviations.add("AuditSourceID")
        found = dict(source_of(beside))
    else:
        found = {"observer": {"identifier": known}}
    site = node.attributes.get("AuditEnterpriseSiteID", "").strip()
    if site:
        found["site"] = site
    kinds = _source_types(node, deviations)
    if kinds:
        found["type"] = kinds
    return found


def _source_types(node: Node, deviations: set[str]) -> list[Json]:
    """Return the types of a source: elements, or as senders of RFC 3881's time wrote them."""
    found = []
    for child in node.all("AuditSourceTypeCode"):
        if coded.differs(child.attributes):
            deviations.add("csd-code")
        attributes = child.attributes
        code = attributes.get("csd-code") or attributes.get("code") or child.text
        found.append(coded.coding({**attributes, "csd-code": code}, _standard(code)))
    for name in ("AuditSourceTypeCode", "code"):
        codes = node.attributes.get(name, "").split()
        found += [coded.coding({"code": code}, _standard(code)) for code in codes]
    return [_of_source(one) for one in found if one is not None]


def _standard(code: str) -> str:
    code = code.strip()
    return coded.SOURCE_TYPE if len(code) == 1 and code in "123456789" else ""


def _of_source(one: Json) -> Json:
    """Return the Coding under FHIR's system, which the standard's own codes from 1 to 9 have."""
    if _standard(one.get("code", "")) and one.get("system") in (coded.DCM, coded.RFC_3881):
        return {**one, "system": coded.SOURCE_TYPE}
    return one
