"""Which activity a profile describes: its type, subtypes and action (IHE BALP 1.1.4).

The token profiles describe none: they go with whatever activity the token was used for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.fhir.profile import Code, ValueSet
from caretrail.fhir.profiles import PROFILES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.fhir.profile import Element, Profile

    Key = tuple[str | None, str | None]


class Activity(NamedTuple):
    """What a profile tells an activity by."""

    profile: Profile
    type: Code
    subtypes: frozenset[Code]
    action: str


def describes(url: str) -> bool:
    """Say whether the BALP profile `url` describes an activity."""
    return url in _BY_URL


def nearest(kind: Key | None, subtypes: Sequence[Key], action: object) -> list[Profile]:
    """Return the profiles of the activity that an event's type, subtypes and action tell.

    A subtype tells most. Without any, the type does; the action only breaks a tie, because one
    action (E) stands for many activities.
    """
    scores = {row: _score(row, kind, subtypes, action) for row in ACTIVITIES}
    best = max(scores.values())
    return [row.profile for row, score in scores.items() if score == best > 1]


def certain(kind: Key | None, subtypes: Sequence[Key]) -> list[Activity]:
    """Return the activities whose type and subtype an event has, or whose type is left out."""
    return [
        row
        for row in ACTIVITIES
        if kind in {None, row.type} and not row.subtypes.isdisjoint(subtypes)
    ]


def _score(row: Activity, kind: Key | None, subtypes: Sequence[Key], action: object) -> int:
    if subtypes and row.subtypes.isdisjoint(subtypes):
        return 0
    return 4 * bool(subtypes) + 2 * (kind == row.type) + (action == row.action)


def _activity(profile: Profile) -> Activity | None:
    elements = {row.path: row for row in profile.elements}
    kind, action = elements.get("type"), elements.get("action")
    if kind is None or action is None:
        return None
    assert isinstance(kind.pattern, Code)
    assert isinstance(action.pattern, str)
    codes = _codes(elements["subtype"]) if "subtype" in elements else _sliced_codes(profile)
    return Activity(profile, kind.pattern, codes, action.pattern)


def _codes(row: Element) -> frozenset[Code]:
    if row.binding is not None:
        return row.binding.codes
    assert isinstance(row.pattern, Code)
    return frozenset({row.pattern})


def _sliced_codes(profile: Profile) -> frozenset[Code]:
    codes: set[Code] = set()
    for slicing in profile.slicings:
        for row in slicing.slices if slicing.element == "subtype" else ():
            assert not isinstance(row.match, str)
            codes |= row.match.codes if isinstance(row.match, ValueSet) else {row.match}
    return frozenset(codes)


ACTIVITIES: Final = tuple(row for row in map(_activity, PROFILES) if row is not None)
_BY_URL: Final = {row.profile.url: row for row in ACTIVITIES}
