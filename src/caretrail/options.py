"""Options of commands out of the table of settings: a setting is one row there, and a flag here."""

from __future__ import annotations

import inspect
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from caretrail import config
from caretrail.settings import AnySettings, GatewaySettings, Settings, WitnessSettings

if TYPE_CHECKING:
    from collections.abc import Callable


_KEYWORD: Final = inspect.Parameter.KEYWORD_ONLY
_LOADERS: Final[dict[type[AnySettings], Callable[..., AnySettings]]] = {
    Settings: config.load,
    GatewaySettings: config.load_gateway,
    WitnessSettings: config.load_witness,
}
# What a command needs that opens a log to write to it.
OPENING: Final = (
    "data",
    "store",
    "checkpoint_store",
    "accept_new_checkpoint_store",
    "signing_key",
    "signing_passphrase_file",
    "signing_command",
    "signing_command_key",
    "sign_ml_dsa",
    "witness_policy",
    "data_keys",
    "two_person_approval",
)


def with_settings(
    *names: str, of: type[AnySettings] = Settings, **defaults: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each of these settings (for all without any), and `--config`.

    The command gets them as `settings`. `defaults` stand where nobody else says anything.
    """
    load = _LOADERS[of]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        others = [row for row in signature.parameters.values() if row.name != "settings"]
        chosen = names or tuple(row.name for row in fields(of))

        def run(**given: Any) -> None:
            flags = {name: given.pop(name) for name in chosen}
            settings = load(
                flags, environment=os.environ, file=given.pop("file"), defaults=defaults
            )
            command(settings, **given)

        rows = [row.replace(kind=_KEYWORD) for row in others] + [
            _option(name, of) for name in chosen
        ]
        rows.append(
            inspect.Parameter(
                "file",
                _KEYWORD,
                default=None,
                annotation=Annotated[
                    Path | None, typer.Option("--config", help="A TOML file of settings.")
                ],
            )
        )
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = inspect.Signature(rows)  # type: ignore[attr-defined]
        run.__annotations__ = {row.name: row.annotation for row in rows}
        return run

    return decorate


def _option(name: str, of: type[AnySettings]) -> inspect.Parameter:
    kind = config.type_of(name, of)
    text = config.help_of(name, of)
    flag = f"--{name.replace('_', '-')}"
    if config.default_of(name, of) is True:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    option = typer.Option(flag, help=text) if kind is bool else typer.Option(help=text)
    return inspect.Parameter(
        name, _KEYWORD, default=None, annotation=Annotated[kind | None, option]
    )
