"""The bench: one run from an empty folder, or a filled one, to a table of figures and targets."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from caretrail import clock
from caretrail.bench import children, evidence, generator, machine, parts, questions, report
from caretrail.bench.fill import fill, stream
from caretrail.bench.generator import BUNDLE_ENTRIES, WINDOW_EVENTS_MAX, Job, Stream
from caretrail.bench.report import Report
from caretrail.storage.contract import LogPlace
from caretrail.storage.stores import verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from caretrail.bench.children import Address, Child
    from caretrail.bench.fill import Filled
    from caretrail.bench.generator import Kind, Measured
    from caretrail.bench.load import Outcome

_CONNECTIONS: Final = 64
_BUNDLE_CONNECTIONS: Final = 4
_WARM_SHARE: Final = 0.2
_WARM_SECONDS_MAX: Final = 2.0
# More than is sent in a second, so that the load never runs dry.
_SINGLES_PER_SECOND: Final = 20_000
_BUNDLED_PER_SECOND: Final = 40_000
_FLOOR_EVENTS: Final = 20_000
_PARTS_EVENTS: Final = 10_000
_VERIFIED_EVENTS: Final = 50_000
_RECEIPTS_PER_SECOND: Final = 10
_PAGES: Final = (20, 50)
_SEARCH_SECONDS_MAX: Final = 60.0
_QUESTIONS: Final = {
    "patient+date": questions.patient_and_date,
    "agent+date": questions.agent_and_date,
    "rare type+outcome": questions.rare_type_and_outcome,
}


def run(
    *,
    events: int,
    seconds: float,
    folder: Path | None,
    output: Path | None,
    say: Callable[[str], None],
) -> None:
    """Fill a log with `events`, measure each rate for some `seconds`, and say the figures.

    The log stays in `folder` and is used again; without one it is made anew and removed. With
    `output` the figures are written there as JSON, too.
    """
    with ExitStack() as stack:
        if folder is None:
            # The last signed checkpoint lies beside the log, and goes with it.
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="caretrail-"))
            folder = Path(name) / "log"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        told = Report(machine.describe(folder), events=events, say=say)
        bench = _Bench(told, seconds=seconds, say=say)
        filled = bench.fill(folder, events)
        bench.parts(filled)
        with children.server(folder) as (process, address):
            bench.searches(filled, process, address)
            bench.ingest(process, address)
        bench.evidence(folder, filled)
        bench.verification(min(events, _VERIFIED_EVENTS), stack)
    for line in ("", *told.table()):
        say(line)
    if output is not None:
        told.write(output)


class _Bench:
    def __init__(self, told: Report, *, seconds: float, say: Callable[[str], None]) -> None:
        self._told, self._seconds, self._say = told, seconds, say
        now = clock.milliseconds()
        # Events of another run into the same log differ from these.
        self._stream = Stream(seed=now, end_milliseconds=now)
        self._floors: list[Measured] = []
        self._integrity = 0.0

    def fill(self, folder: Path, events: int) -> Filled:
        """Fill the log, or find it filled."""
        self._say(f"filling a log with {events} events")
        filled = fill(folder, events=events, say=self._say)
        add = self._told.add
        add("fill", filled.timed / filled.seconds, "events/s", note="through the repository alone")
        each = _each(filled.cpu_seconds, filled.timed)
        add("fill, CPU", each, "us/event", note="making the events included")
        add("disk, all in", filled.disk_bytes / filled.events, "bytes/event", report.BYTES)
        fifth, middle, last = (filled.memory[n] for n in (1, 5, -1))
        for share, used in (("20 %", fifth), ("60 %", middle), ("100 %", last)):
            add(f"memory at {share} of the fill", used / 1e6, "MB")
        add("memory, 100 % over 20 %", last / fifth, "times", report.FLAT)
        return filled

    def parts(self, filled: Filled) -> None:
        """Measure single steps."""
        bodies = list(stream(filled, start=0, count=min(_PARTS_EVENTS, filled.events)))
        decoding = parts.decoding(bodies)
        self._integrity = parts.integrity(bodies)
        add = self._told.add
        add("event", sum(map(len, bodies)) / len(bodies), "bytes", note="mean of the bodies sent")
        add("decode", decoding.whole, "us/event")
        add("of it, scan for duplicate names", decoding.duplicate_names, "us/event")
        add("integrity", self._integrity, "us/event", note="salt, commitment, tags, leaf, tree")

    def floor(self) -> None:
        """Measure what HTTP costs when nothing is done: once before the ingest and once after it."""
        self._say("the floor: 201 to the same bodies, and nothing else")
        with children.floor() as (process, address):
            seconds = self._seconds / 2
            job = self._stream.job(
                "single", address, seconds=seconds, connections=_CONNECTIONS, count=_FLOOR_EVENTS
            )
            found = generator.run(msgspec.structs.replace(job, repeat=True), server=process)
        self._refused("floor", found.outcome)
        self._floors.append(found)

    def _tell_floor(self) -> float:
        """Tell both measurements of the floor as one; return the rate."""
        outcomes = [found.outcome for found in self._floors]
        requests = sum(one.requests for one in outcomes)
        rate = requests / sum(one.seconds for one in outcomes)
        cpu = sum(found.cpu_seconds for found in self._floors)
        each = ", ".join(f"{one.rate:.0f}" for one in outcomes)
        add = self._told.add
        add("floor", rate, "requests/s", note=f"before and after: {each}")
        add("floor, CPU of the server", _each(cpu, requests), "us/event")
        load = sum(one.cpu_seconds for one in outcomes)
        add("floor, CPU of the load", _each(load, requests), "us/event")
        return rate

    def searches(self, filled: Filled, process: Child, address: Address) -> None:
        """Measure first pages, one after the other, with the server otherwise idle."""
        self._say("first pages over HTTP")
        for name, ask in _QUESTIONS.items():
            queries = list(islice(ask(filled), questions.VALUES))
            for count in _PAGES:
                paths = [f"/fhir/AuditEvent?{query}&_count={count}" for query in queries]
                self._search(f"{name}, _count={count}", paths, process, address)

    def _search(self, name: str, paths: list[str], process: Child, address: Address) -> None:
        job = Job("search", address.port, _SEARCH_SECONDS_MAX, 1, token=address.token, paths=paths)
        outcome = generator.run(job, server=process).outcome
        note = f"{outcome.requests} values, {outcome.marks} events, {outcome.unmarked} pages empty"
        self._told.add(f"{name}, p50", outcome.p50_ms, "ms", note=note)
        self._told.add(f"{name}, p99", outcome.p99_ms, "ms", report.PAGE)
        self._refused(name, outcome, good="200")

    def ingest(self, process: Child, address: Address) -> None:
        """Measure single events with the floor around them, then bundles, into the filled log."""
        self.floor()
        self._say(f"single events over {_CONNECTIONS} connections")
        single = self._load("single", process, address)
        self.floor()
        self._say(f"bundles of {BUNDLE_ENTRIES} over {_BUNDLE_CONNECTIONS} connections")
        bundled = self._load("bundle", process, address)
        self._tell_single(single, self._tell_floor())
        self._tell_bundled(bundled)
        used = process.usage()
        self._told.add("memory of the server", used.anonymous_bytes / 1e6, "MB", note="in the end")

    def _tell_single(self, found: Measured, floor: float) -> None:
        outcome, add = found.outcome, self._told.add
        add("single", outcome.rate, "events/s", note=f"worst {outcome.max_ms:.0f} ms")
        add("single, of the floor", outcome.rate / floor, "times", report.RATIO)
        add("single, p50", outcome.p50_ms, "ms")
        add("single, p99", outcome.p99_ms, "ms")
        self._costs("single", found, outcome.requests)
        self._refused("single", outcome)

    def _tell_bundled(self, found: Measured) -> None:
        outcome, add = found.outcome, self._told.add
        rate, wrong = outcome.marks / outcome.seconds, outcome.unmarked
        add("bundled", rate, "events/s", report.BUNDLED, note=f"worst {outcome.max_ms:.0f} ms")
        add("bundle, p50", outcome.p50_ms, "ms")
        add("bundle, p99", outcome.p99_ms, "ms")
        self._costs("bundled", found, outcome.marks)
        if wrong:
            add("bundles without a 201", wrong, "", report.NONE)
        self._refused("bundle", outcome, good="200")

    def _load(self, kind: Kind, process: Child, address: Address) -> Measured:
        """Warm up, then measure."""
        connections = _CONNECTIONS if kind == "single" else _BUNDLE_CONNECTIONS
        most = _SINGLES_PER_SECOND if kind == "single" else _BUNDLED_PER_SECOND
        warm = min(self._seconds * _WARM_SHARE, _WARM_SECONDS_MAX)
        for seconds in (warm, self._seconds):
            count = max(min(int(most * seconds), WINDOW_EVENTS_MAX), BUNDLE_ENTRIES)
            job = self._stream.job(
                kind, address, seconds=seconds, connections=connections, count=count
            )
            found = generator.run(job, server=process)
        return found

    def _costs(self, name: str, found: Measured, events: int) -> None:
        each = _each(found.cpu_seconds, events)
        self._told.add(f"{name}, CPU of the server", each, "us/event")
        share = 100 * self._integrity / each if each else 0.0
        self._told.add(f"{name}, integrity's share of it", share, "%", report.INTEGRITY)
        others = found.others_seconds / found.outcome.seconds
        self._told.add(f"{name}, cores taken by others", others, "", note="else it means less")

    def _refused(self, name: str, outcome: Outcome, *, good: str = "201") -> None:
        """Tell what was not answered as it should be: figures with such answers mean nothing."""
        wrong = outcome.lost + outcome.requests - outcome.statuses.get(good, 0)
        if wrong:
            note = ", ".join(f"{count} x {status}" for status, count in outcome.statuses.items())
            self._told.add(f"{name}, wrong or no answers", wrong, "", report.NONE, note)

    def evidence(self, folder: Path, filled: Filled) -> None:
        """Measure proofs, offline verification, and how soon a checkpoint covers a post."""
        self._say("proofs and receipts")
        found = evidence.rates(folder)
        add = self._told.add
        add("proofs made", found.proved, "a second", report.PROOFS)
        add("proofs checked", found.checked, "a second")
        add("evidence bundle, verified", found.bundled, "events/s", report.OFFLINE)
        count = max(2, int(self._seconds * _RECEIPTS_PER_SECOND))
        bodies = list(stream(filled, start=0, count=min(count, filled.events)))
        waits = evidence.waits(bodies)
        add("post to covering checkpoint, p99", waits.signed_p99, "ms", report.SIGNED)
        add("post to cosigned checkpoint, p99", waits.cosigned_p99, "ms", report.COSIGNED)

    def verification(self, events: int, stack: ExitStack) -> None:
        """Measure `verify` on a smaller log, as every event costs the same."""
        self._say(f"verifying a log of {events} events")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="caretrail-")))
        fill(folder, events=events, say=lambda _: None)
        begun = time.monotonic()
        found = verify(LogPlace(folder))
        taken = time.monotonic() - begun
        self._told.add("verify", events / taken, "events/s")
        self._told.add("verify, findings", len(found.findings), "", report.NONE)


def _each(seconds: float, count: int) -> float:
    return seconds / max(count, 1) * 1e6
