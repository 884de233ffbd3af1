"""The patient's timeline (who looked at this record?) and the user's (what did this person do?)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from caretrail.console import period, row, timeline
from caretrail.console.bar import said
from caretrail.console.rendering import Page, address, message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import tzinfo

    from caretrail.api.http import Pairs
    from caretrail.console.asking import Asking, Found
    from caretrail.console.timeline import Json

# As many as one picture shows; whoever wants more takes a shorter range, or goes on.
_EVENTS: Final = 300
LANES: Final[dict[str, tuple[str, Callable[[Json], str]]]] = {
    "site": ("Department", lambda line: str(line["site"])),
    "user": ("Person", lambda line: str(line["user"])),
    "client": ("Address", lambda line: str(line["address"])),
    "patient": ("Patient", lambda line: ", ".join(one["name"] for one in line["patients"])),
    "kind": ("Kind", lambda line: str(line["kind"])),
}


async def patient(asking: Asking) -> Page:
    """Make the page of a patient: one recorded search, grouped by person."""
    (patient_id,) = asking.captures
    stretch = period.read(asking, default="30d")
    pair = ("patient", f"Patient/{patient_id}")
    found, lines, shape = await _events(asking, [pair], stretch)
    zone = period.zone_of(stretch.zone)
    persons = _persons(found.events, lines, zone)
    data = {
        "name": f"Patient/{patient_id}",
        "path": f"patients/{patient_id}",
        "extra": {},
        "q": said("patient", f"Patient/{patient_id}"),
        "persons": persons,
        "emergencies": sum(one["emergencies"] for one in persons),
        "here": stretch.address,
        **_common(asking, lines, stretch, found, default="user", shape=shape),
    }
    return Page("patient", f"Patient/{patient_id}", data)


async def user(asking: Asking) -> Page:
    """Make the page of a user: one recorded search, grouped by session, beside what is usual."""
    name = asking.value("user")
    if not name:
        return message("Whose timeline?", "Open a user from an event, or search for user:...")
    stretch = period.read(asking, default="7d")
    pair = ("user", _escaped(name))
    found, lines, shape = await _events(asking, [pair], stretch)
    zone = period.zone_of(stretch.zone)
    groups = timeline.sessions(lines)
    display = next((line["user"] for line in lines), name)
    data = {
        "name": display,
        "path": "users",
        "extra": {"user": name},
        "q": said("user", name),
        "sessions": [_session(group, zone) for group in groups],
        "week": timeline.week(lines, zone),
        "week_most": max(map(max, timeline.week(lines, zone))),
        "after_hours": _after_hours(lines, zone),
        "patients": _patients(lines),
        "usual": await _usual(asking, pair, stretch),
        "here": {**stretch.address, "user": name},
        **_common(asking, lines, stretch, found, default="patient", shape=shape),
    }
    return Page("user", display, data)


def _escaped(value: str) -> str:
    """Return a value in which no letter parts others (FHIR R4, search, escaping)."""
    for letter in "\\,$|":
        value = value.replace(letter, "\\" + letter)
    return value


async def _events(
    asking: Asking, pairs: Pairs, stretch: period.Period
) -> tuple[Found, list[Json], dict[str, str]]:
    shape = {"page": asking.value("page")}
    asked: Pairs = [*pairs, *stretch.pairs, ("_count", str(_EVENTS)), ("_sort", "-date")]
    if shape["page"]:
        asked.append(("_page", shape["page"]))
    found = await asking.search([*asked, ("_total", "accurate")])
    return found, [row.line(one) for one in found.events], shape


def _common(
    asking: Asking,
    lines: Sequence[Json],
    stretch: period.Period,
    found: Found,
    *,
    default: str,
    shape: dict[str, str],
) -> dict[str, Any]:
    by = asking.value("lanes", default)
    by = by if by in LANES else default
    return {
        "zone": stretch.zone,
        "range": stretch.name,
        "period": stretch.address,
        "ranges": {name: label for name, (label, _) in period.RANGES.items()},
        "total": found.total,
        "events": list(lines),
        "lanes_by": by,
        "lanes_names": {name: label for name, (label, _) in LANES.items()},
        "picture": timeline.lanes(lines, LANES[by][1], period.zone_of(stretch.zone)),
        "page": shape["page"],
        "cursors": {"next": found.next, "previous": found.previous},
    }


def _persons(
    events: Sequence[row.Json], lines: Sequence[Json], zone: tzinfo
) -> list[dict[str, Any]]:
    """Return who looked: how often, when first and last, and how that is explained."""
    found: dict[str, dict[str, Any]] = {}
    for event, line in zip(events, lines, strict=True):
        key = line["user_search"] or line["user"]
        one = found.setdefault(
            key,
            {
                "name": line["user"],
                "search": line["user_search"],
                "roles": _roles(event),
                "count": 0,
                "last": line["recorded"],
                "days": set(),
                "changes": 0,
                "emergencies": 0,
                "failed": 0,
                "after_hours": 0,
                "purposes": [],
                "sites": [],
            },
        )
        at = timeline.instant(line)
        one["count"] += 1
        one["first"] = line["recorded"]
        one["changes"] += line["action"] in ("Create", "Update")
        one["emergencies"] += line["emergency"]
        one["failed"] += line["outcome_code"] not in ("", "0")
        if at is not None:
            one["days"].add(at.astimezone(zone).date())
            one["after_hours"] += timeline.is_after_hours(at, zone)
        one["purposes"] = sorted({*one["purposes"], *line["purposes"]})
        one["sites"] = sorted({*one["sites"], line["site"]} - {""})
    rows = sorted(found.values(), key=lambda one: -one["count"])
    return [{**one, "days": len(one["days"]), "relation": _relation(one)} for one in rows]


def _roles(event: row.Json) -> str:
    concepts = row.members(row.requestor(event).get("role"))
    codings = [one for concept in concepts for one in row.members(concept.get("coding"))]
    return ", ".join(row.text(one, "display") or row.text(one, "code") for one in codings)


def _relation(one: dict[str, Any]) -> str:
    """Return what the events themselves say of why somebody looked; they say no more than that."""
    if one["emergencies"]:
        return "Emergency access: see the reason"
    if one["changes"]:
        return f"Wrote in the record {one['changes']} times"
    if one["failed"] == one["count"]:
        return "Was refused each time"
    return "Only read: nothing in these events explains it"


def _session(group: Sequence[Json], zone: tzinfo) -> dict[str, Any]:
    newest, oldest = group[0], group[-1]
    names = {one["name"] for line in group for one in line["patients"]}
    ends = timeline.instant(newest), timeline.instant(oldest)
    minutes = (ends[0] - ends[1]).total_seconds() / 60 if ends[0] and ends[1] else 0
    return {
        "first": oldest["recorded"],
        "last": newest["recorded"],
        "minutes": round(minutes),
        "count": len(group),
        "patients": len(names),
        "failed": sum(line["outcome_code"] not in ("", "0") for line in group),
        "emergencies": sum(line["emergency"] for line in group),
        "after_hours": bool(ends[1] and timeline.is_after_hours(ends[1], zone)),
        "events": [line["id"] for line in group],
        "addresses": sorted({line["address"] for line in group} - {""}),
    }


def _after_hours(lines: Sequence[Json], zone: tzinfo) -> int:
    instants = (timeline.instant(line) for line in lines)
    return sum(timeline.is_after_hours(at, zone) for at in instants if at is not None)


def _patients(lines: Sequence[Json]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        for one in line["patients"]:
            row_ = found.setdefault(one["search"], {**one, "count": 0, "last": line["recorded"]})
            row_["count"] += 1
    return sorted(found.values(), key=lambda one: -one["count"])


async def _usual(
    asking: Asking, pair: tuple[str, str], stretch: period.Period
) -> dict[str, Any] | None:
    """Return how many events the user has in a day, now and in the same time before."""
    before = stretch.before(asking.service.now())
    if before is None or not asking.may("$stats"):
        return None
    now = await asking.stats([pair, *stretch.pairs], is_beside=True)
    then = await asking.stats([pair, *before.pairs], is_beside=True)
    return {
        "now": now.total,
        "before": then.total,
        "href": address("users", user=pair[1], **before.address),
    }
