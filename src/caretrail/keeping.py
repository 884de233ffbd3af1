"""The commands of those who keep a log: erasing, holds, keys, and the second person's approval."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from caretrail.errors import ConfigurationError
from caretrail.options import OPENING, with_settings
from caretrail.settings import Settings, told

commands: Final = typer.Typer()


def bar() -> Progress:
    """Return a bar on the error stream that shows how far a long command is."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )


def say(line: str) -> None:
    """Print a line now, whole: others read it from a pipe."""
    print(line, flush=True)


Policy = Annotated[str, typer.Option(help="The policy or legal basis.")]
Requester = Annotated[str, typer.Option(help="Who asked for it.")]
Name = Annotated[
    str, typer.Option("--as", help="Your name (default: that of your account on this machine).")
]
Approver = Annotated[str, typer.Option(help="Who approved it, a second person.")]


@commands.command()
@with_settings(*OPENING)
def redact(
    settings: Settings,
    events: Annotated[list[str], typer.Argument(help="Ids of events.")],
    policy: Policy,
    requester: Requester,
    approver: Approver = "",
    name: Name = "",
) -> None:
    """Erase the contents of events; their leaves and every proof stay. The server is stopped."""
    from caretrail import custody
    from caretrail.privacy.erasing import Order

    order = Order(policy, requester, approver)
    asyncio.run(custody.redact(settings, events, order, custody.person(name), say))


@commands.command()
@with_settings(*OPENING)
def retain(
    settings: Settings,
    before: Annotated[str, typer.Option(help="An instant; what was recorded before goes.")],
    policy: Policy,
    requester: Requester,
    approver: Approver = "",
    name: Name = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
) -> None:
    """Erase the contents of events past their retention, but those under a hold."""
    from caretrail import custody
    from caretrail.privacy.erasing import Order

    order = Order(policy, requester, approver)
    with bar() as shown:
        task = shown.add_task("events", total=None)
        asyncio.run(
            custody.retain(
                settings,
                before,
                order,
                custody.person(name),
                only_count=dry_run,
                progress=lambda done, total: shown.update(task, completed=done, total=total),
                say=say,
            )
        )


@commands.command()
@with_settings(*OPENING)
def shred(
    settings: Settings,
    month: Annotated[str, typer.Argument(help="A month of receipt, yyyy-mm.")],
    policy: Policy,
    requester: Requester,
    approver: Approver = "",
    name: Name = "",
) -> None:
    """Erase all that was received in a month, in backups too: its data key is destroyed."""
    from caretrail import custody
    from caretrail.privacy.erasing import Order

    order = Order(policy, requester, approver)
    asyncio.run(custody.shred(settings, month, order, custody.person(name), say))


@commands.command()
@with_settings(*OPENING)
def hold(
    settings: Settings,
    query: Annotated[str, typer.Option(help="A search: what it finds is held.")] = "",
    lift: Annotated[int, typer.Option(help="End the hold with this number.")] = 0,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    name: Name = "",
) -> None:
    """Place a legal hold on what a search finds, end one, or list those in force."""
    from caretrail import custody

    if query and lift:
        raise ConfigurationError("either --query or --lift")
    if lift:
        asyncio.run(custody.lift_hold(settings, lift, reason, custody.person(name), say))
    elif query:
        asyncio.run(custody.place_hold(settings, query, reason, say))
    else:
        asyncio.run(custody.list_holds(settings, say))


@commands.command()
@with_settings(*OPENING)
def recover(settings: Settings) -> None:
    """Let a log that was restored from a copy go on, under another name and with another key."""
    from caretrail import custody

    asyncio.run(custody.recover(settings, say))


@commands.command("rotate-key")
@with_settings(*OPENING)
def rotate_key(
    settings: Settings,
    to: Annotated[Path, typer.Option(help="The file of the new key; made where there is none.")],
    name: Name = "",
) -> None:
    """Let another key sign from now on; the log says so, and the old key signs that last."""
    from caretrail import custody

    asyncio.run(custody.rotate_key(settings, to, custody.person(name), say))


@commands.command()
@with_settings(*OPENING)
def approve(
    settings: Settings,
    request: Annotated[
        str, typer.Argument(help="The id of what another person asked for; none lists what waits.")
    ] = "",
    name: Name = "",
) -> None:
    """Approve, as the second person, an erasure, the end of a hold or another key."""
    from caretrail import custody

    asyncio.run(custody.approve(settings, request, custody.person(name), say))


@commands.command()
@with_settings("data_keys")
def migrate(
    settings: Settings,
    source: Annotated[str, typer.Option("--from", help="The store of the log, as a URL.")],
    target: Annotated[str, typer.Option("--to", help="An empty store, as a URL.")],
) -> None:
    """Move a log to another store, with its tree; run again, it goes on where it was broken off."""
    from caretrail.commands.migrate import migrate as move
    from caretrail.storage.contract import LogPlace

    old, new = Settings(store=source), Settings(store=target)
    with bar() as shown:
        task = shown.add_task("migrate", total=None)
        work = move(
            LogPlace(old.folder, old.store),
            LogPlace(new.folder, new.store, settings.data_keys),
            name=told(new, "store"),
            progress=lambda done, total: shown.update(task, completed=done, total=total),
            say=say,
        )
        sys.exit(asyncio.run(work))
