"""Search parameters of type date (FHIR R4, search, date): every date is an interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.errors import ParameterError
from caretrail.fhir import temporal
from caretrail.search.ranges import Range, Ranges
from caretrail.search.syntax import unescape

if TYPE_CHECKING:
    from collections.abc import Iterable

MODIFIERS = ("missing",)
PREFIXES: Final = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")

_MILLISECOND: Final = 1_000_000  # in nanoseconds, as all times here
_SECOND: Final = 1_000_000_000


class Value(NamedTuple):
    """A prefix and the interval [start, end) in nanoseconds since 1970."""

    prefix: str
    start: int
    end: int

    def matches(self, elements: Iterable[str]) -> bool:
        """Tell whether any instant fits."""
        return any(self.fits(*temporal.start_end(element)) for element in elements)

    def fits(self, start: int, end: int) -> bool:
        """Tell whether the interval [start, end) fits."""
        inside = self.start <= start and end <= self.end
        match self.prefix:
            case "eq":
                return inside
            case "ne":
                return not inside
            case "gt":
                return end > self.end
            case "lt":
                return start < self.start
            case "ge":
                return inside or end > self.end
            case "le":
                return inside or start < self.start
            case "sa":
                return start >= self.end
            case "eb":
                return end <= self.start
            case _:
                return start < self.end and end > self.start

    def milliseconds(self) -> Ranges:
        """Return where an instant that fits may start, in milliseconds since 1970.

        The ranges hold every such start, and nothing else if `exact`.
        """
        # An instant without fraction lasts a second, so it may start that much before it counts.
        early = 0 if self.exact else _SECOND
        low, high = (self.start - early) // _MILLISECOND, -(-self.end // _MILLISECOND)
        late = (self.end - early) // _MILLISECOND
        before = -(-self.start // _MILLISECOND)
        match self.prefix:
            case "eq" | "ap":
                return (Range(low, high),)
            case "ne":
                return (Range(None, before), Range(late, None)) if self.exact else (Range(),)
            case "gt" | "sa":
                return (Range(late, None),)
            case "ge":
                return (Range(low, None),)
            case "lt" | "eb":
                return (Range(None, before),)
            case _:
                return (Range(None, high),)

    @property
    def exact(self) -> bool:
        """Tell whether the ranges alone decide: no instant crosses the border of a second."""
        return not self.start % _SECOND and not self.end % _SECOND


def parse(text: str, now: int) -> Value:
    """Parse a prefix and a date; `now` is in milliseconds since 1970, for `ap`."""
    text = unescape(text)
    prefix, text = (text[:2], text[2:]) if text[:2] in PREFIXES else ("eq", text)
    try:
        start, end = temporal.search_range(text)
    except ValueError as error:
        raise ParameterError(
            "the date is not one: yyyy-mm-ddThh:mm:ss and its beginnings"
        ) from error
    if prefix == "ap":
        # FHIR recommends a margin of 10 % of the distance from now.
        margin = abs(now * _MILLISECOND - start) // 10
        start = (start - margin) // _SECOND * _SECOND
        end = -(-(end + margin) // _SECOND) * _SECOND
    return Value(prefix, start, end)
