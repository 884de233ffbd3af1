"""The tables of a log in SQLite.

`event` is in the order of time: `k` is the millisecond of `recorded` and the low bits of the
entry. `leaf` is in the order of receipt. `term` is a full-text index without content: for each
term the keys of its events in order, which is what every search reads. `node` holds the roots of
full tiles, so that neither a start nor a proof has to hash the whole log.
"""

from __future__ import annotations

from typing import Final

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
"""

TABLES: Final = """
CREATE TABLE property(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE dictionary(number INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE producer(number INTEGER PRIMARY KEY, name TEXT NOT NULL, organisation TEXT NOT NULL,
    UNIQUE(name, organisation));
CREATE TABLE event(k INTEGER PRIMARY KEY, entry INTEGER NOT NULL, id BLOB NOT NULL,
    producer INTEGER NOT NULL, form INTEGER NOT NULL, flags INTEGER NOT NULL,
    irregular INTEGER NOT NULL, salt BLOB NOT NULL, body BLOB NOT NULL);
CREATE UNIQUE INDEX event_id ON event(id);
CREATE TABLE leaf(entry INTEGER PRIMARY KEY, k INTEGER NOT NULL, hash BLOB NOT NULL);
CREATE TABLE node(level INTEGER NOT NULL, place INTEGER NOT NULL, hash BLOB NOT NULL,
    PRIMARY KEY(level, place)) WITHOUT ROWID;
CREATE TABLE fingerprint(value INTEGER NOT NULL, entry INTEGER NOT NULL,
    PRIMARY KEY(value, entry)) WITHOUT ROWID;
CREATE TABLE tally(hour INTEGER PRIMARY KEY, events INTEGER NOT NULL);
CREATE TABLE head(one INTEGER PRIMARY KEY CHECK(one = 1), size INTEGER NOT NULL, root BLOB NOT NULL);
CREATE TABLE checkpoint(size INTEGER PRIMARY KEY, root BLOB NOT NULL, at INTEGER NOT NULL);
CREATE TABLE quarantine(id INTEGER PRIMARY KEY, received INTEGER NOT NULL,
    producer INTEGER NOT NULL, issues BLOB NOT NULL, body BLOB NOT NULL);
CREATE VIRTUAL TABLE term USING fts5(terms, content='', columnsize=0, detail=none, tokenize='ascii');
CREATE VIRTUAL TABLE vocabulary USING fts5vocab(term, 'row');
INSERT INTO term(term, rank) VALUES ('automerge', 8), ('crisismerge', 64), ('hashsize', 16777216);
"""

# The writer commits a batch by one statement: an INSERT into this view, whose trigger fills the
# tables. Between two statements another thread may take the interpreter's lock, and in a busy
# server getting it back takes longer than the writing. A row is an event, or, where `entry` is
# null, a node; the last row, the new head, is refused unless the batch began at the old one.
WRITING: Final = """
CREATE TEMP VIEW incoming AS SELECT NULL AS kind, 0 AS a, 0 AS b, 0 AS c, 0 AS d, 0 AS e, 0 AS f,
    0 AS g, 0 AS h, NULL AS id, NULL AS salt, NULL AS hash, NULL AS body, NULL AS terms;
CREATE TEMP TRIGGER incoming_event INSTEAD OF INSERT ON incoming WHEN new.kind = 0 BEGIN
    INSERT INTO event VALUES (new.a, new.b, new.id, new.c, new.d, new.e, new.f, new.salt, new.body);
    INSERT INTO leaf VALUES (new.b, new.a, new.hash);
    INSERT INTO fingerprint VALUES (new.g, new.b);
    INSERT INTO tally VALUES (new.h, 1) ON CONFLICT DO UPDATE SET events = events + 1;
    INSERT INTO term(rowid, terms) VALUES (new.a, new.terms);
END;
CREATE TEMP TRIGGER incoming_node INSTEAD OF INSERT ON incoming WHEN new.kind = 1 BEGIN
    INSERT INTO node VALUES (new.a, new.b, new.hash);
END;
CREATE TEMP TRIGGER incoming_head INSTEAD OF INSERT ON incoming WHEN new.kind = 2 BEGIN
    SELECT RAISE(ABORT, 'the log has grown') WHERE (SELECT coalesce(max(size), 0) FROM head) <> new.a;
    INSERT OR REPLACE INTO head VALUES (1, new.b, new.hash);
    INSERT OR REPLACE INTO checkpoint SELECT new.b, new.hash, new.c WHERE new.d;
END;
"""
# A row is JSON; its bytes are cut out of one long value, from the place in column 9 on: a hash of
# 32 bytes, and for an event its id, its salt and a body of the length in column 10.
INSERT: Final = """
INSERT INTO incoming SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5,
    value->>6, value->>7, value->>8, substr(?2, (value->>9) + 32, 16),
    substr(?2, (value->>9) + 48, 32), substr(?2, value->>9, 32),
    substr(?2, (value->>9) + 80, value->>10), value->>11
FROM json_each(?1)
"""
