"""A resource as it comes in, as it is kept, and the part of it that somebody asked for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail.api import subset
from caretrail.clinic import validation
from caretrail.errors import InvalidError, Issue
from caretrail.fhir import strict_json
from caretrail.fhir.temporal import format_instant
from caretrail.patterns.tables.summary_elements import SUMMARY_ELEMENTS

if TYPE_CHECKING:
    from collections.abc import Collection

_Members = dict[str, msgspec.Raw]
_decoder: Final = msgspec.json.Decoder(_Members)
_ALWAYS: Final = frozenset(["resourceType", "id", "meta"])


def read(body: bytes, kind: str) -> dict[str, Any]:
    """Return the tree of a resource of this type, decimals as written, or raise InvalidError."""
    document = strict_json.parse(body)
    if document.issues:
        raise InvalidError(document.issues)
    return of_kind(document.tree, kind)


def of_kind(tree: Any, kind: str) -> dict[str, Any]:
    """Return the tree if it is that of a resource of this type, or raise InvalidError."""
    if not isinstance(tree, dict) or tree.get("resourceType") != kind:
        raise InvalidError((Issue("structure", f"the content is no {kind}", "resourceType"),))
    if not isinstance(tree.get("meta", {}), dict):
        raise InvalidError((Issue("structure", "an element is not of its type", f"{kind}.meta"),))
    return tree


def stamped(tree: dict[str, Any], *, name: str, number: int, updated: int) -> bytes:
    """Return the resource as it is kept, with its id and version; everything else is as sent."""
    ours = {"versionId": str(number), "lastUpdated": format_instant(updated)}
    rest = {key: one for key, one in tree.items() if key not in ("resourceType", "id", "meta")}
    head = {"resourceType": tree["resourceType"], "id": name, "meta": tree.get("meta", {}) | ours}
    return strict_json.encode(head | rest)


def checked(body: bytes) -> dict[str, Any]:
    """Return the tree of a stamped resource, decimals as floats; raise InvalidError if it is none."""
    plain: dict[str, Any] = json.loads(body)
    validation.check(plain)
    return plain


def part(body: bytes, kind: str, summary: str | None, elements: Collection[str]) -> bytes:
    """Return what `_summary` or `_elements` asks of a resource (FHIR R4, search, 3.1.1.5.8-9)."""
    if not elements and summary not in ("true", "text", "data"):
        return body
    members = _decoder.decode(body)
    summarized, always = (set(names.split()) for names in SUMMARY_ELEMENTS[kind])
    if elements:
        wanted = always | set(elements)
    elif summary == "true":
        wanted = always | summarized
    elif summary == "text":
        wanted = always | {"text"}
    else:
        wanted = members.keys() - {"text"}
    return subset.marked(subset.chosen(members, wanted | _ALWAYS))
