"""The table of stores: how each kind of store is opened and checked, by the scheme of its URL.

A store is one row here and a module with a `Backend`. Nothing of it is imported before a URL names
it. A URL may have a password: nobody but the store's own client gets to see it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from caretrail.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from caretrail.storage.contract import Backend, LogPlace, Storage
    from caretrail.storage.report import Report


def _sqlite() -> Backend:
    from caretrail.storage.sqlite.backend import SqliteBackend

    return SqliteBackend()


def _postgres() -> Backend:
    from caretrail.storage.postgres.backend import PostgresBackend

    return PostgresBackend()


def _clickhouse() -> Backend:
    from caretrail.storage.clickhouse.backend import ClickHouseBackend

    return ClickHouseBackend()


STORES: Final[dict[str, Callable[[], Backend]]] = {
    "sqlite": _sqlite,
    "postgresql": _postgres,
    "clickhouse": _clickhouse,
}


def backend_of(place: LogPlace) -> Backend:
    """Return what opens a place; raises ConfigurationError when no store has such a URL."""
    scheme = urlsplit(place.url).scheme if place.url else "sqlite"
    row = STORES.get(scheme)
    if row is None:
        raise ConfigurationError(
            f"--store is a URL that begins with {' or '.join(f'{one}://' for one in STORES)}"
        )
    return row()


def open_store(place: LogPlace) -> Storage:
    """Open the log at a place (see `Backend.open`)."""
    return backend_of(place).open(place)


def verify(
    place: LogPlace,
    *,
    progress: Callable[[int, int], None] = lambda *_: None,
    sizes: Collection[int] = (),
) -> Report:
    """Check the log at a place (see `Backend.verify`)."""
    return backend_of(place).verify(place, progress=progress, sizes=sizes)
