"""Events that differ in few texts are made once, and then filled in.

What an interaction, a client, a user and an outcome have in common is the template's key; what is
left are the texts that no rule looks into (`claims`), so that what holds of one holds of all.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from caretrail.limits import EVENT_SHAPES_MAX
from caretrail.patterns import rest
from caretrail.patterns.claims import settled

if TYPE_CHECKING:
    from caretrail.patterns.observation import Json, Observation

_encoder: Final = msgspec.json.Encoder()
# The day of an instant is looked at, its time is not; of a reference the type is, the rest is not.
_INSTANT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3])(?::[0-5][0-9]){2}\.[0-9]{3}Z"
)
_REFERENCE: Final = re.compile(r"([A-Z][A-Za-z]*)/[A-Za-z0-9._-]+(?:/_history/[A-Za-z0-9._-]+)?")
# What JSON holds as it is.
_TEXT: Final = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]+')
_DAY: Final = 10


class _Texts(NamedTuple):
    """What differs between the events of one template; "" is what the event does not have."""

    recorded: str
    request_id: str
    trace_id: str
    part: str
    query_text: str
    query: str
    resource: str
    patient: str


_TIME: Final = "T00:00:00.000Z"
# Texts that stand in a new template for those of an event. Each is found in it exactly once, or
# there is no template: somebody may have sent such a text.
_BLANKS: Final = _Texts(
    _TIME, "blank-request-4b1f", "blank-trace-4b1f", "blank-part-4b1f", "blank-text-4b1f",
    b64encode(b"blank-query-4b1f").decode(), "/blank-resource-4b1f", "/blank-patient-4b1f",
)  # fmt: skip

_templates: Final[dict[bytes, tuple[list[bytes], list[int]]]] = {}
_met: Final[set[bytes]] = set()


def event_bytes(seen: Observation) -> bytes:
    """Return `settled(rest.event(seen))`, in less time where such an event was made before."""
    texts = _texts(seen)
    key = _key(seen, texts) if texts is not None else b""
    if texts is None or not key:
        return settled(rest.event(seen))
    found = _templates.get(key)
    if found is None:
        _remember(seen, key, texts)
        return settled(rest.event(seen))
    parts, order = found
    filled = [parts[0]]
    for number, part in zip(order, parts[1:], strict=True):
        filled += (texts[number].encode(), part)
    return b"".join(filled)


def _texts(seen: Observation) -> _Texts | None:
    """Return the texts that differ, or None where one is not of the kind that is never looked at."""
    if seen.related or not _INSTANT.fullmatch(seen.recorded):
        return None
    resource, patient = _name(seen.resource), _name(seen.patient)
    if resource is None or patient is None:
        return None
    texts = _Texts(
        seen.recorded[_DAY:],
        seen.request_id or "",
        seen.trace_id or "",
        seen.part or "",
        seen.query_text or "",
        b64encode(seen.query).decode() if seen.query else "",
        resource,
        patient,
    )
    free = texts.request_id + texts.trace_id + texts.part + texts.query_text
    return texts if not free or _TEXT.fullmatch(free) else None


def _name(what: Json | None) -> str | None:
    """Return what follows the type in a literal reference; "" where there is none, None for others."""
    if what is None:
        return ""
    literal = what.get("reference")
    if len(what) != 1 or not isinstance(literal, str) or not _REFERENCE.fullmatch(literal):
        return None
    return literal[literal.index("/") :]


def _key(seen: Observation, texts: _Texts) -> bytes:
    """Return all that two events of one template have in common; b"" for what is no JSON."""
    common = (
        seen.client, seen.server, seen.interaction, seen.operation, seen.user, seen.credential,
        seen.organization, seen.on_behalf_of, seen.resource_role, seen.labels, seen.purposes,
        seen.reason, seen.outcome, seen.outcome_text, seen.site, seen.by_client,
        seen.recorded[:_DAY], [bool(text) for text in texts],
        seen.query is None, seen.request_id is None, seen.trace_id is None, type(seen.credential).__name__,
        _kind(seen.resource, texts.resource), _kind(seen.patient, texts.patient),
    )  # fmt: skip
    try:
        return _encoder.encode(common)
    except UnicodeEncodeError:
        return b""


def _kind(what: Json | None, name: str) -> str:
    literal: str = what["reference"] if what is not None else ""
    return literal.removesuffix(name)


def _remember(seen: Observation, key: bytes, texts: _Texts) -> None:
    """Make the template of an event whose like was met once before: most others come never again."""
    if key not in _met:
        if len(_met) >= EVENT_SHAPES_MAX:
            _met.clear()
        _met.add(key)
        return
    blank = replace(
        seen,
        recorded=seen.recorded[:_DAY] + _BLANKS.recorded,
        request_id=_BLANKS.request_id if texts.request_id else seen.request_id,
        trace_id=_BLANKS.trace_id if texts.trace_id else seen.trace_id,
        part=_BLANKS.part if texts.part else seen.part,
        query_text=_BLANKS.query_text if texts.query_text else seen.query_text,
        query=b64decode(_BLANKS.query) if texts.query else seen.query,
        resource=_blank(seen.resource, texts.resource, _BLANKS.resource),
        patient=_blank(seen.patient, texts.patient, _BLANKS.patient),
    )
    found = _cut(settled(rest.event(blank)), texts)
    if found is not None:
        if len(_templates) >= EVENT_SHAPES_MAX:
            _templates.clear()
        _templates[key] = found


def _blank(what: Json | None, name: str, blank: str) -> Json | None:
    return {"reference": _kind(what, name) + blank} if what is not None else None


def _cut(body: bytes, texts: _Texts) -> tuple[list[bytes], list[int]] | None:
    """Return what stands between the texts, and which texts they are; None if that is not sure."""
    places = []
    for number, (text, blank) in enumerate(zip(texts, _BLANKS, strict=True)):
        if text:
            if body.count(blank.encode()) != 1:
                return None
            places.append((body.index(blank.encode()), number))
    places.sort()
    parts, end = [], 0
    for at, number in places:
        parts.append(body[end:at])
        end = at + len(_BLANKS[number])
    return [*parts, body[end:]], [number for _, number in places]
