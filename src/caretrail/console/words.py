"""Codes as people say them: what was done, how it ended, and what for.

A code that has no row here is shown by its display, and without one as it is.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Verb(NamedTuple):
    """How a sentence says that something was done, and that somebody tried to."""

    done: str
    tried: str


# By the code of the subtype: FHIR's restful-interaction, then DICOM's (PS3.16, D).
VERBS: Final = {
    "read": Verb("read", "read"),
    "vread": Verb("read a version of", "read a version of"),
    "history": Verb("read the history of", "read the history of"),
    "history-instance": Verb("read the history of", "read the history of"),
    "history-type": Verb("read the history of", "read the history of"),
    "search": Verb("searched for", "search for"),
    "search-type": Verb("searched for", "search for"),
    "search-system": Verb("searched for", "search for"),
    "create": Verb("created", "create"),
    "update": Verb("changed", "change"),
    "patch": Verb("changed a part of", "change a part of"),
    "delete": Verb("deleted", "delete"),
    "operation": Verb("ran an operation on", "run an operation on"),
    "batch": Verb("sent a batch to", "send a batch to"),
    "transaction": Verb("sent a transaction to", "send a transaction to"),
    "110122": Verb("signed in", "sign in"),
    "110123": Verb("signed out", "sign out"),
    "110120": Verb("was started", "start"),
    "110121": Verb("was stopped", "stop"),
    "110127": Verb("started emergency access", "start emergency access"),
    "110138": Verb("stopped emergency access", "stop emergency access"),
    "110136": Verb("changed roles", "change roles"),
    "110137": Verb("changed an account", "change an account"),
    "110129": Verb("changed the security configuration", "change the security configuration"),
    "110133": Verb("started recording", "start recording"),
    "110134": Verb("stopped recording", "stop recording"),
}
# These stand alone: what was touched is no object of the verb.
INTRANSITIVE: Final = frozenset(
    ["110122", "110123", "110120", "110121", "110127", "110138", "110136", "110137", "110129",
     "110133", "110134"]
)  # fmt: skip
# By the code of the type, where no subtype says more.
TYPE_VERBS: Final = {
    "110100": Verb("did something as an application", "do something as an application"),
    "110101": Verb("used the audit log", "use the audit log"),
    "110106": Verb("exported", "export"),
    "110107": Verb("imported", "import"),
    "110112": Verb("queried", "query"),
    "110113": Verb("did something about security", "do something about security"),
    "110114": Verb("authenticated", "authenticate"),
}
ACTION_VERBS: Final = {
    "C": Verb("created", "create"),
    "R": Verb("read", "read"),
    "U": Verb("changed", "change"),
    "D": Verb("deleted", "delete"),
    "E": Verb("did", "do"),
}
ACTIONS: Final = {"C": "Create", "R": "Read", "U": "Update", "D": "Delete", "E": "Execute"}
# FHIR R4, audit-event-outcome.
OUTCOMES: Final = {
    "0": "Success",
    "4": "Minor failure",
    "8": "Serious failure",
    "12": "Major failure",
}
PURPOSES: Final = {
    "TREAT": "treatment",
    "ETREAT": "emergency treatment",
    "BTG": "breaking the glass",
    "HPAYMT": "payment",
    "HOPERAT": "operations",
    "HRESCH": "research",
    "PATRQT": "the patient's request",
    "PUBHLTH": "public health",
    "HMARKT": "marketing",
    "HTEST": "tests",
    "COVERAGE": "coverage",
    "CAREMGT": "care management",
    "HSYSADMIN": "system administration",
}
EMERGENCY: Final = frozenset(["BTG", "ETREAT"])
# FHIR's type, DICOM's, and those of BALP that a list shows.
TYPES: Final = {
    "rest": "REST",
    "object": "Object",
    "export": "Export",
    "transmit": "Transmission",
    "verify": "Verification",
    "access": "Access",
    "110100": "Application",
    "110101": "Audit log used",
    "110106": "Export",
    "110107": "Import",
    "110112": "Query",
    "110113": "Security alert",
    "110114": "User authentication",
}
SUBTYPES: Final = {
    "110120": "Application start",
    "110121": "Application stop",
    "110122": "Login",
    "110123": "Logout",
    "110127": "Emergency access started",
    "110138": "Emergency access stopped",
    "110136": "Roles changed",
    "110137": "Account changed",
    "110129": "Security configuration",
    "110131": "Software configuration",
    "110133": "Recording started",
    "110134": "Recording stopped",
}
# By the last part of the code system, then by the code: FHIR's and DICOM's own names.
CODES: Final = {
    "DCM": {
        "110150": "Application",
        "110151": "Application launcher",
        "110152": "Destination of the data",
        "110153": "Source of the data",
        "110154": "Destination media",
        "110155": "Source media",
    },
    "audit-entity-type": {"1": "Person", "2": "Resource", "3": "Organization", "4": "Other"},
    "object-role": {
        "1": "Patient",
        "2": "Location",
        "3": "Report",
        "4": "Domain resource",
        "5": "Master file",
        "6": "User",
        "7": "List",
        "8": "Doctor",
        "11": "Security user entity",
        "13": "Security resource",
        "20": "Job",
        "24": "Query",
    },
    "security-source-type": {
        "1": "User device",
        "2": "Data interface",
        "3": "Web server",
        "4": "Application server",
        "5": "Database server",
        "6": "Security server",
        "9": "Other",
    },
    "v3-ParticipationType": {
        "IRCP": "Receiver of the information",
        "AUT": "Author",
        "INF": "Informant",
        "CST": "Custodian",
    },
    "extra-security-role-type": {"humanuser": "Person"},
    "BasicAuditEntityType": {"XrequestId": "Request id"},
    "UserAgentTypes": {"UserOauthAgent": "User, by OAuth", "UserSamlAgent": "User, by SAML"},
}
# What each search parameter is called above its facet.
FACETS: Final = {
    "outcome": "Outcome",
    "type": "Type",
    "subtype": "Subtype",
    "action": "Action",
    "user": "User",
    "agent": "Agent",
    "agent-role": "Role",
    "patient": "Patient",
    "source": "Source",
    "site": "Site",
    "purpose": "Purpose",
    "flag": "Flag",
}
_VALUES: Final = {
    "outcome": OUTCOMES,
    "action": ACTIONS,
    "type": TYPES,
    "subtype": SUBTYPES,
    "purpose": {code: text.capitalize() for code, text in PURPOSES.items()},
}


def coding(system: str, code: str, display: str) -> str:
    """Return what people call a Coding: its own display, or what is known of its code."""
    known = CODES.get(system.rpartition("/")[2], {}).get(code)
    return display or known or PURPOSES.get(code) or code


def value(parameter: str, token: str, display: str | None = None) -> str:
    """Return what people call a value of a search parameter, such as `system|code`."""
    code = token.rpartition("|")[2]
    known = _VALUES.get(parameter, {}).get(code)
    return known or display or code or token
