"""An event claims a profile only when it meets it, by the rows that `caretrail check` uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail.fhir import audit_event, profiles, validation

if TYPE_CHECKING:
    from caretrail.fhir.audit_event import AuditEvent
    from caretrail.patterns.observation import Json

_encoder: Final = msgspec.json.Encoder()
# What XML, and so FHIR's string, cannot hold.
_CONTROLS: Final = {code: "\ufffd" for code in range(32) if chr(code) not in "\t\n\r"}


def settled(event: Json) -> bytes:
    """Return the event as the JSON of valid R4 that claims what it meets, and nothing else.

    Its texts come from requests, so they may hold anything; no event is lost over one of them.
    """
    body = _encoded(event)
    parsed = _parsed(body)
    if parsed is None:
        event = _clean(event)
        body = _encoder.encode(event)
        parsed = audit_event.read(body)
    unmet = profiles.unmet(parsed)
    return _encoder.encode(_without(event, unmet)) if unmet else body


def _without(event: Json, unmet: tuple[str, ...]) -> Json:
    met = [url for url in event["meta"]["profile"] if url not in unmet]
    if met:
        return {**event, "meta": {**event["meta"], "profile": met}}
    return {name: value for name, value in event.items() if name != "meta"}


def _encoded(event: Json) -> bytes:
    try:
        return _encoder.encode(event)
    except UnicodeEncodeError:  # Half a surrogate pair, which `_clean` takes out.
        return b""


def _parsed(body: bytes) -> AuditEvent | None:
    """Return the event, or None if it is not valid; what is ordinary takes the short way."""
    parsed = audit_event.decode(body)
    if parsed is None and body and not validation.problems(body):
        return audit_event.read(body)
    return parsed


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
