"""ParticipantObjectIdentification becomes AuditEvent.entity (DICOM PS3.15, A.5.1; R4's extensions)."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final

from caretrail.dicom import coded
from caretrail.dicom.identifiers import base64, identifier, uid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caretrail.dicom.document import Node

Json = dict[str, Any]

EXTENSION: Final = "http://hl7.org/fhir/StructureDefinition/auditevent-"
_THO: Final = "http://terminology.hl7.org/CodeSystem/"
# Attribute, element, code system.
CODES: Final = (
    ("ParticipantObjectTypeCode", "type", f"{_THO}audit-entity-type"),
    ("ParticipantObjectTypeCodeRole", "role", f"{_THO}object-role"),
    ("ParticipantObjectDataLifeCycle", "lifecycle", f"{_THO}dicom-audit-lifecycle"),
)
# The extension for studies may be there once; more of them are details of this type.
STUDY_DETAIL: Final = "ParticipantObjectContainsStudy"
# Most objects have no other children.
_NOT_DESCRIBING: Final = frozenset(
    (
        "ParticipantObjectIDTypeCode",
        "ParticipantObjectName",
        "ParticipantObjectQuery",
        "ParticipantObjectDetail",
    )
)
_TRUTH: Final = {"true": True, "1": True, "false": False, "0": False}
_INTEGER_MAX: Final = 2**31 - 1
_INTEGER_DIGITS_MAX: Final = 10


def entity(node: Node, deviations: set[str]) -> Json:
    """Return the entity of an object; {} where the element says nothing."""
    found: Json = {}
    extensions, studies = _described(node, deviations)
    if extensions:
        found["extension"] = extensions
    what = _what(node, deviations)
    if what:
        found["what"] = what
    for attribute, name, system in CODES:
        code = " ".join(node.attributes.get(attribute, "").split())
        if code:
            found[name] = {"system": system, "code": code}
    sensitivity = node.attributes.get("ParticipantObjectSensitivity", "").strip()
    if sensitivity:
        is_code = sensitivity == " ".join(sensitivity.split())
        found["securityLabel"] = [{"code" if is_code else "display": sensitivity}]
    texts = [one.text for one in node.all("ParticipantObjectDescription") if one.text]
    name, query = _text(node, "ParticipantObjectName"), _query(node, deviations)
    if query:
        found["query"] = query
        if name:  # sev-1: an entity has a name or a query.
            deviations.add("ParticipantObjectName")
            texts.insert(0, name)
    elif name:
        found["name"] = name
    if texts:
        found["description"] = "\n".join(texts)
    details = [*_details(node, deviations), *studies]
    if details:
        found["detail"] = details
    return found


def _text(node: Node, name: str) -> str:
    child = node.first(name)
    return child.text if child is not None else ""


def _what(node: Node, deviations: set[str]) -> Json:
    known = identifier(node.attributes.get("ParticipantObjectID", ""))
    kind = _id_type(node, deviations)
    if known is None:
        deviations.add("ParticipantObjectID")
        return {"identifier": {"type": {"coding": [kind]}}} if kind is not None else {}
    if kind is None:
        deviations.add("ParticipantObjectIDTypeCode")
        return {"identifier": known}
    return {"identifier": {"type": {"coding": [kind]}, **known}}


def _id_type(node: Node, deviations: set[str]) -> Json | None:
    child = node.first("ParticipantObjectIDTypeCode")
    if child is None:
        code = node.attributes.get("ParticipantObjectIDTypeCode", "")
        return coded.coding({"code": code}, coded.RFC_3881)
    if coded.differs(child.attributes):
        deviations.add("csd-code")
    return coded.coding(child.attributes, coded.RFC_3881)


def _query(node: Node, deviations: set[str]) -> str:
    text = _text(node, "ParticipantObjectQuery")
    if not text:
        return ""
    encoded = base64(text)
    if encoded is not None:
        return encoded
    # FHIR's element takes base64 alone.
    deviations.add("ParticipantObjectQuery")
    return b64encode(text.encode(errors="replace")).decode()


def _details(node: Node, deviations: set[str]) -> Iterator[Json]:
    for child in node.all("ParticipantObjectDetail"):
        kind, value = (child.attributes.get(name, "").strip() for name in ("type", "value"))
        if not kind or not value:
            deviations.add("ParticipantObjectDetail")
        if not value:
            continue
        encoded = base64(value)
        if encoded is None:
            deviations.add("ParticipantObjectDetail")
        member = {"valueString": value} if encoded is None else {"valueBase64Binary": encoded}
        yield {"type": kind or "unknown", **member}


def _described(node: Node, deviations: set[str]) -> tuple[list[Json], list[Json]]:
    """Return the extensions of R4 for what a description says, and the details for more studies."""
    if all(child.name in _NOT_DESCRIBING for child in node.children):
        return [], []
    # Older schemas put the parts directly into the object.
    holders = [node, *node.all("ParticipantObjectDescription")]
    found = [_extension("MPPS", "valueIdentifier", uid(one)) for one in _uids(holders, "MPPS")]
    numbers = _words(holders, "Accession", "Number")
    found += [_extension("Accession", "valueIdentifier", {"value": one}) for one in numbers]
    classes = [
        one
        for holder in holders
        for name in ("SOPClass", "ContainsSOPClass")
        for one in holder.all(name)
    ]
    for one in classes:
        found += _sop_class(one, deviations, is_sole=len(classes) == 1)
    holders += [one for holder in holders for one in holder.all("ParticipantObjectContainsStudy")]
    studies = _uids(holders, "StudyIDs")
    for study in studies[:1]:
        found.append(_extension("ParticipantObjectContainsStudy", "valueIdentifier", uid(study)))
    for name in ("Encrypted", "Anonymized"):
        texts = (
            one.text or one.attributes.get(name, "")
            for holder in holders
            for one in holder.all(name)
        )
        truths = [_TRUTH[text.lower()] for text in texts if text.lower() in _TRUTH]
        found += [_extension(name, "valueBoolean", truth) for truth in truths[:1]]
    return found, [{"type": STUDY_DETAIL, "valueString": study} for study in studies[1:]]


def _sop_class(node: Node, deviations: set[str], *, is_sole: bool) -> list[Json]:
    """Return the extensions of a SOP class.

    R4 counts instances of the entity. Where it has several classes, count and instances stand
    inside of the reference to theirs.
    """
    inner: list[Json] = []
    count = node.attributes.get("NumberOfInstances", "").strip()
    if count.isascii() and count.isdigit() and len(count) <= _INTEGER_DIGITS_MAX:
        if int(count) <= _INTEGER_MAX:
            inner.append(_extension("NumberOfInstances", "valueInteger", int(count)))
    elif count:
        deviations.add("NumberOfInstances")
    inner += [
        _extension("Instance", "valueIdentifier", uid(one)) for one in _uids([node], "Instance")
    ]
    known = "".join((node.attributes.get("UID") or node.text).split())
    reference: Json = {"identifier": uid(known)} if known else {}
    if is_sole:
        return [
            *([_extension("SOPClass", "valueReference", reference)] if reference else []),
            *inner,
        ]
    if inner:
        reference = {"extension": inner, **reference}
    return [_extension("SOPClass", "valueReference", reference)] if reference else []


def _uids(holders: list[Node], name: str) -> list[str]:
    return ["".join(one.split()) for one in _words(holders, name, "UID")]


def _words(holders: list[Node], name: str, attribute: str) -> list[str]:
    """Return an attribute of all children of that name, or their text where it is missing."""
    nodes = (one for holder in holders for one in holder.all(name))
    texts = ((one.attributes.get(attribute) or one.text).strip() for one in nodes)
    return [text for text in texts if text]


def _extension(name: str, member: str, value: Any) -> Json:
    return {"url": EXTENSION + name, member: value}
