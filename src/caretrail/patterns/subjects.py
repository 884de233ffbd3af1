"""About which patients a resource or a search is (BALP 11, "Patient as subject").

A resource says it in the elements that put it into a patient's compartment. Where it has a
`patient` or a `subject`, only that counts: who wrote a note about somebody is not its subject.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from caretrail.limits import BUNDLE_NESTING_MAX
from caretrail.patterns import literal
from caretrail.patterns.observation import identified, reference
from caretrail.patterns.tables.patient_compartment import PATIENT_COMPARTMENT
from caretrail.patterns.tables.search_parameters import SEARCH_PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from caretrail.patterns.observation import Json

_SUBJECT: Final = ("patient", "subject")
_PATIENT: Final = "Patient"
# What a search over several types, or over a type of the server's own, can mean by these.
_ANYWHERE: Final = {"patient": _PATIENT, "subject": "Resource"}


class Patients:
    """Patients in the order in which they were found, each once; literal ones count first."""

    def __init__(self) -> None:
        self._literal: dict[str, Json] = {}
        self._logical: dict[tuple[str, str], Json] = {}

    def add(self, what: Json) -> None:
        """Add a reference as `of_resource` and `of_search` give them."""
        if "reference" in what:
            self._literal.setdefault(what["reference"], what)
        else:
            identifier = what["identifier"]
            self._logical.setdefault((identifier.get("system", ""), identifier["value"]), what)

    def extend(self, found: Iterable[Json]) -> None:
        """Add several references."""
        for what in found:
            self.add(what)

    def list(self) -> list[Json]:
        """Return the patients; one who was asked for by a number is among those that were found."""
        return [*(self._literal or self._logical).values()]


def literal_patient(text: object, base: str = "") -> Json | None:
    """Return the patient that a literal reference names, without the version; None for others."""
    named = literal.parse(text, base)
    return reference(named.unversioned) if named and named.type == _PATIENT else None


def of_resource(resource: object, base: str = "", depth: int = 0) -> Iterator[Json]:
    """Yield the patients that a resource, or what a Bundle or Parameters holds, is about."""
    if not isinstance(resource, dict) or depth > BUNDLE_NESTING_MAX:
        return
    kind = resource.get("resourceType")
    if kind == _PATIENT:
        if isinstance(resource.get("id"), str) and resource["id"]:
            yield reference(f"{_PATIENT}/{resource['id']}")
    elif kind == "Bundle":
        for entry in _dicts(resource.get("entry")):
            yield from of_resource(entry.get("resource"), base, depth + 1)
    elif kind == "Parameters":
        for part in _dicts(resource.get("parameter")):
            yield from _of_parameter(part, base, depth + 1)
    elif isinstance(kind, str):
        yield from _of_elements(resource, kind, base)


def of_search(kind: str, parameters: Iterable[tuple[str, str]], base: str = "") -> Iterator[Json]:
    """Yield the patients that the parameters of a search for a type name.

    `parameters` are decoded. A chain counts where its end leaves no doubt: `subject.identifier`,
    `encounter.patient=Patient/1`.
    """
    for name, value in parameters:
        code, _, modifier = name.partition(":")
        head, _, chain = code.partition(".")
        if name == "_id":
            if kind == _PATIENT:
                yield from _literals(value, bare=True, base=base)
            continue
        if modifier.partition(".")[2]:  # subject:Patient.identifier
            modifier, _, chain = modifier.partition(".")
        targets = _targets(kind).get(head, "").split()
        can_be_patient = modifier == _PATIENT or (
            modifier in ("", "identifier") and (_PATIENT in targets or "Resource" in targets)
        )
        is_patient = modifier == _PATIENT or targets == [_PATIENT]
        if can_be_patient and not chain and modifier != "identifier":
            yield from _literals(value, bare=is_patient, base=base)
        elif is_patient and chain == "_id":
            yield from _literals(value, bare=True, base=base)
        elif is_patient and (chain == "identifier" or modifier == "identifier"):
            yield from _logical(value)
        elif chain.rpartition(".")[2] in _SUBJECT:
            yield from _literals(value, bare=False, base=base)


def _of_parameter(part: Json, base: str, depth: int) -> Iterator[Json]:
    yield from of_resource(part.get("resource"), base, depth)
    value = part.get("valueReference")
    if isinstance(value, dict) and (found := literal_patient(value.get("reference"), base)):
        yield found
    if depth <= BUNDLE_NESTING_MAX:
        for inner in _dicts(part.get("part")):
            yield from _of_parameter(inner, base, depth + 1)


def _of_elements(resource: Json, kind: str, base: str) -> Iterator[Json]:
    for paths in _paths(kind):
        is_found = False
        for path in paths:
            for value in _walk(resource, path):
                if (found := _patient(value, base)) is not None:
                    is_found = True
                    yield found
        if is_found:
            return


@cache
def _paths(kind: str) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """Return the elements of a type that name its subject, and those that are looked at else."""
    rows = PATIENT_COMPARTMENT.get(kind)
    if rows is None:
        # No type of R4, or one that is in nobody's compartment: its own word counts.
        return ((("patient",), ("subject",)),)
    groups: tuple[list[tuple[str, ...]], list[tuple[str, ...]]] = ([], [])
    for code, paths in rows:
        groups[code not in _SUBJECT].extend(tuple(path.split(".")) for path in paths)
    return tuple(tuple(dict.fromkeys(group)) for group in groups if group)


def _walk(node: Any, path: tuple[str, ...]) -> Iterator[Json]:
    if isinstance(node, list):
        for item in node:
            yield from _walk(item, path)
    elif isinstance(node, dict):
        if not path:
            yield node
        elif path[0] in node:
            yield from _walk(node[path[0]], path[1:])


def _patient(value: Json, base: str) -> Json | None:
    found = literal_patient(value.get("reference"), base)
    identifier = value.get("identifier")
    if found or "reference" in value or value.get("type") != _PATIENT:
        return found
    if not isinstance(identifier, dict) or not isinstance(identifier.get("value"), str):
        return None
    system = identifier.get("system")
    what = identified(identifier["value"], system=system if isinstance(system, str) else None)
    return {"type": _PATIENT, **what}


@cache
def _targets(kind: str) -> dict[str, str]:
    """Return the reference parameters of a type, with the types that they lead to."""
    rows = SEARCH_PARAMETERS.get(kind)
    if rows is None:
        return _ANYWHERE
    return {code: targets for code, form, _, targets in rows if form == "reference"}


def _literals(value: str, *, bare: bool, base: str) -> Iterator[Json]:
    for item in value.split(","):
        text = f"{_PATIENT}/{item}" if bare and "/" not in item else item
        if (found := literal_patient(text, base)) is not None:
            yield found


def _logical(value: str) -> Iterator[Json]:
    for item in value.split(","):
        system, _, number = item.rpartition("|")
        if number:
            yield {"type": _PATIENT, **identified(number, system=system or None)}


def _dicts(value: object) -> Iterator[Json]:
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict):
            yield item
