"""Ranges of numbers, half open; an end that is None is open."""

from __future__ import annotations

from typing import NamedTuple


class Range(NamedTuple):
    """The numbers from `start` on and below `end`."""

    start: int | None = None
    end: int | None = None

    def has(self, number: int) -> bool:
        """Tell whether the number is in it."""
        return (self.start is None or number >= self.start) and (
            self.end is None or number < self.end
        )


Ranges = tuple[Range, ...]
EVERYTHING: Ranges = (Range(),)
_LOW, _HIGH = float("-inf"), float("inf")


def union(ranges: Ranges) -> Ranges:
    """Return the same numbers in ranges that are sorted and apart."""
    found: list[tuple[float, float]] = []
    for low, high in sorted(_ends(one) for one in ranges):
        if low >= high:
            continue
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(_range(*ends) for ends in found)


def intersection(left: Ranges, right: Ranges) -> Ranges:
    """Return the numbers that are in both."""
    both = ((max(a[0], b[0]), min(a[1], b[1])) for a in map(_ends, left) for b in map(_ends, right))
    return union(tuple(_range(low, high) for low, high in both if low < high))


def _ends(one: Range) -> tuple[float, float]:
    return (_LOW if one.start is None else one.start, _HIGH if one.end is None else one.end)


def _range(low: float, high: float) -> Range:
    return Range(None if low == _LOW else int(low), None if high == _HIGH else int(high))
