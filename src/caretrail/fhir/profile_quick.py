"""The quick yes: an event that plainly meets a profile is known to after a few comparisons.

Every posted event is checked against the profiles that it claims, and nearly all meet them. What is
not plain (an element left out that has a pattern, two codings of one slicing, slices in slices)
gets no answer here and is left to `profile_check`; a yes here is never a no there.

The rules of one element become one expression, compiled once: closures, a rule each, took three
times as long, and a function written by hand for each profile would be a second table of rules.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caretrail.fhir.audit_event import Agent, AuditEvent, Coding, Source
from caretrail.fhir.profile import Code, Element
from caretrail.fhir.profile_rules import INVARIANTS, checks
from caretrail.limits import PARTS_REMEMBERED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from caretrail.fhir.profile import Profile, Slice
    from caretrail.fhir.profile_check import CompiledProfile, CompiledSlicing
    from caretrail.fhir.profile_rules import Broken

    # Are the rules plainly kept in this element?
    Plain = Callable[[Any, AuditEvent], bool]
    # Do these agents, recorded by that source, plainly fill the slices?
    Known = Callable[[tuple[Agent, ...], Source], bool]


class QuickSlicing(NamedTuple):
    """A slicing by bits: bit n stands for slice n."""

    elements: Callable[[Any], Sequence[Any] | None]
    keys: Callable[[Any], Sequence[Any]]
    by_key: dict[Any, tuple[int, int, Plain]]
    required: int
    closed: bool
    min: int
    max: int
    known: Known | None = None


class QuickProfile(NamedTuple):
    """A profile that answers yes, or nothing."""

    plain: Plain
    slicings: tuple[QuickSlicing, ...]


def quick(profile: Profile, compiled: CompiledProfile) -> QuickProfile:
    """Return the quick answer of `profile`."""
    pairs = zip(profile.slicings, compiled.slicings, strict=True)
    slicings = [_slicing(full, [_slice(item) for item in row.slices]) for row, full in pairs]
    slicings = [
        row._replace(known=_remembered(row)) if full.element == "agent" else row
        for row, full in zip(slicings, profile.slicings, strict=True)
    ]
    return QuickProfile(_plain(profile.elements), tuple(slicings))


def is_plain(profile: QuickProfile, event: AuditEvent, *, remember: bool) -> bool:
    """Say yes when `event` plainly meets `profile`; False only means that it is not plain.

    With `remember` the verdict on agents is kept for the next event that has the same.
    """
    try:
        return profile.plain(event, event) and all(
            slicing.known(event.agent, event.source)
            if remember and slicing.known is not None
            else _is_filled(slicing, event)
            for slicing in profile.slicings
        )
    except (AttributeError, TypeError):
        # An element is missing on the way, or has an extension: the full check says which.
        return False


def _is_filled(slicing: QuickSlicing, event: AuditEvent) -> bool:
    items = slicing.elements(event) or ()
    seen = 0
    for item in items:
        matched = 0
        for key in slicing.keys(item):
            found = slicing.by_key.get(key)
            if found is not None:
                bit, single, plain = found
                if matched or seen & single or not plain(item, event):
                    return False
                matched = bit
        if slicing.closed and not matched:
            return False
        seen |= matched
    required = slicing.required
    return seen & required == required and slicing.min <= len(items) <= slicing.max


def _remembered(slicing: QuickSlicing) -> Known:
    """Return the verdict on agents, which are few; their rules look at the source besides."""

    @lru_cache(PARTS_REMEMBERED)
    def known(agents: tuple[Agent, ...], source: Source) -> bool:
        return _is_filled(slicing, AuditEvent("AuditEvent", _NO_TYPE, "", agents, source))

    return known


_NO_TYPE: Final = Coding()
_ANY_NUMBER: Final = 1 << 62


def _slicing(row: CompiledSlicing, plains: Sequence[Plain]) -> QuickSlicing:
    assert all(item.min <= 1 and item.max in {1, None} for item in row.slices)
    by_key = {}
    for key, number in row.by_key.items():
        bit = 1 << number
        by_key[key] = (bit, bit if row.slices[number].max else 0, plains[number])
    required = sum(1 << number for number, item in enumerate(row.slices) if item.min)
    most = _ANY_NUMBER if row.max is None else row.max
    return QuickSlicing(row.elements, row.keys, by_key, required, row.closed, row.min, most)


def _slice(row: Slice) -> Plain:
    if row.slicings:
        return lambda *_: False
    return _plain(row.elements, [INVARIANTS[row.invariant].broken] if row.invariant else ())


def _plain(rows: Iterable[Element], invariants: Iterable[Broken] = ()) -> Plain:
    """Return all rules of one element as one expression."""
    terms = [term for row in rows for term in _terms(row)]
    others = [row._replace(min=0, pattern=None) for row in rows if row.max != 0]
    broken = [check.broken for row in others for check in checks(row)] + list(invariants)
    names = {f"broken_{number}": rule for number, rule in enumerate(broken)}
    terms += [f"not {name}(element, event)" for name in names]
    source = f"lambda element, event: {' and '.join(terms) or 'True'}"
    plain: Plain = eval(source, names)  # noqa: S307 It is made of our own rows, and only of them.
    return plain


def _terms(row: Element) -> Iterator[str]:
    value = f"element.{row.path}"
    if row.max == 0:
        yield f"not {value}"
    elif isinstance(row.pattern, Code):
        yield f"{value}.code == {row.pattern.code!r}"
        yield f"{value}.system == {row.pattern.system!r}"
    elif row.pattern is not None:
        yield f"{value} == {row.pattern!r}"
    elif row.min:
        yield f"{value} is not None"
