r"""AuditEvent to the Common Event Format (ArcSight CEF, version 0): one line of text.

What an event says is somebody's text: a `|`, `=`, `\` or line break in it is escaped and begins no
field and no line (T-01). Other control characters become a blank.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from caretrail.formats.told import Told

_SEVERITIES: Final = {"0": 3, "4": 5, "8": 7, "12": 9}
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f\x85\u2028\u2029]")
_HEADER: Final = str.maketrans({"\\": r"\\", "|": r"\|", "\n": " ", "\r": " "})
_VALUE: Final = str.maketrans({"\\": r"\\", "=": r"\=", "\n": r"\n", "\r": r"\r"})


def line(event: Told, *, version: str) -> str:
    """Return the line of an event; `externalId` is the log's id of it, `version` the product's."""
    severity = _SEVERITIES.get(event.outcome, 3)
    name = event.subtype_name or event.type_name
    head = "|".join(
        _safe(part).translate(_HEADER)
        for part in ("CareTrail", "CareTrail", version, event.operation, name, str(severity))
    )
    return f"CEF:0|{head}|{_extension(event)}"


def _extension(event: Told) -> str:
    rows = {
        "rt": str(event.at),
        "externalId": event.id,
        "act": event.action,
        "outcome": "failure" if event.is_failure else "success" if event.outcome else "",
        "reason": event.reason,
        "suid": event.user.id,
        "suser": event.user.name,
        "src": event.client.address,
        "shost": event.client.host,
        "dvchost": event.observer,
        "cs1": " ".join(event.objects),
        "cs1Label": "entity" if event.objects else "",
        "cs2": " ".join(event.purposes),
        "cs2Label": "purposeOfUse" if event.purposes else "",
    }
    return " ".join(
        f"{name}={_safe(text).translate(_VALUE)}" for name, text in rows.items() if text
    )


def _safe(text: str) -> str:
    return _CONTROL.sub(" ", text)
