"""The rules of a profile's element, each a closure over the typed event (FHIR R4, ElementDefinition).

Whether a rule is broken and what is then said stand side by side; the sentence names the rule, and
the value stays in the event.
"""

from __future__ import annotations

import re
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caretrail.fhir.audit_event import CodeableConcept
from caretrail.fhir.profile import Code
from caretrail.fhir.profile_codes import VAL_AUDIT_SOURCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from caretrail.fhir.audit_event import AuditEvent, Coding, Reference
    from caretrail.fhir.profile import Element

    # Is the rule broken in this element (the event itself, or one that fills a slice)?
    Broken = Callable[[Any, AuditEvent], bool]


class Check(NamedTuple):
    """One rule: when it is broken, and what is then said of which element."""

    broken: Broken
    code: str
    path: str
    rule: str


def _pairs(codings: Iterable[Coding] | None) -> Sequence[tuple[str | None, str | None]]:
    return [(coding.system, coding.code) for coding in codings or ()]


def _recorded_elsewhere(element: Any, event: AuditEvent) -> bool:
    return element.who is not None and element.who != event.source.observer


INVARIANTS: Final = {
    VAL_AUDIT_SOURCE: Check(
        _recorded_elsewhere,
        "invariant",
        "who",
        f"needs `who` to equal `source.observer` ({VAL_AUDIT_SOURCE})",
    )
}


def checks(row: Element) -> Iterator[Check]:
    """Yield a check for each rule in `row`; each is told apart by its issue."""
    get = _getter(row.path)
    path = re.sub(r"\bvalue[A-Z]\w*", "value", row.path)  # FHIRPath knows value[x] by one name.
    if row.max == 0:
        yield Check(_is_present(get), "structure", path, f"must not have `{row.path}`")
        return
    if row.min:
        yield Check(_is_missing(row.path), "required", path, f"needs `{row.path}`")
    if row.max is not None:
        yield Check(_is_longer(get, row.max), "structure", path, f"must not repeat `{row.path}`")
    must = f"needs `{row.path}` to"
    if isinstance(row.pattern, Code):
        shown = f"{must} be {row.pattern.code} of {row.pattern.system}"
        yield Check(_is_outside(get, frozenset({row.pattern})), "value", path, shown)
    elif row.pattern is not None:
        shown = f"{must} be {row.pattern}".replace("True", "true").replace("False", "false")
        yield Check(_differs(get, row.pattern), "value", path, shown)
    if row.binding is not None:
        shown = f"{must} be of the value set {row.binding.name}"
        yield Check(_is_outside(get, row.binding.codes), "code-invalid", path, shown)
    if row.target:
        shown = f"{must} refer to a {row.target}"
        yield Check(_refers_elsewhere(get, row.target), "structure", path, shown)


def _getter(path: str) -> Callable[[Any], Any]:
    if "." not in path:
        return attrgetter(path)
    names = path.split(".")

    def get(element: Any) -> Any:
        for name in names:
            element = getattr(element, name)
            if element is None:
                return None
        return element

    return get


def _is_present(get: Callable[[Any], Any]) -> Broken:
    return lambda element, _: bool(get(element))  # No element of R4 is present and empty.


def _is_missing(path: str) -> Broken:
    parent, _, name = path.rpartition(".")
    if not parent:
        value = attrgetter(name)
        return lambda element, _: value(element) is None
    get = _getter(parent)

    def broken(element: Any, _: AuditEvent) -> bool:
        owner = get(element)
        return owner is not None and getattr(owner, name) is None

    return broken


def _is_longer(get: Callable[[Any], Any], most: int) -> Broken:
    return lambda element, _: len(get(element) or ()) > most


def _differs(get: Callable[[Any], Any], pattern: str | bool) -> Broken:
    def broken(element: Any, _: AuditEvent) -> bool:
        value = get(element)
        return value is not None and value != pattern

    return broken


def _is_outside(get: Callable[[Any], Any], codes: frozenset[Code]) -> Broken:
    def outside(value: Any) -> bool:
        if isinstance(value, tuple):  # What binds a repeating element binds each.
            return any(map(outside, value))
        if isinstance(value, CodeableConcept):  # One coding suffices; others may stand beside it.
            return codes.isdisjoint(_pairs(value.coding))
        return value is not None and (value.system, value.code) not in codes

    return lambda element, _: outside(get(element))


# The type that a literal reference names, behind any base and before the id or a condition.
_LITERAL: Final = re.compile(r"(?:^|/)([A-Z][A-Za-z]+)(?:/[A-Za-z0-9.-]+(?:/_history/[^/]+)?\Z|\?)")


def _refers_elsewhere(get: Callable[[Any], Any], target: str) -> Broken:
    """Say whether a reference names another type; a logical one may not name any."""
    literal, definition = f"{target}/", f"http://hl7.org/fhir/StructureDefinition/{target}"

    def broken(element: Any, event: AuditEvent) -> bool:
        value: Reference | None = get(element)
        if value is None:
            return False
        if value.type is not None and value.type not in {target, definition}:
            return True
        reference = value.reference
        if reference is None or reference.startswith(literal):
            return False
        if reference[0] == "#":
            rows = event.contained or ()
            return any(row.id == reference[1:] and row.resourceType != target for row in rows)
        found = _LITERAL.search(reference)
        return found is not None and found[1] != target

    return broken
