"""A log on a cluster of ClickHouse servers."""

from caretrail.storage.clickhouse.store import ClickHouseStorage

__all__ = ["ClickHouseStorage"]
