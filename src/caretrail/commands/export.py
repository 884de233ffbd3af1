"""What `caretrail export` does: out of a data folder, or by a server that runs on it."""

from __future__ import annotations

import asyncio
import gzip
import os
from contextlib import asynccontextmanager, contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

from caretrail import clock, config, fetching, opening, os_account
from caretrail.errors import ConfigurationError, Error, InUseError
from caretrail.exporting import bundle, formats
from caretrail.exporting.announcing import announced
from caretrail.exporting.bundle import Cutter
from caretrail.exporting.selection import Filter, Selection
from caretrail.exporting.static_tiles import write_tiles
from caretrail.exporting.writing import write_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from caretrail.exporting.announcing import Announcement, Progress
    from caretrail.exporting.formats import Format
    from caretrail.opening import Opened
    from caretrail.repository import Repository
    from caretrail.settings import Settings


class Export(NamedTuple):
    """What `export` is told: what to write, and where; `after` is the entry to go on after."""

    out: Path | None
    evidence: bool
    query: str
    subjects: Sequence[str]
    start: int | None
    end: int | None
    after: int | None
    tiles: Path | None
    entries: bool

    def check(self) -> None:
        """Refuse options that do not go together, before anything is opened."""
        picky = self.subjects or self.start is not None or self.end is not None
        if (self.out is None) == (self.tiles is None):
            raise ConfigurationError("name a file to export to, or --tiles and a folder")
        if self.tiles is not None and (
            self.evidence or self.query or picky or self.after is not None
        ):
            raise ConfigurationError("--tiles is of the whole tree, and goes with --entries only")
        if self.entries and self.tiles is None:
            raise ConfigurationError("--entries goes with --tiles")
        if picky and not self.evidence:
            raise ConfigurationError("--subject, --start and --end go with --evidence")
        form = self.form
        if self.after is not None and (form is None or not form.goes_on):
            raise ConfigurationError("--after goes with NDJSON and CSV, which can be gone on with")
        if (
            form is not None
            and not form.goes_on
            and self.out is not None
            and self.out.suffix == ".gz"
        ):
            raise ConfigurationError(f"{form.suffix} is packed already: leave out .gz")

    @property
    def form(self) -> Format | None:
        """Return the form that the file's name asks for, None for an evidence bundle."""
        return None if self.evidence or self.out is None else formats.of_file(self.out)


async def export_log(
    settings: Settings, wanted: Export, *, bar: Any, say: Callable[[str], None]
) -> int:
    """Export out of the data folder, which nobody else works on; return the exit code."""
    wanted.check()
    if wanted.form is not None:
        wanted.form.check()
    filters = (
        [Filter.parse(wanted.query, base="", now=clock.milliseconds())] if wanted.query else []
    )
    selection = Selection.of(
        filters=filters, subjects=wanted.subjects, start=wanted.start, end=wanted.end
    )
    if wanted.out is not None and not wanted.out.parent.is_dir():
        raise ConfigurationError(f"{wanted.out.parent} is no folder: make it, or choose another")
    if wanted.out is not None and wanted.out.exists() and wanted.after is None:
        raise ConfigurationError(f"{wanted.out} is there already: choose another file")
    task = bar.add_task("export", total=None)

    def show(progress: Progress) -> None:
        bar.update(task, completed=progress.done, total=progress.total)

    async with _opened(settings) as log:
        if wanted.tiles is not None:
            done = await write_tiles(
                log.repository,
                log.publisher,
                wanted.tiles,
                entries=wanted.entries,
                on_progress=show,
            )
            say(f"{wanted.tiles}: a tree of {done.size} entries, {done.files} files written")
            return 0
        assert wanted.out is not None
        async with announced(
            log.repository,
            query=selection.text(),
            media=_media(wanted),
            requester=f"{os_account.current().name}, by caretrail export",
        ) as said:
            if wanted.evidence:
                cutter = Cutter(
                    log.repository, log.publisher, selection, said=said, on_progress=show
                )
                with fetching.whole(wanted.out) as aside:
                    exported = await cutter.write(aside)
                say(
                    f"{wanted.out}: {exported.events} events disclosed; check it with its verify.py"
                )
                return 0
            assert wanted.form is not None
            if not wanted.form.goes_on:
                with fetching.whole(wanted.out) as aside, aside.open("wb") as target:
                    exported = await write_events(
                        log.repository, selection, target, wanted.form, said=said, on_progress=show
                    )
                say(f"{wanted.out}: {exported.events} events")
                return 0
            return await _write_events(log.repository, selection, wanted, said, show, say)


def _media(wanted: Export) -> str:
    return bundle.MEDIA if wanted.form is None else wanted.form.media


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Opened]:
    try:
        async with opening.opened(settings) as log:
            yield log
    except InUseError as error:
        raise ConfigurationError(
            f"{error}. A server that runs on it exports as well: --server URL --token-file FILE"
        ) from error


def fetch_export(
    server: str, token_file: Path | None, wanted: Export, *, say: Callable[[str], None]
) -> int:
    """Have a running server export, and fetch the file; return the exit code."""
    wanted.check()
    if not server or token_file is None:
        raise ConfigurationError("--server and --token-file go together")
    if wanted.out is None:
        raise ConfigurationError("a running server serves its tiles at /log: fetch them there")
    token = config.token(token_file)
    pairs = fetching.parameters(
        media=_media(wanted),
        query=wanted.query,
        subjects=wanted.subjects,
        start=wanted.start,
        end=wanted.end,
        after=wanted.after,
    )
    events = fetching.fetch(server, token, pairs, wanted.out, on_progress=say)
    say(f"{wanted.out}: {events} events")
    return 0


async def _write_events(
    repository: Repository,
    selection: Selection,
    wanted: Export,
    said: Announcement,
    show: Callable[[Progress], None],
    say: Callable[[str], None],
) -> int:
    """Write to the end of the file, and say how to go on when it is cut off."""
    assert wanted.out is not None
    assert wanted.form is not None
    last = -1 if wanted.after is None else wanted.after

    def note(progress: Progress) -> None:
        nonlocal last
        last = progress.last
        show(progress)

    try:
        is_begun = wanted.out.exists() and wanted.out.stat().st_size > 0
        with _appending(wanted.out) as target:
            exported = await write_events(
                repository,
                selection,
                target,
                wanted.form,
                said=said,
                after=last,
                is_begun=is_begun,
                on_progress=note,
            )
    except (asyncio.CancelledError, Error):
        say(f"{wanted.out}: stopped; go on with --after {last}")
        raise
    say(f"{wanted.out}: {exported.events} events; the last entry looked at is {last}")
    return 0


@contextmanager
def _appending(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to write at its end; one that ends in `.gz` gets another gzip member."""
    is_gzip = path.suffix == ".gz"
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    size = os.fstat(file).st_size
    if not is_gzip and size and os.pread(file, 1, size - 1) != b"\n":
        os.close(file)
        raise ConfigurationError(
            f"{path} ends within a line: remove that line, or export into another file"
        )
    with os.fdopen(file, "ab") as opened:
        if is_gzip:
            with gzip.open(opened, "ab") as packed:
                yield cast("IO[bytes]", packed)
        else:
            yield opened
