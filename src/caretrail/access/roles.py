"""THE table of roles: who may ask for what, and which events are there for him.

Interactions go by the names of the route table. The decision, the reference documentation and the
tests are all read from here (requirements 3.3).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple


class Interaction(NamedTuple):
    """What a route needs: these letters of a SMART scope, or none where a role is enough.

    What is `recorded` leaves an Audit Log Used event each time (DESIGN, decision 12).
    """

    letters: str = ""
    recorded: bool = False


# A row for each name of `api.router.ROUTES` that needs a credential.
INTERACTIONS: Final[dict[str, Interaction]] = {
    "create": Interaction("c"),
    # Its entries are judged one by one; reads among them are recorded.
    "batch": Interaction(),
    "read": Interaction("r", recorded=True),
    "vread": Interaction("r", recorded=True),
    "history-instance": Interaction("r", recorded=True),
    "search-type": Interaction("s", recorded=True),
    "search-system": Interaction("s", recorded=True),
    "search-compartment": Interaction("s", recorded=True),
    "$stats": Interaction("s", recorded=True),
    "$original": Interaction("r", recorded=True),
    "$proof": Interaction("r", recorded=True),
    # ITI-82: frames as they came, like `$original` of many.
    "syslog-search": Interaction("rs", recorded=True),
    # The export says itself what left the log, once it has been made.
    "$export": Interaction("rs"),
    "$export-status": Interaction("rs"),
    "$export-cancel": Interaction("rs"),
    "$export-file": Interaction("rs", recorded=True),
    # Each message goes to an address; that somebody has set it up is what there is to know.
    "subscribe": Interaction("rs", recorded=True),
    "$gaps": Interaction(recorded=True),
    "$quarantine": Interaction("r", recorded=True),
    "log": Interaction(),
    "definitions": Interaction(),
    "metrics": Interaction(),
}
# The clinic's own interactions need one permission for each letter of a scope.
CLINIC: Final = {letter: f"clinic.{letter}" for letter in "cruds"}


class Sees(StrEnum):
    """Which events there are for a role, all of them within its organisation."""

    NOTHING = "nothing"
    OWN = "what it sent itself"
    ALL = "all events"
    SECURITY = "security events, without patients"
    COMPARTMENT = "events about the patient of the token, staff as the disclosure level says"
    SHARE = "what its scope or share names"


class Role(NamedTuple):
    """One role. `contexts` are the SMART contexts whose scopes it acts by."""

    code: str
    title: str
    contexts: tuple[str, ...]
    sees: Sees
    interactions: frozenset[str]
    # Separation of duties (R-AC-04): nobody has this role together with one of these.
    excludes: frozenset[str] = frozenset()


_LOOK: Final = frozenset(
    ["read", "vread", "history-instance", "search-type", "search-system", "search-compartment",
     "$stats", "definitions", "batch"]
)  # fmt: skip
_EVIDENCE: Final = frozenset(["$original", "$proof", "syslog-search", "log"])
_EXPORT: Final = frozenset(["$export", "$export-status", "$export-cancel", "$export-file"])
_STAFF: Final = ("user", "system")
_READERS: Final = frozenset(
    ["auditor", "privacy-officer", "security-officer", "external-auditor", "ombudsperson"]
)

# The first role of an identity that may do a thing decides what is seen.
ROLES: Final = (
    Role("source", "Source", ("system",), Sees.OWN, frozenset(["create", "batch", "definitions"])),
    Role("privacy-officer", "Privacy officer", _STAFF, Sees.ALL, _LOOK | _EVIDENCE | _EXPORT | {"$gaps", "$quarantine", "subscribe"}),
    Role("auditor", "Auditor", _STAFF, Sees.ALL, _LOOK | _EVIDENCE | _EXPORT | {"$gaps", "$quarantine", "subscribe"}),
    Role("security-officer", "Security officer", _STAFF, Sees.SECURITY, _LOOK | {"$gaps", "log", "metrics"}),
    Role("external-auditor", "External auditor", ("user",), Sees.SHARE, _LOOK | _EVIDENCE),
    Role("administrator", "Administrator", _STAFF, Sees.NOTHING, frozenset(["definitions", "metrics", "log", "$gaps"]), _READERS),
    Role("ombudsperson", "Ombudsperson", ("patient",), Sees.COMPARTMENT, _LOOK - {"search-system"}),
    Role("patient", "Patient", ("patient",), Sees.COMPARTMENT, _LOOK - {"search-system"}),
)  # fmt: skip
BY_CODE: Final = {row.code: row for row in ROLES}


def conflicts(codes: frozenset[str]) -> bool:
    """Tell whether nobody may have these roles together."""
    return any(BY_CODE[code].excludes & codes for code in codes)
