"""One event: a sentence, who and what, its profiles, its neighbours, its bytes and its proof."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

from caretrail.console import period, proof, row, words
from caretrail.console.bar import said
from caretrail.console.rendering import Page
from caretrail.errors import Error
from caretrail.fhir import doctor

if TYPE_CHECKING:
    from caretrail.console.asking import Asking

_NEIGHBOURS: Final = 10


async def event(asking: Asking) -> Page:
    """Make the page. It is one recorded read, and one recorded search for each kind of neighbour."""
    (event_id,) = asking.captures
    zone = asking.value("tz", "UTC")
    period.zone_of(zone)
    found = await asking.event(quote(event_id, safe=""))
    data = {
        "zone": zone,
        "event": found,
        "line": row.line(found),
        "agents": [_agent(one) for one in row.members(found.get("agent"))],
        "entities": [_entity(one) for one in row.members(found.get("entity"))],
        "source": _source(found),
        "profiles": _profiles(found),
        "neighbours": await _neighbours(asking, found),
        "may": {name: asking.may(f"${name}") for name in ("original", "proof")},
        "verify": asking.value("verify") != "",
        "proof": None,
        "json": msgspec.json.format(msgspec.json.encode(found), indent=2).decode(),
    }
    if data["verify"] and asking.may("$proof"):
        data["proof"] = await proof.verified(asking, event_id)
    return Page("event", "Event", data)


def _agent(agent: row.Json) -> dict[str, Any]:
    who = row.child(agent, "who")
    search = row.search_of(who)
    return {
        "name": row.text(agent, "name") or row.name_of(who) or row.text(agent, "altId"),
        "reference": row.text(who, "reference"),
        "requestor": agent.get("requestor") is True,
        "type": _concept(row.child(agent, "type")),
        "roles": [_concept(one) for one in row.members(agent.get("role"))],
        "address": row.text(row.child(agent, "network"), "address"),
        "alt_id": row.text(agent, "altId"),
        "purposes": [_concept(one) for one in row.members(agent.get("purposeOfUse"))],
        "policies": [one for one in agent.get("policy") or () if isinstance(one, str)],
        "q": said("agent", search) if row.text(who, "reference") else said("user", search),
        "search": search,
    }


def _entity(entity: row.Json) -> dict[str, Any]:
    what = row.child(entity, "what")
    reference = row.text(what, "reference")
    return {
        "name": row.text(entity, "name") or row.name_of(what),
        "reference": reference,
        "patient": row.patient_id(what) if "Patient/" in reference else "",
        "type": _coding(row.child(entity, "type")),
        "role": _coding(row.child(entity, "role")),
        "description": row.text(entity, "description"),
        "query": row.text(entity, "query"),
        "details": [
            {
                "type": row.text(one, "type"),
                "value": row.text(one, "valueString") or row.text(one, "valueBase64Binary"),
            }
            for one in row.members(entity.get("detail"))
        ],
        "q": said("entity", row.search_of(what)) if reference else "",
    }


def _source(event: row.Json) -> dict[str, Any]:
    source = row.child(event, "source")
    return {
        "site": row.text(source, "site"),
        "observer": row.name_of(row.child(source, "observer")),
        "types": [_coding(one) for one in row.members(source.get("type"))],
    }


def _concept(concept: row.Json) -> str:
    codings = row.members(concept.get("coding"))
    return row.text(concept, "text") or ", ".join(filter(None, map(_coding, codings)))


def _coding(coding: row.Json) -> str:
    return words.coding(*(row.text(coding, name) for name in ("system", "code", "display")))


def _profiles(event: row.Json) -> list[dict[str, Any]]:
    """Return what the profile doctor says of the event as it is shown, without any value of it."""
    try:
        found = doctor.examine(msgspec.json.encode(event))
    except Error:
        return []  # What is shown in part only is no AuditEvent any more.
    claimed = {one.profile for one in found.claimed}
    rows = {one.profile: one for one in (*found.claimed, *found.met, *found.nearest)}
    return [
        {
            "profile": url,
            "name": url.rpartition("/")[2],
            "claimed": url in claimed,
            "problems": [
                {"expression": issue.expression, "text": issue.diagnostics}
                for issue in one.problems
            ],
            "absent": list(one.absent),
        }
        for url, one in rows.items()
    ]


async def _neighbours(asking: Asking, event: row.Json) -> list[dict[str, Any]]:
    """Return other events of the same request, of the same token, and of the same patient."""
    if not asking.may("search-type"):
        return []
    view = asking.identity.grants["search-type"]
    groups = []
    for title, code, values in (
        ("Of the same request", "request-id", row.request_ids(event)),
        ("Of the same session", "policy", row.tokens(event)),
        ("Of the same patient", "patient", [row.search_of(one) for one in row.patients(event)]),
    ):
        if not values or (view.parameters is not None and code not in view.parameters):
            continue
        pair = (code, values[0].replace("\\", "\\\\").replace(",", "\\,").replace("$", "\\$"))
        pairs = [pair, ("_count", str(_NEIGHBOURS)), ("_sort", "-date")]
        try:
            found = await asking.search(pairs)
        except Error:
            continue  # An identifier with letters that a search reads otherwise.
        lines = [row.line(one) for one in found.events if one.get("id") != event.get("id")]
        groups.append({"title": title, "events": lines, "q": said(code, values[0])})
    return groups
