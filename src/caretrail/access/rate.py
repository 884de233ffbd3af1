"""How often somebody may do something: a token bucket for each (T-03)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caretrail.errors import RateError
from caretrail.limits import SOURCES_COUNTED_MAX

if TYPE_CHECKING:
    from collections.abc import Callable


class Rate:
    """Lets each source record `events` a second in the long run, and a burst of ten seconds' worth.

    A Bundle of more than that is taken once the source has been quiet for long enough, and then
    the source has to wait for what it took beyond.
    """

    def __init__(self, events: int, clock: Callable[[], float]) -> None:
        self._events, self._clock = events, clock
        self._burst = 10.0 * events
        # What each has left, and when that was so; whoever is not here has all of it.
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, source: str, events: int) -> None:
        """Count events of a source; raise RateError when it has none left."""
        now = self._clock()
        left, since = self._left.pop(source, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._events)
        if left < 1:
            self._left[source] = (left, now)
            raise RateError(f"this source may record {self._events} events a second")
        while len(self._left) >= SOURCES_COUNTED_MAX:
            del self._left[next(iter(self._left))]  # Who was seen longest ago has most left.
        self._left[source] = (left - events, now)
