"""Who signs a log after whom: what its own events say of keys and names (patterns.own).

A rotation names the keys and the size from which on they sign; a recovery goes on under another
name, and names the one before.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.patterns.own import ORIGIN_SYSTEM

if TYPE_CHECKING:
    from caretrail.fhir.audit_event import AuditEvent

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class KeysChanged(NamedTuple):
    """Other keys, as verifier keys, sign trees from the size `since` on."""

    since: int
    keys: tuple[str, ...]


class Recovered(NamedTuple):
    """A log of `size` entries goes on as `origin`; it was `before`."""

    origin: str
    before: str
    size: int


def read(event: AuditEvent) -> KeysChanged | Recovered | None:
    """Return what an event of the log's own changes about its signers, None where it changes none.

    That the event is the log's own its entry says (kind); what its content says proves nothing.
    """
    details: dict[str, list[str]] = {}
    for entity in event.entity or ():
        for row in entity.detail or ():
            details.setdefault(row.type, []).append(row.valueString or "")
    if "key-since" in details:
        return KeysChanged(_number(details["key-since"][0]), tuple(details.get("key", ())))
    if "recovered-origin" in details:
        size = _number(details.get("recovered-size", ["0"])[0])
        return Recovered(_origin(event), details["recovered-origin"][0], size)
    return None


def _number(text: str) -> int:
    """Return a size, or 0, at which nobody can begin to sign, for what is none."""
    return int(text) if _DECIMAL.fullmatch(text) else 0


def _origin(event: AuditEvent) -> str:
    named = event.source.observer.identifier
    known = named is not None and named.system == ORIGIN_SYSTEM
    return (named.value or "") if named is not None and known else ""
