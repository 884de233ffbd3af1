"""Overview: whether the log takes events, from whom, what failed, and who broke the glass."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from caretrail.console import chart, period, row, words
from caretrail.console.badge import ago
from caretrail.console.rendering import Page, address
from caretrail.errors import Error
from caretrail.limits import CONSOLE_FACET_EVENTS

if TYPE_CHECKING:
    from caretrail.api.http import Pairs
    from caretrail.console.asking import Asking

_FAILED: Final = ("outcome", "4,8,12")
_EMERGENCY: Final = ("purpose", ",".join(sorted(words.EMERGENCY)))
_SHOWN: Final = 8
# A source that was heard before and is silent for longer is called quiet.
_QUIET_SECONDS: Final = 24 * 3600
# The newest events, and the newest of some days ago, tell which sources there are.
_SOURCE_EVENTS: Final = CONSOLE_FACET_EVENTS // 2
_SOURCES: Final = ("source", "source.identifier")


async def overview(asking: Asking) -> Page:
    """Make the page. One question is recorded for its counts, and one for the events it shows."""
    stretch = period.read(asking, default="30d")
    dated = stretch.pairs
    by = [code for code in _SOURCES if _may_count(asking, code)]
    counts = await asking.stats(dated, by=by, interval=stretch.interval, newest=_SOURCE_EVENTS)
    failed = await asking.stats(
        [_FAILED, *dated],
        by=["outcome", "type", "subtype"],
        newest=CONSOLE_FACET_EVENTS,
        is_beside=True,
    )
    broken = await asking.search([_EMERGENCY, *dated, ("_count", str(_SHOWN)), ("_sort", "-date")])
    broken_total = await asking.stats([_EMERGENCY, *dated], is_beside=True)
    gaps = await asking.parameters("/fhir/AuditEvent/$gaps", is_beside=True)
    histogram = chart.bars(
        counts.buckets,
        interval=stretch.interval,
        link=lambda start, end: address(
            "search", **{"from": start, "to": end, "tz": _zone(stretch)}
        ),
    )
    data = {
        "period": _described(stretch),
        "total": counts.total,
        "recent": await _recent(asking),
        "histogram": histogram,
        "failed_total": failed.total,
        "failed_estimated": failed.estimated,
        "facet_events": CONSOLE_FACET_EVENTS,
        "failed": _failures(failed.facets),
        "broken_total": broken_total.total,
        "broken": [row.line(one) for one in broken.events],
        "sources": await _sources(asking, counts.facets, dated),
        "gaps": len(gaps),
    }
    return Page("overview", "Overview", data)


def _may_count(asking: Asking, code: str) -> bool:
    view = asking.identity.grants["$stats"]
    return view.parameters is None or code in view.parameters


def _zone(stretch: period.Period) -> str:
    return "" if stretch.zone == "UTC" else stretch.zone


def _described(stretch: period.Period) -> dict[str, Any]:
    return {
        "name": stretch.name,
        "zone": stretch.zone,
        "address": stretch.address,
        "label": period.RANGES[stretch.name][0] if stretch.name else "Chosen range",
    }


async def _recent(asking: Asking) -> dict[str, int | None]:
    """Return how many events of the last minutes there are, by when they were recorded."""
    now = datetime.fromtimestamp(asking.service.now() // 1000, UTC)
    found: dict[str, int | None] = {}
    for name, minutes in (("5 min", 5), ("1 h", 60), ("24 h", 1440)):
        since = (now - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
        counted = await asking.stats([("date", f"ge{since}")], is_beside=True)
        found[name] = counted.total
    return found


def _failures(facets: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Return the failures by outcome and by kind, each with the search that finds them."""
    found = {}
    for code in ("outcome", "type", "subtype"):
        rows = facets.get(code, [])[:_SHOWN]
        most = max((one["count"] for one in rows), default=1)
        found[code] = [
            {
                "name": words.value(code, one["value"], one["display"]),
                "count": one["count"],
                "share": round(100 * one["count"] / most),
                "q": f"outcome:4,8,12 {code}:{one['value']}"
                if code != "outcome"
                else f"outcome:{one['value']}",
            }
            for one in rows
        ]
    return found


async def _sources(
    asking: Asking, facets: dict[str, list[dict[str, Any]]], dated: Pairs
) -> list[dict[str, Any]]:
    """Return the sources of the newest events and of the oldest of the period: who is silent."""
    names = {(code, one["value"]) for code in facets for one in facets[code] if one["value"]}
    early = await asking.stats(
        [*dated, ("date", f"lt{_days_ago(asking, 3)}")],
        by=list(facets),
        newest=_SOURCE_EVENTS,
        is_beside=True,
    )
    names |= {(code, one["value"]) for code in early.facets for one in early.facets[code]}
    rows = []
    for code, value in sorted(one for one in names if one[1])[:_SHOWN]:
        try:
            last = await asking.search(
                [(code, value), ("_count", "1"), ("_sort", "-date")], is_beside=True
            )
        except Error:
            continue  # Its name has letters that a search reads otherwise.
        if not last.events:
            continue
        recorded = row.text(last.events[0], "recorded")
        silent = _seconds_since(asking, recorded)
        rows.append(
            {
                "name": value,
                "parameter": code,
                "recorded": recorded,
                "silent": ago(silent),
                "is_quiet": silent is not None and silent > _QUIET_SECONDS,
            }
        )
    return sorted(rows, key=lambda one: str(one["recorded"]))


def _days_ago(asking: Asking, days: int) -> str:
    now = datetime.fromtimestamp(asking.service.now() // 1000, UTC)
    return (now - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds_since(asking: Asking, instant: str) -> float | None:
    try:
        at = datetime.fromisoformat(instant)
        return max(0.0, asking.service.now() / 1000 - at.timestamp())
    except ValueError:
        return None
