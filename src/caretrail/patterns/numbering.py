"""The number that a source gives an event, so that its repository notices one that is missing."""

from __future__ import annotations

from typing import Final

import msgspec

from caretrail.limits import SOURCE_NUMBER_MAX

SOURCE_SEQUENCE: Final = "urn:caretrail:source-sequence"
_MEMBER: Final = b'"extension"'


def number_of(position: int) -> int:
    """Return the number of the event at a position, counted from 1 without an end.

    An integer of FHIR has 32 bits (R4, datatypes): after the last number comes 1 again.
    """
    return (position - 1) % SOURCE_NUMBER_MAX + 1


def numbered(event: bytes, number: int) -> bytes:
    """Return the JSON of an event with its number in it; nothing else of its bytes changes."""
    extension = b'{"url":"%b","valueInteger":%d}' % (SOURCE_SEQUENCE.encode(), number)
    # Only an event with such a text somewhere may have the member, and has to be taken apart.
    if _MEMBER not in event:
        return b'{"extension":[%b],%b' % (extension, event[1:])
    members = msgspec.json.decode(event, type=dict[str, msgspec.Raw])
    own = bytes(members.get("extension", b"[]"))
    rest = own[1:].lstrip()
    comma = b"" if rest.startswith(b"]") else b","
    members["extension"] = msgspec.Raw(b"[" + extension + comma + rest)
    return msgspec.json.encode(members)
