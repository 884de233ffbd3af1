"""Exact time: what an instant, a date or a part of one covers (FHIR R4, datatypes; search, date).

Time points are integers of nanoseconds since 1970 UTC, and exact keys where more than nine digits
of a second were written. Every range is half-open: its end is the first point outside of it.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

# Seconds since 1970 and the digits of the fraction without zeros at the end: digits compare as
# text in the order of the numbers that they stand for, however many there are.
Key: TypeAlias = tuple[int, str]

_SECOND: Final = 1_000_000_000
_EPOCH: Final = date(1970, 1, 1).toordinal()
_DAY_SECONDS: Final = 86_400

# Looking two digits up checks them too, and is quicker than a pattern and `int`.
_HOURS: Final = {f"{n:02}": n * 3600 for n in range(24)}
_MINUTES: Final = {f"{n:02}": n * 60 for n in range(60)}
_SECONDS: Final = {f"{n:02}": n for n in range(61)}
# The nanoseconds that a fraction covers, by the number of its digits.
_SPANS: Final = tuple(10 ** (9 - n) for n in range(10))

_DATE: Final = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?")
_TIME: Final = re.compile(
    r"([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?(Z|[+ -][0-9]{2}:[0-9]{2})?"
)


class Instant(NamedTuple):
    """A point of time as written: whole seconds since 1970 UTC, and a fraction's digits."""

    seconds: int
    fraction: str

    @property
    def milliseconds(self) -> int:
        """Return milliseconds since 1970, further digits cut off."""
        return self.seconds * 1000 + int(self.fraction[:3].ljust(3, "0"))

    @property
    def key(self) -> Key:
        """Return what orders instants exactly, however many digits were written."""
        return self.seconds, self.fraction.rstrip("0")

    @property
    def end(self) -> Key:
        """Return the first point after what was written: `.12` covers a hundredth of a second."""
        head = self.fraction.rstrip("9")
        if not head:
            return self.seconds + 1, ""
        return self.seconds, head[:-1] + chr(ord(head[-1]) + 1)


@lru_cache(maxsize=64)  # One event is asked several times.
def instant(text: str) -> Instant:
    """Return the point that a FHIR instant names; raise ValueError when it is none.

    The second `:60` is the first of the next minute.
    """
    if len(text) == 24 and text[19] == "." and text[23] == "Z":
        fraction = text[20:23]
        seconds = _utc_seconds(text)
        if fraction.isascii() and fraction.isdigit():
            return Instant(seconds, fraction)
        raise ValueError("the fraction of a second is not made of digits")
    match = _TIME.fullmatch(text, 11)
    if match is None or not (match[3] and match[5]) or match[5][0] == " ":
        raise ValueError("an instant is yyyy-mm-ddThh:mm:ss[.f] and Z or an offset")
    return Instant(_utc_seconds(text) - _offset(match[5]), match[4] or "")


def start_end(text: str) -> tuple[int, int]:
    """Return the nanoseconds that an instant covers; digits beyond the ninth are cut off."""
    point = instant(text)
    return _nanoseconds(point.seconds, point.fraction)


def exact_key(text: str) -> Key:
    """Return what orders instants exactly, also where their nanoseconds are equal."""
    return instant(text).key


def period(text: str) -> tuple[Key, Key]:
    """Return the exact bounds of a date in a search or a FHIR dateTime (FHIR R4, search, date).

    Without a zone it is UTC; a space stands where the `+` of an offset was not percent-encoded.
    """
    start, fraction, seconds = _written(text)
    point = Instant(start, fraction)
    return point.key, point.end if fraction else (start + seconds, "")


def search_range(text: str) -> tuple[int, int]:
    """Return the nanoseconds that a date in a search covers; see `period` for its forms."""
    start, fraction, seconds = _written(text)
    if fraction:
        return _nanoseconds(start, fraction)
    return start * _SECOND, (start + seconds) * _SECOND


def format_instant(milliseconds: int) -> str:
    """Return the instant in UTC with three digits: `2026-01-02T03:04:05.678Z`."""
    seconds, milli = divmod(milliseconds, 1000)
    day, second = divmod(seconds, _DAY_SECONDS)
    minute, second = divmod(second, 60)
    return f"{_day_text(day)}T{minute // 60:02}:{minute % 60:02}:{second:02}.{milli:03}Z"


def _utc_seconds(text: str) -> int:
    """Return the seconds of `yyyy-mm-ddThh:mm:ss` taken as UTC."""
    if text[10] != "T" or text[13] != ":" or text[16] != ":":
        raise ValueError("an instant is yyyy-mm-ddThh:mm:ss[.f] and Z or an offset")
    try:
        second = _HOURS[text[11:13]] + _MINUTES[text[14:16]] + _SECONDS[text[17:19]]
    except KeyError:
        raise ValueError("the hour, minute or second is out of its range") from None
    return _day_seconds(text[:10]) + second


# Events come in the order of time: a few days are asked for again and again.
@lru_cache(maxsize=4096)
def _day_seconds(text: str) -> int:
    match = _DATE.fullmatch(text)
    if match is None or match[3] is None:
        raise ValueError("a day is yyyy-mm-dd")
    return _day(int(match[1]), int(match[2]), int(match[3]))


@lru_cache(maxsize=4096)
def _day_text(day: int) -> str:
    try:
        return date.fromordinal(day + _EPOCH).isoformat()
    except (OverflowError, ValueError):
        raise ValueError("the year is not within 0001 and 9999") from None


def _day(year: int, month: int, day: int) -> int:
    """Return the first second of a day that the calendar has."""
    try:
        return (date(year, month, day).toordinal() - _EPOCH) * _DAY_SECONDS
    except ValueError:
        raise ValueError("the day is not in the calendar") from None


def _offset(zone: str) -> int:
    """Return the seconds that a zone is ahead of UTC."""
    if zone == "Z":
        return 0
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if minutes > 59 or hours * 60 + minutes > 14 * 60:
        raise ValueError("the offset is not within -14:00 and +14:00")
    seconds = hours * 3600 + minutes * 60
    return -seconds if zone[0] == "-" else seconds


def _nanoseconds(seconds: int, fraction: str) -> tuple[int, int]:
    digits = len(fraction)
    if digits > 9:
        fraction, digits = fraction[:9], 9
    start = seconds * _SECOND
    if digits:
        start += int(fraction) * _SPANS[digits]
    return start, start + _SPANS[digits]


def _written(text: str) -> tuple[int, str, int]:
    """Return the first second, the fraction and the seconds covered where there is none."""
    day_text, mark, time_text = text.partition("T")
    match = _DATE.fullmatch(day_text)
    if match is None or (mark and match[3] is None):
        raise ValueError("a date is yyyy, yyyy-mm, yyyy-mm-dd or one with a time")
    year, month, day = int(match[1]), int(match[2] or 1), int(match[3] or 1)
    start = _day(year, month, day)
    if mark:
        return _with_time(start, time_text)
    if match[3] is not None:
        return start, "", _DAY_SECONDS
    return start, "", _month_end(year, 12 if match[2] is None else month) - start


def _with_time(start: int, text: str) -> tuple[int, str, int]:
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("a time is hh:mm[:ss[.f]] and Z or an offset")
    try:
        second = _HOURS[match[1]] + _MINUTES[match[2]] + _SECONDS[match[3] or "00"]
    except KeyError:
        raise ValueError("the hour, minute or second is out of its range") from None
    covered = 60 if match[3] is None else 1
    return start + second - _offset(match[5] or "Z"), match[4] or "", covered


def _month_end(year: int, month: int) -> int:
    """Return the first second after a month; December 9999 has no next year to ask the calendar."""
    if month == 12:
        return _day(year, 12, 31) + _DAY_SECONDS
    return _day(year, month + 1, 1)
