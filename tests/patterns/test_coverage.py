"""Every interaction, however it ends, leaves exactly the events that it has to (R-US-01)."""

from __future__ import annotations

from itertools import product

import pytest

from caretrail.fhir import profiles
from caretrail.patterns.recording import events
from tests.patterns.exchanges import EXAMPLES, claims, coverage_docs, parsed

# What BALP has a pattern for; it is written here anew, and not read from the code.
BALP = {
    "read": "Read",
    "vread": "Read",
    "create": "Create",
    "conditional-create": "Create",
    "update": "Update",
    "conditional-update": "Update",
    "patch": "Update",
    "conditional-patch": "Update",
    "delete": "Delete",
    "search-type": "Query",
    "search-type (POST)": "Query",
    "search-compartment": "Query",
    "search-system": "Query",
    "search-page": "Query",
}
# type, subtypes, action of the others, and of all that fail.
REST = {
    "read": ("rest", ["read"], "R"),
    "vread": ("rest", ["vread"], "R"),
    "create": ("rest", ["create"], "C"),
    "conditional-create": ("rest", ["create"], "C"),
    "conditional-create, found": ("rest", ["create"], "C"),
    "update": ("rest", ["update"], "U"),
    "conditional-update": ("rest", ["update"], "U"),
    "patch": ("rest", ["patch"], "U"),
    "conditional-patch": ("rest", ["patch"], "U"),
    "delete": ("rest", ["delete"], "D"),
    "conditional-delete": ("rest", ["delete"], "D"),
    "search-type": ("rest", ["search-type"], "E"),
    "search-type (POST)": ("rest", ["search-type"], "E"),
    "search-compartment": ("rest", ["search-type"], "E"),
    "search-system": ("rest", ["search-system"], "E"),
    "search-page": ("rest", ["search"], "E"),
    "history-instance": ("rest", ["history-instance"], "R"),
    "history-type": ("rest", ["history-type"], "R"),
    "history-system": ("rest", ["history-system"], "R"),
    "capabilities": ("rest", ["capabilities"], "R"),
    "$everything": ("rest", ["operation", "$everything"], "E"),
    "$validate": ("rest", ["operation", "$validate"], "E"),
    "$graphql": ("rest", ["operation", "$graphql"], "E"),
    "$export": ("rest", ["operation", "$export"], "E"),
    "export-status": ("rest", ["operation", "export-status"], "E"),
    "export-cancel": ("rest", ["operation", "export-cancel"], "E"),
    "export-file": ("110106", ["export-file"], "R"),
    "$import": ("110107", ["operation", "$import"], "C"),
    "batch": ("rest", ["batch"], "E"),
    "transaction": ("rest", ["transaction"], "E"),
    "delivery": ("110106", [], "R"),
    "authorize": ("110114", ["authorization"], "E"),
    "token": ("110114", ["ITI-71"], "E"),
    "token (refresh)": ("110114", ["ITI-71", "token-refresh"], "E"),
    "revoke": ("110114", ["token-revocation"], "E"),
    "introspect": ("110114", ["ITI-102"], "E"),
    "logout": ("110114", ["110123"], "E"),
    "server-metadata": ("110100", ["ITI-103"], "E"),
    "unknown": ("rest", [], "E"),
}
# Their events name the token that is asked for in no way, and so no profile of its use.
TOKENS = (
    "authorize",
    "token",
    "token (refresh)",
    "revoke",
    "introspect",
    "logout",
    "server-metadata",
)
OUTCOMES = {
    "ok": "0",
    "500": "8",
    "503": "12",
    "timeout": "8",
    "cancelled": "4",
}
ENDINGS = ["ok", "400", "401", "403", "404", "409", "412", "422", "500", "503", "timeout",
           "cancelled"]  # fmt: skip


def expected(name: str, ending: str) -> list[tuple]:
    """Return (type, subtypes, action, outcome, BALP pattern) of each event."""
    outcome = OUTCOMES.get(ending, "4")
    balp = f"Patient{BALP[name]}" if ending == "ok" and name in BALP else ""
    kind, subtypes, action = REST[name]
    if name.startswith("token") and ending == "ok":
        return [(kind, ["ITI-71"], action, outcome, "IHE.IUA.71")]
    if name == "search-page" and ending != "ok":
        subtypes = []  # Only its answer tells that it is one.
    whole = (kind, subtypes, action, outcome, balp)
    if name not in ("batch", "transaction") or ending == "401":
        return [whole]
    return [whole, *(expected(part, ending)[0] for part in ("create", "read"))]


def seen(event: dict) -> tuple:
    balp = [name for name in claims(event) if not name.startswith("OAUTH")]
    subtypes = [row["code"] for row in event.get("subtype", ())]
    row = (event["type"]["code"], subtypes, event["action"], event["outcome"])
    return (*row, balp[0] if balp else "")


def test_the_expectations_are_about_every_example_and_ending() -> None:
    assert EXAMPLES.keys() == REST.keys()
    assert ["ok", *coverage_docs.ENDINGS] == ENDINGS


@pytest.mark.parametrize(("name", "ending"), list(product(REST, ENDINGS)))
def test_a_cell_of_the_coverage_page_holds(name: str, ending: str) -> None:
    made = events(coverage_docs.ended(name, ending))
    assert [seen(event) for event in made] == expected(name, ending)
    for event in made:
        assert profiles.unmet(parsed(event)) == ()
        assert ("OAUTHaccessTokenUse.Minimal" in claims(event)) == (name not in TOKENS)


def test_the_page_says_what_happens() -> None:
    made = coverage_docs.PAGE.read_text(encoding="utf-8")
    assert coverage_docs.page() == made, "run: .venv/bin/python scripts/coverage_docs.py"


def test_every_row_of_the_interactions_has_an_example() -> None:
    from caretrail.patterns.interaction import INTERACTIONS

    shown = {name.partition(" (")[0].partition(",")[0] for name in REST}
    assert {row.name for row in INTERACTIONS} - {"operation"} <= shown


def test_a_failure_says_what_failed_and_never_what_the_server_told_of_it() -> None:
    (event,) = events(coverage_docs.ended("read", "404"))
    assert event["outcomeDesc"] == "404 Not Found"
    assert event["entity"][-1] == {
        "type": {"system": "http://hl7.org/fhir/resource-types", "code": "OperationOutcome"},
        "detail": [{"type": "issue", "valueString": "error/processing"}],
    }


def test_the_console_shows_the_same_table() -> None:
    made = coverage_docs.TABLE.read_text(encoding="utf-8")
    assert coverage_docs.table() == made, "run: .venv/bin/python scripts/coverage_docs.py"
