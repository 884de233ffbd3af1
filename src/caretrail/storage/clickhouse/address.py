"""Where a log on ClickHouse is, as a URL says it.

`clickhouse://host:8123,host:8123/database?log=main&zookeeper=host:2181` names every server of the
cluster by its HTTP port, since each block is written straight to the shard that keeps it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from caretrail.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEME: Final = "clickhouse"
_PORT: Final = 8123
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}", re.ASCII)
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?", re.ASCII)
_OPTIONS: Final = frozenset(["log", "zookeeper", "cluster", "password_file", "tls"])


class Address(NamedTuple):
    """The servers as `host:port`, and which database, log and cluster of theirs are meant."""

    hosts: tuple[str, ...]
    database: str
    log: str
    cluster: str
    zookeeper: str
    user: str
    password_file: Path | None
    tls: bool

    @classmethod
    def parse(cls, url: str) -> Self:
        """Parse a URL; raises ConfigurationError that says what is wrong with it."""
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        user, _, listed = parts.netloc.rpartition("@")
        hosts = tuple(_with_port(one) for one in listed.split(","))
        database = _name(unquote(parts.path.removeprefix("/")), "the database")
        if unknown := options.keys() - _OPTIONS:
            raise ConfigurationError(f"--store has an option that is not known: {min(unknown)}")
        if ":" in user:
            raise ConfigurationError(
                "--store must not hold a password: name a file by `password_file=`"
            )
        zookeeper = options.get("zookeeper", "")
        if not all(_HOST.fullmatch(one) for one in zookeeper.split(",")):
            raise ConfigurationError("--store needs `zookeeper=host:port`, as the servers have it")
        return cls(
            hosts,
            database,
            _name(options.get("log", "main"), "`log=`"),
            _name(options.get("cluster", "caretrail"), "`cluster=`"),
            zookeeper,
            unquote(user) or "default",
            Path(options["password_file"]) if options.get("password_file") else None,
            _flag(options, "tls"),
        )

    def password(self) -> str:
        """Return what the password file has, "" without one."""
        if self.password_file is None:
            return ""
        try:
            return self.password_file.read_text().strip()
        except OSError as error:
            raise ConfigurationError(
                f"the password file of --store cannot be read ({error.strerror})"
            ) from error


def _with_port(host: str) -> str:
    if not _HOST.fullmatch(host):
        raise ConfigurationError("--store needs the servers as host:port, with commas between them")
    return host if re.search(r":[0-9]+\Z", host) else f"{host}:{_PORT}"


def _name(text: str, what: str) -> str:
    if not _NAME.fullmatch(text):
        raise ConfigurationError(
            f"{what} of --store is not a name of small letters, digits, hyphens and underscores"
        )
    return text


def _flag(options: Mapping[str, str], name: str) -> bool:
    value = options.get(name, "0")
    if value not in ("0", "1"):
        raise ConfigurationError(f"`{name}=` of --store is 0 or 1")
    return value == "1"
