"""The embedded backend: one folder, one SQLite database, one process that writes."""

from caretrail.storage.sqlite.store import SqliteStorage
from caretrail.storage.sqlite.verification import verify

__all__ = ["SqliteStorage", "verify"]
