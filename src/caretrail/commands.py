"""What the commands `load`, `export`, `check`, `verify` and `demo` do."""

from __future__ import annotations

import asyncio
import getpass
import gzip
import json
import os
import time
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, cast

import httpx

from caretrail import fetching, opening
from caretrail.demo import charts, hospital, incidents
from caretrail.errors import ConfigurationError, Error, InUseError
from caretrail.evidence import verify as bundles
from caretrail.exporting import bundle, lines
from caretrail.exporting.announcing import announced
from caretrail.exporting.bundle import Cutter
from caretrail.exporting.lines import write_lines
from caretrail.exporting.selection import Filter, Selection
from caretrail.exporting.static_tiles import write_tiles
from caretrail.fhir import doctor, intake, xml
from caretrail.loading import Loader, Source, portions, read
from caretrail.repository import Sender
from caretrail.verification import folder as folder_report
from caretrail.verification import remote
from caretrail.verification.folder import read_policy, verify_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence

    from caretrail.app import Server
    from caretrail.config import Settings
    from caretrail.exporting.announcing import Announcement, Exported, Progress
    from caretrail.opening import Opened
    from caretrail.repository import Repository

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
    refused = 0
    async with opening.opened(settings) as log:
        for file in files:
            loader = Loader(log.repository, Sender(settings.producer, settings.organisation))
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
    return 1 if refused else 0


def _report(file: Path, loader: Loader, say: Callable[[str], None]) -> None:
    for number, error in loader.problems[:_PROBLEMS_SHOWN]:
        for issue in error.issues():
            say(f"{file}:{number}: {issue.expression} {issue.diagnostics}")
    done = loader.progress
    say(f"{file}: {done.stored} stored, {done.repeated} there before, {done.refused} in quarantine")


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
        if self.after is not None and self.evidence:
            raise ConfigurationError("--after goes with NDJSON, which can be gone on with")


async def export_log(
    settings: Settings, wanted: Export, *, bar: Any, say: Callable[[str], None]
) -> int:
    """Export out of the data folder, which nobody else works on; return the exit code."""
    wanted.check()
    filters = [Filter.parse(wanted.query, base="", now=_now())] if wanted.query else []
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
            media=bundle.MEDIA if wanted.evidence else lines.MEDIA,
            requester=f"{getpass.getuser()}, by caretrail export",
        ) as said:
            if wanted.evidence:
                cutter = Cutter(
                    log.repository, log.publisher, selection, said=said, on_progress=show
                )
                exported = await _whole(wanted.out, cutter.write)
                say(
                    f"{wanted.out}: {exported.events} events disclosed; check it with its verify.py"
                )
                return 0
            return await _write_lines(log.repository, selection, wanted, said, show, say)


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
    try:
        token = token_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the token file {token_file} cannot be read") from error
    pairs = fetching.parameters(
        evidence=wanted.evidence,
        query=wanted.query,
        subjects=wanted.subjects,
        start=wanted.start,
        end=wanted.end,
        after=wanted.after,
    )
    events = fetching.fetch(server, token, pairs, wanted.out, on_progress=say)
    say(f"{wanted.out}: {events} events")
    return 0


def _now() -> int:
    return time.time_ns() // 1_000_000


async def _whole(out: Path, write: Callable[[Path], Awaitable[Exported]]) -> Exported:
    """Have a file written aside, and move it into place once it is whole."""
    aside = out.with_name(f".{out.name}.new")
    aside.unlink(missing_ok=True)
    try:
        exported = await write(aside)
        aside.replace(out)
    finally:
        aside.unlink(missing_ok=True)
    return exported


async def _write_lines(
    repository: Repository,
    selection: Selection,
    wanted: Export,
    said: Announcement,
    show: Callable[[Progress], None],
    say: Callable[[str], None],
) -> int:
    """Write NDJSON to the end of the file, and say how to go on when it is cut off."""
    assert wanted.out is not None
    last = -1 if wanted.after is None else wanted.after

    def note(progress: Progress) -> None:
        nonlocal last
        last = progress.last
        show(progress)

    try:
        with _appending(wanted.out) as target:
            exported = await write_lines(
                repository, selection, target, said=said, after=last, on_progress=note
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


class Looking(NamedTuple):
    """How a verification is done: the options of `caretrail verify`, and where to say how far it is."""

    policy: Path | None
    store: Path | None
    memory: Path | None
    token: Path | None
    entries: bool
    listed: bool
    json: bool
    progress: Callable[[int, int], None]


def verify_target(target: str, looking: Looking) -> tuple[Iterable[str], bool]:
    """Check a data folder, an evidence bundle or a running log; return what to say, and if it holds."""
    if target.startswith(("http://", "https://")):
        return _verify_url(target, looking)
    if Path(target).is_file():
        return _verify_bundle(Path(target), looking)
    verdict = verify_folder(
        Path(target), store=looking.store, policy=looking.policy, progress=looking.progress
    )
    report = verdict.report
    if looking.json:
        return [json.dumps(folder_report.machine(verdict), indent=1)], report.whole
    return folder_report.lines(verdict, listed=looking.listed), report.whole


def _verify_bundle(path: Path, looking: Looking) -> tuple[Iterable[str], bool]:
    policy = _read(looking.policy) if looking.policy is not None else None
    check = bundles.Check(_read(path), policy)
    if looking.json:
        return [json.dumps(bundles.machine(check), indent=1)], check.holds()
    return map(bundles.printable, bundles.page(check)), check.holds()


def _verify_url(url: str, looking: Looking) -> tuple[Iterable[str], bool]:
    seen = remote.verify_url(
        url,
        policy=read_policy(looking.policy) if looking.policy is not None else None,
        memory=looking.memory,
        token=_read(looking.token).decode().strip() if looking.token is not None else "",
        entries=looking.entries,
        progress=looking.progress,
    )
    holds = not seen.findings
    if looking.json:
        return [json.dumps(remote.machine(seen), indent=1)], holds
    return map(bundles.printable, remote.lines(seen)), holds


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror})") from error


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
