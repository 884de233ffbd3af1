"""Events as one file, in the order of the log, in one of the forms of `formats`."""

from __future__ import annotations

from bisect import bisect_left
from functools import partial
from typing import IO, TYPE_CHECKING

from caretrail.errors import StoreError, TooLargeError
from caretrail.exporting import found
from caretrail.exporting.announcing import Exported, Progress, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caretrail.exporting.announcing import Announcement
    from caretrail.exporting.formats import Format, Writer
    from caretrail.exporting.found import Run
    from caretrail.exporting.selection import Selection
    from caretrail.repository import Repository
    from caretrail.storage.contract import Reads


async def write_events(
    repository: Repository,
    selection: Selection,
    target: IO[bytes],
    form: Format,
    *,
    said: Announcement,
    after: int = -1,
    is_begun: bool = False,
    bytes_max: int | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Exported:
    """Write the events past entry `after` that are there now.

    On every progress the events up to its last entry are in `target`, whole, unless the form does
    not go on. `is_begun` says that `target` has some already. What was erased is not there. Raises
    TooLargeError past `bytes_max`.
    """
    writer = form.begin(is_begun)
    until = repository.size
    first = max(after + 1, selection.start)
    end = until if selection.end is None else min(selection.end, until)
    entries: Sequence[int] = range(first, max(first, end))
    if selection.filters:
        listed = await found.matches(repository, selection, until=until, on_found=lambda _: None)
        entries = listed[bisect_left(listed, first) :]
    await said.say(len(entries))
    written, events = 0, 0

    async def put(data: bytes) -> None:
        nonlocal written
        written += len(data)
        if bytes_max is not None and written > bytes_max:
            raise TooLargeError("the file would be too large: export less, by date for example")
        try:
            await in_thread(partial(target.write, data))
        except OSError as error:
            raise StoreError(f"the file cannot be written ({error.strerror})") from error

    for runs in found.portions(entries):
        count, data = await repository.look(partial(_portion, runs=runs, writer=writer))
        await put(data)
        events += count
        on_progress(Progress(events, len(entries), runs[-1][1] - 1))
    await put(await in_thread(writer.end))
    return Exported(events, said.at)


def _portion(reads: Reads, runs: Sequence[Run], writer: Writer) -> tuple[int, bytes]:
    records = [record for run in runs for record in reads.entries(*run)]
    return len(records), writer.events(records)
