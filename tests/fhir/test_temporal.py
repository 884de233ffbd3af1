"""Exact time: instants, what they cover, and the ranges of a search."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail.fhir import temporal

SECOND = 1_000_000_000
MOMENTS = st.datetimes(timezones=st.just(UTC))


@given(MOMENTS, st.integers(-14 * 60, 14 * 60))
def test_an_instant_is_the_point_that_datetime_says(moment: datetime, minutes: int) -> None:
    zone = timezone(timedelta(minutes=minutes))
    try:
        text = moment.astimezone(zone).isoformat(timespec="microseconds")
    except OverflowError:
        return
    start, end = temporal.start_end(text)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    assert start == (since // timedelta(microseconds=1)) * 1000
    assert end - start == 1000


@given(MOMENTS)
def test_milliseconds_are_written_and_read_back(moment: datetime) -> None:
    milliseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    text = temporal.format_instant(milliseconds)
    assert temporal.instant(text).milliseconds == milliseconds
    assert len(text) == 24


@pytest.mark.parametrize("milliseconds", [-(10**17), 10**17, 253402300800000])
def test_a_year_that_has_no_four_digits_is_not_written(milliseconds: int) -> None:
    with pytest.raises(ValueError, match="year"):
        temporal.format_instant(milliseconds)


@given(st.text("0123456789", max_size=30), st.text("0123456789", max_size=30))
def test_keys_order_as_the_numbers_do(first: str, second: str) -> None:
    def key(digits: str) -> temporal.Key:
        return temporal.exact_key(f"2026-01-02T03:04:05{'.' if digits else ''}{digits}Z")

    def number(digits: str) -> Fraction:
        return Fraction(int(digits or "0"), 10 ** len(digits))

    assert (key(first) < key(second)) == (number(first) < number(second))
    assert (key(first) == key(second)) == (number(first) == number(second))


@given(st.text("0123456789", min_size=1, max_size=30))
def test_the_end_is_one_of_the_last_digit_later(digits: str) -> None:
    seconds, fraction = temporal.Instant(0, digits).end
    end = seconds + Fraction(int(fraction or "0"), 10 ** len(fraction))
    assert end == Fraction(int(digits) + 1, 10 ** len(digits))


def test_a_leap_second_is_the_next_second() -> None:
    assert temporal.instant("2016-12-31T23:59:60Z") == temporal.instant("2017-01-01T00:00:00Z")
    assert temporal.start_end("2016-12-31T23:59:60.5Z") == temporal.start_end(
        "2017-01-01T00:00:00.5Z"
    )


def test_digits_beyond_nanoseconds_are_cut_off_but_still_order() -> None:
    early, late = (f"2026-01-02T03:04:05.{'1' * 12}{last}Z" for last in "12")
    assert temporal.start_end(early) == temporal.start_end(late)
    assert temporal.start_end(early)[1] - temporal.start_end(early)[0] == 1
    assert temporal.exact_key(early) < temporal.exact_key(late)
    assert temporal.search_range(early) == temporal.start_end(early)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026",
        "2026-01-02",
        "2026-01-02T03:04Z",
        "2026-01-02T03:04:05",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05.67xZ",
        "2026-01-02T03:04:05.67٣Z",
        "٢٠٢٦-01-02T03:04:05Z",
        "2026-01-02t03:04:05Z",
        "2026-01-02T03.04:05.123Z",
        "2026-01-02T03:04:05z",
        "2026-01-02T03:04:61Z",
        "2026-01-02T24:00:00Z",
        "2026-02-30T00:00:00Z",
        "2023-02-29T00:00:00.000Z",
        "2026-13-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-01-02T03:04:05+14:01",
        "2026-01-02T03:04:05+13:60",
        "2026-01-02T03:04:05 01:00",
        "2026-01-02T03:04:05Z\n",
        "20260102T030405Z0000000Z",
    ],
)
def test_what_is_no_instant_is_refused_without_its_value(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        temporal.instant(text)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2026", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("2024-02", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
        ("2026-12", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("2024-02-29", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"),
        ("2026-01-02T03:04", "2026-01-02T03:04:00Z", "2026-01-02T03:05:00Z"),
        ("2026-01-02T03:04Z", "2026-01-02T03:04:00Z", "2026-01-02T03:05:00Z"),
        ("2026-01-02T03:04:05", "2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z"),
        ("2026-01-02T03:04:05.1", "2026-01-02T03:04:05.1Z", "2026-01-02T03:04:05.2Z"),
        ("2026-01-02T03:04:05.99+01:00", "2026-01-02T02:04:05.99Z", "2026-01-02T02:04:06Z"),
        ("2026-01-02T03:04:05 01:00", "2026-01-02T02:04:05Z", "2026-01-02T02:04:06Z"),
        ("2026-01-02T03:04:05-01:30", "2026-01-02T04:34:05Z", "2026-01-02T04:34:06Z"),
    ],
)
def test_a_search_covers_what_is_left_out(text: str, start: str, end: str) -> None:
    low, high = temporal.search_range(text)
    assert (low, high) == (temporal.start_end(start)[0], temporal.start_end(end)[0])
    assert temporal.period(text) == (temporal.exact_key(start), temporal.exact_key(end))


def test_the_first_and_the_last_year_have_bounds() -> None:
    assert temporal.search_range("9999")[1] == temporal.search_range("9999-12-31")[1]
    assert temporal.search_range("9999-12")[1] == temporal.search_range("9999-12-31")[1]
    assert temporal.search_range("0001")[0] == -62_135_596_800 * SECOND


@pytest.mark.parametrize(
    "text",
    [
        "", "26", "2026-", "2026-1", "2026-13", "2026-00", "2026-02-30", "0000", "2026-01T10:00",
        "2026T10:00", "2026-01-02T", "2026-01-02T10", "2026-01-02T24:00", "2026-01-02T10:60",
        "2026-01-02T10:00:00.", "2026-01-02T10:00+15:00", "2026-01-02 10:00", "-2026", "now",
        "2026-01-02T10:00Zjunk", "2026-01-02T10:00:00,5",
    ],
)  # fmt: skip
def test_what_is_no_date_of_a_search_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        temporal.search_range(text)
    with pytest.raises(ValueError, match=r"."):
        temporal.period(text)
