"""Integrity: how the tree grows, what was signed, who has cosigned, what is missing, what was verified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from caretrail.console import period, row
from caretrail.console.asking import part
from caretrail.console.badge import ago, badge
from caretrail.console.rendering import Page
from caretrail.errors import Error, InvalidError
from caretrail.patterns.own import ORIGIN_SYSTEM
from caretrail.tlog.checkpoint import Checkpoint
from caretrail.tlog.note import Note

if TYPE_CHECKING:
    from caretrail.console.asking import Asking

_RUNS: Final = 10
_GAPS: Final = 50
_WIDTH: Final = 960
_HEIGHT: Final = 140
_LEFT: Final = 60


async def integrity(asking: Asking) -> Page:
    """Make the page: of events it shows only the log's own, if the person may see them."""
    zone = asking.value("tz", "UTC")
    period.zone_of(zone)
    state = badge(asking.service)
    rows = await asking.parameters("/fhir/AuditEvent/$gaps") if asking.may("$gaps") else []
    data = {
        "zone": zone,
        "state": state,
        "checkpoint": await _checkpoint(asking),
        "keys": await _text(asking, "/log/keys"),
        "growth": await _growth(asking),
        "gaps": [_gap(one) for one in rows[:_GAPS]],
        "gaps_total": len(rows),
        "runs": await _runs(asking),
        "signed_ago": ago(state["checkpoints"].get("signed_seconds_ago")),
        "verified_ago": ago(state["verification"].get("verified_seconds_ago")),
        "may_export": asking.may("$export"),
    }
    return Page("integrity", "Integrity", data)


async def _text(asking: Asking, path: str) -> str:
    try:
        return (await asking.answer(path)).body.decode("utf-8", "replace")
    except Error:
        return ""


async def _checkpoint(asking: Asking) -> dict[str, Any] | None:
    text = await _text(asking, "/log/checkpoint/latest")
    if not text:
        return None
    note = Note.parse(text.encode())
    read = Checkpoint.parse(note.text)
    return {
        "origin": read.origin,
        "size": read.size,
        "root": read.root.hex(),
        "signatures": [one.name for one in note.signatures],
        "text": text,
    }


async def _growth(asking: Asking) -> dict[str, Any] | None:
    """Return the number of events over time, added up, as points of a line."""
    if not asking.may("$stats"):
        return None
    try:
        counts = await asking.stats([], interval="day")
    except InvalidError:  # So old a log has more days than one picture.
        counts = await asking.stats([], interval="month")
    if not counts.buckets:
        return None
    total, most = 0, max(1, sum(count for _, count in counts.buckets))
    points, rows = [(float(_LEFT), float(_HEIGHT - 20))], []
    step = (_WIDTH - _LEFT - 10) / len(counts.buckets)
    for n, (start, count) in enumerate(counts.buckets, 1):
        total += count
        points.append(
            (round(_LEFT + n * step, 1), round(_HEIGHT - 20 - (_HEIGHT - 30) * total / most, 1))
        )
        rows.append({"start": start[:10], "count": count, "total": total})
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "line": " ".join(f"{x},{y}" for x, y in points),
        "rows": rows,
        "total": total,
    }


async def _runs(asking: Asking) -> list[dict[str, Any]]:
    """Return the last verifications that the log has recorded of itself."""
    if not asking.may("search-type"):
        return []
    own = f"{ORIGIN_SYSTEM}|{asking.service.repository.origin}"
    pairs = [("type", "110101"), ("agent.identifier", own), ("_sort", "-date")]
    try:
        found = await asking.search([*pairs, ("_count", str(_RUNS))])
    except Error:
        return []
    return [_run(one) for one in found.events]


def _run(event: row.Json) -> dict[str, Any]:
    details = {
        row.text(one, "type"): row.text(one, "valueString")
        for entity in row.members(event.get("entity"))
        for one in row.members(entity.get("detail"))
    }
    return {
        "id": row.text(event, "id"),
        "recorded": row.text(event, "recorded"),
        "size": details.get("verified-size", ""),
        "findings": details.get("findings", ""),
        "seconds": details.get("seconds", ""),
    }


def _gap(one: dict[str, Any]) -> dict[str, Any]:
    names = ("source", "organisation", "first", "last", "missing", "since", "until")
    return {name: part(one, name) or "" for name in names}
