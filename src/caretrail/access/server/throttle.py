"""How often one address may be refused: whoever tries many names or codes has to wait."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_SECONDS: Final = 60
# A hospital may come from one address; this many wrong answers a minute are no typing errors.
REFUSALS_MAX: Final = 120
# A proxy on this machine stands for everybody: it has to count by itself, as it knows who comes.
_HERE: Final = ("127.0.0.1", "::1")
_ADDRESSES_MAX: Final = 10_000


class Throttle:
    """Counts refusals by address, within a minute."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._minute, self._counts = 0, dict[str, int]()

    def is_over(self, address: str) -> bool:
        """Tell whether an address has to wait until the minute is over."""
        self._turn()
        return address not in _HERE and self._counts.get(address, 0) >= REFUSALS_MAX

    def refused(self, address: str) -> None:
        """Count a refusal."""
        self._turn()
        if address in self._counts or len(self._counts) < _ADDRESSES_MAX:
            self._counts[address] = self._counts.get(address, 0) + 1

    def _turn(self) -> None:
        minute = int(self._clock()) // _SECONDS
        if minute != self._minute:
            self._minute, self._counts = minute, {}
