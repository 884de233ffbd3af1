"""A syslog message: its header, its structured data and what it carries (RFC 5424, 6; RFC 3164)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

# Every field is taken as it comes, longer than the RFC lets it be, too; `+` never goes back.
_FIELD: Final = rb"([^ \0-\x1f]++) "
_HEADER: Final = re.compile(
    rb"<([0-9]{1,3})>([1-9][0-9]{0,2}) " + _FIELD * 5 + rb"(-|(?:\[(?:[^\]\"\\]|"
    rb'"(?:[^"\\]|\\.)*+"|\\.)*+\])++)(?: |\Z)',
    re.DOTALL,
)
# RFC 3164 says how messages were found, not how they must be: the month tells it from others.
_OLD_HEADER: Final = re.compile(
    rb"<([0-9]{1,3})>[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} ([^ \0-\x1f]++) "
    rb"([^ :\[\0-\x1f]{1,48}+)(?:\[([^\]\0-\x1f]{1,128}+)\])?: ?"
)
_PRIORITY: Final = re.compile(rb"<([0-9]{1,3})>")
_NIL: Final = "-"


class Frame(NamedTuple):
    """One message; a field that is "" was not there, or was the NILVALUE. `message` is its bytes."""

    pri: str = ""
    version: str = ""
    timestamp: str = ""
    hostname: str = ""
    app_name: str = ""
    procid: str = ""
    msgid: str = ""
    structured_data: str = ""
    message: bytes = b""


def parse(frame: bytes) -> Frame:
    """Return the parts of a frame; of what is no syslog message everything is its `message`."""
    found = _HEADER.match(frame)
    if found is not None:
        timestamp, hostname, app_name, procid, msgid, data = map(_text, found.groups()[2:])
        return Frame(
            found[1].decode(),
            found[2].decode(),
            timestamp,
            hostname,
            app_name,
            procid,
            msgid,
            data,
            frame[found.end() :],
        )
    found = _OLD_HEADER.match(frame)
    if found is not None:
        pri, host, application, process = found.groups(b"")
        return Frame(
            pri.decode(),
            hostname=_text(host),
            app_name=_text(application),
            procid=_text(process),
            message=frame[found.end() :],
        )
    found = _PRIORITY.match(frame)
    if found is not None:
        return Frame(found[1].decode(), message=frame[found.end() :])
    return Frame(message=frame)


def _text(field: bytes) -> str:
    try:
        text = field.decode()
    except UnicodeDecodeError:
        text = field.decode("latin-1")
    return "" if text == _NIL else text
