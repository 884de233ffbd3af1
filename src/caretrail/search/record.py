"""A stored event as search sees it."""

from __future__ import annotations

from enum import IntFlag
from typing import TYPE_CHECKING, NamedTuple

from caretrail.limits import EVENT_BYTES_REMEMBERED

if TYPE_CHECKING:
    from caretrail.fhir.audit_event import AuditEvent


class Flag(IntFlag):
    """What the repository noticed about an event that it accepted (bits are stored: never reuse).

    The names, in lower case with hyphens, are the codes of the search parameter `flag`.
    """

    PROFILE_UNMET = 1  # It claims a BALP profile whose rules it breaks.
    KEY_CONFLICT = 2  # Its sender used the same key for other bytes.
    SUSPECTED_DUPLICATE = 4  # Its sender sent the same bytes before, without a key of their own.
    CLOCK_SKEW = 8  # `recorded` is more than a day away from the receipt.
    CONVERTED = 16  # It came as XML, as another release of FHIR, or by syslog.
    OBSERVER_MISMATCH = 32  # Its `source.observer` is not who its sender is known to be.
    UNPARSED = 64  # It came by syslog, and holds no audit message that can be read.
    DEVIANT = (
        128  # It is an audit message that breaks its standard: some of it was mended or left out.
    )
    TRUNCATED = 256  # It was longer than it may be, or its sender went away before its end.

    def codes(self) -> list[str]:
        """Return the codes of the flags that are set."""
        return [code for flag, code in FLAG_CODES.items() if flag in self]


NO_FLAGS = Flag(0)
FLAG_CODES = {flag: str(flag.name).lower().replace("_", "-") for flag in Flag}


class Record(NamedTuple):
    """A stored event: its elements and what the repository knows of it.

    `received` is in milliseconds since 1970 and is the event's `meta.lastUpdated`; `entry` is its
    index in the log. `kind` is 1 for an event of the log's own (DESIGN, decision 12).
    """

    event: AuditEvent
    id: str
    entry: int
    received: int
    flags: Flag
    producer: str
    organisation: str
    body: bytes
    form: int
    kind: int = 0

    @property
    def is_plain(self) -> bool:
        """Tell whether the parts are all there is, and are small enough to be remembered."""
        event = self.event
        if len(self.body) > EVENT_BYTES_REMEMBERED or event.contained is not None:
            return False
        return all(agent.extension is None for agent in event.agent)
