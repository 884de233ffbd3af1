"""Search parameters of type number (FHIR R4, search, number), over whole numbers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.errors import ParameterError
from caretrail.search.ranges import Range, Ranges

if TYPE_CHECKING:
    from collections.abc import Iterable

MODIFIERS = ("missing",)
PREFIXES: Final = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")
_NUMBER: Final = re.compile(r"\d{1,18}")


class Value(NamedTuple):
    """A prefix and a whole number."""

    prefix: str
    number: int

    def matches(self, elements: Iterable[int]) -> bool:
        """Tell whether any element fits."""
        return any(one.has(element) for element in elements for one in self.ranges())

    def ranges(self) -> Ranges:
        """Return the numbers that fit."""
        number = self.number
        match self.prefix:
            case "ne":
                return (Range(None, number), Range(number + 1, None))
            case "gt" | "sa":
                return (Range(number + 1, None),)
            case "lt" | "eb":
                return (Range(None, number),)
            case "ge":
                return (Range(number, None),)
            case "le":
                return (Range(None, number + 1),)
            case "ap":
                return (Range(number - number // 10, number + number // 10 + 1),)
            case _:
                return (Range(number, number + 1),)


def parse(text: str) -> Value:
    """Parse a prefix and a number."""
    prefix, digits = (text[:2], text[2:]) if text[:2] in PREFIXES else ("eq", text)
    if not _NUMBER.fullmatch(digits):
        raise ParameterError("a whole number of at most 18 digits is needed")
    return Value(prefix, int(digits))
