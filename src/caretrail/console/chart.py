"""Pictures drawn on the server: bars over time as numbers for an SVG, with nothing to run."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDTH: Final = 960
HEIGHT: Final = 150
_TOP: Final = 10
_FOOT: Final = 22
_LEFT: Final = 44
_LABELS: Final = 8
# A bar that stands for something is seen.
_LEAST: Final = 2
_FORMS: Final = {"hour": "%d %b %H:%M", "day": "%d %b", "month": "%b %Y", "year": "%Y"}


def bars(
    buckets: Sequence[tuple[str, int]],
    *,
    interval: str,
    link: Callable[[str, str], str] = lambda *_: "",
) -> dict[str, Any]:
    """Return the geometry of a histogram; `link` makes an address of a bucket's start and end."""
    highest = max((count for _, count in buckets), default=0)
    scale = nice(highest)
    step = (WIDTH - _LEFT) / max(1, len(buckets))
    room = HEIGHT - _TOP - _FOOT
    form = _FORMS[interval]
    drawn = []
    for n, (start, count) in enumerate(buckets):
        height = max(_LEAST, room * count / scale) if count else 0
        drawn.append(
            {
                "x": round(_LEFT + n * step + step * 0.08, 2),
                "y": round(_TOP + room - height, 2),
                "width": round(max(0.5, step * 0.84), 2),
                "height": round(height, 2),
                "label": _label(start, form),
                "start": start,
                "end": _after(start, interval),
                "count": count,
                "href": link(start, _after(start, interval)),
            }
        )
    every = max(1, -(-len(drawn) // _LABELS))
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "foot": HEIGHT - 6,
        "left": _LEFT,
        "bars": drawn,
        "interval": interval,
        "ticks": [one for n, one in enumerate(drawn) if n % every == 0],
        "lines": [
            {"y": round(_TOP + room - room * part, 2), "label": _short(scale * part)}
            for part in (0, 0.5, 1)
        ],
        "total": sum(count for _, count in buckets),
        "highest": highest,
    }


def nice(highest: int) -> int:
    """Return the round number at which a scale ends."""
    if highest <= 4:
        return 4
    power: int = 10 ** (len(str(highest)) - 1)
    return next(
        power * n // 2 for n in (2, 3, 4, 5, 6, 8, 10, 12, 16, 20) if power * n // 2 >= highest
    )


def _short(number: float) -> str:
    if number >= 1_000_000:
        return f"{number / 1_000_000:g} M"
    return f"{number / 1_000:g} k" if number >= 10_000 else f"{number:g}"


def _label(start: str, form: str) -> str:
    return datetime.fromisoformat(start).strftime(form)


def _after(start: str, interval: str) -> str:
    at = datetime.fromisoformat(start)
    if interval == "hour":
        after = at + timedelta(hours=1)
    elif interval == "day":
        after = at + timedelta(days=1)
    elif interval == "month":
        after = (at.replace(day=1) + timedelta(days=32)).replace(day=1)
    else:
        after = at.replace(year=at.year + 1)
    return after.strftime("%Y-%m-%dT%H:%M:%SZ")
