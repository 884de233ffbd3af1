"""R4 Subscription as HL7's R5 backport shapes it (Subscriptions R5 Backport 1.1, R4): read and told.

One topic is known: an AuditEvent was recorded. The channel is a rest-hook whose messages are empty or
have ids alone; an event itself never goes out by it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caretrail.errors import Issue, UnprocessableError
from caretrail.fhir.event_tree import child, members
from caretrail.fhir.temporal import instant

if TYPE_CHECKING:
    from collections.abc import Iterable

    from caretrail.fhir.event_tree import Json

TOPIC: Final = "urn:caretrail:subscription-topic:audit-event"
_GUIDE: Final = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
_FILTER: Final = f"{_GUIDE}backport-filter-criteria"
_CONTENT: Final = f"{_GUIDE}backport-payload-content"
_STATUS: Final = f"{_GUIDE}backport-subscription-status-r4"
PROFILE: Final = f"{_GUIDE}backport-subscription"
_KIND: Final = "AuditEvent?"
_CONTENTS: Final = ("empty", "id-only")
_MEDIA: Final = "application/fhir+json"
_HEADER: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}):[ \t]*([\x20-\x7e]{1,4096})")
# Of a request these are ours.
_OURS: Final = frozenset(
    ["host", "content-length", "content-type", "transfer-encoding", "connection", "upgrade", "te",
     "trailer", "expect", "accept-encoding", "user-agent"]
)  # fmt: skip
HEADERS_MAX: Final = 20


class Wanted(NamedTuple):
    """What a Subscription asks for: `filters` are searches, of which an event has to fit all.

    `headers` go with each message; `end` is in milliseconds since 1970, None where it names none.
    """

    filters: tuple[str, ...]
    endpoint: str
    content: str
    headers: tuple[tuple[str, str], ...]
    end: int | None
    reason: str


class Note(NamedTuple):
    """An event that a message tells of: its number in the subscription, its id, its receipt."""

    number: int
    id: str
    received: str


def read(tree: Any) -> Wanted:
    """Return what a Subscription asks for; raise UnprocessableError with every problem found."""
    if not isinstance(tree, dict) or tree.get("resourceType") != "Subscription":
        raise UnprocessableError((Issue("structure", "a Subscription is wanted", "Subscription"),))
    channel, problems = child(tree, "channel"), list[Issue]()

    def wrong(code: str, said: str, place: str) -> None:
        problems.append(Issue(code, said, f"Subscription.{place}"))

    filters = _filters(tree)
    if filters is None:
        wrong("not-supported", f"criteria is `{TOPIC}`, or a search of AuditEvent", "criteria")
    if channel.get("type") != "rest-hook":
        wrong("not-supported", "the channel is a rest-hook", "channel.type")
    if not isinstance(channel.get("endpoint"), str):
        wrong("required", "a rest-hook has an endpoint", "channel.endpoint")
    if channel.get("payload", _MEDIA) != _MEDIA:
        wrong("not-supported", f"the payload is {_MEDIA}", "channel.payload")
    content = _content(channel)
    if content not in _CONTENTS:
        wrong("not-supported", "the payload's content is empty or id-only", "channel.payload")
    headers = _headers(channel)
    if headers is None:
        wrong("value", "a header is `name: value`, and none of HTTP's own", "channel.header")
    if not isinstance(tree.get("reason"), str):
        wrong("required", "a Subscription has a reason", "reason")
    end = _end(tree)
    if end is not None and end < 0:
        wrong("value", "an end is an instant", "end")
    if problems:
        raise UnprocessableError(problems)
    return Wanted(filters or (), channel["endpoint"], content, headers or (), end, tree["reason"])


def _filters(tree: Json) -> tuple[str, ...] | None:
    """Return the searches that narrow the topic, None for another topic."""
    criteria = tree.get("criteria")
    if not isinstance(criteria, str):
        return None
    if criteria != TOPIC:
        return (criteria.removeprefix(_KIND),) if criteria.startswith(_KIND) else None
    rows = [one for one in members(tree.get("_criteria"), "extension") if one.get("url") == _FILTER]
    texts = [one.get("valueString") for one in rows]
    if not all(isinstance(text, str) and text.startswith(_KIND) for text in texts):
        return None
    return tuple(str(text).removeprefix(_KIND) for text in texts)


def _content(channel: Json) -> str:
    rows = members(channel.get("_payload"), "extension")
    codes = [one.get("valueCode") for one in rows if one.get("url") == _CONTENT]
    return str(codes[0]) if codes else "empty"


def _headers(channel: Json) -> tuple[tuple[str, str], ...] | None:
    rows = channel.get("header", [])
    if not isinstance(rows, list) or len(rows) > HEADERS_MAX:
        return None
    found = [_HEADER.fullmatch(row) if isinstance(row, str) else None for row in rows]
    pairs = [(match[1].lower(), match[2].strip()) for match in found if match is not None]
    return tuple(pairs) if len(pairs) == len(rows) and not _OURS & dict(pairs).keys() else None


def _end(tree: Json) -> int | None:
    """Return when it ends; -1 for an end that is no instant."""
    if "end" not in tree:
        return None
    try:
        return instant(tree["end"]).milliseconds
    except (ValueError, TypeError):
        return -1


def resource(
    wanted: Wanted, *, subscription_id: str, status: str, end: str, error: str = ""
) -> Json:
    """Return the Subscription as it is served: without its headers, which may hold secrets."""
    filters = [{"url": _FILTER, "valueString": _KIND + text} for text in wanted.filters]
    found: Json = {
        "resourceType": "Subscription",
        "id": subscription_id,
        "meta": {"profile": [PROFILE]},
        "status": status,
        "end": end,
        "reason": wanted.reason,
        "criteria": TOPIC,
        "_criteria": {"extension": filters},
        "error": error,
        "channel": {
            "type": "rest-hook",
            "endpoint": wanted.endpoint,
            "payload": _MEDIA,
            "_payload": {"extension": [{"url": _CONTENT, "valueCode": wanted.content}]},
        },
    }
    if not filters:
        del found["_criteria"]
    return {name: value for name, value in found.items() if value}


def message(
    wanted: Wanted, *, base: str, subscription_id: str, kind: str, at: str, ids: tuple[str, str],
    notes: Iterable[Note] = (), total: int = 0,
) -> Json:  # fmt: skip
    """Return the Bundle of a `handshake` or an `event-notification`.

    `base` is our FHIR base, `ids` are fresh UUIDs for the Bundle and its status, `at` is an
    instant, and `total` how many events the subscription has had with these.
    """
    events = list(notes) if wanted.content == "id-only" else []
    status: Json = {
        "resourceType": "Parameters",
        "id": ids[1],
        "meta": {"profile": [_STATUS]},
        "parameter": [
            _named("subscription", valueReference={"reference": f"{base}/Subscription/{subscription_id}"}),
            _named("topic", valueCanonical=TOPIC),
            _named("status", valueCode="requested" if kind == "handshake" else "active"),
            _named("type", valueCode=kind),
            _named("events-since-subscription-start", valueString=str(total)),
            *(_told(base, one) for one in events),
        ],
    }  # fmt: skip
    asked = f"{base}/Subscription/{subscription_id}/$status"
    first = {
        "fullUrl": f"urn:uuid:{ids[1]}",
        "resource": status,
        "request": {"method": "GET", "url": asked},
        "response": {"status": "200"},
    }
    entries = [
        {
            "fullUrl": f"{base}/AuditEvent/{one.id}",
            "request": {"method": "POST", "url": "AuditEvent"},
            "response": {"status": "201"},
        }
        for one in events
    ]
    return {
        "resourceType": "Bundle",
        "id": ids[0],
        "type": "history",
        "timestamp": at,
        "entry": [first, *entries],
    }


def _told(base: str, note: Note) -> Json:
    part = [
        _named("event-number", valueString=str(note.number)),
        _named("timestamp", valueInstant=note.received),
        _named("focus", valueReference={"reference": f"{base}/AuditEvent/{note.id}"}),
    ]
    return _named("notification-event", part=part)


def _named(name: str, **value: Any) -> Json:
    return {"name": name, **value}
