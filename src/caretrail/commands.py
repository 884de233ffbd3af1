"""What the commands `load`, `check` and `demo` do."""

from __future__ import annotations

import asyncio
import json
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import httpx

from caretrail.demo import charts, hospital, incidents
from caretrail.errors import Error
from caretrail.fhir import doctor, intake, xml
from caretrail.loading import Loader, Source, portions, read
from caretrail.repository import Repository, Sender
from caretrail.storage.sqlite import SqliteStorage, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from caretrail.app import Server
    from caretrail.config import Settings

_PROBLEMS_SHOWN: Final = 20
_DAYS: Final = 30
_CHARTS_SECONDS: Final = 60.0
# One of the libraries of the extra; whoever has one has installed them all.
_CLINIC_LIBRARY: Final = "fhirpathpy"


def has_clinic() -> bool:
    """Tell whether the libraries of the clinic are installed."""
    return find_spec(_CLINIC_LIBRARY) is not None


async def load_files(
    settings: Settings, files: Sequence[Path], *, skip: int, bar: Any, say: Callable[[str], None]
) -> int:
    """Load the files into the data folder; return the exit code."""
    repository = Repository(SqliteStorage(settings.folder))
    refused = 0
    try:
        for file in files:
            loader = Loader(repository, Sender(settings.producer, settings.organisation))
            task = bar.add_task(file.name, total=None)
            try:
                for portion in portions(read(file), skip=skip):
                    progress = await loader.take(portion)
                    bar.update(task, completed=progress.number)
            except (Error, KeyboardInterrupt) as error:
                say(f"{file}: stopped; go on with --skip {loader.progress.number}")
                if isinstance(error, Error):
                    raise
                return 130
            refused += loader.progress.refused
            _report(file, loader, say)
    finally:
        await repository.close()
    return 1 if refused else 0


def _report(file: Path, loader: Loader, say: Callable[[str], None]) -> None:
    for number, error in loader.problems[:_PROBLEMS_SHOWN]:
        for issue in error.issues():
            say(f"{file}:{number}: {issue.expression} {issue.diagnostics}")
    done = loader.progress
    say(f"{file}: {done.stored} stored, {done.repeated} there before, {done.refused} in quarantine")


def check_files(files: Sequence[Path], *, mend: bool, say: Callable[[str], None]) -> int:
    """Examine every event of the files; return 0 when each meets what it claims."""
    failed = 0
    for file in files:
        for source in read(file):
            body = xml.to_json(source.body) if source.xml else source.body
            if mend:
                # Before it is judged: what R4 itself asks for can be mended, too.
                body = doctor.mend(body)
                say(body.decode())
            failed += _examined(f"{file}:{source.number}", body, _nothing if mend else say)
    return 1 if failed else 0


def _nothing(_: str) -> None:
    """Say nothing: what was mended has been printed."""


def _examined(place: str, body: bytes, say: Callable[[str], None]) -> bool:
    """Say what is wrong with an event and what the doctor found; return whether it is sick."""
    try:
        found = intake.parse(body)
        diagnosis = doctor.examine(intake.view(body, found.form))
    except Error as error:
        for issue in error.issues():
            say(f"{place}: {issue.expression} {issue.diagnostics}")
        return True
    for line in diagnosis.lines():
        say(f"{place}: {line}")
    return not diagnosis.holds


def verify_folder(folder: Path, progress: Callable[[int, int], None]) -> tuple[list[str], bool]:
    """Check the log in a data folder; return what to say, and whether it is whole."""
    report = verify(folder, progress=progress)
    if report.whole:
        return [f"whole: {report.size} entries, root {report.root.hex()}"], True
    findings = sorted(report.findings, key=lambda one: (one.entry is None, one.entry or 0))
    lines = [
        f"{'the log' if one.entry is None else f'entry {one.entry}'}: {one.what}"
        for one in findings
    ]
    first = findings[0].entry
    where = "not at an entry" if first is None else f"first at entry {first}"
    return [*lines, f"NOT WHOLE: {len(findings)} findings, {where}"], False


class Hospital:
    """The synthetic hospital of the demonstration, loaded while the server already runs."""

    def __init__(self, *, events: int, seed: int, say: Callable[[str], None]) -> None:
        self._events, self._seed, self._say = events, seed, say

    async def move_in(self, server: Server, address: str) -> None:
        """Say where everything is, then load the hospital."""
        say, folder = self._say, server.settings.folder
        say(address)
        say("Posts are taken. A line to try (it finds failed events):")
        say(
            f"  curl -H 'Authorization: Bearer {server.secret}'"
            f" '{address}/fhir/AuditEvent?outcome=4,8,12&_count=3&_pretty=true'"
        )
        marker = folder / "incidents.json"
        if marker.exists():
            say(f"The hospital is in {folder} already; its incidents are in {marker}.")
            return
        end = self._end(folder / "hospital.json")
        if server.settings.clinic:
            await self._fill(server, address, end)
        started = time.monotonic()
        await self._load(server.repository, end)
        plan = incidents.plan(seed=self._seed, end_milliseconds=end, days=_DAYS)
        marker.write_text(incidents.to_json(plan), encoding="utf-8")
        seconds = time.monotonic() - started
        say(
            f"{self._events} events in {seconds:.0f} s; {len(plan)} incidents are told in {marker}."
        )
        say(f"Is the log whole? In another terminal: .venv/bin/caretrail verify {folder}")

    async def _fill(self, server: Server, address: str, end: int) -> None:
        """Bring some charts into the clinic, as any program would: this is recorded, too."""
        body = charts.transaction(seed=self._seed, end_milliseconds=end)
        headers = {
            "authorization": f"Bearer {server.secret}",
            "content-type": "application/fhir+json",
        }
        async with httpx.AsyncClient(timeout=_CHARTS_SECONDS) as client:
            answer = await client.post(f"{address}/fhir", content=body, headers=headers)
        answer.raise_for_status()
        self._say(f"The clinic has {charts.PATIENTS} charts. This reads one, and leaves an event:")
        self._say(
            f"  curl -H 'Authorization: Bearer {server.secret}'"
            f" '{address}/fhir/Patient/pat-000001/$everything?_pretty=true'"
        )

    def _end(self, note: Path) -> int:
        """Return when the hospital's last event is; a load that was cut off goes on with the same."""
        hospital_now = [self._seed, self._events, int(time.time() * 1000)]
        if note.exists():
            known = json.loads(note.read_text(encoding="utf-8"))
            if known[:2] == hospital_now[:2]:
                return int(known[2])
        note.write_text(json.dumps(hospital_now), encoding="utf-8")
        return int(hospital_now[2])

    async def _load(self, repository: Repository, end: int) -> None:
        loader = Loader(repository, Sender("hospital"))
        bodies = hospital.events(
            seed=self._seed, count=self._events, end_milliseconds=end, days=_DAYS
        )
        tenth = 0
        for portion in portions(_sources(bodies), skip=0):
            done = await loader.take(portion)
            if done.number * 10 // self._events > tenth:
                tenth = done.number * 10 // self._events
                self._say(f"  {done.number} of {self._events} events of the synthetic hospital")
            await asyncio.sleep(0)  # Others want to be answered in between.


def _sources(bodies: Iterator[bytes]) -> Iterator[Source]:
    return (Source(number, body, xml=False) for number, body in enumerate(bodies, 1))
