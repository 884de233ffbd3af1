"""Search parameters of type number and quantity (FHIR R4, search, number and quantity)."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.errors import ParameterError
from caretrail.search.date import PREFIXES
from caretrail.search.syntax import split

if TYPE_CHECKING:
    from collections.abc import Iterable

    from caretrail.clinic.elements import Amount

_NUMBER: Final = re.compile(r"[+-]?\d{1,18}(?:\.\d{1,18})?(?:[eE][+-]?\d{1,2})?")


class Value(NamedTuple):
    """A prefix, and a number of which as many digits count as were written.

    `low` and `high` are half a digit away: `5.4` is from 5.35 on and below 5.45. A part of the
    unit that is None may be anything; a code without a system may be the unit that people read.
    """

    prefix: str
    number: float
    low: float
    high: float
    system: str | None = None
    code: str | None = None

    def matches(self, elements: Iterable[Amount]) -> bool:
        """Tell whether any element fits."""
        return any(self._has_unit(one) and self.fits(one.low, one.high) for one in elements)

    def _has_unit(self, one: Amount) -> bool:
        if self.system is not None and self.system != one.system:
            return False
        codes = (one.code,) if self.system is not None else (one.code, one.unit)
        return self.code is None or self.code in codes

    def fits(self, low: float, high: float) -> bool:
        """Tell whether numbers from `low` to `high` fit."""
        equal = self.low <= low and high < self.high
        match self.prefix:
            case "eq":
                return equal
            case "ne":
                return not equal
            case "gt":
                return high > self.number
            case "lt":
                return low < self.number
            case "ge":
                return high >= self.number
            case "le":
                return low <= self.number
            case "sa":
                return low > self.number
            case "eb":
                return high < self.number
            case _:
                return low <= self.high and high >= self.low


def parse(text: str) -> Value:
    """Parse a prefix, a number, and perhaps its unit: `5.4`, `gt5.4|http://...|mg`, `5.4||mg`."""
    number, *unit = split(text, "|")
    prefix, digits = (number[:2], number[2:]) if number[:2] in PREFIXES else ("eq", number)
    if not _NUMBER.fullmatch(digits) or len(unit) not in (0, 2):
        raise ParameterError("a number is needed, or number|system|code")
    value = Decimal(digits)
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    margin = Decimal(5).scaleb(exponent - 1)
    if prefix == "ap":  # FHIR recommends a margin of 10 %.
        margin = max(margin, abs(value) / 10)
    system, code = (part or None for part in unit) if unit else (None, None)
    return Value(prefix, float(value), float(value - margin), float(value + margin), system, code)
