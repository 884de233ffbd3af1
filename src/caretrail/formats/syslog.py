"""Syslog messages (RFC 5424) in the frames of TLS (RFC 5425): octets counted, so no text ends one."""

from __future__ import annotations

import re
from typing import Final

# ATNA's: facility 10 (security/authorization), severity 5 (notice).
PRIORITY: Final = 10 * 8 + 5
_NOT_PRINTABLE: Final = re.compile(r"[^\x21-\x7e]")
_HOST_CHARACTERS_MAX: Final = 255


def frame(content: bytes, *, recorded: str, host: str, message_id: str) -> bytes:
    """Return one message with its length before it.

    `recorded` is an instant of FHIR, `host` who sends, `message_id` says what `content` is. The
    content goes without a BOM: it is UTF-8, and receivers take the BOM for a part of it.
    """
    name = _NOT_PRINTABLE.sub("", host)[:_HOST_CHARACTERS_MAX] or "-"
    head = f"<{PRIORITY}>1 {_timestamp(recorded)} {name} caretrail - {message_id} - "
    message = head.encode("ascii") + content
    return f"{len(message)} ".encode() + message


def _timestamp(recorded: str) -> str:
    """Return an instant with six digits of a second at most (RFC 5424, 6.2.3.1), no leap second."""
    recorded = re.sub(r":60(?=[.Z+-])", ":59", recorded)
    return re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", recorded)
