"""What an answer held: the resources, the patients that they are about, and their labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail.limits import NESTING_DEPTH_MAX, SECURITY_LABELS_MAX
from caretrail.patterns import literal, subjects
from caretrail.patterns.codes import Code

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caretrail.patterns.exchange import Message
    from caretrail.patterns.observation import Json

# Answers that are no resources of anybody.
_NO_RESULTS: Final = frozenset(["Bundle", "OperationOutcome", "Parameters"])
_REFERENCE_KEYS: Final = ("patient", "subject", "beneficiary")


@dataclass(frozen=True, slots=True)
class Result:
    """One resource: its reference, with the version where it is known, and its patients."""

    reference: str
    kind: str
    patients: tuple[str, ...]


@dataclass(slots=True)
class Found:
    """What an answer held; `was_read` is false where a body was there that nobody understood."""

    results: list[Result] = field(default_factory=list)
    patients: list[Json] = field(default_factory=list)
    labels: tuple[Code, ...] = ()
    was_read: bool = True


def tree(message: Message) -> Any:
    """Return the JSON of a body, or None where there is none that is whole and JSON."""
    if not message.body or not message.is_whole:
        return None
    try:
        return msgspec.json.decode(message.body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None


def of_answer(answer: Any, base: str) -> Found:
    """Return what a FHIR answer held: a resource, or the entries of a Bundle or Parameters."""
    found = Found()
    for resource in _resources(answer):
        patients = list(subjects.of_resource(resource, base))
        found.patients += patients
        kind, name = resource["resourceType"], resource.get("id")
        if kind not in _NO_RESULTS and isinstance(name, str) and name:
            version = _meta(resource).get("versionId")
            named = literal.Literal("", kind, name, version if isinstance(version, str) else "")
            about = tuple(p["reference"] for p in patients if "reference" in p)
            found.results.append(Result(named.versioned, kind, about))
    found.labels = labels(answer)
    return found


def of_graph(answer: Any, base: str) -> Found:
    """Return the patients in an answer of GraphQL, whose shape is the question's own."""
    found = Found()
    found.patients = list(_in_graph(answer, base, 0))
    return found


def of_lines(message: Message, base: str) -> Found:
    """Return the patients of NDJSON, as far as it was kept (FHIR Bulk Data Access)."""
    found = Found(was_read=message.is_whole)
    lines = message.body.split(b"\n")
    for line in lines if message.is_whole else lines[:-1]:
        try:
            resource = msgspec.json.decode(line) if line.strip() else None
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            found.was_read = False
            continue
        found.patients += subjects.of_resource(resource, base)
    return found


def labels(resource: Any) -> tuple[Code, ...]:
    """Return `meta.security` of a resource or a Bundle, as far as it is Codings."""
    if not isinstance(resource, dict):
        return ()
    rows = _meta(resource).get("security")
    codings = rows[:SECURITY_LABELS_MAX] if isinstance(rows, list) else []
    found = (_label(row) for row in codings if isinstance(row, dict))
    return tuple(label for label in found if label is not None)


def _label(row: Json) -> Code | None:
    system, code, display = row.get("system", ""), row.get("code"), row.get("display", "")
    if isinstance(system, str) and isinstance(code, str) and isinstance(display, str) and code:
        return Code(system, code, display)
    return None


def _meta(resource: Json) -> Json:
    meta = resource.get("meta")
    return meta if isinstance(meta, dict) else {}


def _resources(answer: Any) -> Iterator[Json]:
    """Yield the resource, or those in the entries of a Bundle; a Bundle in an entry is one."""
    entries = [{"resource": answer}]
    if isinstance(answer, dict) and answer.get("resourceType") == "Bundle":
        rows = answer.get("entry")
        entries = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    for entry in entries:
        resource = entry.get("resource")
        if isinstance(resource, dict) and isinstance(resource.get("resourceType"), str):
            yield resource


def _in_graph(node: Any, base: str, depth: int) -> Iterator[Json]:
    if depth > NESTING_DEPTH_MAX:
        return
    if isinstance(node, list):
        for item in node:
            yield from _in_graph(item, base, depth + 1)
    elif isinstance(node, dict):
        if node.get("resourceType") == "Patient":
            yield from subjects.of_resource(node, base)
        for name, value in node.items():
            if name in _REFERENCE_KEYS and isinstance(value, dict):
                found = subjects.literal_patient(value.get("reference"), base)
                if found is not None:
                    yield found
            yield from _in_graph(value, base, depth + 1)
