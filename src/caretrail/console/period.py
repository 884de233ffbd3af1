"""Which stretch of time a page shows: a quick range or two instants, in the reader's time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from caretrail.errors import InvalidError

if TYPE_CHECKING:
    from caretrail.api.http import Pairs
    from caretrail.console.asking import Asking

RANGES: Final = {
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
    "90d": ("Last 90 days", timedelta(days=90)),
    "1y": ("Last year", timedelta(days=365)),
    "all": ("All time", None),
}
# Those that a list offers; every other name of the IANA data base can be written.
ZONES: Final = (
    "UTC", "Europe/London", "Europe/Lisbon", "Europe/Berlin", "Europe/Paris", "Europe/Madrid",
    "Europe/Zurich", "Europe/Vienna", "Europe/Warsaw", "Europe/Helsinki", "Europe/Athens",
    "America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles",
    "America/Sao_Paulo", "Asia/Dubai", "Asia/Kolkata", "Asia/Singapore", "Asia/Tokyo",
    "Australia/Sydney", "Pacific/Auckland",
)  # fmt: skip
# A range of so many days is drawn by the hour, and by the day; a longer one by the month.
_HOURS_DAYS_MAX: Final = 4
_DAYS_DAYS_MAX: Final = 200


class Period(NamedTuple):
    """From an instant to before another; None is without an end. `name` is a quick range or ""."""

    start: datetime | None
    end: datetime | None
    name: str
    zone: str

    @property
    def pairs(self) -> Pairs:
        """Return the search parameters that say it."""
        found = [("date", f"ge{_instant(self.start)}")] if self.start is not None else []
        return found + ([("date", f"lt{_instant(self.end)}")] if self.end is not None else [])

    @property
    def interval(self) -> str:
        """Return the interval by which `$stats` counts it for a picture."""
        if self.start is None:
            return "month"
        length = (self.end or datetime.now(UTC)) - self.start
        if length <= timedelta(days=_HOURS_DAYS_MAX):
            return "hour"
        return "day" if length <= timedelta(days=_DAYS_DAYS_MAX) else "month"

    def before(self, now: int) -> Period | None:
        """Return as long a time before this one, None before all time; `now` in milliseconds."""
        if self.start is None:
            return None
        end = self.end or datetime.fromtimestamp(now // 1000, UTC)
        return Period(self.start - (end - self.start), self.start, "", self.zone)

    @property
    def address(self) -> dict[str, str]:
        """Return the parameters of a page's address that say it."""
        zone = {"tz": self.zone} if self.zone != "UTC" else {}
        if self.name:
            return {"range": self.name, **zone}
        ends = {"from": self.start, "to": self.end}
        found = {name: _instant(at) for name, at in ends.items() if at is not None}
        return found | zone


def read(asking: Asking, *, default: str = "7d") -> Period:
    """Return the period that a page's address asks for; raises InvalidError."""
    zone = asking.value("tz", "UTC")
    known = zone_of(zone)
    start, end = (_end(asking.value(name), name, known) for name in ("from", "to"))
    if start is not None or end is not None:
        return Period(start, end, "", zone)
    name = asking.value("range", default)
    if name not in RANGES:
        raise InvalidError(f"a range is one of {', '.join(RANGES)}")
    length = RANGES[name][1]
    now = datetime.fromtimestamp(asking.service.now() // 1000, UTC)
    return Period(now - length if length is not None else None, None, name, zone)


def zone_of(name: str) -> tzinfo:
    """Return a time zone by its IANA name; raises InvalidError."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidError("a time zone has a name such as Europe/Berlin") from error


def local(instant: str, zone: str, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return an instant of FHIR as the clock in a zone shows it, and as it is where it cannot be read."""
    try:
        at = datetime.fromisoformat(instant)
        return at.astimezone(zone_of(zone)).strftime(form) if at.tzinfo else instant
    except (ValueError, OverflowError, InvalidError):
        return instant


def _end(text: str, name: str, zone: tzinfo) -> datetime | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidError(
            f"`{name}` is a date, with a time if need be: 2026-11-25T09:00"
        ) from error


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S") + "Z"
