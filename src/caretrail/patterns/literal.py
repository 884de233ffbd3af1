"""Literal references: what a text such as `Patient/1/_history/2` names (FHIR R4, Reference)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_LITERAL: Final = re.compile(
    r"(?:(?P<base>https?://[^\s?#]+)/)?(?P<type>[A-Z][A-Za-z]{1,63})/(?P<id>[A-Za-z0-9._-]{1,128})"
    r"(?:/_history/(?P<version>[A-Za-z0-9._-]{1,128}))?/?"
)


class Literal(NamedTuple):
    """A reference that names a type and an id; `base` is "" where the server is ours."""

    base: str
    type: str
    id: str
    version: str = ""

    @property
    def unversioned(self) -> str:
        """Return the reference to the resource, whatever its version."""
        return f"{self.base}/{self.type}/{self.id}" if self.base else f"{self.type}/{self.id}"

    @property
    def versioned(self) -> str:
        """Return the reference to the version, where one is known."""
        return f"{self.unversioned}/_history/{self.version}" if self.version else self.unversioned


def parse(text: object, base: str = "") -> Literal | None:
    """Return what `text` names, or None for a logical, local or malformed reference.

    An address under `base`, the server's own, is the same as a relative one.
    """
    found = _LITERAL.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    foreign, kind, name, version = found.groups("")
    if foreign and foreign == base.rstrip("/"):
        foreign = ""
    return Literal(foreign, kind, name, version)
