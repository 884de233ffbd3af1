"""A profile's row compiled for checking typed events (FHIR R4, Profiling, Slicing).

One generator finds the problems, so the repository's quick answer, which stops at the first, and
the doctor's long one cannot differ. An issue names profile, slice, element and rule.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from caretrail.errors import Issue
from caretrail.fhir.audit_event import CodeableConcept, Identifier  # noqa: TC001 msgspec reads them.
from caretrail.fhir.profile import Code, ValueSet
from caretrail.fhir.profile_rules import INVARIANTS, checks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from caretrail.fhir.audit_event import AuditEvent
    from caretrail.fhir.profile import Profile, Slice, Slicing
    from caretrail.fhir.profile_rules import Check


class CompiledSlice(NamedTuple):
    """A slice with its checks; `expression` selects the elements that fill it."""

    name: str
    expression: str
    min: int
    max: int | None
    checks: tuple[Check, ...]
    slicings: tuple[CompiledSlicing, ...]


class CompiledSlicing(NamedTuple):
    """A slicing that finds the slices of an element by the keys that the element holds."""

    element: str
    elements: Callable[[Any], Sequence[Any] | None]
    keys: Callable[[Any], Sequence[Any]]
    by_key: dict[Any, int]
    slices: tuple[CompiledSlice, ...]
    closed: bool
    min: int
    max: int | None


class CompiledProfile(NamedTuple):
    """A profile ready to be checked."""

    place: Place
    checks: tuple[Check, ...]
    slicings: tuple[CompiledSlicing, ...]


class Place(NamedTuple):
    """Where a rule stands: the start of its issue's sentence and FHIRPath."""

    profile: str
    subject: str = ""
    expression: str = "AuditEvent"

    def inside(self, element: str, name: str, position: int) -> Place:
        """Return the place of the element that fills the slice `name`."""
        return self._replace(
            subject=self.slice(element, name), expression=f"{self.expression}.{element}[{position}]"
        )

    def slice(self, element: str, name: str) -> str:
        """Return a slice's name, such as `agent:user.extension:otherId`."""
        return f"{self.subject}{'.' if self.subject else ''}{element}:{name}"

    def issue(self, code: str, rule: str, path: str, subject: str = "") -> Issue:
        """Return the issue of a broken rule, which is never more than a warning."""
        sentence = f"{self.profile}: {subject or self.subject or 'the event'} {rule}"
        return Issue(code, sentence, f"{self.expression}.{path}", "warning")


def compiled(profile: Profile) -> CompiledProfile:
    """Return `profile`, which holds what it inherits, ready for `problems`."""
    rules = tuple(check for row in profile.elements for check in checks(row))
    return CompiledProfile(Place(profile.name), rules, tuple(map(_slicing, profile.slicings)))


def problems(profile: CompiledProfile, event: AuditEvent) -> Iterator[Issue]:
    """Yield every rule of `profile` that `event` breaks, as soon as it is found."""
    for broken, code, path, rule in profile.checks:
        if broken(event, event):
            yield profile.place.issue(code, rule, path)
    for slicing in profile.slicings:
        yield from _sliced(slicing, event, event, profile.place)


def filled(profile: CompiledProfile, event: AuditEvent) -> dict[str, int]:
    """Return how many elements fill each slice of the event, named such as `agent:user`."""
    counts: dict[str, int] = {}
    for slicing in profile.slicings:
        elements = slicing.elements(event) or ()
        found = [{slicing.by_key.get(key) for key in slicing.keys(item)} for item in elements]
        for number, row in enumerate(slicing.slices):
            name = profile.place.slice(slicing.element, row.name)
            counts[name] = sum(number in numbers for numbers in found)
    return counts


def _sliced(slicing: CompiledSlicing, owner: Any, event: AuditEvent, at: Place) -> Iterator[Issue]:
    elements = slicing.elements(owner) or ()
    counts = [0] * len(slicing.slices)
    for position, element in enumerate(elements):
        matched = 0
        for key in slicing.keys(element):
            number = slicing.by_key.get(key)
            # Two codings of one value set are still one match.
            if number is None or matched >> number & 1:
                continue
            matched |= 1 << number
            counts[number] += 1
            row = slicing.slices[number]
            for broken, code, path, rule in row.checks:
                if broken(element, event):
                    inside = at.inside(slicing.element, row.name, position)
                    yield inside.issue(code, rule, path)
            for nested in row.slicings:
                inside = at.inside(slicing.element, row.name, position)
                yield from _sliced(nested, element, event, inside)
        # The discriminator puts an element in one slice; a closed slicing leaves none outside.
        if matched & (matched - 1) or (slicing.closed and not matched):
            yield _misplaced(slicing, position, at, several=bool(matched))
    for row, count in zip(slicing.slices, counts, strict=True):
        if count < row.min or (row.max is not None and count > row.max):
            yield _miscounted(slicing, row, count, at)
    if len(elements) < slicing.min:
        rule = f"needs {slicing.min} or more `{slicing.element}`"
        yield at.issue("required", rule, slicing.element)
    elif slicing.max is not None and len(elements) > slicing.max:
        rule = f"must not have more than {slicing.max} `{slicing.element}`"
        yield at.issue("structure", rule, slicing.element)


def _misplaced(slicing: CompiledSlicing, position: int, at: Place, *, several: bool) -> Issue:
    names = ", ".join(row.name for row in slicing.slices)
    rule = f"must have every `{slicing.element}` in {'one only' if several else 'one'} of {names}"
    return at.issue("structure", rule, f"{slicing.element}[{position}]")


def _miscounted(slicing: CompiledSlicing, row: CompiledSlice, count: int, at: Place) -> Issue:
    missing = count < row.min
    code, rule = ("required", "is missing") if missing else ("structure", "must not be repeated")
    return at.issue(code, rule, row.expression, at.slice(slicing.element, row.name))


class _Extension(msgspec.Struct, gc=False):
    """What the extension slices of SAML token use look at."""

    url: str | None = None
    valueCodeableConcept: CodeableConcept | None = None  # noqa: N815
    valueIdentifier: Identifier | None = None  # noqa: N815
    extension: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_extensions: Final = msgspec.json.Decoder(list[_Extension])


def _read_extensions(owner: Any) -> Sequence[_Extension]:
    if not owner.extension:
        return ()
    try:
        return _extensions.decode(owner.extension)
    except msgspec.MsgspecError:
        return ()  # Not FHIR, which is for `validation` to say.


def _concept_keys(element: Any) -> Sequence[Any]:
    codings = element.type.coding if element.type is not None else None
    return () if codings is None else [(coding.system, coding.code) for coding in codings]


def _type_keys(element: Any) -> Sequence[Any]:
    coding = element.type
    return () if coding is None else ((coding.system, coding.code),)


def _role_keys(element: Any) -> Sequence[Any]:
    coding = element.role
    return () if coding is None else ((coding.system, coding.code),)


# Of each sliced element and discriminator: the keys that it compares, and their path for FHIRPath.
_DISCRIMINATORS: Final[dict[tuple[str, str], tuple[Callable[[Any], Sequence[Any]], str]]] = {
    ("subtype", "$this"): (lambda coding: ((coding.system, coding.code),), "code"),
    ("agent", "type"): (_concept_keys, "type.coding.code"),
    ("entity", "type"): (_type_keys, "type.code"),
    ("entity", "role"): (_role_keys, "role.code"),
    ("detail", "type"): (lambda detail: (detail.type,), "type"),
    ("extension", "url"): (lambda extension: (extension.url,), "url"),
}


def _slicing(row: Slicing) -> CompiledSlicing:
    keys, path = _DISCRIMINATORS[row.element, row.discriminator]
    return CompiledSlicing(
        row.element,
        _read_extensions if row.element == "extension" else attrgetter(row.element),
        keys,
        {key: number for number, item in enumerate(row.slices) for key in _matches(item)},
        tuple(_slice(item, row.element, path) for item in row.slices),
        row.closed,
        row.min,
        row.max,
    )


def _matches(row: Slice) -> Sequence[Code | str]:
    return sorted(row.match.codes) if isinstance(row.match, ValueSet) else (row.match,)


def _slice(row: Slice, element: str, path: str) -> CompiledSlice:
    codes = [match.code if isinstance(match, Code) else match for match in _matches(row)]
    condition = " or ".join(f"{path}='{code}'" for code in codes)
    rules = [check for item in row.elements for check in checks(item)]
    if row.invariant:
        rules.append(INVARIANTS[row.invariant])
    slicings = tuple(_slicing(item) for item in row.slicings)
    expression = f"{element}.where({condition})"
    return CompiledSlice(row.name, expression, row.min, row.max, tuple(rules), slicings)
