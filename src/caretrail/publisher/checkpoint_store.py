"""The last signed checkpoint of each log, in one small file that no backup of the log brings back.

A log that was restored from yesterday's copy, or that runs twice, would sign a second history. It is
stopped here: before a checkpoint is published it is stored, and only in the place of the one that
its signer believes to be the last (compare and swap).
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec

from caretrail import durable_file
from caretrail.errors import (
    ConfigurationError,
    ConflictError,
    StoreError,
    UnavailableError,
    VerificationError,
)
from caretrail.limits import CHECKPOINT_STORE_BYTES_MAX, CHECKPOINT_STORE_SECONDS_MAX
from caretrail.tlog.checkpoint import Checkpoint
from caretrail.tlog.note import Note

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MODE: Final = 0o600
# The first line: what this is, and the SHA-256 of the second, in hexadecimal.
_HEADER: Final = b"caretrail-checkpoints-1 "
_POLL_SECONDS: Final = 0.005


class CheckpointStore:
    """The checkpoints in one file, of several logs and processes.

    The calls read and write the disk, and wait for each other: call them in a thread.
    """

    def __init__(self, path: Path, *, data: Path) -> None:
        """Open the store; its file must not be in the data folder, whose backup would hold it."""
        if path.resolve().is_relative_to(data.resolve()):
            raise ConfigurationError(
                f"the checkpoint store {path} is inside the data folder: a restored copy of the"
                " folder would bring back an old checkpoint; choose a file outside"
            )
        self._path = path
        self._lock_path = path.with_name(f"{path.name}.lock")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"the folder of {path} cannot be made") from error
        with self._locked():
            read(self._path)

    def get(self, origin: str) -> bytes | None:
        """Return the last signed checkpoint of a log; None when there never was one."""
        return read(self._path).get(origin)

    def set(self, origin: str, *, expected: bytes | None, new: bytes) -> None:
        """Store `new` in the place of `expected`; on return it survives a power cut.

        Raises ConflictError when something else is stored, VerificationError when `new` is no
        note of this log or goes back behind the stored one, and StoreError when the write failed
        and its outcome is unknown: ask `get` before going on.
        """
        with self._locked():
            stored = read(self._path)
            held = stored.get(origin)
            if held != expected:
                raise ConflictError(
                    "another checkpoint of this log was signed in the meantime: is it running"
                    " twice, or from a restored copy?"
                )
            _check(origin, new, held)
            self._write({**stored, origin: new})

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, _MODE)
        except OSError as error:
            raise ConfigurationError(
                f"the lock {self._lock_path} cannot be opened ({error.strerror})"
            ) from error
        try:
            end = time.monotonic() + CHECKPOINT_STORE_SECONDS_MAX
            while not _try_lock(lock):
                if time.monotonic() > end:
                    raise UnavailableError("another process keeps the checkpoint store locked")
                time.sleep(_POLL_SECONDS)
            yield
        finally:
            os.close(lock)  # Which unlocks it, as the end of the process does.

    def _write(self, checkpoints: dict[str, bytes]) -> None:
        texts = {origin: note.decode() for origin, note in checkpoints.items()}
        second = msgspec.json.encode(texts, order="sorted") + b"\n"
        data = _header(second) + b"\n" + second
        if len(data) > CHECKPOINT_STORE_BYTES_MAX:
            raise StoreError("the checkpoint store is full: give some logs a file of their own")
        try:
            durable_file.replace(self._path, data, mode=_MODE)
        except OSError as error:
            raise StoreError("the checkpoint store cannot be written") from error


def beside(folder: Path) -> Path:
    """Return where the store of a data folder is when nobody names another place."""
    resolved = folder.resolve()
    return resolved.with_name(f"{resolved.name}.checkpoint")


def read(path: Path) -> dict[str, bytes]:
    """Return the last signed checkpoints by origin; nothing is written, none where there is no file.

    Raises ConfigurationError when the file is damaged. A file is replaced as a whole, so that a
    reader needs no lock.
    """
    try:
        with path.open("rb") as opened:
            data = opened.read(CHECKPOINT_STORE_BYTES_MAX + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StoreError("the checkpoint store cannot be read") from error
    first, _, second = data.partition(b"\n")
    try:
        if first != _header(second):
            raise ValueError("another hash")
        found = msgspec.json.decode(second, type=dict[str, str])
        for origin, note in found.items():
            _parse(origin, note.encode())
    except (ValueError, VerificationError) as error:
        raise ConfigurationError(
            f"the checkpoint store {path} is damaged. Keep the file. Put back a copy of"
            " it that has the last published checkpoint; a witness and the anchors have that"
            " checkpoint, too. Remove the file only if the log holds against them"
            " (caretrail verify)"
        ) from error
    return {origin: note.encode() for origin, note in found.items()}


def _header(second: bytes) -> bytes:
    return _HEADER + sha256(second).hexdigest().encode()


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _parse(origin: str, data: bytes) -> Checkpoint:
    checkpoint = Checkpoint.parse(Note.parse(data).text)
    if checkpoint.origin != origin:
        raise VerificationError("the checkpoint is of another log")
    return checkpoint


def _check(origin: str, new: bytes, held: bytes | None) -> None:
    """Refuse what cannot follow; that a larger tree is consistent, its signer has to know."""
    following = _parse(origin, new)
    if held is None:
        return
    last = _parse(origin, held)
    if following.size < last.size or (following.size == last.size and following != last):
        raise VerificationError("the checkpoint goes back behind the last signed one")
