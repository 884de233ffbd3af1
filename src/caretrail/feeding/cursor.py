"""Where a feed is: the one thing of it that outlives a process, a small file of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from caretrail import durable_file
from caretrail.errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

_MODE: Final = 0o600


class Cursor(msgspec.Struct, frozen=True):
    """All entries before `next` were handed on, or refused for good, or are none of this feed's.

    `refused` are the last entries that the receiver refused, with its reason. `reported` is how
    much of `delivered` the log has been told of.
    """

    next: int = 0
    delivered: int = 0
    refusals: int = 0
    refused: tuple[tuple[int, str], ...] = ()
    reported: int = 0


def load(path: Path) -> Cursor | None:
    """Return what was kept, None for a feed that is new.

    Raises ConfigurationError for what cannot be read: to begin anew would send all once more.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Cursor)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigurationError(
            f"{path} cannot be read: restore it, or remove it to begin the feed anew"
        ) from error


def save(path: Path, cursor: Cursor) -> None:
    """Keep it; on return it survives a power cut. Raises StoreError."""
    try:
        durable_file.replace(path, msgspec.json.encode(cursor), mode=_MODE)
    except OSError as error:
        raise StoreError(f"a feed's cursor cannot be written ({error.strerror})") from error
