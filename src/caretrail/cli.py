"""The commands. A command is one function here; what it does stands elsewhere."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from caretrail import __version__, keeping
from caretrail.accounts import accounts
from caretrail.errors import ConfigurationError, Error
from caretrail.keeping import bar, say
from caretrail.options import OPENING, with_settings
from caretrail.settings import WITNESS_PREFIX, GatewaySettings, Settings, WitnessSettings

commands: Final = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__
)
commands.registered_commands += keeping.commands.registered_commands
_problems: Final = Console(stderr=True, highlight=False, soft_wrap=True)

commands.add_typer(accounts, name="access")

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


@commands.command()
def version() -> None:
    """Print the version."""
    print(__version__)


@commands.command()
@with_settings()
def serve(settings: Settings) -> None:
    """Run the Audit Record Repository, on one data folder."""
    from caretrail import app

    app.run(settings, on_ready=_announce)


async def _announce(server: Any, address: str) -> None:
    say(address)
    if server.secret is None:
        say("Everybody may read and write (--insecure-no-auth). Try:")
        say(f"  curl '{address}/fhir/AuditEvent?_count=1'")
        return
    path = server.settings.folder / "token"
    say(f"The bearer token is in {path}. Try:")
    say(f"  curl -H \"Authorization: Bearer $(cat {path})\" '{address}/fhir/AuditEvent?_count=1'")
    link = await server.authorization.set_up_link() if server.authorization is not None else None
    if link is not None:
        say("Nobody can sign in yet. This link sets up the administrator, once, within a day:")
        say(f"  {link}")


@commands.command()
@with_settings(of=GatewaySettings)
def gateway(settings: GatewaySettings) -> None:
    """Audit any FHIR server: a proxy in front of it, whose events go to a repository."""
    from caretrail import gateway as process

    process.run(settings, on_ready=say)


@commands.command()
@with_settings(*OPENING, "producer", "organisation")
def load(
    settings: Settings,
    files: Files,
    skip: Annotated[int, typer.Option(help="Go on after this line or entry of the file.")] = 0,
    provider: Annotated[
        str,
        typer.Option(
            "--from", help="The files are an identity provider's: keycloak, auth0, okta or entra."
        ),
    ] = "",
) -> None:
    """Load events from NDJSON files, Bundles, single resources or a provider's log."""
    from caretrail.commands.load import load_files

    if skip and len(files) > 1:
        raise ConfigurationError("--skip goes with one file")
    with bar() as shown:
        work = load_files(
            settings, files, skip=skip, provider=provider, bar=shown, say=_problems.print
        )
        sys.exit(asyncio.run(work))


@commands.command()
@with_settings(*OPENING, "timestamp_url", "timestamp_certificates", "worm_folder")
def export(
    settings: Settings,
    out: Annotated[
        Path | None,
        typer.Argument(
            help="The file to write: NDJSON, or what .csv or .parquet says; .gz packs it."
        ),
    ] = None,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Write an evidence bundle instead.")
    ] = False,
    query: Annotated[
        str, typer.Option(help="A search, such as 'patient=Patient/1&date=ge2026'.")
    ] = "",
    subject: Annotated[
        list[str] | None,
        typer.Option(help="Evidence that is complete about a Type/id or system|value; repeatable."),
    ] = None,
    start: Annotated[int | None, typer.Option(help="Evidence from this entry on.")] = None,
    end: Annotated[int | None, typer.Option(help="Evidence up to before this entry.")] = None,
    after: Annotated[
        int | None, typer.Option(help="Go on after this entry, at the end of the file.")
    ] = None,
    tiles: Annotated[
        Path | None,
        typer.Option(help="Write the signed tree into this folder instead, as static files."),
    ] = None,
    entries: Annotated[
        bool, typer.Option("--entries", help="With --tiles: the entries of the log as well.")
    ] = False,
    server: Annotated[
        str, typer.Option(help="Have the running server at this address make the export.")
    ] = "",
    token_file: Annotated[
        Path | None, typer.Option(help="The file of that server's bearer token.")
    ] = None,
) -> None:
    """Export events as evidence, as NDJSON or as a table, or the tree as static tiles."""
    from caretrail.commands.export import Export, export_log, fetch_export

    wanted = Export(out, evidence, query, subject or (), start, end, after, tiles, entries)
    if server or token_file:
        sys.exit(fetch_export(server, token_file, wanted, say=_problems.print))
    with bar() as shown:
        sys.exit(asyncio.run(export_log(settings, wanted, bar=shown, say=_problems.print)))


@commands.command()
def check(
    files: Files,
    mend: Annotated[bool, typer.Option("--mend", help="Print a mended version instead.")] = False,
) -> None:
    """Tell which profiles events meet, what is missing, and how to mend them."""
    from caretrail.commands.check import check_files

    sys.exit(check_files(files, mend=mend, say=say))


@commands.command()
def verify(
    target: Annotated[
        str,
        typer.Argument(
            help="A data folder (it may be in use), the URL of a store, an evidence bundle, or the"
            " address of a log."
        ),
    ],
    data: Annotated[
        Path, typer.Option(help="With the URL of a store: the server's data folder.")
    ] = Path("caretrail-data"),
    policy: Annotated[
        Path | None, typer.Option(help="A C2SP tlog-policy file: the keys that you trust.")
    ] = None,
    tsa: Annotated[
        Path | None,
        typer.Option(
            help="Time stamps of a bundle or a write-once folder: certificates of authorities that"
            " you trust (PEM)."
        ),
    ] = None,
    worm_folder: Annotated[
        Path | None,
        typer.Option(help="A folder's write-once folder of checkpoints and time stamps."),
    ] = None,
    checkpoint_store: Annotated[
        Path | None,
        typer.Option(help="A folder's checkpoint store (default: beside it, if it is there)."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(help="A file that remembers what an address has shown; made when absent."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the bearer token for an address.")
    ] = None,
    entries: Annotated[
        bool, typer.Option("--entries", help="Read an address's entries, too.")
    ] = False,
    listed: Annotated[
        bool, typer.Option("--list", help="Name every redacted entry of a folder.")
    ] = False,
    machine: Annotated[bool, typer.Option("--json", help="Report for machines.")] = False,
) -> None:
    """Check a log or a bundle. Exit code 0 only if everything holds."""
    from caretrail.commands.verify import Looking, verify_target

    with bar() as shown:
        task = shown.add_task("entries", total=None)
        looking = Looking(
            data=data,
            policy=policy,
            worm=worm_folder,
            tsa=tsa,
            store=checkpoint_store,
            memory=state,
            token=token_file,
            entries=entries,
            listed=listed,
            json=machine,
            progress=lambda done, total: shown.update(task, completed=done, total=total),
        )
        lines, holds = verify_target(target, looking)
    for line in lines:
        say(line)
    sys.exit(0 if holds else 1)


@commands.command()
@with_settings(of=WitnessSettings)
def witness(
    settings: WitnessSettings,
    log: Annotated[
        list[str] | None, typer.Option(help="The verifier key of a log to cosign; repeatable.")
    ] = None,
) -> None:
    """Run a witness: it cosigns a log's checkpoints as long as each continues the last."""
    from caretrail.witness import server

    passphrase = os.environ.get(f"{WITNESS_PREFIX}PASSPHRASE", "").encode()
    server.run(settings, log or [], passphrase=passphrase or None, say=say)


@commands.command()
@with_settings("data", "port", data="caretrail-demo")
def demo(
    settings: Settings,
    events: Annotated[int, typer.Option(help="How many events the hospital has.")] = 100_000,
    seed: Annotated[int, typer.Option(help="The same seed makes the same hospital.")] = 7,
) -> None:
    """Run the repository with a synthetic hospital in it, and labelled incidents to find."""
    from caretrail import app
    from caretrail.commands.demo import Hospital, has_clinic

    hospital = Hospital(events=events, seed=seed, say=say)
    here = replace(settings, port=_free(settings.port), clinic=has_clinic())
    app.run(here, on_ready=hospital.move_in)


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
    gateway_alone: Annotated[
        bool, typer.Option("--gateway", help="Measure what a gateway adds, and nothing else.")
    ] = False,
) -> None:
    """Measure ingest, search and verification beside the floor of the same machine."""
    from caretrail.bench import run as run_bench
    from caretrail.bench.gateway import measure

    if gateway_alone:
        for line in measure(seconds=seconds):
            say(line)
        return
    run_bench(events=events, seconds=seconds, folder=folder, output=output, say=say)
