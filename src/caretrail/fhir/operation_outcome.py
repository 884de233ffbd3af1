"""OperationOutcome: what an answer says went wrong (FHIR R4, OperationOutcome)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.errors import Issue

# What a FHIR string must not hold; a message of ours could quote a file name or a setting.
_CONTROLS: Final = {n: None for n in (*range(0x20), 0x7F) if chr(n) not in "\t\n\r"}


def outcome(issues: Sequence[Issue]) -> dict[str, Any]:
    """Return the OperationOutcome of `issues`; there is at least one (issue is 1..*)."""
    assert issues, "an OperationOutcome has an issue"
    return {"resourceType": "OperationOutcome", "issue": [_issue(row) for row in issues]}


def outcome_bytes(issues: Sequence[Issue]) -> bytes:
    """Return the same OperationOutcome as JSON."""
    return msgspec.json.encode(outcome(issues))


def _issue(row: Issue) -> dict[str, Any]:
    issue: dict[str, Any] = {"severity": row.severity, "code": row.code}
    diagnostics = row.diagnostics.translate(_CONTROLS)
    if diagnostics:
        issue["diagnostics"] = diagnostics
    if row.expression:
        issue["expression"] = [row.expression]
    return issue
