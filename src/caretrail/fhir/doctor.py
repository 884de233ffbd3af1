"""The profile doctor: what an event claims, what it meets, and what it lacks (IHE BALP 1.1.4).

Conformance alone hides mistakes: an optional slice of an open slicing is never wrong, only absent,
so a mistyped user leaves a conformant event without a user. Each finding therefore also says which
slices the event fills.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail.errors import InvalidError, Issue
from caretrail.fhir import activity, audit_event, profiles, remedies

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from caretrail.fhir.audit_event import AuditEvent

# A decimal keeps its digits, as FHIR demands, also where nothing here reads it.
_decoder: Final = msgspec.json.Decoder(float_hook=Decimal)
_encoder: Final = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True, slots=True)
class Finding:
    """An event held against one profile: the rules that it breaks, the slices that it fills."""

    profile: str
    problems: tuple[Issue, ...]
    present: tuple[str, ...]
    absent: tuple[str, ...]

    @property
    def missing(self) -> tuple[Issue, ...]:
        """What is not there; mostly only somebody who knows the facts can add it."""
        return tuple(issue for issue in self.problems if issue.code == "required")

    def lines(self, relation: str) -> Iterator[str]:
        """Yield a line on the profile, and one for each rule that is broken."""
        absent = f"; nothing fills {', '.join(self.absent)}" if self.absent else ""
        verdict = f"rules broken: {len(self.problems)}" if self.problems else "every rule holds"
        yield f"{relation} {self.profile}: {verdict}{absent}"
        for issue in self.problems:
            yield f"  {issue.expression} {issue.diagnostics}"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the doctor says of an event.

    `nearest` is empty when the event meets a profile that describes an activity; a token profile
    says nothing of the activity, so meeting one alone is not enough.
    """

    claimed: tuple[Finding, ...]
    met: tuple[Finding, ...]
    nearest: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Whether the event meets every BALP profile that it claims."""
        return not any(finding.problems for finding in self.claimed)

    def lines(self) -> Iterator[str]:
        """Yield the diagnosis for a terminal; no line holds a value of the event."""
        claimed = {finding.profile for finding in self.claimed}
        for finding in self.claimed:
            yield from finding.lines("claims")
        for finding in self.met:
            if finding.profile not in claimed:
                yield from finding.lines("meets")
        for finding in self.nearest:
            if finding.profile not in claimed:
                yield from finding.lines("is nearest to")


def examine(event_json: bytes) -> Diagnosis:
    """Return what is right and wrong with an AuditEvent of R4; InvalidError when it is none."""
    event = _read(event_json)
    met = profiles.met(event)
    return Diagnosis(
        claimed=_findings(event, profiles.claimed(event)),
        met=_findings(event, met),
        nearest=() if any(map(activity.describes, met)) else _nearest(event),
    )


def mend(event_json: bytes) -> bytes:
    """Return the event with what is known of it put right; the same bytes when that is nothing.

    No fact is invented: who took part, over which network and about which patient stays missing,
    and `examine` of the result lists it. Members that are not known here are kept.
    """
    tree, before = _tree(event_json), _tree(event_json)
    remedies.treat(tree)
    try:
        event = _read(_encoder.encode(tree))
    except InvalidError:
        pass  # Whether its claims hold can be said once it is an AuditEvent.
    else:
        remedies.claim(tree, event)
    remedies.mark_token_ids(tree)
    return event_json if tree == before else msgspec.json.format(_encoder.encode(tree))


def _tree(event_json: bytes) -> dict[str, Any]:
    try:
        tree = _decoder.decode(event_json)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidError("the document is not JSON") from error
    if not isinstance(tree, dict) or tree.get("resourceType") != "AuditEvent":
        raise InvalidError("the document is not an AuditEvent")
    return tree


def _read(event_json: bytes) -> AuditEvent:
    try:
        return audit_event.read(event_json)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # Its own words may quote a value: only `validation` says more.
        raise InvalidError("the document is not an AuditEvent of FHIR R4") from error


def _findings(event: AuditEvent, urls: Iterable[str]) -> tuple[Finding, ...]:
    return tuple(_finding(event, url) for url in urls)


def _finding(event: AuditEvent, url: str) -> Finding:
    counts = profiles.filled(event, url)
    return Finding(
        url,
        profiles.problems(event, url),
        present=tuple(name for name, count in counts.items() if count),
        absent=tuple(name for name, count in counts.items() if not count),
    )


def _nearest(event: AuditEvent) -> tuple[Finding, ...]:
    """Of the profiles of the same activity, return those with the fewest problems.

    Where a profile and its Patient variant lack the same, the variant is the better advice.
    """
    subtypes = [(coding.system, coding.code) for coding in event.subtype or ()]
    rows = activity.nearest((event.type.system, event.type.code), subtypes, event.action)
    findings = [_finding(event, row.url) for row in rows]
    fewest = min((len(finding.problems) for finding in findings), default=0)
    best = [finding for finding in findings if len(finding.problems) == fewest]
    parents = {row.parent.url for row in rows if row.parent is not None}
    children = [finding for finding in best if finding.profile not in parents]
    return tuple(children or best)
