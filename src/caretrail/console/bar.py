"""The search bar: plain words, `field:value`, and FHIR's own syntax, read into search parameters.

`anna outcome:8 -type:rest` means: the word anna, outcome 8, and not of type rest. `name=value` is
taken as FHIR has it, modifiers included, so that a search of the API can be pasted.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

from caretrail.errors import InvalidError
from caretrail.search.parameters import BY_CODE, PARAMETERS

if TYPE_CHECKING:
    from caretrail.api.http import Pairs

# What people call a parameter.
ALIASES: Final = {
    "who": "user",
    "ip": "address",
    "role": "agent-role",
    "words": "_content",
    "text": "_content",
    "id": "_id",
    "profile": "_profile",
    "tag": "_tag",
    "request": "request-id",
    "received": "_lastUpdated",
}
# A field before its value, which may be quoted; a modifier only where FHIR's own sign follows, since
# systems of codes have colons, too.
_TOKEN: Final = re.compile(
    r"(?P<minus>-)?(?P<name>[A-Za-z_][A-Za-z_.-]*)"
    r"(?:(?P<modifier>:(?:not|missing|text|exact|contains|above|below|identifier|of-type))?=|:)"
)
_SCHEMES: Final = ("http", "https", "urn")


def fields() -> list[dict[str, str]]:
    """Return what the bar completes: each field, and what it is about."""
    rows = [{"name": row.code, "about": row.description} for row in PARAMETERS]
    rows += [{"name": name, "about": f"The same as {code}"} for name, code in ALIASES.items()]
    return rows


def read(text: str) -> Pairs:
    """Return the search parameters that the bar says; raises InvalidError."""
    text = text.strip().removeprefix("AuditEvent?").removeprefix("?")
    found: Pairs = []
    plain: list[str] = []
    for piece in _pieces(text):
        one = _parameter(piece)
        if one is None:
            plain.append(_bare(piece))
        else:
            found.append(one)
    words = " ".join(filter(None, plain))
    return [("_content", words), *found] if words else found


def _pieces(text: str) -> list[str]:
    """Return the parts between spaces that are not quoted; a pasted query is parted at each &."""
    if re.fullmatch(r"[A-Za-z_][\w.:-]*=\S*", text) and "&" in text:
        return [unquote_plus(part) for part in text.split("&") if part]
    return re.findall(r'(?:[^\s"]|"(?:[^"\\]|\\.)*"|")+', text)


def _parameter(piece: str) -> tuple[str, str] | None:
    found = _TOKEN.match(piece)
    if found is None or found["name"] in _SCHEMES:
        return None
    name = ALIASES.get(found["name"], found["name"])
    if name not in BY_CODE:
        if found[0].endswith(":"):
            return None  # A word with a colon in it.
        raise InvalidError(f"there is no field `{found['name']}`: the list of the bar has them all")
    value = _bare(piece[found.end() :])
    if not value:
        raise InvalidError(f"`{found['name']}` needs a value")
    modifier = found["modifier"] or ""
    if found["minus"]:
        if modifier:
            raise InvalidError("a field with a minus takes no modifier")
        modifier = ":not"
    return name + modifier, value


def _bare(piece: str) -> str:
    """Return a value without its quotes."""
    if len(piece) >= 2 and piece[0] == piece[-1] == '"':
        return re.sub(r"\\(.)", r"\1", piece[1:-1])
    return piece


def said(name: str, value: str) -> str:
    """Return a field with a value as the bar has it."""
    if not value or re.search(r'[\s"]', value):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        value = f'"{escaped}"'
    return f"{name}:{value}"


def more(text: str, name: str, value: str) -> str:
    """Return the bar's text, narrowed by one field."""
    one = said(name, value)
    return text if one in text.split() else f"{text} {one}".strip()
