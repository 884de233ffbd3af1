"""An event claims a profile only when it meets it, by the rows that `caretrail check` uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from caretrail.fhir import audit_event, profiles, validation

if TYPE_CHECKING:
    from caretrail.fhir.audit_event import AuditEvent
    from caretrail.patterns.observation import Json

# What XML, and so FHIR's string, cannot hold.
_CONTROLS = {code: "\ufffd" for code in range(32) if chr(code) not in "\t\n\r"}


def settled(event: Json) -> Json:
    """Return the event as valid R4 that claims what it meets, and nothing else.

    Its texts come from requests, so they may hold anything; no event is lost over one of them.
    """
    parsed = _parsed(event)
    if parsed is None:
        event = _clean(event)
        parsed = _read(event)
    unmet = profiles.unmet(parsed)
    if unmet:
        met = [url for url in profiles.claimed(parsed) if url not in unmet]
        meta = {name: value for name, value in event["meta"].items() if name != "profile"}
        if met:
            meta["profile"] = met
        event = {name: meta if name == "meta" else value for name, value in event.items()}
        if not meta:
            del event["meta"]
    return event


def _parsed(event: Json) -> AuditEvent | None:
    try:
        body = msgspec.json.encode(event)
    except UnicodeEncodeError:  # Half a surrogate pair.
        return None
    parsed = audit_event.decode(body)
    if parsed is not None or validation.problems(body):
        return parsed
    return audit_event.read(body)


def _read(event: Json) -> AuditEvent:
    return audit_event.read(msgspec.json.encode(event))


def _clean(node: Any) -> Any:
    """Return `node` with characters replaced that FHIR's strings cannot hold."""
    if isinstance(node, str):
        text = node.encode("utf-8", "replace").decode()
        return text.translate(_CONTROLS).strip() or "?"
    if isinstance(node, list):
        return [_clean(item) for item in node]
    if isinstance(node, dict):
        return {name: _clean(item) for name, item in node.items()}
    return node
