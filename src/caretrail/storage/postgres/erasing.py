"""Erasing content: the bytes, the salt and every index row go, the leaf and its entry stay.

Only the owner's role may, and only when it says first that this is what it is about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caretrail.errors import ConflictError
from caretrail.fhir import temporal
from caretrail.search import index
from caretrail.sequencer import HOUR_MILLISECONDS, bucket_of, entry_of, fingerprint
from caretrail.storage.postgres.postings import end_of, packed, unpacked
from caretrail.tlog.entry import Kind

if TYPE_CHECKING:
    from caretrail.sequencer import Identity
    from caretrail.storage.postgres.connection import Connection
    from caretrail.storage.postgres.searching import Searcher

_BEGIN: Final = """
DO $$ BEGIN
    EXECUTE format('SET LOCAL ROLE %I', (SELECT pg_get_userbyid(relowner) FROM pg_class
        WHERE oid = 'caretrail.event'::regclass));
    PERFORM set_config('caretrail.erasing', 'on', true);
END $$
"""
_ROWS: Final = (
    "SELECT term, high, n, keys FROM posting WHERE term = ANY($1) AND high >= $2 AND high <= $3"
)


def begin(db: Connection) -> None:
    """Say within a transaction that it erases; raises StoreError where the role may not."""
    db.script(_BEGIN)


def erase(db: Connection, reader: Searcher, identity: Identity, *, entry: int, cause: int) -> None:
    """Erase one event within a transaction; one that was erased before stays as it is."""
    found = db.fetch(
        "SELECT l.k, e.salt, e.id FROM leaf l LEFT JOIN event e ON e.k = l.k WHERE l.entry = $1",
        entry,
    )
    if not found:
        raise ConflictError("the log does not have that entry")
    ((k, kept, event),) = found
    if k is None:
        return
    (record,) = reader.entries(entry, entry + 1)
    if record.kind == Kind.OWN:
        raise ConflictError("an event of the log's own is never erased")
    salt = reader.bodies.salt(kept, event=event)
    data = entry_of(record, salt=salt, identity=identity).encode()
    bucket, _ = bucket_of(*temporal.exact_key(record.event.recorded))
    _forget(db, sorted(index.terms(record)), k)
    value = fingerprint(bucket, record.producer, record.body)
    db.fetch("DELETE FROM fingerprint WHERE value = $1 AND entry = $2", value, entry)
    hour = bucket // HOUR_MILLISECONDS
    db.fetch("UPDATE tally SET events = events - 1 WHERE hour = $1", hour)
    db.fetch("DELETE FROM tally WHERE hour = $1 AND events = 0", hour)
    db.fetch("DELETE FROM event WHERE k = $1", k)
    db.fetch("UPDATE leaf SET k = NULL, id = NULL WHERE entry = $1", entry)
    db.fetch("INSERT INTO erased VALUES ($1, $2, $3)", entry, data, cause)


def _forget(db: Connection, terms: list[str], k: int) -> None:
    """Take a key out of the rows of its terms."""
    for term, high, n, keys in db.fetch(_ROWS, terms, k, end_of(k)):
        left = [one for one in unpacked(high, n, keys) if one != k]
        if len(left) == n:
            continue
        db.fetch("DELETE FROM posting WHERE term = $1 AND high = $2", term, high)
        for row in packed(left):
            db.fetch("INSERT INTO posting VALUES ($1, $2, $3, $4)", term, *row)


# Erased rows stay in the tables' files until they are cleaned up and written over.
PURGED: Final = ("posting", "fingerprint", "tally", "leaf")


def purge(db: Connection) -> None:
    """Let nothing of what was erased stay in the tables' files: those that had some are rewritten."""
    parts = db.fetch(
        "SELECT c.relname, c.oid FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid"
        " WHERE i.inhparent = 'caretrail.event'::regclass"
    )
    for name in (*(row[0] for row in parts), *PURGED):
        db.script(f'VACUUM (FULL) caretrail."{name}"')
    db.script("CHECKPOINT")
