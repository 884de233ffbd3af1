"""An event claims a profile only when it meets it, by the rows that `caretrail check` uses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail.fhir import audit_event, decoding, profiles, validation
from caretrail.limits import EVENT_SHAPES_MAX

if TYPE_CHECKING:
    from caretrail.fhir.audit_event import AuditEvent
    from caretrail.patterns.observation import Json

_encoder: Final = msgspec.json.Encoder()
# What no rule of R4 or BALP looks into: a text that is not empty; of a reference all but the type, of
# a time all but the day. Events that differ in nothing else are judged alike, so the first one of
# such a shape is judged for all. An escape ends the text, and so is a part of the shape.
_FREE: Final = re.compile(
    rb'("(?:value|name|display|valueString|description|address)":"'
    rb'|"reference":"[A-Z][A-Za-z]*/(?=[A-Za-z0-9._-]+(?:/_history/[A-Za-z0-9._-]+)?")'
    rb'|"recorded":"[0-9]{4}-[0-9]{2}-[0-9]{2}T'
    rb'(?=(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?Z")'
    rb'|"query":"(?=(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")'
    rb'|"policy":\["(?=[!#-\[\]-~]+"\]))[^"\\]+'
)
_URIS: Final = ("system", "policy")
_sound: Final[set[bytes]] = set()
# What XML, and so FHIR's string, cannot hold.
_CONTROLS: Final = {code: "\ufffd" for code in range(32) if chr(code) not in "\t\n\r"}


def settled(event: Json) -> bytes:
    """Return the event as the JSON of valid R4 that claims what it meets, and nothing else.

    Its texts come from requests, so they may hold anything; no event is lost over one of them.
    """
    body = _encoded(event)
    # JSON holds no such byte, so that a text that was there differs from an empty one.
    shape = b"\0".join(_FREE.split(body))
    if shape in _sound:
        return body
    parsed = _parsed(body)
    if parsed is None:
        event = _clean(event)
        body, shape = _encoder.encode(event), b""
        parsed = audit_event.read(body)
    unmet = profiles.unmet(parsed)
    if unmet:
        return _encoder.encode(_without(event, unmet))
    if shape:
        if len(_sound) >= EVENT_SHAPES_MAX:
            _sound.clear()
        _sound.add(shape)
    return body


def _without(event: Json, unmet: tuple[str, ...]) -> Json:
    met = [url for url in event["meta"]["profile"] if url not in unmet]
    if met:
        return {**event, "meta": {**event["meta"], "profile": met}}
    return {name: value for name, value in event.items() if name != "meta"}


def _encoded(event: Json) -> bytes:
    try:
        return _encoder.encode(event)
    except UnicodeEncodeError:  # Half a surrogate pair, which `_clean` takes out.
        return b""


def _parsed(body: bytes) -> AuditEvent | None:
    """Return the event, or None if it is not valid; what is ordinary takes the short way."""
    parsed = decoding.decode(body)
    if parsed is None and body and not validation.problems(body):
        return audit_event.read(body)
    return parsed


def _clean(node: Any, name: str = "") -> Any:
    """Return `node` with what FHIR's strings, uris and codes cannot hold replaced."""
    if isinstance(node, str):
        text = node.encode("utf-8", "replace").decode().translate(_CONTROLS).strip() or "?"
        if name in _URIS:
            return "%20".join(text.split())
        return " ".join(text.split()) if name == "code" else text
    if isinstance(node, list):
        return [_clean(item, name) for item in node]
    if isinstance(node, dict):
        return {member: _clean(item, member) for member, item in node.items()}
    return node
