"""A spool on disk: segments, the cursor of what the repository has, dead letters, and gaps.

All of this blocks; `spool` calls it from threads. One thread writes, another one reads and
acknowledges.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from caretrail import durable_file
from caretrail.capture.segment import MAGIC, Frame, Segment, first_of, frames
from caretrail.errors import ConfigurationError, StoreError
from caretrail.limits import SPOOL_SEGMENT_BYTES
from caretrail.patterns.numbering import number_of, numbered

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_log: Final = logging.getLogger(__name__)
# A page of the disk, taken beforehand: it can be written when the disk is full.
_GAP_BYTES: Final = 4_096


class Gap(msgspec.Struct, frozen=True):
    """A time in which exchanges were served, or may have been, without a record."""

    since_ms: int
    until_ms: int
    exchanges: int
    reason: str


class Letter(msgspec.Struct, frozen=True):
    """An event that the repository will never take, and the codes of why."""

    position: int
    number: int
    at_ms: int
    status: int
    codes: list[str]
    event: msgspec.Raw


class _Buried(msgspec.Struct):
    position: int


class Batch(NamedTuple):
    """Frames that follow each other; `lost` positions before them cannot be read any more."""

    frames: list[Frame]
    lost: int = 0


class SpoolFolder:
    """Opens a spool, or makes one. `stopped_ms` is when an unclean stop was, as far as is known."""

    def __init__(self, path: Path, *, segment_bytes: int = SPOOL_SEGMENT_BYTES) -> None:
        self.path, self._segment_bytes = path, segment_bytes
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock_file = _locked(path / "lock")
        self._mutex = threading.Lock()
        self.acknowledged = _cursor(path / "cursor")
        self._sizes = {one: one.stat().st_size for one in sorted(path.glob("*.seg"))}
        self._letters_path = path / "dead-letters.ndjson"
        self.letters, self._letters_bytes, self._buried = _letters(self._letters_path)
        self.stopped_ms = self._stopped()
        self._active, self.last = self._opened()
        # The size of the one that grows is its own; here it stands with none.
        self._sizes[self._active.path] = 0
        self._done_bytes = sum(self._sizes.values())
        self._place, self._read, self._missing = (self._active.path, 0), 0, 0
        self.rewind()
        self._gap = _reserved(path / "gap")

    def _stopped(self) -> int:
        """Return 0 if the spool is new or was closed, else the time of its last sign of life."""
        clean = self.path / "clean"
        if clean.exists():
            clean.unlink()
            durable_file.sync_folder(self.path)
            return 0
        return max((int(one.stat().st_mtime * 1000) for one in self._sizes), default=0)

    def _opened(self) -> tuple[Segment, int]:
        """Return the segment that grows, and the last position that was given away."""
        if not self._sizes:
            return Segment.create(self.path, self.acknowledged + 1), self.acknowledged
        newest = max(self._sizes)
        segment, frame, torn = Segment.reopen(newest)
        if torn:
            _log.warning("the torn end of the spool was cut off", extra={"bytes": torn})
        last = frame.position if frame is not None else first_of(newest) - 1
        if last < self.acknowledged:
            # Somebody took segments away: no position is given twice.
            segment.close()
            return Segment.create(self.path, self.acknowledged + 1), self.acknowledged
        return segment, last

    @property
    def size_bytes(self) -> int:
        """Return how many bytes of events and dead letters there are."""
        return self._done_bytes + self._active.size + self._letters_bytes

    def append(self, events: Sequence[bytes], *, at_ms: int) -> int:
        """Write the events, numbered; return the last position. Raises StoreError."""
        if not events:
            return self._probed()
        new = [
            Frame(position, at_ms, numbered(event, number_of(position)))
            for position, event in enumerate(events, self.last + 1)
        ]
        if self._active.size >= self._segment_bytes:
            self._begin_segment()
        self._active.append(new)
        self.last += len(new)
        return self.last

    def _probed(self) -> int:
        """Find out whether the disk takes anything at all."""
        self._active.probe()
        return self.last

    def _begin_segment(self) -> None:
        try:
            segment = Segment.create(self.path, self.last + 1)
        except OSError as error:
            raise StoreError(f"the spool cannot grow ({error.strerror})") from error
        before, self._active = self._active, segment
        before.close()
        with self._mutex:
            self._sizes[before.path] = before.size
            self._sizes[segment.path] = 0
            self._done_bytes += before.size

    def read(self, until: int, *, entries_max: int, bytes_max: int) -> Batch:
        """Return the next frames up to position `until`; each is given once."""
        found: list[Frame] = []
        if self._missing:
            missing, self._missing = self._missing, 0
            return Batch(found, missing)
        size = 0
        while self._read < until and len(found) < entries_max and size < bytes_max:
            path = self._place[0]
            for frame in self._frames(until):
                found.append(frame)
                size += len(frame.body)
                if len(found) >= entries_max or size >= bytes_max:
                    break
            else:
                if self._read < until and (lost := self._leave(path)):
                    return Batch(found, lost)
        return Batch(found)

    def unread(self, until: int) -> bool:
        """Tell whether `read` has something to give."""
        return self._read < until or self._missing > 0

    def _frames(self, until: int) -> Iterator[Frame]:
        """Yield what the segment at hand still has, and note how far it was read."""
        path, offset = self._place
        if self._read >= until:
            return
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                return
            file.seek(offset or len(MAGIC))
            for frame, end in frames(file, self._read + 1):
                self._place, self._read = (path, end), frame.position
                yield frame
                if frame.position >= until:
                    return

    def _leave(self, path: Path) -> int:
        """Go on to the next segment; return how many positions of this one cannot be read."""
        with self._mutex:
            later = sorted(one for one in self._sizes if one > path)
        assert later or path == self._active.path
        if not later:
            raise StoreError("an event that was written to the spool cannot be read again")
        lost = first_of(later[0]) - 1 - self._read
        self._place, self._read = (later[0], 0), first_of(later[0]) - 1
        if lost:
            _log.error("a segment of the spool is damaged", extra={"events": lost})
            path.rename(path.with_suffix(".damaged"))
            self._forget([path])
        return lost

    def rewind(self) -> None:
        """Go to the first frame that the repository may not have."""
        first = min(self._sizes)
        for path in sorted(self._sizes):
            if first_of(path) <= self.acknowledged + 1:
                first = path
        self._place, self._read = (first, 0), first_of(first) - 1
        self._missing = max(self._read - self.acknowledged, 0)
        for _ in self._frames(self.acknowledged):
            pass  # A damaged frame ends this: `read` tells what is lost.

    def acknowledge(self, position: int) -> None:
        """Keep that the repository has what was read up to `position`, and free its room."""
        self.acknowledged = position
        draft = self.path / "cursor.new"
        with draft.open("wb") as file:
            file.write(b"%d\n" % position)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path / "cursor")
        with self._mutex:
            known = sorted(self._sizes)
            done = [
                one for one, following in pairwise(known) if first_of(following) <= position + 1
            ]
        self._forget(done)
        for one in done:
            one.unlink(missing_ok=True)

    def _forget(self, paths: list[Path]) -> None:
        with self._mutex:
            self._done_bytes -= sum(self._sizes.pop(path) for path in paths)

    def bury(self, frame: Frame, *, status: int, codes: list[str]) -> None:
        """Keep an event that is refused for good, once."""
        if frame.position in self._buried:
            return
        letter = Letter(
            frame.position, number_of(frame.position), frame.at_ms, status, codes,
            msgspec.Raw(frame.body),
        )  # fmt: skip
        line = msgspec.json.encode(letter) + b"\n"
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY
        with os.fdopen(os.open(self._letters_path, flags, 0o600), "wb") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._letters_bytes += len(line)
        self._buried.add(frame.position)
        self.letters += 1

    def note_gap(self, gap: Gap | None) -> None:
        """Keep what is missing until there is room for a record of it; None: it is recorded."""
        text = msgspec.json.encode(gap) if gap else b""
        os.pwrite(self._gap, text.ljust(_GAP_BYTES), 0)

    def noted_gap(self) -> Gap | None:
        """Return the gap of an earlier run that nobody has recorded."""
        text = os.pread(self._gap, _GAP_BYTES, 0).strip(b" \0")
        try:
            return msgspec.json.decode(text, type=Gap) if text else None
        except msgspec.MsgspecError:
            return None  # Half written in a crash; the unclean stop is recorded as a gap itself.

    def close(self) -> None:
        """Note that nothing was under way, and let go of the folder."""
        (self.path / "clean").touch(mode=0o600)
        durable_file.sync_folder(self.path)
        self._active.close()
        os.close(self._gap)
        os.close(self._lock_file)


def _locked(path: Path) -> int:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise ConfigurationError(
            f"another process works on the spool {path.parent}: choose another --spool"
        ) from error
    return descriptor


def _cursor(path: Path) -> int:
    try:
        text = path.read_bytes().strip()
    except FileNotFoundError:
        return 0
    # Without it everything is sent again, and the repository knows what it has.
    return int(text) if text.isdigit() else 0


def _letters(path: Path) -> tuple[int, int, set[int]]:
    """Return how many dead letters there are, their size and positions; half a one is cut off."""
    if not path.exists():
        return 0, 0, set()
    with path.open("r+b") as file:
        text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        file.truncate(len(whole))
    lines = whole.splitlines()
    return (
        len(lines),
        len(whole),
        {msgspec.json.decode(line, type=_Buried).position for line in lines},
    )


def _reserved(path: Path) -> int:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    if os.fstat(descriptor).st_size < _GAP_BYTES:
        os.pwrite(descriptor, b"".ljust(_GAP_BYTES), 0)
        os.fsync(descriptor)
    return descriptor
