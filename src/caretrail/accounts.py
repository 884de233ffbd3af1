"""The commands `caretrail access ...`: users, clients and keys of the authorization server."""

from __future__ import annotations

import asyncio
from pathlib import Path  # noqa: TC003  (options are read from annotations)
from typing import Annotated, Any, Final

import typer

from caretrail import config, os_account
from caretrail.options import OPENING, with_settings
from caretrail.settings import Settings  # noqa: TC001  (as above)

accounts: Final = typer.Typer(
    no_args_is_help=True,
    help="Users, clients and keys of the authorization server; it may be running.",
)

# What says where the log is, and what links name.
_SETTINGS: Final = (*OPENING, "host", "port", "public_url")
Name = Annotated[str, typer.Argument(help="The user name.")]
ClientId = Annotated[str, typer.Argument(help="The id of the client.")]
Roles = Annotated[
    list[str] | None,
    typer.Option(
        "--role",
        help="source, auditor, privacy-officer, security-officer, administrator, patient,"
        " ombudsperson or external-auditor; repeatable.",
    ),
]


def _ask(settings: Settings, change: str, **given: Any) -> None:
    from caretrail.commands.access import ask

    asked = {"change": change, "by": os_account.current().name, **given}
    for line in asyncio.run(ask(settings, asked)):
        print(line, flush=True)


@accounts.command()
@with_settings(*_SETTINGS)
def users(settings: Settings) -> None:
    """List who can sign in."""
    _ask(settings, "users")


@accounts.command("add-user")
@with_settings(*_SETTINGS)
def add_user(
    settings: Settings,
    name: Name,
    display: Annotated[str, typer.Option(help="The person's name, as others see it.")],
    role: Roles = None,
    of: Annotated[str, typer.Option("--of", help="The organisation of the person.")] = "",
    fhir_user: Annotated[
        str, typer.Option(help="Who the person is in FHIR, such as Practitioner/7.")
    ] = "",
    patient: Annotated[str, typer.Option(help="The id of the Patient who the person is.")] = "",
) -> None:
    """Add a user, and print a link by which the person sets a password, once."""
    _ask(
        settings,
        "add-user",
        name=name,
        display=display,
        roles=role or [],
        organisation=of,
        fhir_user=fhir_user,
        patient=patient,
    )


@accounts.command("set-roles")
@with_settings(*_SETTINGS)
def set_roles(settings: Settings, name: Name, role: Roles = None) -> None:
    """Give a user these roles and no others; sessions and tokens of before end."""
    _ask(settings, "set-roles", name=name, roles=role or [])


@accounts.command("disable-user")
@with_settings(*_SETTINGS)
def disable_user(settings: Settings, name: Name) -> None:
    """Let a user sign in no more, and end all sessions and tokens."""
    _ask(settings, "switch-user", name=name, active=False)


@accounts.command("enable-user")
@with_settings(*_SETTINGS)
def enable_user(settings: Settings, name: Name) -> None:
    """Let a user sign in again, also one who is locked out."""
    _ask(settings, "switch-user", name=name, active=True)


@accounts.command("reset-user")
@with_settings(*_SETTINGS)
def reset_user(
    settings: Settings,
    name: Name,
    second_factor: Annotated[
        bool, typer.Option("--second-factor", help="Forget the second factor, too.")
    ] = False,
) -> None:
    """Forget a user's password, and print a link by which the person sets another one."""
    _ask(settings, "reset-user", name=name, second_factor=second_factor)


@accounts.command()
@with_settings(*_SETTINGS)
def clients(settings: Settings) -> None:
    """List the applications that are registered."""
    _ask(settings, "clients")


@accounts.command("add-client")
@with_settings(*_SETTINGS)
def add_client(
    settings: Settings,
    client_id: ClientId,
    name: Annotated[str, typer.Option(help="The application's name, as people see it.")],
    grant: Annotated[
        list[str],
        typer.Option(
            help="authorization_code, refresh_token, client_credentials, introspect (may ask about"
            " all tokens) or launch (may launch others); repeatable."
        ),
    ],
    method: Annotated[
        str,
        typer.Option(help="How it proves who it is: private_key_jwt, client_secret_basic or none."),
    ] = "private_key_jwt",
    keys: Annotated[
        Path | None, typer.Option(help="The file of its public keys, a JWK Set (RFC 7517).")
    ] = None,
    scope: Annotated[
        str, typer.Option(help="The scopes that it may have, such as 'system/AuditEvent.c'.")
    ] = "",
    redirect: Annotated[
        list[str] | None, typer.Option(help="An address that people are sent back to; repeatable.")
    ] = None,
    sign_out: Annotated[
        list[str] | None, typer.Option(help="An address for after the sign-out; repeatable.")
    ] = None,
    role: Roles = None,
    of: Annotated[str, typer.Option("--of", help="The organisation of the application.")] = "",
) -> None:
    """Register an application; a secret is printed once, and kept nowhere."""
    _ask(
        settings,
        "add-client",
        id=client_id,
        name=name,
        method=method,
        grants=grant,
        jwks=config.content(keys).decode("utf-8", "replace") if keys is not None else None,
        scope=scope,
        redirect_uris=redirect or [],
        logout_uris=sign_out or [],
        roles=role or [],
        organisation=of,
    )


@accounts.command("disable-client")
@with_settings(*_SETTINGS)
def disable_client(settings: Settings, client_id: ClientId) -> None:
    """Let an application get no more tokens, and end those that it has."""
    _ask(settings, "switch-client", id=client_id, active=False)


@accounts.command("enable-client")
@with_settings(*_SETTINGS)
def enable_client(settings: Settings, client_id: ClientId) -> None:
    """Let an application get tokens again."""
    _ask(settings, "switch-client", id=client_id, active=True)


@accounts.command("reset-client")
@with_settings(*_SETTINGS)
def reset_client(settings: Settings, client_id: ClientId) -> None:
    """Give an application another secret, and end the tokens that it has."""
    _ask(settings, "reset-client", id=client_id)


@accounts.command("rotate-keys")
@with_settings(*_SETTINGS)
def rotate_keys(settings: Settings) -> None:
    """Let another key sign tokens; the old one stays known until its tokens have expired."""
    _ask(settings, "rotate-keys")
