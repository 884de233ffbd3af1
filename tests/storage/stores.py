"""The stores that the contract's tests run against: a row is a fixture of one kind of store.

A log of a test has a folder; what else a store needs it makes there and then. Reading threads,
second openers and `verify` all go by the log's `LogPlace`.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from caretrail.repository import Repository
from caretrail.storage import stores
from caretrail.storage.contract import LogPlace
from tests.storage import postgres_server

if TYPE_CHECKING:
    from typing import Any

    from caretrail.storage.contract import Storage
    from caretrail.storage.report import Report


class Kind(Protocol):
    """What a test needs of a kind of store."""

    def place(self, folder: Path) -> LogPlace:
        """Return the place of the log of that folder, a new one where it was not asked for yet."""

    def kill_writer(self, place: LogPlace) -> None:
        """Kill what writes to the log, if it runs, as a crash of the store would."""


class Sqlite:
    """Logs in folders."""

    def place(self, folder: Path) -> LogPlace:
        return LogPlace(folder)

    def kill_writer(self, place: LogPlace) -> None:
        _kill_writer(place)


class Postgres:
    """Logs in databases of a server of the tests' own."""

    def __init__(self) -> None:
        self._places: dict[Path, LogPlace] = {}

    def place(self, folder: Path) -> LogPlace:
        if folder not in self._places:
            self._places[folder] = LogPlace(folder, postgres_server.server().database())
        return self._places[folder]

    def kill_writer(self, place: LogPlace) -> None:
        _kill_writer(place)


def _kill_writer(place: LogPlace) -> None:
    """Kill the process that writes: it is shown with its data folder's name."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b".writer" in b"".join(words) and str(place.data).encode() in words:
                os.kill(int(path.parent.name), signal.SIGKILL)


KINDS: dict[str, Kind] = {"sqlite": Sqlite(), "postgresql": Postgres()}


class Log:
    """The log of a test: `open` it as often as you like, one after the other."""

    def __init__(self, kind: Kind, folder: Path, *, place: LogPlace | None = None) -> None:
        self.kind, self.place = kind, place or kind.place(folder)

    def open(self) -> Storage:
        return stores.open_store(self.place)

    def repository(self, **options: Any) -> Repository:
        return Repository(self.open(), **options)

    def verify(self) -> Report:
        return stores.verify(self.place)
