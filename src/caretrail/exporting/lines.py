"""NDJSON: one event a line, as it is served, in the order of the log (FHIR Bulk Data)."""

from __future__ import annotations

from bisect import bisect_left
from functools import partial
from typing import IO, TYPE_CHECKING, Final

import msgspec

from caretrail.errors import StoreError, TooLargeError
from caretrail.exporting import found
from caretrail.exporting.announcing import Exported, Progress, in_thread
from caretrail.fhir.served import served

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caretrail.exporting.announcing import Announcement
    from caretrail.exporting.found import Run
    from caretrail.exporting.selection import Selection
    from caretrail.repository import Repository
    from caretrail.search.record import Record
    from caretrail.storage.contract import Reads

MEDIA: Final = "application/fhir+ndjson"


async def write_lines(
    repository: Repository,
    selection: Selection,
    target: IO[bytes],
    *,
    said: Announcement,
    after: int = -1,
    bytes_max: int | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Exported:
    """Write the events past entry `after` that are there now, a line each.

    On every progress the lines up to its last entry are in `target`, whole. What was erased is
    not there. Raises TooLargeError past `bytes_max`.
    """
    until = repository.size
    first = max(after + 1, selection.start)
    end = until if selection.end is None else min(selection.end, until)
    entries: Sequence[int] = range(first, max(first, end))
    if selection.filters:
        listed = await found.matches(repository, selection, until=until, on_found=lambda _: None)
        entries = listed[bisect_left(listed, first) :]
    await said.say(len(entries))
    written, events = 0, 0
    for runs in found.portions(entries):
        lines = await repository.look(partial(_lines, runs=runs))
        data = b"".join(lines)
        written += len(data)
        if bytes_max is not None and written > bytes_max:
            raise TooLargeError("the file would be too large: export less, by date for example")
        try:
            await in_thread(partial(target.write, data))
        except OSError as error:
            raise StoreError(f"the file cannot be written ({error.strerror})") from error
        events += len(lines)
        on_progress(Progress(events, len(entries), runs[-1][1] - 1))
    return Exported(events, said.at)


def _lines(reads: Reads, runs: Sequence[Run]) -> list[bytes]:
    return [line(record) for run in runs for record in reads.entries(*run)]


def line(record: Record) -> bytes:
    """Return an event as it is served, on one line with its end."""
    event = served(record.body, record.form, event_id=record.id, received_ms=record.received)
    # White space between members is the sender's own, and kept: but a line has one end.
    if b"\n" in event or b"\r" in event:
        event = msgspec.json.format(event, indent=-1)
    return event + b"\n"
