"""The commands. A command is one function here; what it does stands elsewhere."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from caretrail import __version__, config
from caretrail.errors import ConfigurationError, Error

if TYPE_CHECKING:
    from caretrail.config import Settings

commands: Final = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__
)
_problems: Final = Console(stderr=True, highlight=False, soft_wrap=True)

Data = Annotated[Path | None, typer.Option(help=config.help_of("data"))]
Store = Annotated[str | None, typer.Option(help=config.help_of("store"))]
Host = Annotated[str | None, typer.Option(help=config.help_of("host"))]
Port = Annotated[int | None, typer.Option(help=config.help_of("port"))]
NoAuth = Annotated[
    bool | None, typer.Option("--insecure-no-auth", help=config.help_of("insecure_no_auth"))
]
Files = Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, readable=True)]


def main() -> None:
    """Run a command; a mistake that the caller can mend is one line, and exit code 2."""
    try:
        commands()
    except ConfigurationError as error:
        _problems.print(f"caretrail: {error}")
        sys.exit(2)
    except Error as error:
        for issue in error.issues():
            _problems.print(f"caretrail: {issue.expression} {issue.diagnostics}".replace("  ", " "))
        sys.exit(1)


def _settings(file: Path | None = None, **flags: Any) -> Settings:
    return config.load(flags, environment=os.environ, file=file)


def _bar(*columns: Any) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *columns,
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )


@commands.command()
def version() -> None:
    """Print the version."""
    print(__version__)


@commands.command()
def serve(
    data: Data = None,
    store: Store = None,
    host: Host = None,
    port: Port = None,
    insecure_no_auth: NoAuth = None,
    public_url: Annotated[str | None, typer.Option(help=config.help_of("public_url"))] = None,
    require_date: Annotated[
        bool | None, typer.Option("--require-date", help=config.help_of("require_date"))
    ] = None,
    producer: Annotated[str | None, typer.Option(help=config.help_of("producer"))] = None,
    organisation: Annotated[str | None, typer.Option(help=config.help_of("organisation"))] = None,
    clinic: Annotated[bool | None, typer.Option("--clinic", help=config.help_of("clinic"))] = None,
    event_bytes_max: Annotated[
        int | None, typer.Option(help=config.help_of("event_bytes_max"))
    ] = None,
    bundle_entries_max: Annotated[
        int | None, typer.Option(help=config.help_of("bundle_entries_max"))
    ] = None,
    bundle_bytes_max: Annotated[
        int | None, typer.Option(help=config.help_of("bundle_bytes_max"))
    ] = None,
    log_level: Annotated[str | None, typer.Option(help=config.help_of("log_level"))] = None,
    file: Annotated[Path | None, typer.Option("--config", help="A TOML file of settings.")] = None,
) -> None:
    """Run the Audit Record Repository, everything in one process."""
    from caretrail import app

    settings = _settings(
        file,
        data=data,
        store=store,
        host=host,
        port=port,
        insecure_no_auth=insecure_no_auth,
        public_url=public_url,
        require_date=require_date,
        producer=producer,
        organisation=organisation,
        clinic=clinic,
        event_bytes_max=event_bytes_max,
        bundle_entries_max=bundle_entries_max,
        bundle_bytes_max=bundle_bytes_max,
        log_level=log_level,
    )
    app.run(settings, on_ready=_announce)


async def _announce(server: Any, address: str) -> None:
    _say(address)
    if server.secret is None:
        _say("Everybody may read and write (--insecure-no-auth). Try:")
        _say(f"  curl '{address}/fhir/AuditEvent?_count=1'")
        return
    path = server.settings.folder / "token"
    _say(f"The bearer token is in {path}. Try:")
    _say(f"  curl -H \"Authorization: Bearer $(cat {path})\" '{address}/fhir/AuditEvent?_count=1'")


def _say(line: str) -> None:
    """Print a line now, whole: others read it from a pipe."""
    print(line, flush=True)


@commands.command()
def load(
    files: Files,
    data: Data = None,
    store: Store = None,
    skip: Annotated[int, typer.Option(help="Go on after this line or entry of the file.")] = 0,
) -> None:
    """Load events from NDJSON files, Bundles or single resources into a data folder."""
    from caretrail.commands import load_files

    settings = _settings(data=data, store=store)
    if skip and len(files) > 1:
        raise ConfigurationError("--skip goes with one file")
    with _bar() as bar:
        sys.exit(asyncio.run(load_files(settings, files, skip=skip, bar=bar, say=_problems.print)))


@commands.command()
def check(
    files: Files,
    mend: Annotated[bool, typer.Option("--mend", help="Print a mended version instead.")] = False,
) -> None:
    """Tell which profiles events meet, what is missing, and how to mend them."""
    from caretrail.commands import check_files

    sys.exit(check_files(files, mend=mend, say=_say))


@commands.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="A data folder; it may be in use.")],
) -> None:
    """Check that a log is whole. Exit code 0 only if everything holds."""
    from caretrail.commands import verify_folder

    with _bar() as bar:
        task = bar.add_task("entries", total=None)
        lines, whole = verify_folder(
            folder, lambda done, total: bar.update(task, completed=done, total=total)
        )
    for line in lines:
        _say(line)
    sys.exit(0 if whole else 1)


@commands.command()
def demo(
    data: Data = None,
    port: Port = None,
    events: Annotated[int, typer.Option(help="How many events the hospital has.")] = 100_000,
    seed: Annotated[int, typer.Option(help="The same seed makes the same hospital.")] = 7,
) -> None:
    """Run the repository with a synthetic hospital in it, and labelled incidents to find."""
    from caretrail import app
    from caretrail.commands import Hospital, has_clinic

    settings = _settings(
        data=data or Path("caretrail-demo"), port=_free(port or 8080), clinic=has_clinic()
    )
    hospital = Hospital(events=events, seed=seed, say=_say)
    app.run(settings, on_ready=hospital.move_in)


def _free(port: int) -> int:
    """Return the port, or any when it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


@commands.command()
def bench(
    events: Annotated[
        int, typer.Option(help="Events in the log before the measuring.")
    ] = 1_000_000,
    seconds: Annotated[float, typer.Option(help="How long each rate is measured.")] = 10.0,
    folder: Annotated[Path | None, typer.Option("--data", help="Keep the log here.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the figures as JSON, too.")] = None,
) -> None:
    """Measure ingest, search and verification beside the floor of the same machine."""
    from caretrail.bench import run as run_bench

    run_bench(events=events, seconds=seconds, folder=folder, output=output, say=_say)
