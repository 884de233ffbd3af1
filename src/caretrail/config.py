"""Reading the settings: flags, the environment, a file; and the files that settings name."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caretrail.errors import ConfigurationError
from caretrail.settings import (
    GATEWAY_PREFIX,
    PREFIX,
    WITNESS_PREFIX,
    AnySettings,
    GatewaySettings,
    Settings,
    WitnessSettings,
    told,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def content(path: Path) -> bytes:
    """Return what is in a file that was named; raises ConfigurationError when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror})") from error


def token(path: Path) -> str:
    """Return the bearer token in a file that was named; raises ConfigurationError."""
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the token file {path} cannot be read") from error


def facts(settings: Settings, *, digest: Callable[[str], str]) -> dict[str, str]:
    """Return what may be said of each setting: its value, or what `digest` makes of it."""
    found = {}
    for row in fields(Settings):
        value = getattr(settings, row.name)
        text = told(settings, row.name)
        if row.metadata.get("content") and value is not None:
            text += "\n" + content(value).hex()
        found[row.name] = text if row.metadata.get("shown") or not text else digest(text)
    return found


def load(
    flags: Mapping[str, Any],
    *,
    environment: Mapping[str, str],
    file: Path | None = None,
    defaults: Mapping[str, Any] = {},
) -> Settings:
    """Return the settings; a flag that is None was not given. Raises ConfigurationError."""
    return Settings(**_found(Settings, PREFIX, flags, environment, file, defaults))


def load_gateway(
    flags: Mapping[str, Any],
    *,
    environment: Mapping[str, str],
    file: Path | None = None,
    defaults: Mapping[str, Any] = {},
) -> GatewaySettings:
    """Return the settings of a gateway, as `load` does."""
    found = _found(GatewaySettings, GATEWAY_PREFIX, flags, environment, file, defaults)
    return GatewaySettings(**found)


def load_witness(
    flags: Mapping[str, Any],
    *,
    environment: Mapping[str, str],
    file: Path | None = None,
    defaults: Mapping[str, Any] = {},
) -> WitnessSettings:
    """Return the settings of a witness, as `load` does."""
    found = _found(WitnessSettings, WITNESS_PREFIX, flags, environment, file, defaults)
    return WitnessSettings(**found)


def _found(
    kind: type[AnySettings],
    prefix: str,
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    file: Path | None,
    otherwise: Mapping[str, Any],
) -> dict[str, Any]:
    kinds = {row.name: type_of(row.name, kind) for row in fields(kind)}
    named = environment.get(prefix + "CONFIG")
    found = dict(otherwise) | _from_file(file or (Path(named) if named else None), kinds)
    names = {prefix + name.upper(): name for name in kinds}
    found |= {names[name]: value for name, value in environment.items() if name in names}
    found |= {name: value for name, value in flags.items() if value is not None}
    return {name: _converted(name, value, kinds[name]) for name, value in found.items()}


def _from_file(file: Path | None, known: Mapping[str, Any]) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} cannot be read as TOML: {error}") from error
    unknown = sorted(set(found) - set(known))
    if unknown:
        raise ConfigurationError(f"{file} has settings that do not exist: {', '.join(unknown)}")
    return found


def _converted(name: str, value: Any, kind: type) -> Any:
    try:
        if kind is bool:
            return value if isinstance(value, bool) else _truth(str(value).lower())
        return kind(value)
    except ValueError as error:
        raise ConfigurationError(f"the setting {name} cannot have this value") from error


def _truth(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError("neither true nor false")


def type_of(name: str, kind: type[AnySettings] = Settings) -> type:
    """Return what a setting's values are: a bool, an int, a str or a Path."""
    (row,) = (row for row in fields(kind) if row.name == name)
    return Path if "Path" in str(row.type) else type(row.default)


def default_of(name: str, kind: type[AnySettings] = Settings) -> Any:
    """Return what a setting is where nobody says anything."""
    (value,) = (row.default for row in fields(kind) if row.name == name)
    return value


def help_of(name: str, kind: type[AnySettings] = Settings) -> str:
    """Return what a setting is for."""
    (text,) = (row.metadata["help"] for row in fields(kind) if row.name == name)
    return str(text)
