"""Coverage: what is recorded of every interaction, and how well the sources keep to the profiles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail.console import period, words
from caretrail.console.rendering import Page
from caretrail.errors import Error
from caretrail.limits import CONSOLE_FACET_EVENTS

if TYPE_CHECKING:
    from caretrail.console.asking import Asking

# Made by scripts/coverage_docs.py, which lets every interaction end in every way; a test compares.
_TABLE: Final[dict[str, Any]] = msgspec.json.decode(
    (Path(__file__).parent / "coverage.json").read_bytes()
)
_UNMET: Final = ("flag", "profile-unmet")


async def coverage(asking: Asking) -> Page:
    """Make the page: the table of what is recorded, and counts of events by profile and source."""
    stretch = period.read(asking, default="30d")
    data = {
        "range": stretch.name,
        "period": stretch.address,
        "facet_events": CONSOLE_FACET_EVENTS,
        "columns": _TABLE["columns"],
        "rows": _TABLE["rows"],
        **await _conformance(asking, stretch),
    }
    return Page("coverage", "Coverage", data)


async def _conformance(asking: Asking, stretch: period.Period) -> dict[str, Any]:
    nothing: dict[str, Any] = {"total": None, "unmet": None, "profiles": [], "unmet_sources": []}
    view = asking.identity.grants.get("$stats")
    if view is None or (view.parameters is not None and "flag" not in view.parameters):
        return nothing
    try:
        every = await asking.stats(stretch.pairs, by=["_profile"], newest=CONSOLE_FACET_EVENTS)
        unmet = await asking.stats(
            [_UNMET, *stretch.pairs],
            by=["source", "source.identifier"],
            newest=CONSOLE_FACET_EVENTS,
            is_beside=True,
        )
    except Error:
        return nothing
    return {
        "total": every.total,
        "unmet": unmet.total,
        "profiles": [
            {"name": one["value"].rpartition("/")[2], "count": one["count"], "value": one["value"]}
            for one in every.facets.get("_profile", [])
        ],
        "unmet_sources": [
            {
                "name": words.value(code, one["value"], one["display"]),
                "count": one["count"],
                "q": f"flag:profile-unmet {code}:{one['value']}",
            }
            for code, values in unmet.facets.items()
            for one in values
            if one["value"]
        ],
    }
