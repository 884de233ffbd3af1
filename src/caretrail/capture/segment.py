"""The files of a spool: events one after the other, each with its length and checksum.

A segment is named by its first position and only ever grows at its end. What stands behind a frame
that is not whole was never promised to anybody.
"""

from __future__ import annotations

import contextlib
import os
import struct
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from caretrail import durable_file
from caretrail.errors import StoreError
from caretrail.limits import EVENT_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO, Self

MAGIC: Final = b"CTSPOOL1"
# Checksum over all that follows it, length of the body, position, time in milliseconds.
_HEAD: Final = struct.Struct("<IIQQ")
_CHECKED: Final = struct.Struct("<IQQ")
_PROBE_BYTES: Final = 64 * 1024  # Room for some twenty events.
# The numbering comes on top of what a repository takes.
_BODY_BYTES_MAX: Final = 2 * EVENT_BYTES_MAX


class Frame(NamedTuple):
    """An event in the spool, where it stands, and when it was put there."""

    position: int
    at_ms: int
    body: bytes


def encode(frame: Frame) -> bytes:
    """Return a frame as it is on disk."""
    checked = _CHECKED.pack(len(frame.body), frame.position, frame.at_ms)
    return crc32(frame.body, crc32(checked)).to_bytes(4, "little") + checked + frame.body


def read_frame(file: BinaryIO) -> Frame | None:
    """Return the frame at the file's place, or None where no whole one is."""
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    checksum, length, position, at_ms = _HEAD.unpack(head)
    if length > _BODY_BYTES_MAX:
        return None
    body = file.read(length)
    if len(body) < length or crc32(body, crc32(head[4:])) != checksum:
        return None
    return Frame(position, at_ms, body)


def frames(file: BinaryIO, first: int) -> Iterator[tuple[Frame, int]]:
    """Yield whole frames in their order from position `first` on, each with where it ends."""
    end, position = file.tell(), first
    while (frame := read_frame(file)) is not None and frame.position == position:
        end += _HEAD.size + len(frame.body)
        position += 1
        yield frame, end


class Segment:
    """The segment that grows. After an error it is as long as it was before."""

    def __init__(self, path: Path, descriptor: int, *, size: int) -> None:
        self.path, self._descriptor, self.size = path, descriptor, size
        self._is_broken = False

    @classmethod
    def create(cls, folder: Path, first: int) -> Self:
        """Make the segment that begins at position `first`; it is there after a power cut."""
        path = folder / f"{first:020}.seg"
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            _write(descriptor, MAGIC, 0)
            os.fsync(descriptor)
            durable_file.sync_folder(folder)
        except OSError:
            os.close(descriptor)
            path.unlink()
            raise
        return cls(path, descriptor, size=len(MAGIC))

    @classmethod
    def reopen(cls, path: Path) -> tuple[Self, Frame | None, int]:
        """Open a segment to go on, without the torn end that a crash may have left.

        Return it, its last frame, and how many bytes were cut off.
        """
        last, end = None, len(MAGIC)
        with path.open("rb") as file:
            magic = file.read(len(MAGIC))
            if magic == MAGIC:
                for last, end in frames(file, first_of(path)):  # noqa: B007
                    pass
        descriptor = os.open(path, os.O_WRONLY)
        torn = max(os.fstat(descriptor).st_size - end, 0)
        if magic != MAGIC:
            os.pwrite(descriptor, MAGIC, 0)
        os.ftruncate(descriptor, end)
        # What was written but not yet synced is whole, so it stays; now it survives a power cut.
        os.fsync(descriptor)
        return cls(path, descriptor, size=end), last, torn

    def append(self, new: Sequence[Frame]) -> None:
        """Write frames; on return they survive a power cut. Raises StoreError, and then none is there."""
        data = b"".join(map(encode, new))
        self._write_through(data)
        self.size += len(data)

    def probe(self) -> None:
        """Write what is no frame and take it away again. Raises StoreError if there is no room."""
        self._write_through(bytes(_PROBE_BYTES))
        self._is_broken = True
        with contextlib.suppress(OSError):  # It is tried again before the next frame is written.
            self._cut()

    def _write_through(self, data: bytes) -> None:
        try:
            if self._is_broken:
                self._cut()
            _write(self._descriptor, data, self.size, os.RWF_DSYNC)
        except OSError as error:
            self._is_broken = True
            with contextlib.suppress(OSError):
                self._cut()
            raise StoreError(f"the spool cannot be written ({error.strerror})") from error

    def _cut(self) -> None:
        os.ftruncate(self._descriptor, self.size)
        os.fsync(self._descriptor)
        self._is_broken = False

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


def first_of(path: Path) -> int:
    """Return the position of a segment's first frame."""
    return int(path.stem)


def _write(descriptor: int, data: bytes, offset: int, flags: int = 0) -> None:
    """Write all of `data`; with RWF_DSYNC it survives a power cut, in one call (pwritev2(2))."""
    rest = memoryview(data)
    while rest:
        written = os.pwritev(descriptor, [rest], offset, flags)
        rest, offset = rest[written:], offset + written
