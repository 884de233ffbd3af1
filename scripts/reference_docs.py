"""Write the tables of docs/reference that follow from the code.

Each table stands between two comments; what is around them is written by hand. A test runs the
same functions and compares, so a table that is out of date fails.
"""

from __future__ import annotations

import re
from dataclasses import fields
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import asdict
from typer.main import get_command

from caretrail import errors, limits
from caretrail.access.roles import INTERACTIONS, ROLES
from caretrail.alerting import file as alerts_file
from caretrail.alerting.kinds import KINDS as ALERTS
from caretrail.alerting.state import Limits
from caretrail.api.router import ROUTES
from caretrail.cli import commands
from caretrail.clinic.table import ROWS
from caretrail.dicom.table import LOST
from caretrail.dicom.table import ROWS as MAPPING
from caretrail.feeding import file as feeds_file
from caretrail.feeding.kinds import KINDS as RECEIVERS
from caretrail.formats.table import FORMATS
from caretrail.patterns.redaction import FIELDS
from caretrail.search.parameters import PARAMETERS, Type
from caretrail.settings import (
    GATEWAY_PREFIX,
    PREFIX,
    WITNESS_PREFIX,
    GatewaySettings,
    Settings,
    WitnessSettings,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

REFERENCE: Final = Path(__file__).parents[1] / "docs" / "reference"
_BEGIN: Final = "<!-- Made by scripts/reference_docs.py: {} -->"
_END: Final = "<!-- end -->"


def settings() -> str:
    """Return every setting: in a file, as a flag, in the environment."""
    return _settings("serve", Settings, PREFIX)


def gateway_settings() -> str:
    """Return every setting of a gateway."""
    return _settings("gateway", GatewaySettings, GATEWAY_PREFIX)


def witness_settings() -> str:
    """Return every setting of a witness."""
    return _settings("witness", WitnessSettings, WITNESS_PREFIX)


def _settings(command: str, kind: Any, prefix: str) -> str:
    flags = {row.name: (*row.opts, *row.secondary_opts) for row in _options(command)}
    return _table(
        ("name in a file", "flag", "environment", "default", "what it is"),
        (
            (
                _code(row.name),
                _code(" ".join(flags[row.name])) if row.name in flags else "",
                _code(prefix + row.name.upper()),
                _code(_default(row.default)),
                row.metadata["help"],
            )
            for row in fields(kind)
        ),
    )


def cli() -> str:
    """Return every command with its arguments and options."""
    parts = []
    for name, command in _commands().items():
        parts.append(f"### `caretrail {name}`\n\n{(command.help or '').strip()}")
        rows = [
            (
                _code(_spelling(row)),
                _code(_default(row.default)),
                _help(row),
            )
            for row in command.params
        ]
        if rows:
            parts.append(_table(("argument or option", "default", "what it is"), rows))
    return "\n\n".join(parts)


def search_parameters() -> str:
    """Return every search parameter."""
    return _table(
        ("code", "type", "modifiers", "expression", "what it finds"),
        (
            (
                _code(row.code),
                row.type.value,
                ", ".join(_code(f":{name}") for name in _modifiers(row)),
                _code(row.expression),
                row.description,
            )
            for row in PARAMETERS
        ),
    )


def _modifiers(row: Any) -> Iterator[str]:
    yield from row.modifiers
    if row.type is Type.REFERENCE:
        yield from row.targets or ("[type]",)


def routes() -> str:
    """Return every address."""
    return _table(
        ("method", "path", "interaction", "body", "without a credential"),
        (
            (row.method, _code(row.path), row.what, row.body, "yes" if row.public else "")
            for row in ROUTES
        ),
    )


def audit_messages() -> str:
    """Return what of an audit message becomes what of an event, and what is lost on the way back."""
    there = _table(
        ("in a message", "in an event", "lost on the way back"),
        ((row.message, _code(row.element), row.loss) for row in MAPPING),
    )
    lost = _table(
        ("in an event", "in a message"), ((_code(row.element), row.reason) for row in LOST)
    )
    return f"### From a message to an event\n\n{there}\n\n### What an event has and a message has not\n\n{lost}"


def bounds() -> str:
    """Return every limit with its reason, which is the comment beside it."""
    text = Path(limits.__file__).read_text(encoding="utf-8")
    rows, reason = [], ""
    for line in text.splitlines():
        found = re.match(r"([A-Z_]+): Final = [^#]*(?:#\s*(.*))?", line)
        if line.startswith("#"):
            reason = f"{reason} {line.lstrip('# ')}".strip()
        elif found:
            name, beside = found.groups()
            value = getattr(limits, name)
            rows.append((_code(name), f"{value:,}", beside or reason))
            reason = ""
        else:
            reason = ""
    return _table(("limit", "value", "why"), rows)


def failures() -> str:
    """Return every error that a client can meet."""
    rows = []
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.Error) and kind is not errors.Error:
            promise = (getdoc(kind) or "").partition("\n")[0]
            rows.append((_code(name), str(kind.status), _code(kind.issue), promise))
    rows.sort(key=lambda row: (row[1], row[0]))
    return _table(("error", "status", "issue type", "when"), rows)


def clinic() -> str:
    """Return every address of the clinic."""
    return _table(
        ("method", "path", "interaction", "body"),
        ((row.method, _code(f"/fhir/{row.path}".rstrip("/")), row.what, row.body) for row in ROWS),
    )


def roles() -> str:
    """Return every role, and who may do what."""
    rows = _table(
        ("role", "by scopes", "sees", "excludes"),
        (
            (
                _code(row.code),
                ", ".join(map(_code, row.contexts)),
                row.sees.value,
                ", ".join(map(_code, sorted(row.excludes))),
            )
            for row in ROLES
        ),
    )
    matrix = _table(
        ("interaction", "scope", "recorded", *(row.code for row in ROLES)),
        (
            (
                _code(name),
                ", ".join(map(_code, one.letters)),
                "yes" if one.recorded else "",
                *("yes" if name in row.interactions else "" for row in ROLES),
            )
            for name, one in INTERACTIONS.items()
        ),
    )
    return f"{rows}\n\n{matrix}"


def feeds() -> str:
    """Return every kind of receiver, every format, every member of a feed and redacted field."""
    receivers = _table(
        ("kind", "what it is", "address", "formats", "credential", "needs"),
        (
            (
                _code(row.code),
                row.what,
                ", ".join(_code(f"{scheme}:// ({port})") for scheme, port in row.schemes.items()),
                ", ".join(map(_code, row.formats)),
                row.credential + (" (needed)" if row.needs_credential else ""),
                _code(row.option),
            )
            for row in RECEIVERS
        ),
    )
    formats = _table(
        ("format", "what it is", "patients, unless `redact` says otherwise"),
        ((_code(row.code), row.what, "stay" if row.is_plain else "go") for row in FORMATS),
    )
    redacted = ", ".join(map(_code, FIELDS))
    members = ", ".join(map(_code, feeds_file.MEMBERS))
    return "\n\n".join(
        (
            receivers,
            "The first format of a kind is the usual one. Unencrypted schemes go to loopback only.",
            formats,
            f"Members of a feed: {members}.",
            f"Fields of `redact`: {redacted}.",
        )
    )


def alerts() -> str:
    """Return every kind of alert, the limits and the members of the file of alerts."""
    kinds = _table(
        ("kind", "severity", "what people are told"),
        ((_code(row.code), row.severity, row.title) for row in ALERTS),
    )
    bounds = _table(
        ("limit", "usual"),
        ((_code(name), str(value)) for name, value in asdict(Limits()).items()),
    )
    tables = _table(
        ("table", "members"),
        (
            (_code(name), ", ".join(map(_code, members)))
            for name, members in alerts_file.MEMBERS.items()
        ),
    )
    return "\n\n".join((kinds, bounds, tables))


# A row is a page and what makes its table.
TABLES: Final[dict[str, Callable[[], str]]] = {
    "settings": settings,
    "gateway-settings": gateway_settings,
    "witness-settings": witness_settings,
    "commands": cli,
    "search-parameters": search_parameters,
    "routes": routes,
    "clinic": clinic,
    "audit-messages": audit_messages,
    "limits": bounds,
    "errors": failures,
    "roles": roles,
    "feeds": feeds,
    "alerts": alerts,
}


def rendered(page: str, table: str, name: str) -> str:
    """Return the page with its table in it; raise ValueError when it has no place for one."""
    begin = _BEGIN.format(name)
    before, found, rest = page.partition(begin)
    _, end, after = rest.partition(_END)
    if not (found and end):
        raise ValueError(f"{name}.md has no place for its table")
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"


def _commands() -> dict[str, Any]:
    """Return every command by how it is called; those of a group come after its name."""
    found: dict[str, Any] = {}
    for name, command in getattr(get_command(commands), "commands", {}).items():
        inner = getattr(command, "commands", None)
        if inner is None:
            found[name] = command
        else:
            found |= {f"{name} {part}": one for part, one in inner.items()}
    return found


def _options(name: str) -> Iterable[Any]:
    return (row for row in _commands()[name].params if row.param_type_name == "option")


def _spelling(row: Any) -> str:
    """Return an option or an argument as it is typed."""
    if row.param_type_name == "option":
        return " ".join((*row.opts, *row.secondary_opts))
    return f"{row.name.upper()}{'...' if row.nargs == -1 else ''}"


def _help(row: Any) -> str:
    """Return what an option is for, and which variable stands for it."""
    text = getattr(row, "help", None) or ""
    return f"{text} ({_code(row.envvar)})" if isinstance(row.envvar, str) else text


def _default(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", r"\|").split())


def main() -> None:
    """Write the tables into their pages."""
    for name, make in TABLES.items():
        path = REFERENCE / f"{name}.md"
        path.write_text(rendered(path.read_text(encoding="utf-8"), make(), name), encoding="utf-8")


if __name__ == "__main__":
    main()
