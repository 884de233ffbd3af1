"""AuditEvent to the Elastic Common Schema (ECS 8.11): one flat meaning, nested objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caretrail.formats.shape import present

if TYPE_CHECKING:
    from caretrail.fhir.event_tree import Json
    from caretrail.formats.told import Told

_VERSION: Final = "8.11.0"
# AuditEvent.action to `event.type` (ECS, allowed values).
_TYPES: Final = {"C": "creation", "R": "access", "U": "change", "D": "deletion", "E": "info"}


def document(event: Told) -> Json:
    """Return the document of an event; `event.id` is the log's id of it."""
    category = "authentication" if event.is_authentication else "api"
    outcome = "failure" if event.is_failure else "success" if event.outcome else "unknown"
    return present(
        {
            "@timestamp": event.recorded,
            "ecs": {"version": _VERSION},
            "event": {
                "kind": "event",
                "id": event.id,
                "category": [category],
                "type": [_type(event)],
                "action": event.operation,
                "outcome": outcome,
                "reason": event.reason,
                "code": event.type,
                "provider": event.observer,
                "module": "caretrail",
            },
            "message": event.subtype_name or event.type_name,
            "user": {"id": event.user.id, "name": event.user.name},
            "source": {
                "ip": event.client.address,
                "domain": event.client.host,
                "address": event.client.address or event.client.host,
            },
            "observer": {"vendor": "CareTrail", "product": "CareTrail", "type": "audit"},
            "labels": {"purpose_of_use": ",".join(event.purposes)},
            "related": {"user": _unique(event.user.id, event.user.name)},
            "fhir": {"entity": {"reference": list(event.objects)}},
        }
    )


def _type(event: Told) -> str:
    if event.is_authentication:
        return "end" if "110123" in event.subtypes else "start"
    return _TYPES.get(event.action, "info")


def _unique(*texts: str) -> list[str]:
    return list(dict.fromkeys(filter(None, texts)))
