"""Exports that a server makes while its clients wait elsewhere (FHIR Bulk Data, asynchronous).

A job is known by an id that nobody can guess, and only to whoever began it. Its files lie in a
folder of their own, which a restart empties: an export is asked for again, and recorded again.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.errors import Error, NotFoundError, StoreError, ThrottledError
from caretrail.exporting import bundle
from caretrail.exporting.announcing import Progress, announced, in_thread
from caretrail.exporting.bundle import Cutter
from caretrail.exporting.writing import write_events
from caretrail.limits import (
    EXPORT_FILE_BYTES_MAX,
    EXPORT_JOBS_MAX,
    EXPORT_RESULTS_MAX,
    EXPORT_SECONDS_KEPT,
)

if TYPE_CHECKING:
    from pathlib import Path

    from caretrail.exporting.announcing import Announcement, Exported
    from caretrail.exporting.formats import Format
    from caretrail.exporting.selection import Selection
    from caretrail.publisher.publishing import Publisher
    from caretrail.repository import Repository

_log: Final = logging.getLogger(__name__)
_ID_BYTES: Final = 24
_ID: Final = re.compile(r"[A-Za-z0-9_-]{32}")  # As `secrets.token_urlsafe` writes them.
_BUNDLE: Final = "evidence.zip"


class Wanted(NamedTuple):
    """What a client asks for: `request` is the address it asked at, `owner` who it is.

    `form` is None for an evidence bundle.
    """

    selection: Selection
    form: Format | None
    request: str
    owner: str

    @property
    def media(self) -> str:
        """Return the media type of the file."""
        return bundle.MEDIA if self.form is None else self.form.media

    @property
    def file_name(self) -> str:
        """Return the name of the file, which says nothing of what is in it."""
        return _BUNDLE if self.form is None else self.form.file_name


class Job:
    """One export; `exported` or `error` is set once it has ended, and then `expires`, in seconds."""

    def __init__(self, wanted: Wanted, folder: Path) -> None:
        self.id = secrets.token_urlsafe(_ID_BYTES)
        self.wanted = wanted
        self.file = folder / self.id / wanted.file_name
        self.exported: Exported | None = None
        self.error: Error | None = None
        self.expires = 0.0
        self.begun = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self._progress: Progress | None = None

    @property
    def has_ended(self) -> bool:
        """Tell whether there is a result, good or bad."""
        return self.exported is not None or self.error is not None

    def on_progress(self, progress: Progress) -> None:
        """Note how far it is."""
        self._progress = progress

    def progress(self) -> str:
        """Return how far it is, for people (Bulk Data, X-Progress)."""
        if self._progress is None:
            return "waiting" if not self.begun.is_set() else "looking for events"
        return f"{self._progress.done} of {self._progress.total} entries"


class Exports:
    """The exports of one log at one server; made in its event loop."""

    def __init__(
        self,
        repository: Repository,
        publisher: Publisher,
        folder: Path,
        *,
        seconds_kept: float = EXPORT_SECONDS_KEPT,
    ) -> None:
        """Remove what jobs left in the folder before a restart; raise StoreError when it cannot be made."""
        self._repository, self._publisher = repository, publisher
        self._folder = folder
        self._seconds_kept = seconds_kept
        self._jobs: dict[str, Job] = {}
        # One after the other: an export may take a reader's thread and a bundle's memory.
        self._turn = asyncio.Semaphore(1)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)
            # What a job did not make is somebody else's, whatever it does here.
            for left in folder.iterdir():
                if _ID.fullmatch(left.name):
                    shutil.rmtree(left)
        except OSError as error:
            raise StoreError(f"the folder of exports cannot be used ({error.strerror})") from error

    def begin(self, wanted: Wanted) -> Job:
        """Begin an export; raise ThrottledError when there are too many."""
        ended = sum(job.has_ended for job in self._jobs.values())
        if len(self._jobs) - ended >= EXPORT_JOBS_MAX:
            raise ThrottledError("other exports are being made: ask again when they have ended")
        if ended >= EXPORT_RESULTS_MAX:
            raise ThrottledError("too many exports wait to be fetched: delete those that were")
        job = Job(wanted, self._folder)
        self._jobs[job.id] = job
        job.task = asyncio.create_task(self._run(job))
        return job

    def find(self, job_id: str, owner: str) -> Job:
        """Return a job to whoever began it; raise NotFoundError to all others."""
        job = self._jobs.get(job_id)
        if job is None or job.wanted.owner != owner:
            raise NotFoundError("there is no such export: it was deleted, it expired, or never was")
        return job

    def of(self, owner: str) -> list[Job]:
        """Return the jobs that somebody began, the newest first."""
        return [job for job in reversed(self._jobs.values()) if job.wanted.owner == owner]

    async def remove(self, job: Job) -> None:
        """Cancel a job if it still runs, and remove its files."""
        self._jobs.pop(job.id, None)
        if job.task is not None and not job.task.done():
            # It is recorded in any case, so it has to get as far as that.
            await job.begun.wait()
            job.task.cancel()
            await asyncio.wait([job.task])
        await in_thread(lambda: _delete(job))

    async def close(self) -> None:
        """Cancel and remove all jobs."""
        for job in list(self._jobs.values()):
            await self.remove(job)

    async def _run(self, job: Job) -> None:
        wanted = job.wanted
        try:
            async with announced(
                self._repository,
                query=wanted.selection.text(),
                media=wanted.media,
                requester=wanted.owner,
            ) as said:
                job.begun.set()
                async with self._turn:
                    job.exported = await self._make(job, said)
        except Error as error:
            job.error = error
        except Exception as error:
            # Whatever it was, the client is told that it failed; what it says may quote an event.
            _log.exception("an export met a fault", extra={"error": type(error).__name__})
            job.error = StoreError("the export failed; the server's log says where")
        if job.error is not None:
            await in_thread(lambda: _delete(job))
        job.expires = time.time() + self._seconds_kept
        asyncio.get_running_loop().call_later(self._seconds_kept, self._expire, job)

    async def _make(self, job: Job, said: Announcement) -> Exported:
        wanted = job.wanted
        job.file.parent.mkdir(mode=0o700)
        if wanted.form is None:
            cutter = Cutter(
                self._repository,
                self._publisher,
                wanted.selection,
                said=said,
                on_progress=job.on_progress,
            )
            return await cutter.write(job.file)
        with job.file.open("xb") as target:
            return await write_events(
                self._repository,
                wanted.selection,
                target,
                wanted.form,
                said=said,
                bytes_max=EXPORT_FILE_BYTES_MAX,
                on_progress=job.on_progress,
            )

    def _expire(self, job: Job) -> None:
        if self._jobs.pop(job.id, None) is not None:
            _delete(job)


def _delete(job: Job) -> None:
    """Remove a job's folder; whoever is reading the file still reads it to its end."""
    with suppress(FileNotFoundError):
        shutil.rmtree(job.file.parent)
