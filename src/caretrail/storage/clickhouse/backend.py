"""The row of the table of stores: logs on a cluster of ClickHouse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caretrail.storage.clickhouse.store import ClickHouseStorage
from caretrail.storage.clickhouse.verification import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from caretrail.storage.contract import LogPlace
    from caretrail.storage.report import Report, State


class ClickHouseBackend:
    """Logs by the URL of a cluster (see `stores.Backend`)."""

    def open(self, place: LogPlace) -> ClickHouseStorage:
        """Open the log of a URL."""
        return ClickHouseStorage(place)

    def verify(
        self, place: LogPlace, *, progress: Callable[[int, int], None], sizes: Collection[int]
    ) -> Report:
        """Check the log at the size that it has now."""
        return verify(
            place.url, progress=lambda state: progress(state.done, state.size), sizes=sizes
        )

    def verify_patiently(
        self,
        place: LogPlace,
        state: State | None,
        *,
        rest: Callable[[State], None],
        sizes: Collection[int],
    ) -> Report:
        """Check the log a range at a time."""
        return verify(place.url, state, progress=rest, sizes=sizes)
