"""What every writer makes of a row of a commit: the event, and what is kept of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caretrail import originals
from caretrail.fhir import intake
from caretrail.search.record import NO_FLAGS, Flag, Record
from caretrail.sequencer import id_bytes
from caretrail.tlog.entry import Kind

if TYPE_CHECKING:
    from caretrail.storage import messages as say
    from caretrail.storage.bodies import Bodies


def record_of(row: say.Row) -> Record:
    """Return the event of a row, read from its bytes."""
    event = originals.event_of(row.body, intake.Form(row.form), received_ms=row.received)
    return Record(
        event, row.id, row.entry, row.received, Flag(row.flags) if row.flags else NO_FLAGS,
        row.producer, row.organisation, row.body, row.form, row.kind,
    )  # fmt: skip


def keep(row: say.Row, bodies: Bodies) -> tuple[bytes, bytes]:
    """Return body and salt as they are kept; what the log says of itself is never encrypted."""
    if row.kind == Kind.OWN:
        return bodies.pack(row.body), row.salt
    return bodies.seal(row.body, row.salt, event=id_bytes(row.id), received=row.received)
