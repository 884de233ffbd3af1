"""The settings: one row each, the same name as a flag, an environment variable and in a file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from caretrail import limits
from caretrail.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX: Final = "CARETRAIL_"
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set. A flag wins over the environment, and that over the file."""

    data: Path = field(
        default=Path("caretrail-data"), metadata={"help": "The data folder of the embedded store."}
    )
    store: str = field(
        default="",
        metadata={"help": "The store, as a URL: sqlite:///FOLDER (default: the data folder)."},
    )
    host: str = field(default="127.0.0.1", metadata={"help": "The address to listen on."})
    port: int = field(default=8080, metadata={"help": "The port to listen on; 0 takes a free one."})
    insecure_no_auth: bool = field(
        default=False,
        metadata={"help": "Let everybody in, without a credential. For trials, on loopback only."},
    )
    public_url: str = field(
        default="",
        metadata={
            "help": "The address of this server as clients see it, for links (behind a proxy)."
        },
    )
    require_date: bool = field(
        default=False, metadata={"help": "Refuse a search without a date, as strict ITI-81 does."}
    )
    producer: str = field(
        default="token",
        metadata={"help": "The name under which events of the built-in token are filed."},
    )
    organisation: str = field(
        default="",
        metadata={"help": "The organisation under which events of that token are filed."},
    )
    clinic: bool = field(
        default=False,
        metadata={
            "help": "Keep resources of all other types, too, and record what is done with them."
        },
    )
    event_bytes_max: int = field(
        default=limits.EVENT_BYTES_MAX, metadata={"help": "The largest event taken, in bytes."}
    )
    bundle_entries_max: int = field(
        default=limits.BUNDLE_ENTRIES_MAX, metadata={"help": "The most entries of a Bundle."}
    )
    bundle_bytes_max: int = field(
        default=limits.BUNDLE_BYTES_MAX, metadata={"help": "The largest Bundle taken, in bytes."}
    )
    log_level: str = field(
        default="info", metadata={"help": "What is logged: debug, info, warning or error."}
    )

    def __post_init__(self) -> None:
        """Refuse what cannot work, before anything is opened."""
        if self.insecure_no_auth and self.host not in LOOPBACK:
            raise ConfigurationError(
                "--insecure-no-auth works on loopback only: leave it out, or use --host 127.0.0.1"
            )
        if not 0 <= self.port <= 65_535:
            raise ConfigurationError("--port is a number from 0 to 65535")
        if self.store and not self.store.startswith("sqlite:///"):
            raise ConfigurationError("--store is sqlite:///FOLDER in this version")
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise ConfigurationError("--log-level is debug, info, warning or error")
        bounds = (self.event_bytes_max, self.bundle_entries_max, self.bundle_bytes_max)
        if min(bounds) < 1 or self.event_bytes_max > limits.EVENT_BYTES_MAX:
            raise ConfigurationError(f"an event may have 1 to {limits.EVENT_BYTES_MAX} bytes")
        if (
            self.bundle_entries_max > limits.COMMIT_ENTRIES_MAX
            or self.bundle_bytes_max > limits.COMMIT_BYTES_MAX
        ):
            raise ConfigurationError(
                f"a Bundle is one commit: at most {limits.COMMIT_ENTRIES_MAX} entries and"
                f" {limits.COMMIT_BYTES_MAX} bytes"
            )

    @property
    def folder(self) -> Path:
        """Return the data folder, whichever setting names it."""
        return Path(self.store.removeprefix("sqlite:///")) if self.store else self.data


def load(
    flags: Mapping[str, Any], *, environment: Mapping[str, str], file: Path | None = None
) -> Settings:
    """Return the settings; a flag that is None was not given. Raises ConfigurationError."""
    found = _from_file(file or _named(environment)) | _from_environment(environment)
    found |= {name: value for name, value in flags.items() if value is not None}
    return Settings(**{name: _converted(name, value) for name, value in found.items()})


_DEFAULTS: Final = {row.name: row.default for row in fields(Settings)}


def _named(environment: Mapping[str, str]) -> Path | None:
    name = environment.get(PREFIX + "CONFIG")
    return Path(name) if name else None


def _from_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} cannot be read as TOML: {error}") from error
    unknown = sorted(set(found) - set(_DEFAULTS))
    if unknown:
        raise ConfigurationError(f"{file} has settings that do not exist: {', '.join(unknown)}")
    return found


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    names = {PREFIX + name.upper(): name for name in _DEFAULTS}
    return {names[name]: value for name, value in environment.items() if name in names}


def _converted(name: str, value: Any) -> Any:
    default = _DEFAULTS[name]
    try:
        if isinstance(default, bool):
            return value if isinstance(value, bool) else _truth(str(value).lower())
        if isinstance(default, Path):
            return Path(value)
        return int(value) if isinstance(default, int) else str(value)
    except ValueError as error:
        raise ConfigurationError(f"the setting {name} cannot have this value") from error


def _truth(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError("neither true nor false")


def help_of(name: str) -> str:
    """Return what a setting is for."""
    (text,) = (row.metadata["help"] for row in fields(Settings) if row.name == name)
    return str(text)
