"""Reading files of events: NDJSON, one event or one Bundle in JSON or XML, or a provider's log.

An audit message of DICOM, in XML, is one event as well.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from caretrail import originals
from caretrail.errors import Error, InvalidError, TooLargeError
from caretrail.fhir import intake, xml
from caretrail.fhir.intake import Form
from caretrail.fhir.strict_json import BOM
from caretrail.limits import EVENT_BYTES_MAX
from caretrail.patterns.providers.reading import clean
from caretrail.patterns.providers.table import Told, convert
from caretrail.repository import Refused, Submission

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from caretrail.repository import Repository, Sender

# One commit's worth: large enough to be fast, small enough to show progress.
_EVENTS_AT_ONCE: Final = 500
_FILE_BYTES_MAX: Final = 256 * 1024 * 1024  # Of a file that is not NDJSON: it is read whole.
_LINE_BYTES_MAX: Final = 16 * 1024 * 1024  # Of a first line; a log has some KB.
# The root, of whatever namespace: after a declaration and perhaps some comments.
_AUDIT_MESSAGE: Final = re.compile(rb"<(?:[A-Za-z_][\w.-]*:)?AuditMessage[\s/>]")
_ENTRIES_MAX: Final = _FILE_BYTES_MAX  # The file's size is the bound.


class Source(NamedTuple):
    """An event in a file: where it stands, counted from 1, and its bytes.

    `problem` is why there is no event in what a provider wrote; the bytes then are its, scrubbed.
    """

    number: int
    body: bytes
    xml: bool
    problem: InvalidError | None = None
    is_audit_message: bool = False


class Progress(NamedTuple):
    """How far a load is; `number` is the last line or entry that was taken care of."""

    number: int
    stored: int
    repeated: int
    refused: int


class _Bundle(msgspec.Struct):
    resourceType: str  # noqa: N815
    entry: list[_Entry] | None = None


class _Entry(msgspec.Struct):
    resource: msgspec.Raw


def read(path: Path) -> Iterator[Source]:
    """Yield the events of a file; the first bytes say what it is. Raises InvalidError."""
    with path.open("rb") as file:
        head = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
        file.seek(0)
        if head.startswith(b"<") and _AUDIT_MESSAGE.search(head) is not None:
            yield Source(1, _all(path), xml=True, is_audit_message=True)
        elif head.startswith(b"<"):
            yield from _whole(xml.to_json(_all(path)), is_xml=True, original=_all(path))
        elif path.suffix in (".ndjson", ".jsonl") or b"\n{" in head:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield Source(number, line.strip(), xml=False)
        else:
            yield from _whole(_all(path), is_xml=False, original=b"")


def read_provider(path: Path, provider: str) -> Iterator[Source]:
    """Yield the events in a file of an identity provider: JSON as it sends it, or one a line.

    They are counted from 1 over the whole file. Raises InvalidError for what is not JSON.
    """
    number = 0
    for part, is_line in _parts(path):
        told: Iterable[Told]
        try:
            told = convert(provider, part, entries_max=_ENTRIES_MAX)
        except (InvalidError, TooLargeError) as error:
            if not is_line:
                raise
            kept = msgspec.json.encode(clean(part.decode(errors="replace")) or "")
            told = [Told(kept, InvalidError(error.issues()))]
        for one in told:
            number += 1
            yield Source(number, one.body, xml=False, problem=one.error)


def _parts(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Yield each line of a file whose first line is JSON, and of another file all, at once."""
    with path.open("rb") as file:
        try:
            first = file.readline(_LINE_BYTES_MAX).removeprefix(BOM)
            msgspec.json.decode(first)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            yield _all(path), False
            return
        file.seek(0)
        for line in file:
            if line.strip():
                yield line.strip(), True


def _all(path: Path) -> bytes:
    if path.stat().st_size > _FILE_BYTES_MAX:
        raise TooLargeError("a file that is not NDJSON may not be larger than 256 MiB")
    return path.read_bytes()


def _whole(body: bytes, *, is_xml: bool, original: bytes) -> Iterator[Source]:
    try:
        bundle = msgspec.json.decode(body, type=_Bundle)
    except msgspec.MsgspecError as error:
        raise InvalidError("the file is neither NDJSON nor a resource of FHIR") from error
    if bundle.resourceType != "Bundle":
        yield Source(1, original if is_xml else body, xml=is_xml)
        return
    for number, entry in enumerate(bundle.entry or (), 1):
        yield Source(number, bytes(entry.resource), xml=False)


class Loader:
    """Stores events in portions; what was stored is known after each, so a load can go on later."""

    def __init__(self, repository: Repository, sender: Sender) -> None:
        self._repository, self._sender = repository, sender
        self.progress = Progress(0, 0, 0, 0)
        self.problems: list[tuple[int, Error]] = []

    async def take(self, sources: list[Source]) -> Progress:
        """Store one portion; events that are refused are kept in quarantine."""
        events, refused = [], []
        for source in sources:
            try:
                if source.problem is not None:
                    raise source.problem
                events.append(_submission(source))
            except (InvalidError, TooLargeError) as error:
                self.problems.append((source.number, error))
                refused.append(Refused(source.body, error.issues()))
        stored = []
        if events:
            stored = await self._repository.append(events, sender=self._sender, is_backfill=True)
        if refused:
            await self._repository.quarantine(refused, sender=self._sender)
        new = sum(one.created for one in stored)
        before = self.progress
        self.progress = Progress(
            sources[-1].number,
            before.stored + new,
            before.repeated + len(stored) - new,
            before.refused + len(refused),
        )
        return self.progress


def _submission(source: Source) -> Submission:
    if not source.is_audit_message:
        found = intake.parse(source.body, xml=source.xml)
        return Submission(source.body, found.form, found.event)
    if len(source.body) > EVENT_BYTES_MAX:
        raise TooLargeError(f"an event may not be larger than {EVENT_BYTES_MAX} bytes")
    # Only to know that it can be read: it is read again once it has its time of receipt.
    originals.of(source.body, Form.AUDIT_MESSAGE, received_ms=0)
    return Submission(source.body, Form.AUDIT_MESSAGE, None)


def portions(sources: Iterator[Source], *, skip: int) -> Iterator[list[Source]]:
    """Yield the events after number `skip`, some at a time."""
    portion: list[Source] = []
    for source in sources:
        if source.number <= skip:
            continue
        portion.append(source)
        if len(portion) == _EVENTS_AT_ONCE:
            yield portion
            portion = []
    if portion:
        yield portion
