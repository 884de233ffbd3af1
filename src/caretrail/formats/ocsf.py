"""AuditEvent to the Open Cybersecurity Schema (OCSF 1.3): API Activity, or Authentication."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caretrail.formats.shape import present
from caretrail.formats.told import LOGIN, LOGOUT

if TYPE_CHECKING:
    from caretrail.fhir.event_tree import Json
    from caretrail.formats.told import Told

_VERSION: Final = "1.3.0"
API_ACTIVITY: Final = 6003
AUTHENTICATION: Final = 3002
_CATEGORIES: Final = {
    API_ACTIVITY: (6, "Application Activity", "API Activity"),
    AUTHENTICATION: (3, "Identity & Access Management", "Authentication"),
}
_OTHER: Final = 99
# AuditEvent.action to `activity_id` of API Activity; a sign-in's by its subtype.
_ACTIVITIES: Final = {"C": (1, "Create"), "R": (2, "Read"), "U": (3, "Update"), "D": (4, "Delete")}
_SIGN_INS: Final = {LOGIN: (1, "Logon"), LOGOUT: (2, "Logoff")}
# AuditEvent.outcome to `severity_id`: success, minor, serious and major failure.
_SEVERITIES: Final = {"0": 1, "4": 2, "8": 3, "12": 4}
_SEVERITY_NAMES: Final = {1: "Informational", 2: "Low", 3: "Medium", 4: "High"}


def document(event: Told) -> Json:
    """Return the OCSF event; `metadata.uid` is the log's id of the AuditEvent."""
    kind = AUTHENTICATION if event.is_authentication else API_ACTIVITY
    category, category_name, class_name = _CATEGORIES[kind]
    activity, name = _activity(event)
    severity = _SEVERITIES.get(event.outcome, 1)
    status = (2, "Failure") if event.is_failure else (1, "Success")
    user = {"uid": event.user.id, "name": event.user.name}
    found: Json = {
        "class_uid": kind,
        "class_name": class_name,
        "category_uid": category,
        "category_name": category_name,
        "activity_id": activity,
        "activity_name": name,
        "type_uid": kind * 100 + activity,
        "time": event.at,
        "severity_id": severity,
        "severity": _SEVERITY_NAMES[severity],
        "status_id": status[0] if event.outcome else 0,
        "status": status[1] if event.outcome else "Unknown",
        "status_detail": event.reason,
        "message": event.subtype_name or event.type_name,
        "metadata": {
            "version": _VERSION,
            "uid": event.id,
            "event_code": event.type,
            "product": {"name": "CareTrail", "vendor_name": "CareTrail"},
        },
        "src_endpoint": {"ip": event.client.address, "hostname": event.client.host},
        "unmapped": {"purpose_of_use": list(event.purposes), "observer": event.observer},
    }
    if kind == AUTHENTICATION:
        found |= {"user": user}
    else:
        found |= {
            "actor": {"user": user},
            "api": {"operation": event.operation, "service": {"name": "FHIR"}},
            "resources": [{"uid": one} for one in event.objects],
        }
    return present(found)


def _activity(event: Told) -> tuple[int, str]:
    if event.is_authentication:
        found = [_SIGN_INS[one] for one in event.subtypes if one in _SIGN_INS]
        return found[0] if found else (_OTHER, event.subtype_name or "Other")
    return _ACTIVITIES.get(event.action, (_OTHER, event.subtype_name or event.operation or "Other"))
