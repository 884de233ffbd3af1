"""Whether this machine's clock follows an outside one, as its kernel says (IHE CT, ITI-1).

Whatever program sets the clock (chrony, ntpd, systemd-timesyncd) tells the kernel how well it knows
the time; `ntp_adjtime` with nothing to set reads that. Where it cannot be read nothing is claimed.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from typing import Any, Final, NamedTuple

# linux/timex.h: what the calls answer and the flags of `status`.
_TIME_ERROR: Final = 5
_STA_UNSYNC: Final = 0x40
_STA_NANO: Final = 0x2000


class _Timex(ctypes.Structure):
    """`struct timex` as adjtimex(2) has it, as far as `maxerror` and `status`; then its rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_long * 32),
    )


class Synchronisation(NamedTuple):
    """What the kernel knows: None of `is_synchronised` where it cannot be read.

    `offset_seconds` is what is still to be corrected, `error_seconds` the most that the clock may
    be wrong by.
    """

    is_synchronised: bool | None
    offset_seconds: float | None = None
    error_seconds: float | None = None

    def health(self) -> dict[str, Any]:
        """Return what a person wants to know of it."""
        if self.is_synchronised is None:
            return {"synchronised": "unknown"}
        return {
            "synchronised": "yes" if self.is_synchronised else "no",
            "offset_seconds": self.offset_seconds,
            "error_seconds": self.error_seconds,
        }


UNKNOWN: Final = Synchronisation(None)


def read() -> Synchronisation:
    """Return how this machine's clock is kept."""
    try:
        call = ctypes.CDLL(None, use_errno=True).ntp_adjtime
    except (OSError, AttributeError):
        return UNKNOWN
    found = _Timex()
    return judged(call(ctypes.byref(found)), found)


def judged(answer: int, found: _Timex) -> Synchronisation:
    """Return what the kernel's answer says; below zero it may not be asked."""
    if answer < 0:
        return UNKNOWN
    if answer == _TIME_ERROR or found.status & _STA_UNSYNC:
        return Synchronisation(is_synchronised=False)
    unit = 1e9 if found.status & _STA_NANO else 1e6
    return Synchronisation(True, found.offset / unit, found.maxerror / 1e6)
