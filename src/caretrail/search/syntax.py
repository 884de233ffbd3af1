"""Escapes in search values (FHIR R4, search, escaping)."""

from __future__ import annotations

import re
from typing import Final

_ESCAPED: Final = re.compile(r"\\([\\,|$])")


def split(text: str, separator: str) -> list[str]:
    """Split at each separator that has no escape, and take the escapes away."""
    if "\\" not in text:
        return text.split(separator)
    return [unescape(part) for part in split_escaped(text, separator)]


def split_escaped(text: str, separator: str) -> list[str]:
    """Split at each separator that has no escape; the parts keep their escapes."""
    if "\\" not in text:
        return text.split(separator)
    parts, start, at = [], 0, 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == separator:
            parts.append(text[start:at])
            start = at + 1
        at += 1
    return [*parts, text[start:]]


def unescape(text: str) -> str:
    """Take the escapes away."""
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text
