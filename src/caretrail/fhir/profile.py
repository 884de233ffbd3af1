"""A profile of AuditEvent as a row (FHIR R4, StructureDefinition and its slicing).

Only what a profile adds to R4 is written down, and minima that follow from its slices are not.
"""

from __future__ import annotations

from typing import Final, NamedTuple

BALP: Final = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/"


class Code(NamedTuple):
    """A code of a code system; BALP fixes neither displays nor versions."""

    system: str
    code: str


class ValueSet(NamedTuple):
    """A value set with a required binding."""

    name: str
    codes: frozenset[Code]


class Element(NamedTuple):
    """What a profile says of one element; `path` is relative to the event or to the slice.

    A minimum below a missing parent does not count: `who.identifier.value` 1..1 asks nothing of
    a `who` without `identifier`. No maximum means the maximum of R4.
    """

    path: str
    min: int = 0
    max: int | None = None
    pattern: Code | str | bool | None = None
    binding: ValueSet | None = None
    target: str = ""


class Slice(NamedTuple):
    """One slice: `match` is what its discriminator must hold; no maximum means `*`.

    In a child profile a slice of its parent's has only the elements and slicings that come on top.
    """

    name: str
    match: Code | ValueSet | str
    elements: tuple[Element, ...] = ()
    min: int = 0
    max: int | None = 1
    slicings: tuple[Slicing, ...] = ()
    invariant: str = ""


class Slicing(NamedTuple):
    """How a repeating element is cut into slices."""

    element: str
    slices: tuple[Slice, ...]
    discriminator: str = "type"
    closed: bool = False
    min: int = 0
    max: int | None = None


class Profile(NamedTuple):
    """One profile; what it says comes on top of what its parent says."""

    id: str
    elements: tuple[Element, ...] = ()
    slicings: tuple[Slicing, ...] = ()
    parent: Profile | None = None

    @property
    def url(self) -> str:
        """The canonical address that `meta.profile` claims."""
        return BALP + self.id

    @property
    def name(self) -> str:
        """The id without the words that nearly all ids begin with."""
        return self.id.removeprefix("IHE.").removeprefix("BasicAudit.")


def merged(profile: Profile) -> Profile:
    """Return `profile` with the rules of all its ancestors in it."""
    if profile.parent is None:
        return profile
    parent = merged(profile.parent)
    slicings = _merge(parent.slicings, profile.slicings)
    return profile._replace(elements=parent.elements + profile.elements, slicings=slicings)


def _merge(parents: tuple[Slicing, ...], children: tuple[Slicing, ...]) -> tuple[Slicing, ...]:
    rows = {row.element: row for row in parents}
    for child in children:
        parent = rows.get(child.element)
        rows[child.element] = child if parent is None else _joined(parent, child)
    return tuple(rows.values())


def _joined(parent: Slicing, child: Slicing) -> Slicing:
    slices = {row.name: row for row in parent.slices}
    for row in child.slices:
        base = slices.get(row.name)
        slices[row.name] = row if base is None else _specialized(base, row)
    return Slicing(
        *(parent.element, tuple(slices.values()), parent.discriminator),
        closed=parent.closed or child.closed,
        min=max(parent.min, child.min),
        max=parent.max if child.max is None else child.max,
    )


def _specialized(parent: Slice, child: Slice) -> Slice:
    slicings = _merge(parent.slicings, child.slicings)
    return parent._replace(elements=parent.elements + child.elements, slicings=slicings)
