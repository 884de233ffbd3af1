"""The row of the table of stores: a log in a PostgreSQL database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caretrail.storage.postgres.store import PostgresStorage
from caretrail.storage.postgres.verification import verify, verify_patiently

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from caretrail.storage.contract import LogPlace
    from caretrail.storage.report import Report, State


class PostgresBackend:
    """Logs in databases (see `contract.Backend`)."""

    def open(self, place: LogPlace) -> PostgresStorage:
        """Open the log in a database."""
        return PostgresStorage(place)

    def verify(
        self, place: LogPlace, *, progress: Callable[[int, int], None], sizes: Collection[int]
    ) -> Report:
        """Check the log in a database at one moment."""
        return verify(place.url, progress=progress, sizes=sizes)

    def verify_patiently(
        self,
        place: LogPlace,
        state: State | None,
        *,
        rest: Callable[[State], None],
        sizes: Collection[int],
    ) -> Report:
        """Check the log in a database a range at a time."""
        return verify_patiently(place.url, state, rest=rest, sizes=sizes)
