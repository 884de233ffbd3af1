"""The names of tenants, each of which has a log of its own behind the same port (DESIGN, decision 8)."""

from __future__ import annotations

import re
from typing import Final

from caretrail.errors import ConfigurationError

# Where their logs are, in the data folder and in addresses.
FOLDER: Final = "t"
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")


def names(listed: str) -> tuple[str, ...]:
    """Return the names in a list with commas, each once."""
    return tuple(dict.fromkeys(one.strip() for one in listed.split(",") if one.strip()))


def check(listed: str) -> None:
    """Raise ConfigurationError for a name that is no part of an address and of a path."""
    if not all(map(_NAME.fullmatch, names(listed))):
        raise ConfigurationError(
            "--tenants are names of small letters, digits and hyphens, at most 40 of them"
        )


def path(name: str) -> str:
    """Return where the addresses of a tenant's log begin; of "" all of them do."""
    return f"/{FOLDER}/{name}"
