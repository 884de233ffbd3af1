"""The slow path: every problem of one JSON AuditEvent, each with its FHIRPath (FHIR R4).

It alone decides what is a valid event. Structure, types, cardinalities and required bindings come
from `definitions`; the invariants are below. A contained resource is checked for its structure
only: which elements its type has is not judged. An extension nobody knows is welcome.

Stricter than FHIR in one place: `recorded` must have a value, as no log orders events without one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from caretrail.errors import InvalidError, Issue
from caretrail.fhir import narrative, primitives, strict_json, temporal
from caretrail.fhir.definitions import TYPES, Element, Member, is_primitive, members
from caretrail.fhir.primitives import kind_of
from caretrail.fhir.strict_json import Number, step
from caretrail.limits import ISSUES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MISSING: Final = object()

# Names that an R4 element does not have, but that another release or a common slip puts there.
_HINTS: Final[dict[tuple[str, str], str]] = {
    ("AuditEvent", "authorization"): "R4 has purposeOfEvent; authorization is R5",
    ("AuditEvent", "basedOn"): "this is R5",
    ("AuditEvent", "category"): "R4 has type; category is R5",
    ("AuditEvent", "code"): "R4 has subtype; code is R5",
    ("AuditEvent", "encounter"): "R4 has entity; encounter is R5",
    ("AuditEvent", "event"): "R4 has type, action, recorded and outcome; event is DSTU2",
    ("AuditEvent", "object"): "R4 has entity; object is DSTU2",
    ("AuditEvent", "occurredDateTime"): "R4 has period; occurred is R5",
    ("AuditEvent", "occurredPeriod"): "R4 has period; occurred is R5",
    ("AuditEvent", "participant"): "R4 has agent; participant is DSTU2",
    ("AuditEvent", "patient"): "R4 has entity with role 1; patient is R5",
    ("AuditEvent", "purposeOfUse"): "R4 has purposeOfEvent here, and agent.purposeOfUse",
    ("AuditEvent", "severity"): "this is R5",
    ("AuditEvent.agent", "authorization"): "R4 has purposeOfUse; authorization is R5",
    ("AuditEvent.agent", "networkReference"): "R4 has network; this is R5",
    ("AuditEvent.agent", "networkString"): "R4 has network.address; this is R5",
    ("AuditEvent.agent", "networkUri"): "R4 has network.address; this is R5",
    ("AuditEvent.agent", "reference"): "R4 has who; this is STU3",
    ("AuditEvent.agent", "userId"): "R4 has who.identifier; this is STU3",
    ("AuditEvent.entity", "identifier"): "R4 has what.identifier; this is STU3",
    ("AuditEvent.entity", "reference"): "R4 has what; this is STU3",
    ("AuditEvent.entity.detail", "value"): "R4 has valueString or valueBase64Binary",
    ("AuditEvent.source", "identifier"): "R4 has observer; this is STU3",
    ("CodeableConcept", "code"): "this element is a CodeableConcept: put the Coding into coding",
    ("CodeableConcept", "display"): "this element is a CodeableConcept: it has text",
    ("CodeableConcept", "system"): "this element is a CodeableConcept: put the Coding into coding",
    ("Coding", "coding"): "this element is a Coding, not a CodeableConcept: give the coding itself",
    ("Coding", "text"): "this element is a Coding, not a CodeableConcept: it has display",
}


class _EnoughError(Exception):
    """More problems than anyone reads."""


def problems(body: bytes) -> tuple[Issue, ...]:
    """Return every problem of the AuditEvent in `body`, in document order; none means valid."""
    try:
        return judge(strict_json.parse(body))
    except InvalidError as error:
        return tuple(error.issues())


def judge(document: strict_json.Document) -> tuple[Issue, ...]:
    """Return every problem of an AuditEvent that is parsed already."""
    judgement = _Judgement(document.tree)
    try:
        for issue in document.issues:
            judgement.add(issue.code, issue.diagnostics, issue.expression)
        judgement.event()
    except _EnoughError:
        more = Issue("incomplete", f"more than {ISSUES_MAX} problems were found")
        return (*judgement.issues[:ISSUES_MAX], more)
    return tuple(judgement.issues)


class _Judgement:
    """One pass over one event, gathering issues."""

    def __init__(self, tree: Any) -> None:
        self.issues: list[Issue] = []
        self._tree = tree
        contained = tree.get("contained") if isinstance(tree, dict) else None
        rows = (
            [row for row in contained if isinstance(row, dict)]
            if isinstance(contained, list)
            else []
        )
        self._ids = {row["id"] for row in rows if isinstance(row.get("id"), str)}
        self._anchors = _anchors(tree) if rows else frozenset()

    def add(self, code: str, words: str, path: str) -> None:
        self.issues.append(Issue(code, words, path))
        if len(self.issues) > ISSUES_MAX:
            raise _EnoughError

    def event(self) -> None:
        tree = self._tree
        if not isinstance(tree, dict):
            self.add("structure", f"the content is {kind_of(tree)}, not an AuditEvent", "")
        elif "resourceType" not in tree:
            self.add("required", "resourceType is missing: it must be AuditEvent", "")
        elif tree["resourceType"] != "AuditEvent":
            self.add("structure", "resourceType must be AuditEvent", strict_json.root_of(tree))
        else:
            self._object(tree, "AuditEvent", "AuditEvent")
            if "recorded" not in tree and "_recorded" in tree:
                rule = "must have a value, not only extensions: the log is ordered by it"
                self.add("required", rule, "AuditEvent.recorded")

    def _object(self, node: dict[str, Any], kind: str, path: str, *, valued: bool = False) -> None:
        """Judge the members of an element; `valued` says that it has a value beside them."""
        known = members(kind)
        given: dict[str, str] = {}
        judged: set[str] = set()
        for key in node:
            if key == "resourceType" and kind == "AuditEvent":
                continue
            name = key.removeprefix("_")
            member = known.get(name)
            if member is None or (key != name and not is_primitive(member.type)):
                self._unknown(kind, key, path)
                continue
            if name in judged:
                continue
            judged.add(name)
            row = member.element
            if row.name in given:
                rule = f"{row.name}[x] is given with more than one type"
                self.add("structure", rule, f"{path}.{row.name}")
            given[row.name] = name
            self._member(member, node, name, f"{path}.{row.name}")
        for row in TYPES[kind]:
            if row.least and row.name not in given:
                self.add("required", _required(row), f"{path}.{row.name}")
        if not node or (not valued and node.keys() == {"id"}):
            self.add("invariant", "must have a value or children (ele-1)", path)
        invariant = _INVARIANTS.get(kind)
        if invariant is not None:
            invariant(self, node, path)

    def _unknown(self, kind: str, key: str, path: str) -> None:
        hint = _HINTS.get((kind, key))
        words = (
            f"there is no such element in {kind}"
            if step(path, key) != path
            else (f"{kind} has a member whose name no element can have")
        )
        self.add("structure", f"{words}: {hint}" if hint else words, step(path, key))

    def _member(self, member: Member, node: dict[str, Any], name: str, path: str) -> None:
        value, sibling = node.get(name, _MISSING), node.get(f"_{name}", _MISSING)
        if member.element.most is not None:
            self._single(member, value, sibling, path, listed=False)
            return
        for part in (value, sibling):
            if part is not _MISSING and not isinstance(part, list):
                rule = f"may be repeated: it must be an array, not {kind_of(part)}"
                self.add("structure", rule, path)
                return
            if part == []:
                self.add("structure", "must not be an empty array: leave it out", path)
                return
        count = len(value if value is not _MISSING else sibling)
        if sibling is not _MISSING and len(sibling) != count:
            rule = "the array of values and that of their extensions must be of one length"
            self.add("structure", rule, path)
            return
        for index in range(count):
            first = _MISSING if value is _MISSING else value[index]
            second = _MISSING if sibling is _MISSING else sibling[index]
            self._single(member, first, second, f"{path}[{index}]", listed=True)

    def _single(self, member: Member, value: Any, sibling: Any, path: str, *, listed: bool) -> None:
        if isinstance(value, list):
            self.add("structure", "must not be an array: it is not repeated", path)
        elif is_primitive(member.type):
            self._primitive(member, value, sibling, path, listed=listed)
        elif not isinstance(value, dict):
            rule = f"must be an object ({member.type.rpartition('.')[2]}), not {kind_of(value)}"
            self.add("structure", rule, path)
        elif member.type == "Resource":
            self._resource(value, path)
        else:
            self._object(value, member.type, path)

    def _primitive(
        self, member: Member, value: Any, sibling: Any, path: str, *, listed: bool
    ) -> None:
        if value is None and not (listed and isinstance(sibling, dict)):
            self.add("structure", "must not be null: leave it out", path)
        elif value is not None and value is not _MISSING:
            self._value(member, value, path)
        if isinstance(sibling, dict):
            self._object(
                sibling, "Element", path, valued=isinstance(value, (str, bool, int, Number))
            )
        elif sibling is not _MISSING and not (listed and sibling is None):
            self.add("structure", "the extensions of a value must be an object", path)
        elif sibling is None and value is _MISSING:
            self.add("structure", "must not be null: leave it out", path)

    def _value(self, member: Member, value: Any, path: str) -> None:
        problem = primitives.problem(member.type, value)
        if problem is not None:
            self.add(problem.code, problem.words, path)
            return
        codes = member.element.codes
        if codes is not None and value not in codes:
            rule = f"the code must be one of {' '.join(sorted(codes))} (required binding)"
            self.add("code-invalid", rule, path)
        if member.type == "xhtml":
            for rule in narrative.problems(value):
                self.add("invariant", rule, path)

    def _resource(self, node: dict[str, Any], path: str) -> None:
        """Check what holds for every contained resource (dom-2 to dom-5)."""
        kind = node.get("resourceType")
        if not isinstance(kind, str) or not strict_json.is_name(kind):
            self.add("required", "a contained resource must have a resourceType", path)
        if "contained" in node:
            self.add("invariant", "a contained resource must not contain others (dom-2)", path)
        if not self._is_referenced(node):
            rule = "a contained resource must be referenced, or refer to its container (dom-3)"
            self.add("invariant", rule, path)
        meta = node.get("meta")
        if isinstance(meta, dict):
            if "versionId" in meta or "lastUpdated" in meta:
                rule = "a contained resource must not have a version or time of its own (dom-4)"
                self.add("invariant", rule, f"{path}.meta")
            if "security" in meta:
                rule = "a contained resource must not have a security label (dom-5)"
                self.add("invariant", rule, f"{path}.meta")
        if "id" in node:
            problem = primitives.problem("id", node["id"])
            if problem is not None:
                self.add(problem.code, problem.words, f"{path}.id")
        for name, value in node.items():
            self._child(value, path, name)

    def _is_referenced(self, node: dict[str, Any]) -> bool:
        if "#" in _anchors(node):
            return True
        identity = node.get("id")
        return isinstance(identity, str) and f"#{identity}" in self._anchors

    def _child(self, value: Any, path: str, name: str) -> None:
        if not strict_json.is_name(name):
            self.add("structure", "a member has a name that no element can have", path)
        self._structure(value, step(path, name), name)

    def _structure(self, value: Any, path: str, name: str) -> None:
        """Check what holds for JSON of every type: nothing empty, nothing null, text as text."""
        if value is None:
            self.add("structure", "must not be null: leave it out", path)
        elif isinstance(value, str):
            problem = primitives.problem("string", value)
            if problem is not None:
                self.add(problem.code, problem.words, path)
            if name == "div":
                for rule in narrative.problems(value):
                    self.add("invariant", rule, path)
            if name == "reference" and value != "#":
                self._anchor(value, path)
        elif isinstance(value, dict):
            if not value:
                self.add("invariant", "must have a value or children (ele-1)", path)
            for key, part in value.items():
                self._child(part, path, key)
        elif isinstance(value, list):
            if not any(part is not None for part in value):
                self.add("structure", "must not be an empty array: leave it out", path)
            for index, part in enumerate(value):
                if part is not None:  # Beside the extensions of a primitive null is in its place.
                    self._structure(part, f"{path}[{index}]", name)

    def _anchor(self, reference: Any, path: str) -> None:
        if isinstance(reference, str) and reference[:1] == "#" and reference[1:] not in self._ids:
            self.add("invariant", "there is no contained resource of this id (ref-1)", path)

    def extension(self, node: dict[str, Any], path: str) -> None:
        """Check ext-1: an extension has a value or extensions, and not both."""
        valued = any(name.removeprefix("_").startswith("value") for name in node)
        if valued == ("extension" in node):
            rule = "an extension has a value or extensions, and not both (ext-1)"
            self.add("invariant", rule, path)

    def reference(self, node: dict[str, Any], path: str) -> None:
        """Check ref-1: `#x` is the id of a contained resource."""
        self._anchor(node.get("reference"), f"{path}.reference")

    def period(self, node: dict[str, Any], path: str) -> None:
        """Check per-1: a period does not end before it starts."""
        start, end = node.get("start"), node.get("end")
        if isinstance(start, str) and isinstance(end, str) and _is_before(end, start):
            self.add("invariant", "a period must not end before it starts (per-1)", path)

    def entity(self, node: dict[str, Any], path: str) -> None:
        """Check sev-1: a name or a query, and not both."""
        if {"name", "_name"} & node.keys() and {"query", "_query"} & node.keys():
            self.add("invariant", "an entity has a name or a query, and not both (sev-1)", path)


_INVARIANTS: Final[dict[str, Callable[[_Judgement, dict[str, Any], str], None]]] = {
    "AuditEvent.entity": _Judgement.entity,
    "Extension": _Judgement.extension,
    "Period": _Judgement.period,
    "Reference": _Judgement.reference,
}


def _required(row: Element) -> str:
    name = f"{row.name}[x]" if row.choice else row.name
    return (
        f"{name} is missing: there must be at least one"
        if row.most is None
        else (f"{name} is missing: there must be one")
    )


def _is_before(end: str, start: str) -> bool:
    """Whether `end` comes first for sure: partial dates are compared as far as both are given."""
    if "T" not in end or "T" not in start:
        shared = min(len(end), len(start), 10)
        return end[:shared] < start[:shared]
    try:
        return temporal.period(end)[1] <= temporal.period(start)[0]
    except ValueError:
        return False  # Not dates: said at the element itself.


def _anchors(tree: Any) -> frozenset[str]:
    """Return every text in the tree that starts with `#`."""
    return frozenset(_each_anchor(tree))


def _each_anchor(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        if tree[:1] == "#":
            yield tree
    elif isinstance(tree, (dict, list)):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from _each_anchor(part)
