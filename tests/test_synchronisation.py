"""What the kernel says of the clock: synchronised, not, or nothing that can be read."""

from __future__ import annotations

from caretrail import synchronisation
from caretrail.synchronisation import UNKNOWN, Synchronisation, judged


def _timex(**members: int) -> synchronisation._Timex:
    return synchronisation._Timex(**members)


def test_a_kernel_that_may_not_be_asked_tells_nothing() -> None:
    assert judged(-1, _timex()) is UNKNOWN
    assert UNKNOWN.health() == {"synchronised": "unknown"}


def test_a_clock_that_nobody_keeps_is_not_synchronised() -> None:
    assert judged(5, _timex()).health()["synchronised"] == "no"
    assert judged(0, _timex(status=0x40)).health()["synchronised"] == "no"


def test_the_offset_is_in_seconds_whatever_unit_the_kernel_has() -> None:
    micro = judged(0, _timex(offset=1_500, maxerror=250_000))
    assert micro == Synchronisation(True, 0.0015, 0.25)
    nano = judged(0, _timex(offset=-1_500_000, maxerror=250_000, status=0x2000))
    assert nano.offset_seconds == -0.0015
    assert nano.health()["synchronised"] == "yes"


def test_this_machine_has_an_answer() -> None:
    assert synchronisation.read().health()["synchronised"] in ("yes", "no", "unknown")
