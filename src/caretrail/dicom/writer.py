"""An AuditEvent as a DICOM audit message in XML, for those who read nothing else (PS3.15, A.5).

What a message needs and the event does not say is filled by a default of `table`; what a message
has no place for is lost, which `table` lists. Where there is an original, send that instead.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final
from xml.sax.saxutils import escape, quoteattr

from caretrail.dicom import coded
from caretrail.dicom.identifiers import text_of
from caretrail.dicom.objects import CODES, EXTENSION, STUDY_DETAIL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Json = dict[str, Any]

# RFC 3881, 5.5.4: what a reference is, and what an id of unknown kind is.
_URI_TYPE: Final = {"system": coded.RFC_3881, "code": "12", "display": "URI"}
_UNKNOWN_TYPE: Final = {"system": coded.RFC_3881, "code": "9", "display": "Report Number"}
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>'


def write(event: Mapping[str, Any]) -> bytes:
    """Return the message of an event in R4 JSON, which is valid."""
    parts = [
        _element("EventIdentification", _event_attributes(event), _event_children(event)),
        *(_participant(agent) for agent in event["agent"]),
        _source(event["source"]),
        *(_object(entity) for entity in event.get("entity", ())),
    ]
    return (_DECLARATION + _element("AuditMessage", {}, parts)).encode()


def _event_attributes(event: Mapping[str, Any]) -> dict[str, str]:
    return {
        "EventActionCode": event.get("action", ""),
        "EventDateTime": event["recorded"],
        "EventOutcomeIndicator": event.get("outcome", ""),
    }


def _event_children(event: Mapping[str, Any]) -> Iterator[str]:
    yield _code("EventID", event["type"])
    for one in event.get("subtype", ()):
        yield _code("EventTypeCode", one)
    if event.get("outcomeDesc"):
        yield _element("EventOutcomeDescription", {}, [_text(event["outcomeDesc"])])
    purposes = [*event.get("purposeOfEvent", ())]
    # R4 has them of an agent, too; the message has one place.
    purposes += [one for agent in event["agent"] for one in agent.get("purposeOfUse", ())]
    yield from _each("PurposeOfUse", _codings(purposes))


def _participant(agent: Json) -> str:
    who, network = agent.get("who", {}), agent.get("network", {})
    attributes = {
        "UserID": _name(who) or agent.get("altId", "") or agent.get("name", ""),
        "AlternativeUserID": agent.get("altId", ""),
        "UserName": agent.get("name", ""),
        "UserIsRequestor": "true" if agent.get("requestor") else "false",
        "UserTypeCode": "2" if who.get("type") == "Device" and "identifier" in who else "",
        "NetworkAccessPointID": network.get("address", ""),
        "NetworkAccessPointTypeCode": network.get("type", ""),
    }
    kinds, roles = _codings([agent.get("type", {})]), _codings(agent.get("role", ()))
    roles = [one for one in kinds if one not in roles] + roles
    children = [*_each("RoleIDCode", roles)]
    children += _each("UserIDTypeCode", _id_types(who)[:1])
    if "media" in agent:
        media = [_code("MediaType", agent["media"])]
        children.append(_element("MediaIdentifier", {}, media))
    return _element("ActiveParticipant", attributes, children, required=("UserID",))


def _source(source: Json) -> str:
    site = source.get("site", "")
    attributes = {
        "AuditEnterpriseSiteID": site,
        "AuditSourceID": _name(source.get("observer", {})) or site or "unknown",
    }
    children = map(_source_type, source.get("type", ()))
    return _element("AuditSourceIdentification", attributes, children)


def _source_type(one: Json) -> str:
    """Return a type; one of the standard's own is a code alone (PS3.15, A.5.2.3)."""
    if one.get("system") != coded.SOURCE_TYPE:
        return _code("AuditSourceTypeCode", one)
    attributes = {"csd-code": one.get("code", ""), "originalText": one.get("display", "")}
    return _element("AuditSourceTypeCode", attributes)


def _object(entity: Json) -> str:
    what = entity.get("what", {})
    labels = entity.get("securityLabel", ())
    attributes = {"ParticipantObjectID": _name(what)}
    attributes |= {name: entity.get(member, {}).get("code", "") for name, member, _ in CODES}
    attributes["ParticipantObjectSensitivity"] = " ".join(
        one.get("code") or one.get("display", "") for one in labels
    )
    kinds = _id_types(what)[:1]
    if not kinds:
        kinds = [_URI_TYPE if "reference" in what else _UNKNOWN_TYPE]
    children = [*_each("ParticipantObjectIDTypeCode", kinds)]
    for name, member in (("ParticipantObjectName", "name"), ("ParticipantObjectQuery", "query")):
        if entity.get(member):
            children.append(_element(name, {}, [_text(entity[member])]))
    studies = []
    for detail in entity.get("detail", ()):
        if detail.get("type") == STUDY_DETAIL and "valueString" in detail:
            studies.append(detail["valueString"])
        else:
            children.append(_detail(detail))
    described = [*_described(entity.get("extension", ()), studies)]
    if entity.get("description"):
        described.insert(0, _text(entity["description"]))
    if described:
        children.append(_element("ParticipantObjectDescription", {}, described))
    return _element("ParticipantObjectIdentification", attributes, children)


def _detail(detail: Json) -> str:
    value = detail.get("valueBase64Binary")
    if value is None:
        value = b64encode(detail.get("valueString", "").encode(errors="replace")).decode()
    attributes = {"type": detail.get("type", "unknown"), "value": "".join(value.split())}
    return _element("ParticipantObjectDetail", attributes)


def _described(extensions: Iterable[Json], studies: list[str]) -> Iterator[str]:
    """Yield the parts of a description, in the order of the schema."""
    found: dict[str, list[Any]] = {}
    for one in extensions:
        name = str(one.get("url", "")).removeprefix(EXTENSION)
        found.setdefault(name, []).append(_value(one))
    for known in found.get("MPPS", ()):
        yield _element("MPPS", {"UID": text_of(known)})
    for known in found.get("Accession", ()):
        yield _element("Accession", {"Number": text_of(known)})
    classes = found.get("SOPClass", [])
    outside = [one for one in extensions if one.get("url") in _OF_CLASS]
    for number, reference in enumerate(classes):
        # What stands outside is that of the only class.
        yield _sop_class(reference, outside if number == 0 else ())
    if outside and not classes:
        yield _sop_class({}, outside)
    ids = [text_of(one) for one in found.get("ParticipantObjectContainsStudy", ())] + studies
    if ids:
        inner = [_element("StudyIDs", {"UID": one}) for one in ids]
        yield _element("ParticipantObjectContainsStudy", {}, inner)
    for name in ("Encrypted", "Anonymized"):
        for truth in found.get(name, ()):
            yield _element(name, {}, ["true" if truth else "false"])


_OF_CLASS: Final = (f"{EXTENSION}NumberOfInstances", f"{EXTENSION}Instance")


def _sop_class(reference: Json, outside: Iterable[Json]) -> str:
    attributes, instances = {"UID": _name(reference)}, []
    for one in (*outside, *reference.get("extension", ())):
        if one.get("url") == _OF_CLASS[0]:
            attributes["NumberOfInstances"] = str(_value(one))
        elif one.get("url") == _OF_CLASS[1]:
            instances.append(_element("Instance", {"UID": text_of(_value(one))}))
    return _element("SOPClass", attributes, instances)


def _value(extension: Json) -> Any:
    return next((part for name, part in extension.items() if name.startswith("value")), {})


def _name(reference: Json) -> str:
    """Return whom or what a reference means, in the one attribute that there is for it."""
    known = text_of(reference.get("identifier", {}))
    return known or str(reference.get("reference") or reference.get("display") or "")


def _id_types(reference: Json) -> list[Json]:
    return _codings([reference.get("identifier", {}).get("type", {})])


def _codings(concepts: Iterable[Json]) -> list[Json]:
    """Return the first coding of each concept, or its text as one."""
    found = []
    for one in concepts:
        rows = one.get("coding", ())
        if rows:
            found.append(rows[0])
        elif one.get("text"):
            found.append({"display": one["text"]})
    return found


def _each(name: str, codings: Iterable[Json]) -> Iterator[str]:
    return (_code(name, one) for one in codings)


def _code(name: str, one: Json) -> str:
    attributes = coded.attributes_of(one)
    return _element(name, attributes, required=tuple(attributes))


def _element(
    name: str,
    attributes: Mapping[str, str],
    children: Iterable[str] = (),
    *,
    required: tuple[str, ...] = (),
) -> str:
    """Return an element; an attribute without a value is left out unless it is `required`."""
    written = "".join(
        f" {key}={quoteattr(_clean(value), _BREAKS)}"
        for key, value in attributes.items()
        if value or key in required
    )
    inner = "".join(children)
    return f"<{name}{written}>{inner}</{name}>" if inner else f"<{name}{written}/>"


# An XML parser reads a line break in an attribute as a space, unless it is written as a reference.
_BREAKS: Final = {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}


def _text(text: str) -> str:
    return escape(_clean(text), {"\r": "&#13;"})


def _clean(text: str) -> str:
    """Return the text without what XML has no place for."""
    return _FORBIDDEN.sub("\ufffd", text)
