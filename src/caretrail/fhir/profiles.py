"""Which BALP profiles an event claims, and which it meets (IHE BALP 1.1.4).

BALP forbids a repository to refuse an event for its profile: what is found here is a flag on the
stored event, or the doctor's advice, and never an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caretrail.fhir import profile_check, profile_quick
from caretrail.fhir.profile import Profile, merged
from caretrail.fhir.profile_rows import ROWS

if TYPE_CHECKING:
    from caretrail.errors import Issue
    from caretrail.fhir.audit_event import AuditEvent

# Each row with what it inherits: a Patient variant holds the rules of the plain one, too.
PROFILES: Final[tuple[Profile, ...]] = tuple(map(merged, ROWS))

# The events of a day are checked against the same few profiles, so they are compiled once.
_COMPILED: Final = {row.url: profile_check.compiled(row) for row in PROFILES}
_QUICK: Final = {row.url: profile_quick.quick(row, _COMPILED[row.url]) for row in PROFILES}


def _rules(profile: Profile) -> int:
    slices = [row for slicing in profile.slicings for row in slicing.slices]
    return len(profile.elements) + sum(1 + len(row.elements) for row in slices)


# A profile holds the rules of its parent and more, so it comes before it.
_SPECIFIC_FIRST: Final = tuple(row.url for row in sorted(PROFILES, key=_rules, reverse=True))


def canonical(url: str) -> str:
    """Return a BALP profile's address without the version; any other text as it is."""
    bare = url.partition("|")[0]
    return bare if bare in _COMPILED else url


def problems(event: AuditEvent, url: str) -> tuple[Issue, ...]:
    """Return every rule of the BALP profile `url` that `event` breaks, as warnings."""
    return tuple(profile_check.problems(_COMPILED[canonical(url)], event))


def claimed(event: AuditEvent) -> tuple[str, ...]:
    """Return the BALP profiles in `meta.profile`, without their versions."""
    profiles = event.meta.profile if event.meta is not None else None
    if profiles is None:
        return ()
    # Nearly all claims are plain: each BALP profile once, and without a version.
    found = [url for url in profiles if url in _COMPILED]
    if len(found) < len(profiles) or len(set(found)) < len(found):
        urls = dict.fromkeys(map(canonical, profiles))
        found = [url for url in urls if url in _COMPILED]
    return tuple(found)


def unmet(event: AuditEvent, *, remember: bool = False) -> tuple[str, ...]:
    """Return the claimed BALP profiles that `event` does not meet, stopping at a first problem.

    With `remember` the verdict on its agents is kept, which are few: for events that are small.
    """
    return tuple([url for url in claimed(event) if not _is_met(url, event, remember=remember)])


def met(event: AuditEvent) -> tuple[str, ...]:
    """Return the BALP profiles whose rules hold, claimed or not, most specific first."""
    return tuple([url for url in _SPECIFIC_FIRST if _is_met(url, event)])


def filled(event: AuditEvent, url: str) -> dict[str, int]:
    """Return how many elements fill each slice of the profile, by names such as `agent:user`.

    An optional slice in open slicing cannot be wrong, only absent: a mistyped user is unsliced.
    """
    return profile_check.filled(_COMPILED[canonical(url)], event)


def _is_met(url: str, event: AuditEvent, *, remember: bool = False) -> bool:
    if profile_quick.is_plain(_QUICK[url], event, remember=remember):
        return True
    return next(profile_check.problems(_COMPILED[url], event), None) is None
