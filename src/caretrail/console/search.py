"""Search: one bar, a picture of when, facets with counts, and a table that sorts and pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from caretrail.console import bar, chart, period, row, words
from caretrail.console.rendering import Page, address
from caretrail.errors import InvalidError
from caretrail.limits import CONSOLE_FACET_EVENTS
from caretrail.search.parameters import BY_CODE

if TYPE_CHECKING:
    from caretrail.api.http import Pairs
    from caretrail.console.asking import Asking, Counts, Found

_COUNTS: Final = (25, 50, 100)
_COUNT: Final = 50
# The parameters whose values are counted beside the table, and those that its columns sort by.
FACETS: Final = ("outcome", "type", "subtype", "action", "agent", "patient", "site", "purpose")
SORTS: Final = {
    "date": "When",
    "user": "",
    "action": "Action",
    "outcome": "Outcome",
    "_lastUpdated": "Received",
}
_FACET_VALUES: Final = 8


async def search(asking: Asking) -> Page:
    """Make the page. Its table is one recorded search; the counts beside it are of the same."""
    text = asking.value("q")
    problem, found, counts = "", None, None
    stretch = period.read(asking)
    count = _count(asking.value("count"))
    sort = _sort(asking.value("sort", "-date"))
    try:
        pairs = [*bar.read(text), *stretch.pairs]
        shape: Pairs = [("_count", str(count)), ("_sort", sort)]
        if cursor := asking.value("page"):
            shape.append(("_page", cursor))
        found = await asking.search([*pairs, *shape])
        counts = await _counted(asking, pairs, stretch)
    except InvalidError as error:
        problem = f"{str(error)[:1].upper()}{str(error)[1:]}."
    state = {"q": text, **stretch.address}
    data = {
        "q": text,
        "problem": problem,
        "zone": stretch.zone,
        "zones": list(period.ZONES),
        "range": stretch.name,
        "ends": {name: stretch.address.get(name, "") for name in ("from", "to")},
        "ranges": [
            {"name": name, "label": label, "href": _href(state, range=name, **_no_ends())}
            for name, (label, _) in period.RANGES.items()
        ],
        "sort": sort,
        "count": count,
        "counts": list(_COUNTS),
        "fields": bar.fields(),
        "may_export": asking.may("$export", "$export-status"),
        "state": {key: value for key, value in state.items() if key != "q"},
        **_results(found, counts, state, sort, count),
    }
    data["histogram"] = _histogram(counts, stretch, state)
    return Page("search", "Search", data, 400 if problem else 200)


async def _counted(asking: Asking, pairs: Pairs, stretch: period.Period) -> Counts | None:
    if not asking.may("$stats"):
        return None
    view = asking.identity.grants["$stats"]
    by = [code for code in FACETS if view.parameters is None or code in view.parameters]
    return await asking.stats(
        pairs, by=by, interval=stretch.interval, newest=CONSOLE_FACET_EVENTS, is_beside=True
    )


def _results(
    found: Found | None, counts: Counts | None, state: dict[str, str], sort: str, count: int
) -> dict[str, Any]:
    shape = {"sort": sort if sort != "-date" else "", "count": count if count != _COUNT else ""}
    cursors = {name: getattr(found, name, "") for name in ("next", "previous")}
    return {
        "events": [row.line(one) for one in found.events] if found else [],
        "total": counts.total if counts else found.total if found else None,
        "facets_estimated": bool(counts and counts.estimated),
        "facet_events": CONSOLE_FACET_EVENTS,
        "facets": _facets(counts, state, shape) if counts else [],
        "links": {
            name: _href(state, **shape, page=cursor) if cursor else ""
            for name, cursor in cursors.items()
        },
        "sorts": {
            name: {
                "href": _href(
                    state, **{**shape, "sort": f"-{name}" if sort != f"-{name}" else name}
                ),
                "state": _sorted(name, sort),
            }
            for name in SORTS
            if name in BY_CODE and name != "user"
        },
    }


def _sorted(name: str, sort: str) -> str:
    """Return the value of `aria-sort` of a column."""
    if sort.lstrip("-") != name:
        return "none"
    return "descending" if sort.startswith("-") else "ascending"


def _facets(counts: Counts, state: dict[str, str], shape: dict[str, Any]) -> list[dict[str, Any]]:
    groups = []
    for code, values in counts.facets.items():
        rows = [one for one in values if one["value"]][:_FACET_VALUES]
        most = max((one["count"] for one in rows), default=1)
        shown = [
            {
                "name": words.value(code, one["value"], one["display"]),
                "value": one["value"],
                "count": one["count"],
                "share": round(100 * one["count"] / most),
                "href": _href(state, **shape, q=bar.more(state["q"], code, one["value"])),
                "without": _without(state, shape, code, one["value"]),
            }
            for one in rows
        ]
        if shown:
            groups.append({"code": code, "title": words.FACETS.get(code, code), "values": shown})
    return groups


def _without(state: dict[str, str], shape: dict[str, Any], code: str, value: str) -> str:
    """Return the address of what has not this value, "" where a search cannot say that."""
    if "not" not in BY_CODE[code].modifiers:
        return ""
    return _href(state, **shape, q=bar.more(state["q"], f"-{code}", value))


def _histogram(
    counts: Counts | None, stretch: period.Period, state: dict[str, str]
) -> dict[str, Any] | None:
    if counts is None:
        return None
    ends = {name: value for name, value in state.items() if name not in ("range", "from", "to")}
    return chart.bars(
        counts.buckets,
        interval=stretch.interval,
        link=lambda start, end: address("search", **ends, **{"from": start, "to": end}),
    )


def _href(state: dict[str, str], **changes: Any) -> str:
    return address("search", **{**state, **changes})


def _no_ends() -> dict[str, str]:
    return {"from": "", "to": ""}


def _count(text: str) -> int:
    return int(text) if text in map(str, _COUNTS) else _COUNT


def _sort(text: str) -> str:
    return text if text.lstrip("-") in BY_CODE and text.count("-") <= 2 else "-date"
