"""`_summary` and `_elements`: a part of an event, marked as such (FHIR R4, search, 3.1.1.5.8-9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail.fhir.definitions import TYPES

if TYPE_CHECKING:
    from collections.abc import Collection

_Members = dict[str, msgspec.Raw]
_decoder: Final = msgspec.json.Decoder(_Members)
_list_decoder: Final = msgspec.json.Decoder(list[_Members])

_EVENT: Final = TYPES["AuditEvent"]
# What no part goes without: identity, modifier elements and mandatory elements (FHIR R4).
_ALWAYS: Final = frozenset(
    ["resourceType", "id", "meta", *(row.name for row in _EVENT if row.mandatory or row.modifier)]
)
# A part of the event shows those of its elements that FHIR marks with Σ, and itself if any is.
_SUMMARY_CHILDREN: Final = {
    row.name: frozenset(
        child.name
        for child in TYPES[row.types[0]]
        if child.summary or child.name == "modifierExtension"
    )
    for row in _EVENT
    if row.types[0].startswith("AuditEvent.")
}
_SUMMARY: Final = _ALWAYS.union(_SUMMARY_CHILDREN, (row.name for row in _EVENT if row.summary))
_SUBSETTED: Final = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "SUBSETTED",
    "display": "Resource encoded in summary mode",
}


def subset(event: bytes, summary: str | None, elements: Collection[str]) -> bytes:
    """Return the part of the event that `_summary` or `_elements` asks for."""
    if elements:
        # A path below the base is answered by its base element.
        wanted = _ALWAYS | {name.partition(".")[0] for name in elements}
        return _part(event, wanted)
    match summary:
        case "true":
            return _summarized(event)
        case "text":
            return _part(event, _ALWAYS | {"text"})
        case "data":
            return _part(event, _decoder.decode(event).keys() - {"text"})
        case _:
            return event


def _summarized(event: bytes) -> bytes:
    members = chosen(_decoder.decode(event), _SUMMARY)
    for name, children in _SUMMARY_CHILDREN.items():
        if name in members:
            members[name] = _narrowed(members[name], children)
    return marked(members)


def _narrowed(value: msgspec.Raw, children: Collection[str]) -> Any:
    if bytes(value).startswith(b"["):
        parts = [chosen(one, children) for one in _list_decoder.decode(value)]
        return [part for part in parts if part]
    return chosen(_decoder.decode(value), children)


def _part(event: bytes, wanted: Collection[str]) -> bytes:
    return marked(chosen(_decoder.decode(event), wanted))


def chosen(members: _Members, wanted: Collection[str]) -> dict[str, Any]:
    """Return the members of an element that are wanted, and what belongs to them."""
    # `_recorded` holds the extensions of `recorded` and goes with it.
    return {name: value for name, value in members.items() if name.removeprefix("_") in wanted}


def marked(members: dict[str, Any]) -> bytes:
    """Return these members of a resource as JSON that says it is not all of it."""
    meta: dict[str, Any] = dict(_decoder.decode(members["meta"]))
    tags: list[Any] = msgspec.json.decode(meta.get("tag", b"[]"), type=list[msgspec.Raw])
    members["meta"] = meta | {"tag": [*tags, _SUBSETTED]}
    return msgspec.json.encode({name: value for name, value in members.items() if value != []})
