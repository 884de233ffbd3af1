"""Events on lanes over time, with nights shaded: the picture of a patient's and of a user's days."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Json = dict[str, Any]
_LEFT: Final = 190
_WIDTH: Final = 960
_LANE: Final = 26
_HEAD: Final = 8
_FOOT: Final = 24
_LANES: Final = 14
_TICKS: Final = 7
# Hours of the clock outside of which somebody works after hours, and days on which everybody does.
DAY_BEGINS, DAY_ENDS = 7, 19
_WEEKEND: Final = (5, 6)
# A picture of more days than these would be all stripes.
_NIGHTS_MAX: Final = 45
# A pause that ends a session (J-02).
SESSION_PAUSE: Final = timedelta(minutes=30)
OTHERS: Final = "others"


def instant(line: Json) -> datetime | None:
    """Return when an event was recorded, None where that cannot be read."""
    try:
        found = datetime.fromisoformat(line["recorded"])
    except (ValueError, OverflowError):
        return None
    return found.astimezone(UTC) if found.tzinfo else None


def is_after_hours(at: datetime, zone: tzinfo) -> bool:
    """Tell whether the clock in the zone shows a night or a weekend."""
    local = at.astimezone(zone)
    return local.weekday() in _WEEKEND or not DAY_BEGINS <= local.hour < DAY_ENDS


def lanes(lines: Sequence[Json], lane_of: Callable[[Json], str], zone: tzinfo) -> Json | None:
    """Return the geometry of a picture of events, a lane for each name; None without any."""
    dated = [(at, line) for line in lines if (at := instant(line)) is not None]
    if not dated:
        return None
    counted = Counter(lane_of(line) for _, line in dated)
    names = [name for name, _ in counted.most_common(_LANES)]
    if len(counted) > _LANES:
        names[-1] = OTHERS
    start, end = _ends(min(at for at, _ in dated), max(at for at, _ in dated))
    span = (end - start).total_seconds()
    room = _WIDTH - _LEFT - 10
    height = _HEAD + len(names) * _LANE + _FOOT

    def x(at: datetime) -> float:
        return round(_LEFT + room * (at - start).total_seconds() / span, 2)

    rows = {name: _HEAD + n * _LANE + _LANE / 2 for n, name in enumerate(names)}
    return {
        "width": _WIDTH,
        "height": height,
        "left": _LEFT,
        "bottom": height - _FOOT,
        "lanes": [{"name": name or "not said", "y": y} for name, y in rows.items()],
        "nights": [
            {"x": x(max(begin, start)), "width": max(0.0, x(min(over, end)) - x(max(begin, start)))}
            for begin, over in _nights(start, end, zone)
        ],
        "dots": [
            {
                "x": x(at),
                "y": rows.get(lane_of(line), rows.get(OTHERS, 0)),
                "kind": _kind(line),
                "id": line["id"],
                "title": f"{at.astimezone(zone):%Y-%m-%d %H:%M} {line['sentence']}",
            }
            for at, line in dated
        ],
        "ticks": [
            {"x": x(at), "label": f"{at.astimezone(zone):%d %b %H:%M}"}
            for at in (start + (end - start) * n / _TICKS for n in range(_TICKS))
        ],
    }


def _kind(line: Json) -> str:
    if line["emergency"]:
        return "emergency"
    return "failed" if line["outcome_code"] not in ("", "0") else ""


def _ends(first: datetime, last: datetime) -> tuple[datetime, datetime]:
    """Return the ends of the picture, with some room; one event alone has half an hour each side."""
    margin = max((last - first) * 0.02, timedelta(minutes=30 if first == last else 1))
    return first - margin, last + margin


def _nights(start: datetime, end: datetime, zone: tzinfo) -> list[tuple[datetime, datetime]]:
    if end - start > timedelta(days=_NIGHTS_MAX):
        return []
    day = start.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    day -= timedelta(days=1)
    found = []
    while day < end:
        after = day + timedelta(days=1)
        if day.weekday() in _WEEKEND:
            found.append((day, after))
        else:
            found.append((day, day.replace(hour=DAY_BEGINS)))
            found.append((day.replace(hour=DAY_ENDS), after))
        day = after
    return [(a, b) for a, b in found if b > start and a < end]


def sessions(lines: Sequence[Json]) -> list[list[Json]]:
    """Return events, which are given newest first, in groups without a longer pause."""
    groups: list[list[Json]] = []
    before: datetime | None = None
    for line in lines:
        at = instant(line)
        is_near = before is not None and at is not None and before - at <= SESSION_PAUSE
        if groups and is_near:
            groups[-1].append(line)
        else:
            groups.append([line])
        before = at or before
    return groups


def week(lines: Sequence[Json], zone: tzinfo) -> list[list[int]]:
    """Return how many events there are by day of the week (Monday first) and hour of the day."""
    table = [[0] * 24 for _ in range(7)]
    for line in lines:
        at = instant(line)
        if at is not None:
            local = at.astimezone(zone)
            table[local.weekday()][local.hour] += 1
    return table
