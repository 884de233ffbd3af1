"""Whom an event names as its recorder, and whom its sender is known to be (T-12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caretrail.search.reference import literal

if TYPE_CHECKING:
    from caretrail.fhir.audit_event import Source


def names_other(source: Source, observer: str) -> bool:
    """Tell whether `source.observer` is clearly not `observer`: Type/id, a URL or system|value.

    One that has a display alone names nobody in particular.
    """
    named = source.observer
    if named.reference is None and named.identifier is None:
        return False
    if named.reference is not None and _same(named.reference, observer):
        return False
    identifier = named.identifier
    return identifier is None or observer != f"{identifier.system or ''}|{identifier.value or ''}"


def _same(reference: str, observer: str) -> bool:
    one, other = literal(reference), literal(observer)
    if one is None or other is None:
        return reference == observer
    is_one_server = None in (one.base, other.base) or one.base == other.base
    return is_one_server and (one.type, one.id) == (other.type, other.id)
