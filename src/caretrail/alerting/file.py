"""The file of alerts: who is told, and from when on, in TOML. It names files of secrets alone."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec

from caretrail import outgoing
from caretrail.alerting.channels import Channel, Mail, SignedHook
from caretrail.alerting.kinds import BY_CODE
from caretrail.alerting.state import Limits
from caretrail.errors import ConfigurationError
from caretrail.feeding.receivers import webhook
from caretrail.feeding.receivers.over_http import Http
from caretrail.outgoing import OPERATORS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Secret = Callable[[Path], str]

_HTTP: Final = {"https": 443, "http": 80}
_PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class _Row(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    pass


class _Mail(_Row, frozen=True, kw_only=True):
    host: str
    sender: str
    to: tuple[str, ...]
    port: int = 0
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password_file: str = ""
    ca_file: str = ""


class _Webhook(_Row, frozen=True, kw_only=True):
    address: str
    secret_file: str
    ca_file: str = ""


class Expected(_Row, frozen=True, kw_only=True):
    """A source that has to send something within so many minutes."""

    producer: str
    minutes: float
    organisation: str = "*"
    tenant: str = ""


class _File(_Row, frozen=True, kw_only=True):
    link: str = ""
    seconds: float = 30.0
    without: tuple[str, ...] = ()
    limits: Limits = Limits()
    mail: tuple[_Mail, ...] = ()
    webhook: tuple[_Webhook, ...] = ()
    source: tuple[Expected, ...] = ()


MEMBERS: Final = {
    "(top)": tuple(n for n in _File.__struct_fields__ if n in ("link", "seconds", "without")),
    "[limits]": Limits.__struct_fields__,
    "[[mail]]": _Mail.__struct_fields__,
    "[[webhook]]": _Webhook.__struct_fields__,
    "[[source]]": Expected.__struct_fields__,
}


class Rules(NamedTuple):
    """What is looked at every so many seconds, and who is told, by which channel's name.

    `link` is where people go on from a message; `without` are kinds that are switched off.
    """

    channels: dict[str, Channel]
    limits: Limits
    sources: tuple[Expected, ...]
    link: str
    seconds: float
    without: frozenset[str]


def read(text: str, *, folder: Path, secret: Secret, tenant: str = "") -> Rules:
    """Return the rules for a tenant's log, "" for the default one; raise ConfigurationError.

    All logs tell the same people, and each has its own sources. Call it in the event loop that will use them.
    """
    try:
        found = msgspec.convert(tomllib.loads(text), _File, strict=False)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"the file of alerts: {error}") from error
    if not (found.mail or found.webhook):
        raise ConfigurationError("the file of alerts names nobody: add a mail or a webhook")
    if not set(found.without) <= BY_CODE.keys():
        raise ConfigurationError(f"the kinds of alerts are {', '.join(BY_CODE)}")
    if found.seconds <= 0:
        raise ConfigurationError("the file of alerts: `seconds` is more than 0")
    channels: dict[str, Channel] = {
        f"mail-{number}": _mail(row, folder, secret) for number, row in enumerate(found.mail, 1)
    }
    channels |= {
        f"webhook-{number}": _webhook(row, folder, secret)
        for number, row in enumerate(found.webhook, 1)
    }
    return Rules(
        channels,
        found.limits,
        tuple(one for one in found.source if one.tenant == tenant),
        found.link,
        found.seconds,
        frozenset(found.without),
    )


def _mail(row: _Mail, folder: Path, secret: Secret) -> Channel:
    if row.security == "none" and row.host not in _LOOPBACK:
        raise ConfigurationError("mail without encryption goes to loopback only")
    texts = (row.sender, *row.to)
    if not row.to or not all("@" in one and one.isprintable() for one in texts):
        raise ConfigurationError("a mail has a sender, and somebody to go to")
    if bool(row.user) != bool(row.password_file):
        raise ConfigurationError("a mail's user and password_file go together")
    where = folder / row.password_file
    return Mail(
        row.host,
        row.port or _PORTS[row.security],
        row.security,
        outgoing.tls_context(folder / row.ca_file if row.ca_file else None),
        sender=row.sender,
        to=row.to,
        user=row.user,
        password=(lambda: secret(where)) if row.password_file else str,
    )


def _webhook(row: _Webhook, folder: Path, secret: Secret) -> Channel:
    address = outgoing.address_of(row.address, schemes=_HTTP, plain=frozenset(["http"]))
    tls = outgoing.tls_context(folder / row.ca_file if row.ca_file else None)
    where = folder / row.secret_file
    webhook.key_of(secret(where))
    return SignedHook(Http(address.url, OPERATORS, tls), lambda: webhook.key_of(secret(where)))
