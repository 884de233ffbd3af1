"""The time of this machine, for those who are not handed a clock."""

from __future__ import annotations

import time
from typing import NamedTuple

from caretrail.fhir.temporal import format_instant
from caretrail.limits import CLOCK_STEP_MILLISECONDS


def milliseconds() -> int:
    """Return milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def instant() -> str:
    """Return the time as a FHIR instant, in UTC and with three digits."""
    return format_instant(milliseconds())


class Reading(NamedTuple):
    """What two clocks say at one time, in milliseconds: the wall's, and one that nobody can set."""

    wall: int
    steady: int


def reading() -> Reading:
    """Return what the clocks of this machine say."""
    return Reading(milliseconds(), time.monotonic_ns() // 1_000_000)


def step(before: Reading, now: Reading) -> int:
    """Return by how many milliseconds the wall's clock was set between two readings, 0 if it was not.

    It drifts, and is drawn along by others, a little; a machine that slept is told as a step, too.
    """
    moved = (now.wall - before.wall) - (now.steady - before.steady)
    return moved if abs(moved) >= CLOCK_STEP_MILLISECONDS else 0
