"""The same load against CareTrail and any FHIR servers, in turns: rates, and ratios to the floor.

    python benchmarks/peers/compare.py --peer hapi=http://127.0.0.1:8090/fhir --medplum

Each round measures every contestant for some seconds, one after the other, so that what else the
machine does falls on all of them; the medians of the rounds are compared. A peer that refuses an
event is said to. What an answer of a peer promises (durable, searchable, validated) no rate tells:
`README.md` beside this file says what is known of some.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from caretrail import clock
from caretrail.bench import children, generator, machine
from caretrail.bench.children import Address
from caretrail.bench.generator import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caretrail.bench.children import Child
    from caretrail.bench.generator import Kind

HERE: Final = Path(__file__).parent
FLOOR, OURS, MEDPLUM = "floor", "caretrail", "medplum"
_CONNECTIONS: Final[dict[Kind, int]] = {"single": 64, "bundle": 4}
_PER_SECOND: Final[dict[Kind, int]] = {"single": 20_000, "bundle": 40_000}


class Contestant(NamedTuple):
    """A FHIR server: where it is, and the process to ask for its processor time, if it is ours."""

    name: str
    host: str
    base: str
    address: Address
    child: Child | None = None


class Result(NamedTuple):
    """Events a second that were taken, the p99 of an answer, CPU an event, and answers but 201."""

    rate: float
    p99_ms: float
    cpu_us: float
    refused: int


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    options = _parser().parse_args(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="caretrail-")))
        for line in machine.describe(folder).lines():
            print(line)
        contestants = [
            _ours(FLOOR, *stack.enter_context(children.floor())),
            _ours(OURS, *stack.enter_context(children.server(folder / "log"))),
        ]
        if options.medplum:
            contestants.append(_ours(MEDPLUM, *stack.enter_context(medplum(folder / "node"))))
        contestants += [_peer(one, dict(options.token)) for one in options.peer]
        kinds: list[Kind] = ["single", "bundle"]
        for kind in kinds:
            results = _rounds(contestants, kind, rounds=options.rounds, seconds=options.seconds)
            print("\n".join(_table(kind, results)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--peer", action="append", default=[], type=_pair, metavar="NAME=URL")
    parser.add_argument("--token", action="append", default=[], type=_pair, metavar="NAME=FILE")
    parser.add_argument(
        "--medplum", action="store_true", help="start Medplum's router in memory (needs npm)"
    )
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    return parser


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _ours(name: str, child: Child, address: Address) -> Contestant:
    return Contestant(name, "127.0.0.1", "/fhir", address, child)


def _peer(peer: tuple[str, str], tokens: dict[str, str]) -> Contestant:
    name, url = peer
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        raise SystemExit(
            f"{name}: {url} is no http:// address; put a server with TLS behind a proxy"
        )
    token = Path(tokens[name]).read_text(encoding="ascii").strip() if name in tokens else ""
    return Contestant(
        name, parts.hostname, parts.path.rstrip("/"), Address(parts.port or 80, token)
    )


@contextmanager
def medplum(folder: Path) -> Iterator[tuple[Child, Address]]:
    """Run Medplum's router over its repository in memory."""
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("--medplum needs npm, which is not installed")
    folder.mkdir()
    for name in ("package.json", "package-lock.json", "medplum.mjs"):
        shutil.copy(HERE / name, folder)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    code = "import os, sys; os.execvp('node', ['node', sys.argv[1]])"
    with children.child(code, str(folder / "medplum.mjs")) as started:
        yield started, Address(int(started.read()))


def _rounds(
    contestants: list[Contestant], kind: Kind, *, rounds: int, seconds: float
) -> dict[str, Result]:
    now = clock.milliseconds()
    streams = {one.name: Stream(seed=now, end_milliseconds=now) for one in contestants}
    found: dict[str, list[Result]] = {one.name: [] for one in contestants}
    for number in range(rounds + 1):  # The first one warms up, and does not count.
        for one in contestants:
            result = _measured(one, streams[one.name], kind, seconds=seconds)
            if number:
                found[one.name].append(result)
    return {name: _median(results) for name, results in found.items()}


def _measured(one: Contestant, stream: Stream, kind: Kind, *, seconds: float) -> Result:
    job = stream.job(
        kind,
        one.address,
        seconds=seconds,
        connections=_CONNECTIONS[kind],
        count=int(_PER_SECOND[kind] * seconds),
    )
    # The floor keeps nothing, so that it may get the same again.
    job = msgspec.structs.replace(job, host=one.host, base=one.base, repeat=one.name == FLOOR)
    measured = generator.run(job, server=one.child)
    outcome = measured.outcome
    taken = outcome.requests * generator.BUNDLE_ENTRIES if kind == "bundle" else outcome.requests
    refused = sum(n for status, n in outcome.statuses.items() if status not in ("200", "201"))
    if kind == "bundle" and one.name != FLOOR:
        refused = taken - outcome.marks
        taken = outcome.marks
    elif kind == "single":
        taken -= refused
    cpu = measured.cpu_seconds / taken * 1e6 if taken else 0.0
    return Result(taken / outcome.seconds, outcome.p99_ms, cpu, refused + outcome.lost)


def _median(results: list[Result]) -> Result:
    rates, p99s, cpus, refused = zip(*results, strict=True)
    middle = statistics.median
    return Result(middle(rates), middle(p99s), middle(cpus), sum(refused))


def _table(kind: Kind, results: dict[str, Result]) -> list[str]:
    """Return the lines of one table; CPU is that of a server's own processes, where known."""
    head = f"{kind:<12}{'events/s':>10}{'of floor':>10}{'of ours':>9}{'p99 ms':>8}{'CPU us':>8}"
    lines = ["", head]
    floor, ours = results[FLOOR].rate, results[OURS].rate
    for name, one in results.items():
        cpu = f"{one.cpu_us:8.0f}" if one.cpu_us else f"{'-':>8}"
        line = f"{name:<12}{one.rate:10.0f}{_share(one.rate, floor)}{_share(one.rate, ours)[1:]}"
        line += f"{one.p99_ms:8.1f}{cpu}"
        lines.append(line + (f"  {one.refused} not taken" if one.refused else ""))
    return lines


def _share(rate: float, of: float) -> str:
    return f"{rate / of:10.3f}" if of else f"{'-':>10}"


if __name__ == "__main__":
    main()
