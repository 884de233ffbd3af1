"""Which scopes are granted: what was asked for, as far as the registration goes (SMART 2, scopes).

`read` and `write` of version 1 become letters of version 2. A wildcard does not include
AuditEvent, which nobody may update or delete: who may see who looked is said by name.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

OPENID: Final = "openid"
OFFLINE: Final = "offline_access"
ONLINE: Final = "online_access"
LAUNCH: Final = "launch"
LAUNCH_PATIENT: Final = "launch/patient"
_PLAIN: Final = (OPENID, "profile", "fhirUser", LAUNCH, LAUNCH_PATIENT, OFFLINE, ONLINE)
_EVENT: Final = "AuditEvent"
_VERSION_1: Final = {"read": "rs", "write": "cud", "*": "cruds"}
_RESOURCE: Final = re.compile(
    r"(patient|user|system)/([A-Z][A-Za-z]{0,63}|\*)"
    r"\.(read|write|\*|(?=[cruds])c?r?u?d?s?)(?:\?([\x21\x23-\x5b\x5d-\x7e]{1,500}))?"
)
SCOPES_SUPPORTED: Final = (
    *_PLAIN,
    "patient/AuditEvent.rs",
    "user/AuditEvent.rs",
    "user/AuditEvent.cruds",
    "system/AuditEvent.c",
    "system/AuditEvent.rs",
)


class Scope(NamedTuple):
    """A scope for resources: whose rights, of which type, which letters, narrowed by a search."""

    context: str
    kind: str
    letters: str
    query: str = ""

    def __str__(self) -> str:
        narrowed = f"?{self.query}" if self.query else ""
        return f"{self.context}/{self.kind}.{self.letters}{narrowed}"


def parse(text: str) -> Scope | None:
    """Return the scope for resources that a word is, or None."""
    found = _RESOURCE.fullmatch(text)
    if found is None:
        return None
    context, kind, letters, query = found.groups()
    letters = _VERSION_1.get(letters, letters)
    if kind == _EVENT:
        letters = "".join(letter for letter in letters if letter in "crs")
    return Scope(context, kind, letters, query or "") if letters else None


def is_known(text: str) -> bool:
    """Tell whether a word is a scope at all."""
    return text in _PLAIN or parse(text) is not None


def granted(asked: str, allowed: str) -> str:
    """Return what of the asked-for scopes is allowed, narrowed where only a part is."""
    may = [scope for word in allowed.split() if (scope := parse(word)) is not None]
    plain = set(allowed.split())
    found = []
    for word in dict.fromkeys(asked.split()):
        scope = parse(word)
        if scope is not None:
            found += [str(one) for row in may if (one := _narrowed(scope, row)) is not None]
        elif word in plain:
            found.append(word)
    return " ".join(dict.fromkeys(found))


def of_context(scope: str, *contexts: str) -> str:
    """Return the scopes that are for no resources, or in one of these contexts."""
    kept = []
    for word in scope.split():
        found = parse(word)
        if found is None or found.context in contexts:
            kept.append(word)
    return " ".join(kept)


def _narrowed(asked: Scope, allowed: Scope) -> Scope | None:
    if asked.context != allowed.context:
        return None
    if asked.kind == allowed.kind or (allowed.kind == "*" and asked.kind != _EVENT):
        kind = asked.kind
    elif asked.kind == "*" and allowed.kind != _EVENT:
        kind = allowed.kind
    else:
        return None
    letters = "".join(letter for letter in asked.letters if letter in allowed.letters)
    queries = [query for query in (asked.query, allowed.query) if query]
    query = "&".join(dict.fromkeys(queries))
    return (
        Scope(kind=kind, context=asked.context, letters=letters, query=query) if letters else None
    )
