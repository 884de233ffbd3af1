"""The stores that the contract's tests run against: a row is a fixture of one kind of store.

A log of a test has a folder; what else a store needs it makes there and then. Reading threads,
second openers and `verify` all go by the log's `LogPlace`.
"""

from __future__ import annotations

import functools
import os
import signal
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from caretrail.repository import Repository
from caretrail.storage import stores
from caretrail.storage.contract import LogPlace
from tests.storage import postgres_server
from tests.storage.clickhouse.cluster import missing
from tests.storage.clickhouse.shared_cluster import SharedCluster

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

    def examples(self, count: int) -> int:
        """Return of how many examples, each with a log of its own, a property is tested here."""


class Sqlite:
    """Logs in folders."""

    def place(self, folder: Path) -> LogPlace:
        return LogPlace(folder)

    def kill_writer(self, place: LogPlace) -> None:
        _kill_writer(place)

    def examples(self, count: int) -> int:
        return count


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

    def examples(self, count: int) -> int:
        return max(3, count // 3)


class ClickHouse:
    """Logs on the cluster of this run, each under a name of its own."""

    def __init__(self) -> None:
        self._names: dict[Path, str] = {}

    def place(self, folder: Path) -> LogPlace:
        name = self._names.setdefault(folder, f"log-{uuid.uuid4().hex}")
        return LogPlace(folder, cluster().url("caretrail", log=name))

    def kill_writer(self, place: LogPlace) -> None:
        _kill_writer(place)

    def examples(self, count: int) -> int:
        return max(3, count // 6)  # A log begins in a second, and not in a few milliseconds.


@functools.cache
def cluster() -> SharedCluster:
    """Return the cluster of this run; skip where there can be none."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    return SharedCluster()


def _kill_writer(place: LogPlace) -> None:
    """Kill the process that writes: it is shown with its data folder's name."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b".writer" in b"".join(words) and str(place.data).encode() in words:
                os.kill(int(path.parent.name), signal.SIGKILL)


KINDS: dict[str, Kind] = {
    "sqlite": Sqlite(),
    "postgresql": Postgres(),
    "clickhouse": ClickHouse(),
}


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
