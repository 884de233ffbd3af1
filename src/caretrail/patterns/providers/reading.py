"""Reading what others wrote: every value may be of any type, and may be a secret.

A provider's module names the members that it takes over; nothing else comes into an event. What is
taken over goes through here: bounded, on one line, and without anything that looks like a token.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any, Final

from caretrail.errors import InvalidError, Issue
from caretrail.fhir import temporal
from caretrail.limits import PROVIDER_TEXT_CHARACTERS_MAX

LEFT_OUT: Final = "(left out)"
_REASON: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
# Line breaks, terminal escapes and marks that turn the direction of writing.
_UNPRINTED: Final = re.compile(
    r"[\x00-\x20\x7f-\xa0\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufffe\uffff]+"
)
# A JSON Web Token, a credential of HTTP, a parameter of a URL or form, and a long text of mixed
# characters, which is how opaque tokens look; identifiers have dashes or one kind of letters.
_SECRETS: Final = (
    re.compile(r"\beyJ[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*)*"),
    re.compile(r"\b(?:bearer|basic|ssws|dpop)\s+\S+", re.IGNORECASE),
    re.compile(r"(?<=\S)[?#](?=\S*=)\S*"),
    re.compile(
        r"\b(?:\w*(?:password|passwd|secret|token|assertion|verifier|credential|api_?key)|code|pwd"
        r"|otp|pin)\b[\"']?\s*[=:]\s*\S+",
        re.IGNORECASE,
    ),
    re.compile(
        r"(?<![A-Za-z0-9_+/=-])(?=[^\s]*[0-9])(?=[^\s]*[a-z])(?=[^\s]*[A-Z])[A-Za-z0-9_+/=-]{32,}"
    ),
)
_SECRET_NAME: Final = re.compile(
    r"password|passwd|secret|token|assertion|verifier|credential|api_?key|authorization|cookie"
    r"|^code$|^pwd$|^otp$|^representation$"
    # What somebody typed as his name, and texts that may quote it.
    r"|^user_?name$|principalname$|^alternateid$|^login$|description$|message$|^identity$",
    re.IGNORECASE,
)
# Further in nobody looks; what is there is left out.
_DEPTH_MAX: Final = 16


def member(tree: Any, *path: str) -> Any:
    """Return what stands at the end of a path of members, None where there is nothing."""
    for name in path:
        if not isinstance(tree, dict):
            return None
        tree = tree.get(name)
    return tree


def items(tree: Any, *path: str) -> list[Any]:
    """Return the elements of the list at the end of a path, [] where there is none."""
    found = member(tree, *path)
    return found if isinstance(found, list) else []


def text(tree: Any, *path: str) -> str | None:
    """Return a text or number for an event: on one line, bounded, nothing secret in it."""
    value = member(tree, *path)
    if isinstance(value, bool):
        return "true" if value else "false"
    return clean(str(value)) if isinstance(value, str | int) else None


def clean(value: str) -> str | None:
    """Return what of a text may stand in an event, None where nothing is left of it."""
    value = value[: 4 * PROVIDER_TEXT_CHARACTERS_MAX]
    for pattern in _SECRETS:
        value = pattern.sub(LEFT_OUT, value)
    value = _UNPRINTED.sub(" ", value).strip()
    return value[:PROVIDER_TEXT_CHARACTERS_MAX].strip() or None


def identifier(tree: Any, *path: str) -> str | None:
    """Return an identifier: it is taken over as it is, so only one that has the shape of one."""
    value = member(tree, *path)
    if not isinstance(value, str | int) or isinstance(value, bool):
        return None
    value = str(value)
    is_one = 0 < len(value) <= PROVIDER_TEXT_CHARACTERS_MAX and not _UNPRINTED.search(value)
    return value if is_one and not _SECRETS[0].search(value) else None


def reason(tree: Any, *path: str) -> str | None:
    """Return the code of an error, None for a free text: it may quote what somebody typed."""
    value = member(tree, *path)
    if isinstance(value, str) and _REASON.fullmatch(value) and clean(value) == value:
        return value
    return None


def address(tree: Any, *path: str) -> str:
    """Return an IP address without its port, "" where there is none."""
    value = member(tree, *path)
    if not isinstance(value, str):
        return ""
    bare = value.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        return str(ip_address(bare))
    except ValueError:
        return ""


def instant(tree: Any, *path: str) -> str:
    """Return a time as a FHIR instant; it is one, or milliseconds since 1970."""
    value = member(tree, *path)
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            return temporal.format_instant(value)
        if isinstance(value, str):
            temporal.instant(value)
            return value
    except (ValueError, OverflowError):
        pass
    what = "the event has no time that can be read"
    raise InvalidError((Issue("required", what, ".".join(path)),))


def scrubbed(tree: Any, depth: int = 0) -> Any:
    """Return a copy of what was sent, with everything left out that may be a secret."""
    if depth >= _DEPTH_MAX or (depth == 0 and isinstance(tree, str)):
        return LEFT_OUT
    if isinstance(tree, dict):
        return {
            clean(name) or "": LEFT_OUT if _SECRET_NAME.search(name) else scrubbed(value, depth + 1)
            for name, value in tree.items()
        }
    if isinstance(tree, list):
        return [scrubbed(value, depth + 1) for value in tree]
    return clean(tree) if isinstance(tree, str) else tree
