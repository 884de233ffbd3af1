"""Erasing content: the bytes, the salt and every index row go, the leaf and its entry stay.

Without the salt nobody can find out by trying what the entry's commitment binds (entry format).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caretrail.errors import ConflictError
from caretrail.fhir import temporal
from caretrail.search import counts, index
from caretrail.sequencer import (
    DAY_MILLISECONDS,
    HOUR_MILLISECONDS,
    bucket_of,
    entry_of,
    fingerprint,
)
from caretrail.tlog.entry import Kind

if TYPE_CHECKING:
    import sqlite3

    from caretrail.sequencer import Identity
    from caretrail.storage.sqlite.searching import Searcher


def erase(
    db: sqlite3.Connection, reader: Searcher, identity: Identity, *, entry: int, cause: int
) -> None:
    """Erase one event within a transaction; one that was erased before stays as it is."""
    found = db.execute("SELECT k FROM leaf WHERE entry = ?", (entry,)).fetchone()
    if found is None:
        raise ConflictError("the log does not have that entry")
    (k,) = found
    if k is None:
        return
    (record,) = reader.entries(entry, entry + 1)
    if record.kind == Kind.OWN:
        raise ConflictError("an event of the log's own is never erased")
    kept, event = db.execute("SELECT salt, id FROM event WHERE k = ?", (k,)).fetchone()
    salt = reader.bodies.salt(kept, event=event)
    data = entry_of(record, salt=salt, identity=identity).encode()
    bucket, _ = bucket_of(*temporal.exact_key(record.event.recorded))
    # The index forgets a row only when it is told the very terms that it has.
    terms = index.terms(record)
    db.execute("INSERT INTO term(term, rowid, terms) VALUES ('delete', ?, ?)", (k, " ".join(terms)))
    day = bucket // DAY_MILLISECONDS
    counted = [(name, day) for name in counts.names(terms)]
    db.executemany("UPDATE counter SET events = events - 1 WHERE name = ? AND day = ?", counted)
    db.executemany("DELETE FROM counter WHERE name = ? AND day = ? AND events = 0", counted)
    db.execute(
        "DELETE FROM fingerprint WHERE value = ? AND entry = ?",
        (fingerprint(bucket, record.producer, record.body), entry),
    )
    hour = bucket // HOUR_MILLISECONDS
    db.execute("UPDATE tally SET events = events - 1 WHERE hour = ?", (hour,))
    db.execute("DELETE FROM tally WHERE hour = ? AND events = 0", (hour,))
    db.execute("DELETE FROM event WHERE k = ?", (k,))
    db.execute("UPDATE leaf SET k = NULL WHERE entry = ?", (entry,))
    db.execute("INSERT INTO erased VALUES (?, ?, ?)", (entry, data, cause))


def purge(db: sqlite3.Connection) -> None:
    """Let nothing of what was erased stay in the files.

    The index keeps erased terms in its older segments until they are merged, so all are; free
    pages are overwritten (`secure_delete`), and the journal is emptied.
    """
    db.execute("INSERT INTO term(term) VALUES ('optimize')")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
