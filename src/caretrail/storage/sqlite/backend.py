"""The row of the table of stores: a log in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from caretrail.storage.contract import SQLITE
from caretrail.storage.sqlite.store import SqliteStorage
from caretrail.storage.sqlite.verification import verify, verify_patiently

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from caretrail.storage.contract import LogPlace
    from caretrail.storage.report import Report, State


class SqliteBackend:
    """Logs in folders (see `stores.Backend`)."""

    def open(self, place: LogPlace) -> SqliteStorage:
        """Open the log in a folder."""
        return SqliteStorage(_folder(place), data_keys=place.data_keys)

    def verify(
        self, place: LogPlace, *, progress: Callable[[int, int], None], sizes: Collection[int]
    ) -> Report:
        """Check the log in a folder at one moment."""
        return verify(_folder(place), progress=progress, sizes=sizes)

    def verify_patiently(
        self,
        place: LogPlace,
        state: State | None,
        *,
        rest: Callable[[State], None],
        sizes: Collection[int],
    ) -> Report:
        """Check the log in a folder a range at a time."""
        return verify_patiently(_folder(place), state, rest=rest, sizes=sizes)


def _folder(place: LogPlace) -> Path:
    return Path(place.url.removeprefix(SQLITE)) if place.url else place.data
