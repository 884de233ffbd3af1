"""The file of feeds: where events go on to, which of them and in which words, in TOML.

It holds no secret; it names the files that do. Everything is checked at the start, and what is not
known is refused.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Final, Literal, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from caretrail import outgoing
from caretrail.errors import ConfigurationError, ParameterError
from caretrail.feeding.kinds import BY_CODE, Kind, Wanted, address_of
from caretrail.formats.patients import bare, without_patients
from caretrail.formats.table import BY_CODE as FORMATS
from caretrail.limits import FEEDS_MAX
from caretrail.patterns.redaction import Redaction, Treatment
from caretrail.search.query import Query, parse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from caretrail.fhir.event_tree import Json
    from caretrail.formats.table import Format

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_OPTIONS: Final = ("index", "subject")


class _Row(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    name: str
    kind: str
    address: str
    format: str = ""
    filter: str = ""
    begin: Literal["start", "now"] = "start"
    own_events: bool = True
    tenant: str = ""
    redact: dict[str, Treatment] | None = None
    redaction_key_file: str = ""
    credential_file: str = ""
    ca_file: str = ""
    certificate_file: str = ""
    index: str = ""
    subject: str = ""


MEMBERS: Final = _Row.__struct_fields__


class _File(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    feed: tuple[_Row, ...] = ()


class Row(NamedTuple):
    """One feed: what goes out by which kind of receiver.

    `redacted` takes out of an event what the receiver shall not have. With `begins_now` a feed that
    is new leaves out what the log had before; without `own_events` what the log says of itself.
    """

    kind: Kind
    wanted: Wanted
    format: Format
    query: Query
    redacted: Callable[[Json], Json]
    begins_now: bool = False
    own_events: bool = True

    @property
    def is_verbatim(self) -> bool:
        """Tell whether an event goes out in the very bytes in which it is served."""
        return self.format.is_plain and self.redacted is _as_it_is


def read(text: str, *, folder: Path, secret: Callable[[Path], str], tenant: str = "") -> list[Row]:
    """Return the feeds of a tenant's log, "" for the default one, out of a file's text.

    Raises ConfigurationError, which says what to mend, whichever log it is for.

    Files are named relative to `folder`, and `secret` reads one, each time it is needed.
    """
    try:
        rows = msgspec.convert(tomllib.loads(text), _File, strict=True).feed
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"the file of feeds: {error}") from error
    names = [row.name for row in rows]
    if len(set(names)) < len(names):
        raise ConfigurationError("the file of feeds: each feed has a name of its own")
    if len(rows) > FEEDS_MAX:
        raise ConfigurationError(f"the file of feeds has {FEEDS_MAX} at most")
    checked = [(row.tenant, _checked(row, folder, secret)) for row in rows]
    return [one for name, one in checked if name == tenant]


def _checked(row: _Row, folder: Path, secret: Callable[[Path], str]) -> Row:
    if not _NAME.fullmatch(row.name):
        raise ConfigurationError("a feed's name has small letters, digits and hyphens, 40 at most")
    try:
        return _row(row, folder, secret)
    except (ConfigurationError, ParameterError) as error:
        raise ConfigurationError(f"the feed {row.name}: {error}") from error


def _row(row: _Row, folder: Path, secret: Callable[[Path], str]) -> Row:
    kind = BY_CODE.get(row.kind)
    if kind is None:
        raise ConfigurationError(f"its kind is one of {', '.join(BY_CODE)}")
    form = row.format or kind.formats[0]
    if form not in kind.formats:
        raise ConfigurationError(f"the formats of this kind are {', '.join(kind.formats)}")
    if kind.needs_credential and not row.credential_file:
        raise ConfigurationError(f"it needs a credential_file with {kind.credential}")
    for name in _OPTIONS:
        if bool(getattr(row, name)) is not (kind.option == name):
            needed = "it needs" if kind.option == name else "this kind has no"
            raise ConfigurationError(f"{needed} `{name}`")
    where = folder / row.credential_file
    wanted = Wanted(
        row.name,
        address_of(kind, row.address),
        outgoing.tls_context(
            folder / row.ca_file if row.ca_file else None,
            folder / row.certificate_file if row.certificate_file else None,
        ),
        (lambda: secret(where)) if row.credential_file else str,
        form,
        getattr(row, kind.option) if kind.option else "",
    )
    wanted.secret()  # A file that is not there is told now.
    return Row(
        kind,
        wanted,
        FORMATS[form],
        query_of(row.filter),
        _redacted(row, FORMATS[form], folder, secret),
        row.begin == "now",
        row.own_events,
    )


def query_of(text: str) -> Query:
    """Return the search that a feed's filter is; raise ParameterError or ConfigurationError."""
    pairs = parse_qsl(text.removeprefix("AuditEvent?"), keep_blank_values=True)
    query = parse(pairs, strict=True, base="")
    if len(query.clauses) != len(pairs):
        raise ConfigurationError("its filter has search parameters with values alone")
    return query


def _redacted(
    row: _Row, form: Format, folder: Path, secret: Callable[[Path], str]
) -> Callable[[Json], Json]:
    if row.redact is None:
        return _as_it_is if form.is_plain else without_patients
    if not row.redact:
        return _as_it_is
    key = secret(folder / row.redaction_key_file).encode() if row.redaction_key_file else b""
    redaction = Redaction(row.redact, key)
    return lambda event: redaction.redacted(bare(event))


def _as_it_is(event: Json) -> Json:
    return event
