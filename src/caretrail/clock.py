"""The time of this machine, for those who are not handed a clock."""

from __future__ import annotations

import time

from caretrail.fhir.temporal import format_instant


def milliseconds() -> int:
    """Return milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def instant() -> str:
    """Return the time as a FHIR instant, in UTC and with three digits."""
    return format_instant(milliseconds())
