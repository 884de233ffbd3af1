"""The tables of a log in SQLite.

`event` is in the order of time: `k` is the millisecond of `recorded` and the low bits of the
entry. `leaf` is in the order of receipt; of an event that was erased it is all that is left, and
`erased` has its entry and the entry of the event that says why. `run` has the unbroken runs of
numbers that sources gave their events. `tally` counts events by the hour, and `counter` by the day
those with a code that many have (`search.counts`). `term` is a full-text index without content: for each
term the keys of its events in order, which is what every search reads. `node` holds the roots of
full tiles, so that neither a start nor a proof has to hash the whole log.
"""

from __future__ import annotations

from typing import Final

from caretrail.storage.runs import RUN

FORMAT: Final = 1

PRAGMAS: Final = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -131072;
PRAGMA mmap_size = 1073741824;
PRAGMA wal_autocheckpoint = 4000;
PRAGMA journal_size_limit = 67108864;
PRAGMA foreign_keys = ON;
PRAGMA secure_delete = ON;
"""

TABLES: Final = (
    RUN
    + """
CREATE TABLE property(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE dictionary(number INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE producer(number INTEGER PRIMARY KEY, name TEXT NOT NULL, organisation TEXT NOT NULL,
    UNIQUE(name, organisation));
CREATE TABLE event(k INTEGER PRIMARY KEY, entry INTEGER NOT NULL, id BLOB NOT NULL,
    producer INTEGER NOT NULL, kind INTEGER NOT NULL, form INTEGER NOT NULL, flags INTEGER NOT NULL,
    irregular INTEGER NOT NULL, salt BLOB NOT NULL, body BLOB NOT NULL);
CREATE UNIQUE INDEX event_id ON event(id);
CREATE TABLE leaf(entry INTEGER PRIMARY KEY, k INTEGER, received INTEGER NOT NULL,
    hash BLOB NOT NULL);
CREATE TABLE erased(entry INTEGER PRIMARY KEY, data BLOB NOT NULL, cause INTEGER NOT NULL);
CREATE TABLE node(level INTEGER NOT NULL, place INTEGER NOT NULL, hash BLOB NOT NULL,
    PRIMARY KEY(level, place)) WITHOUT ROWID;
CREATE TABLE fingerprint(value INTEGER NOT NULL, entry INTEGER NOT NULL,
    PRIMARY KEY(value, entry)) WITHOUT ROWID;
CREATE TABLE tally(hour INTEGER PRIMARY KEY, events INTEGER NOT NULL);
CREATE TABLE counter(name TEXT NOT NULL, day INTEGER NOT NULL, events INTEGER NOT NULL,
    PRIMARY KEY(name, day)) WITHOUT ROWID;
CREATE TABLE head(one INTEGER PRIMARY KEY CHECK(one = 1), size INTEGER NOT NULL, root BLOB NOT NULL);
CREATE TABLE checkpoint(size INTEGER PRIMARY KEY, root BLOB NOT NULL, at INTEGER NOT NULL);
CREATE TABLE signed(number INTEGER PRIMARY KEY, size INTEGER NOT NULL, at INTEGER NOT NULL,
    cosigned INTEGER NOT NULL, stays INTEGER NOT NULL, note BLOB NOT NULL);
CREATE TABLE quarantine(id INTEGER PRIMARY KEY, received INTEGER NOT NULL,
    producer INTEGER NOT NULL, issues BLOB NOT NULL, body BLOB NOT NULL);
CREATE VIRTUAL TABLE term USING fts5(terms, content='', columnsize=0, detail=none, tokenize='ascii');
CREATE VIRTUAL TABLE vocabulary USING fts5vocab(term, 'row');
INSERT INTO term(term, rank) VALUES ('automerge', 8), ('crisismerge', 64), ('hashsize', 16777216);
"""
)
