"""Objects of JSON without what is empty: receivers index every member that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caretrail.fhir.event_tree import Json


def present(members: Json) -> Json:
    """Return `members` without texts, lists and objects that are empty, at any depth."""
    found: Json = {}
    for name, value in members.items():
        kept = _kept(value)
        if kept not in ("", [], {}, None):
            found[name] = kept
    return found


def _kept(value: Any) -> Any:
    if isinstance(value, dict):
        return present(value)
    if isinstance(value, list):
        return [_kept(one) for one in value]
    return value
