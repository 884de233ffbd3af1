"""Exchanges to test with: the examples of the coverage page, and short ways to make others."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from caretrail.fhir import audit_event, intake
from caretrail.patterns import codes

ROOT: Final = Path(__file__).parents[2]


def _script(name: str) -> Any:
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


coverage_docs: Final[Any] = _script("coverage_docs")
EXAMPLES = coverage_docs.EXAMPLES
message = coverage_docs.message
bundle = coverage_docs.bundle
SERVER = coverage_docs.SERVER


def replace(value: Any, **changes: Any) -> Any:
    """Return a frozen value with other members."""
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **changes)
    return dataclasses.replace(value, **changes)


def parsed(event: dict) -> audit_event.AuditEvent:
    """Return the event as a repository reads it: any problem of R4 is an error here."""
    return intake.parse(json.dumps(event).encode()).event


def claims(event: dict) -> list[str]:
    urls = event.get("meta", {}).get("profile", [])
    return [url.removeprefix(codes.BASIC_AUDIT).removeprefix(codes.PROFILES) for url in urls]


def entities(event: dict, code: str) -> list[dict]:
    return [row for row in event.get("entity", ()) if row["type"]["code"] == code]


def patients(events: list[dict]) -> list[str]:
    """Return the patients of the events by whatever names them, in order."""
    found = [row["what"] for event in events for row in entities(event, "1")]
    return [what.get("reference") or what["identifier"]["value"] for what in found]


def observation(number: str = "7", patient: str | None = "Patient/1", **members: Any) -> dict:
    subject = {"subject": {"reference": patient}} if patient else {}
    return {"resourceType": "Observation", "id": number, **subject, **members}
