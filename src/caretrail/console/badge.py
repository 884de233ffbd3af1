"""The integrity badge of every page: how the log stands, by its last checkpoint and verification."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from caretrail.api.service import Service

_SECONDS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def badge(service: Service) -> dict[str, Any]:
    """Return the state `ok`, `warning` or `alarm`, in words, with the facts behind it."""
    integrity = dict(service.integrity())
    checkpoints = service.publisher.health() if service.publisher is not None else {}
    found = integrity.get("findings") or 0
    trouble = str(checkpoints.get("status", "ok"))
    if found or integrity.get("status") == "findings":
        state, said = "alarm", "The log is not whole"
    elif trouble != "ok":
        state, said = "warning", f"Checkpoints: {trouble}"
    elif integrity.get("verified_size") is None:
        state, said = "warning", "Not verified yet"
    else:
        state, said = "ok", f"Verified {ago(integrity['verified_seconds_ago'])} ago"
    return {
        "state": state,
        "said": said,
        "size": service.repository.size,
        "checkpoints": checkpoints,
        "verification": integrity,
    }


def ago(seconds: float | None) -> str:
    """Return a length of time in its largest unit."""
    if seconds is None:
        return "never"
    for unit, length in _SECONDS:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return "0 s"
