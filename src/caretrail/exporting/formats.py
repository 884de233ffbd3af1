"""The forms in which events leave the log as a file that is read from its beginning to its end.

NDJSON is one event a line, as it is served (FHIR Bulk Data). CSV and Parquet are tables with the
columns of `columns`; Parquet also has the event itself.
"""

from __future__ import annotations

import csv
import io
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec

from caretrail.errors import ConfigurationError
from caretrail.exporting.columns import COLUMNS
from caretrail.originals import served

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from caretrail.exporting.columns import Column, Value
    from caretrail.search.record import Record

_SEPARATOR: Final = "; "
# A spreadsheet takes what begins with one of these for a formula, and may run it (OWASP, CSV injection).
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_RESOURCE: Final = "resource"


class Writer(Protocol):
    """Makes the bytes of one file, in the order of the calls."""

    def events(self, records: Sequence[Record]) -> bytes:
        """Return the bytes of some events; those before may come with them."""

    def end(self) -> bytes:
        """Return what is still missing, once there are no more events."""


class Format(NamedTuple):
    """One form: its media type, short names of it, and the file's name, which says nothing else.

    `begin` is told whether the file has a beginning already. Not every form `goes_on`. `library` is
    what it needs beside the package's own, and `extra` how that is installed.
    """

    media: str
    names: tuple[str, ...]
    file_name: str
    begin: Callable[[bool], Writer]
    goes_on: bool = True
    library: str = ""
    extra: str = ""

    def check(self) -> None:
        """Raise ConfigurationError when files of this form cannot be made here."""
        if self.library and find_spec(self.library) is None:
            raise ConfigurationError(
                f"{self.suffix} needs one more library: pip install 'caretrail[{self.extra}]'"
            )

    @property
    def suffix(self) -> str:
        """Return how the names of such files end."""
        return self.file_name[self.file_name.rindex(".") :]


class _Lines:
    def __init__(self, _: bool) -> None:
        pass

    def events(self, records: Sequence[Record]) -> bytes:
        return b"".join(map(line, records))

    def end(self) -> bytes:
        return b""


class _Rows:
    def __init__(self, is_begun: bool) -> None:
        self._is_begun = is_begun

    def events(self, records: Sequence[Record]) -> bytes:
        text = io.StringIO()
        rows = csv.writer(text)  # RFC 4180: lines end in CRLF.
        if not self._is_begun:
            rows.writerow(column.name for column in COLUMNS)
            self._is_begun = True
        rows.writerows([cell(column.value(record)) for column in COLUMNS] for record in records)
        return text.getvalue().encode(errors="replace")

    def end(self) -> bytes:
        return self.events(())


class _Parquet:
    def __init__(self, _: bool) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        def kind(column: Column) -> Any:
            if column.is_number:
                return pa.int64()
            return pa.list_(pa.string()) if column.is_many else pa.string()

        fields = [(column.name, kind(column)) for column in COLUMNS]
        self._schema = pa.schema([*fields, (_RESOURCE, pa.string())])
        self._batch = pa.RecordBatch.from_pylist
        self._made = _Made()
        self._file = parquet.ParquetWriter(self._made, self._schema, compression="zstd")

    def events(self, records: Sequence[Record]) -> bytes:
        if records:
            rows = [_row(record) for record in records]
            self._file.write_batch(self._batch(rows, schema=self._schema))
        return self._made.take()

    def end(self) -> bytes:
        self._file.close()
        return self._made.take()


class _Made(io.RawIOBase):
    """What pyarrow has written since it was last taken."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        self._size += len(self._pieces[-1])
        return len(self._pieces[-1])

    def take(self) -> bytes:
        made = b"".join(self._pieces)
        self._pieces.clear()
        return made


def line(record: Record) -> bytes:
    """Return an event as it is served, on one line with its end."""
    return _served(record) + b"\n"


def _served(record: Record) -> bytes:
    event = served(record.body, record.form, event_id=record.id, received_ms=record.received)
    # White space between members is the sender's own, and kept: but a line has one end.
    if b"\n" in event or b"\r" in event:
        event = msgspec.json.format(event, indent=-1)
    return event


def cell(value: Value) -> str | int | None:
    """Return what stands in a cell of CSV; what a spreadsheet would take for a formula is text."""
    if isinstance(value, list):
        value = _SEPARATOR.join(value) if any(value) else ""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value


def _row(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {column.name: column.value(record) for column in COLUMNS}
    row[_RESOURCE] = _served(record).decode()
    return row


# A form is one row here.
NDJSON: Final = Format(
    "application/fhir+ndjson", ("application/ndjson", "ndjson"), "AuditEvent.ndjson", _Lines
)
FORMATS: Final = (
    NDJSON,
    Format("text/csv", ("csv",), "AuditEvent.csv", _Rows),
    Format(
        "application/vnd.apache.parquet",
        ("parquet",),
        "AuditEvent.parquet",
        _Parquet,
        goes_on=False,
        library="pyarrow",
        extra="parquet",
    ),
)


def of_file(path: Path) -> Format:
    """Return the form that a file's name asks for; NDJSON when it asks for none."""
    name = path.name.removesuffix(".gz")
    return next((one for one in FORMATS if name.endswith(one.suffix)), NDJSON)


def of_name(name: str) -> Format | None:
    """Return the form with this media type or short name."""
    return next((one for one in FORMATS if name == one.media or name in one.names), None)
