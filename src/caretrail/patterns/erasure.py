"""Which entries an event of the log's own says were erased (evidence bundle, redactions).

An entity's details name them: `caretrail-entry` a single one, `caretrail-entries` a run from the
first to the last. The event's action is D; an event that reads an entry names none that way.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from caretrail.fhir.audit_event import AuditEvent
    from caretrail.patterns.observation import Json

ENTRY: Final = "caretrail-entry"
ENTRIES: Final = "caretrail-entries"
POLICY: Final = "policy"


class Erased(NamedTuple):
    """Runs of entries, each from its first to its last, and the policy that they were erased by."""

    runs: tuple[tuple[int, int], ...]
    policy: str

    def covers(self, first: int, last: int) -> bool:
        """Tell whether the entries from the first to the last are all among them."""
        at = first
        for start, end in sorted(self.runs):
            if start <= at <= end:
                at = end + 1
        return at > last


def details(entries: Iterable[int]) -> list[Json]:
    """Return the details that name the entries, runs of them together."""
    rows = []
    for _, group in groupby(enumerate(sorted(set(entries))), key=lambda pair: pair[1] - pair[0]):
        run = [entry for _, entry in group]
        single = len(run) == 1
        value = str(run[0]) if single else f"{run[0]}-{run[-1]}"
        rows.append({"type": ENTRY if single else ENTRIES, "valueString": value})
    return rows


def read(event: AuditEvent) -> Erased | None:
    """Return what an event of the log's own says was erased, None where it says nothing."""
    if event.action != "D":
        return None
    runs: list[tuple[int, int]] = []
    policy = ""
    for entity in event.entity or ():
        for row in entity.detail or ():
            value = row.valueString or ""
            if row.type == POLICY:
                policy = value
            elif row.type in (ENTRY, ENTRIES):
                first, dash, last = value.partition("-")
                if first.isdecimal() and (last.isdecimal() if dash else row.type == ENTRY):
                    runs.append((int(first), int(last or first)))
    return Erased(tuple(runs), policy) if runs else None
