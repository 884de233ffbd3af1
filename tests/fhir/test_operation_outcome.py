"""OperationOutcome: issues as FHIR tells them."""

from __future__ import annotations

import json

from caretrail.errors import Issue
from caretrail.fhir import operation_outcome


def test_an_issue_has_its_severity_code_words_and_place() -> None:
    issues = [
        Issue("required", "type is missing", "AuditEvent.type"),
        Issue("not-supported", "", severity="warning"),
    ]
    assert operation_outcome.outcome(issues) == {
        "resourceType": "OperationOutcome",
        "issue": [
            {
                "severity": "error",
                "code": "required",
                "diagnostics": "type is missing",
                "expression": ["AuditEvent.type"],
            },
            {"severity": "warning", "code": "not-supported"},
        ],
    }


def test_control_characters_are_left_out() -> None:
    body = operation_outcome.outcome_bytes([Issue("invalid", "a\x00b\x1bc\x7f\td")])
    assert json.loads(body)["issue"][0]["diagnostics"] == "abc\td"
