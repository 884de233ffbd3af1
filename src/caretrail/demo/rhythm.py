"""When things happen in the hospital: by day more than by night, and who is on duty (UTC)."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from time import gmtime, strftime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.demo.cast import Staff

HOUR_MILLISECONDS: Final = 3_600_000
DAY_MILLISECONDS: Final = 24 * HOUR_MILLISECONDS
# Events in each hour of a weekday: rounds at 8, notes before the shift ends, quiet nights.
_HOURS: Final = (3, 2, 2, 2, 2, 3, 6, 11, 16, 15, 14, 13, 10, 12, 13, 11, 9, 8, 7, 6, 5, 5, 4, 3)
_WEEKEND: Final = 0.55
_TEAMS: Final = 4  # Early, late, night, and one that has the day off.
_OFFICE_HOURS: Final = range(8, 17)


class Rhythm:
    """The density of events over a span that ends at a given time."""

    def __init__(self, *, end_milliseconds: int, days: int) -> None:
        self._start = end_milliseconds - days * DAY_MILLISECONDS
        weights = (_weight(self._start + hour * HOUR_MILLISECONDS) for hour in range(24 * days))
        self._totals = [0.0, *accumulate(weights)]

    def at(self, fraction: float) -> int:
        """Return the time before which `fraction` of all events happen; it rises with it."""
        mass = fraction * self._totals[-1]
        hour = min(bisect_right(self._totals, mass), len(self._totals) - 1) - 1
        low, high = self._totals[hour], self._totals[hour + 1]
        return self._start + int((hour + (mass - low) / (high - low)) * HOUR_MILLISECONDS)


class Rota:
    """Who is on duty: four teams that change by the day, and the offices."""

    def __init__(self, staff: Sequence[Staff]) -> None:
        clinical = [person for person in staff if not person.role.office]
        self._office = tuple(person for person in staff if person.role.office)
        self._teams = [tuple(clinical[team::_TEAMS]) for team in range(_TEAMS)]
        self._day = [tuple(sorted((*t, *self._office), key=_rank)) for t in self._teams]

    def on_duty(self, milliseconds: int) -> Sequence[Staff]:
        """Return who works at this time, the most active first."""
        day, hour = divmod(milliseconds // HOUR_MILLISECONDS, 24)
        if hour < 6:  # The night shift began yesterday.
            return self._teams[(day - 1 + 2) % _TEAMS]
        shift = 0 if hour < 14 else 1 if hour < 22 else 2
        team = (day + shift) % _TEAMS
        office = hour in _OFFICE_HOURS and not is_weekend(day)
        return self._day[team] if office else self._teams[team]


def is_weekend(day: int) -> bool:
    """Return whether this day since 1970-01-01, a Thursday, is a Saturday or Sunday."""
    return (day + 3) % 7 >= 5


def instant(milliseconds: int) -> str:
    """Return a time as a FHIR instant with milliseconds."""
    minute, rest = divmod(milliseconds, 60_000)
    return f"{_minute(minute)}{rest // 1000:02d}.{rest % 1000:03d}Z"


# Events come in the order of their time, so one minute's text is used again at once.
@lru_cache(maxsize=64)
def _minute(minute: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:", gmtime(minute * 60))


def _weight(milliseconds: int) -> float:
    day, hour = divmod(milliseconds // HOUR_MILLISECONDS, 24)
    return _HOURS[hour] * (_WEEKEND if is_weekend(day) else 1.0)


def _rank(person: Staff) -> int:
    return person.number
