"""Files that are whole or absent, also after a power cut, and are found again after it."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_SUFFIX_BYTES: Final = 8


def create(path: Path, data: bytes, *, mode: int) -> None:
    """Make a new file; raises FileExistsError where there is one, and leaves that as it is.

    On return the file survives a power cut. Whoever is killed in between leaves a file aside,
    whose name begins with a dot, and nothing else.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(_SUFFIX_BYTES)}")
    _write(aside, data, mode=mode, flags=os.O_EXCL)
    try:
        # Unlike a renaming this refuses to put itself in the place of something.
        os.link(aside, path)
    finally:
        aside.unlink()
    sync_folder(path.parent)


def replace(path: Path, data: bytes, *, mode: int) -> None:
    """Put a new content in the place of the old one: at any moment one of the two is there, whole.

    On return the new one survives a power cut. The caller sees to it that there is one writer.
    """
    aside = path.with_name(f".{path.name}.new")
    _write(aside, data, mode=mode, flags=os.O_TRUNC)
    aside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Return once the names in the folder survive a power cut."""
    _sync(folder, os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Return once the content of a file that somebody else wrote survives a power cut."""
    _sync(path, 0)


def _sync(path: Path, flags: int) -> None:
    opened = os.open(path, os.O_RDONLY | flags)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _write(path: Path, data: bytes, *, mode: int, flags: int) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | flags, mode)
    with os.fdopen(file, "wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(file)
