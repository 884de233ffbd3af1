"""What only a database server can do to a log: die, be rewritten, have roles and other clients."""

from __future__ import annotations

import asyncio
import random
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import asyncpg
import pytest

from caretrail.errors import ConfigurationError, InUseError, StoreError
from caretrail.patterns import own
from caretrail.search.query import parse
from caretrail.settings import Settings, told
from caretrail.storage import stores
from caretrail.storage.contract import LogPlace
from caretrail.storage.postgres import layout
from caretrail.storage.postgres.connection import Connection
from caretrail.storage.postgres.schema import MIGRATIONS
from tests.storage import world
from tests.storage.postgres_server import Server, server
from tests.storage.stores import KINDS, Log
from tests.storage.test_repository import with_keys

if TYPE_CHECKING:
    from pathlib import Path

    from caretrail.repository import Repository

SIZE = 700  # More than two tiles, so that there are nodes.


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(KINDS["postgresql"], tmp_path)


async def _filled(log: Log, count: int = SIZE) -> None:
    repository = log.repository()
    try:
        sent = [world.submission(body) for body in world.bodies(count)]
        await repository.append(sent, sender=world.SENDER, is_backfill=True)
    finally:
        await repository.close()


async def _kept(repository: Repository, body: bytes) -> None:
    """Send an event until it is acknowledged, and see that it is there."""
    while True:
        with suppress(StoreError):
            (stored,) = await repository.append([world.submission(body)], sender=world.SENDER)
            found = await repository.read(stored.id)
            assert found is not None
            assert found.body == body
            return
        await asyncio.sleep(0.05)


@pytest.mark.soak  # On a busy machine a server that was killed is not always ready to start again.
def test_a_server_that_is_killed_mid_commit_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Every process of PostgreSQL dies again and again while batches are under way."""
    ours, choice = Server(), random.Random(5)
    place = LogPlace(tmp_path, ours.database())
    bodies = with_keys(300)

    async def main() -> None:
        repository = Log(KINDS["postgresql"], tmp_path, place=place).repository()
        done = asyncio.Event()

        async def kill() -> None:
            for _ in range(3):
                target = repository.size + choice.randrange(20, 60)
                while 0 <= repository.size < target and not done.is_set():
                    await asyncio.sleep(0.001)
                await asyncio.to_thread(ours.kill)
                await asyncio.to_thread(ours.start)

        killing = asyncio.create_task(kill())
        await asyncio.gather(*(_kept(repository, body) for body in bodies))
        done.set()
        await killing
        await repository.close()

    try:
        asyncio.run(main())
        found = stores.verify(place)
        assert found.whole, found.findings
        assert found.size == len(bodies)
    finally:
        ours.stop()


def test_a_connection_that_is_lost_mid_way_is_asked_anew(log: Log) -> None:
    """The server ends the writer's connection: the commit fails, and later ones work again."""

    async def main() -> None:
        repository = log.repository()
        first, second = with_keys(2)
        await repository.append([world.submission(first)], sender=world.SENDER)
        server().script(
            "SELECT pg_terminate_backend(l.pid) FROM pg_locks l WHERE l.locktype = 'advisory'"
            " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            log.place.url,
        )
        await _kept(repository, second)
        assert repository.size == 2
        assert repository.health()["accepting"]
        await repository.close()

    asyncio.run(main())
    assert log.verify().whole


def test_a_second_writer_is_refused_and_takes_over_when_the_first_has_gone(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        first = log.repository()
        await first.append([world.submission(world.bodies(1)[0])], sender=world.SENDER)
        with pytest.raises(InUseError, match="another caretrail process"):
            log.open()
        # The first one dies as processes do: nobody says goodbye.
        log.kind.kill_writer(log.place)
        second = log.repository()
        assert second.size == 1
        await second.append([world.submission(world.bodies(2)[1])], sender=world.SENDER)
        # The first comes back, and may not write beside the second.
        with pytest.raises((InUseError, StoreError)):
            await first.append([world.submission(world.bodies(3)[2])], sender=world.SENDER)
        await second.close()
        await first.close()

    asyncio.run(main())
    assert log.verify().size == 2


# What a database administrator might do, and the lowest entry that it shows at (None: the log).
TAMPERINGS = {
    "an event's body is replaced by another's": ("UPDATE event SET body = (SELECT body FROM event WHERE entry = 9) WHERE entry = 5", 5),
    "a salt is changed": ("UPDATE event SET salt = '\\x00' WHERE entry = 6", 6),
    "an event is deleted": ("DELETE FROM event WHERE entry = 7", 7),
    "an event and its leaf are deleted": ("DELETE FROM event WHERE entry = 8; DELETE FROM leaf WHERE entry = 8", 8),
    "a leaf is changed": ("UPDATE leaf SET hash = sha256('x') WHERE entry = 9", 9),
    "an event is filed under another time": ("UPDATE event SET k = k + 1048576 WHERE entry = 12; UPDATE leaf SET k = k + 1048576 WHERE entry = 12", 12),
    "an event gets another id": ("UPDATE event SET id = '\\x00' WHERE entry = 13", 13),
    "an event is found by another id": ("UPDATE leaf SET id = '\\x00' WHERE entry = 13", 13),
    "an event's flags are changed": ("UPDATE event SET flags = flags + 2 WHERE entry = 14", 14),
    "a producer is renamed": ("UPDATE producer SET name = 'x'", 0),
    "a fingerprint is deleted": ("DELETE FROM fingerprint WHERE entry = 18", 18),
    "a time of receipt is changed": ("UPDATE leaf SET received = received + 1 WHERE entry = 18", 18),
    "an event is hidden as erased": ("DELETE FROM event WHERE entry = 19; UPDATE leaf SET k = NULL, id = NULL WHERE entry = 19; INSERT INTO erased VALUES (19, '\\x00', 3)", 19),
    "a number of a source is forgotten": ("INSERT INTO run VALUES (1, 5, 9, 0, 0)", None),
    "a fingerprint is added": ("INSERT INTO fingerprint VALUES (1, 1)", None),
    "a count by hour is changed": ("UPDATE tally SET events = events + 1 WHERE hour = (SELECT min(hour) FROM tally)", None),
    "the postings of an event are removed": ("DELETE FROM posting WHERE n = 1 AND high = (SELECT k FROM leaf WHERE entry = 20)", 20),
    "a posting is added": ("INSERT INTO posting SELECT 'acinvented', k, 1, '' FROM leaf WHERE entry = 21", 21),
    "a posting of no event is added": ("INSERT INTO posting VALUES ('acinvented', 4711, 1, '')", None),
    "a posting says that it has more": ("UPDATE posting SET n = n + 1, keys = keys || '\\x00000001' WHERE high = (SELECT k FROM leaf WHERE entry = 22)", None),
    "a node is changed": ("UPDATE node SET hash = sha256('x') WHERE level = 8 AND place = 1", 511),
    "a node is added": ("INSERT INTO node VALUES (8, 9, '\\x00')", None),
    "the tail is cut off": ("DELETE FROM event WHERE entry > 650; DELETE FROM leaf WHERE entry > 650; DELETE FROM fingerprint WHERE entry > 650", 651),
    "the head is changed": ("UPDATE head SET root = sha256('x')", SIZE - 1),
    "a dictionary is changed": ("UPDATE dictionary SET data = '\\x00'", 0),
    "the log's id is changed": ("UPDATE property SET value = '\\x00' WHERE name = 'log'", 0),
    "a trigger is switched off": ("ALTER TABLE leaf DISABLE TRIGGER append_only", None),
    "a trigger lets everything pass": ("CREATE OR REPLACE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$", None),
    "a rule is put in": ("CREATE RULE quiet AS ON INSERT TO producer DO INSTEAD NOTHING", None),
}  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = Log(KINDS["postgresql"], tmp_path_factory.mktemp("log"))
    asyncio.run(_filled(made))
    return made.place.url


@pytest.mark.parametrize("name", TAMPERINGS)
def test_verify_finds_and_names_it_when(name: str, original: str, tmp_path: Path) -> None:
    script, entry = TAMPERINGS[name]
    copy = server().copied(original)
    said = "SET search_path = caretrail; SET caretrail.erasing = 'on';"
    server().script(f"{said} {script};", copy)
    report = stores.verify(LogPlace(tmp_path, copy))
    first = report.first()
    assert first is not None
    assert first.entry == entry, report.findings[:3]


def test_rows_that_stay_cannot_be_changed_by_accident(log: Log) -> None:
    asyncio.run(_filled(log, 5))
    for statement in (
        "UPDATE caretrail.leaf SET hash = '\\x00'",
        "DELETE FROM caretrail.event",
        "DELETE FROM caretrail.posting",
        "TRUNCATE caretrail.event_2026_05",
        "TRUNCATE caretrail.node",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="CareTrail"):
            server().script(statement, log.place.url)
    assert log.verify().whole


def test_a_role_that_only_writes_keeps_a_log_and_has_no_right_to_change_it(log: Log) -> None:
    """The owner makes the tables once; then the server runs as `caretrail_writer`."""
    with suppress(asyncpg.DuplicateObjectError):
        server().script("CREATE ROLE caretrail_writer LOGIN")
    asyncio.run(_filled(log, 5))
    writes = log.place.url.replace("owner@", "caretrail_writer@")
    place = LogPlace(log.place.data, writes)
    by_writer = Log(log.kind, place.data, place=place)

    async def main() -> None:
        repository = by_writer.repository()
        stored = await repository.append(
            [world.submission(body) for body in world.bodies(20, seed=9)], sender=world.SENDER
        )
        # Erasing is the owner's.
        with pytest.raises(StoreError):
            await repository.erase([stored[0].entry], cause=stored[1].entry)
        page = await repository.search(parse([("_count", "100")], strict=True, base=""))
        assert len(page.records) == 25
        await repository.close()

    asyncio.run(main())
    for statement in ("UPDATE caretrail.leaf SET hash = ''", "DELETE FROM caretrail.event",
                      "DELETE FROM caretrail.posting", "TRUNCATE caretrail.leaf",
                      "DROP TABLE caretrail.event"):  # fmt: skip
        said = f"SET caretrail.erasing = 'on'; {statement};"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            server().script(said, writes)
    assert by_writer.verify().size == 25


def test_a_database_takes_the_steps_that_it_has_not_taken(log: Log) -> None:
    steps = ("CREATE TABLE one(n int);", "CREATE TABLE two(n int);")
    with closing(Connection(log.place.url, {})) as db:
        layout.lay_out(db, (*MIGRATIONS, steps[0]))
        assert layout.version(db) == len(MIGRATIONS) + 1
        layout.lay_out(db, (*MIGRATIONS, *steps))
        assert db.value("SELECT count(*) FROM two") == 0
        # This version knows fewer.
        with pytest.raises(ConfigurationError, match="storage format 3"):
            layout.lay_out(db)
    with pytest.raises(ConfigurationError, match="storage format 3"):
        log.open()


def test_verify_says_so_where_there_is_no_log_or_no_server(log: Log, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no log in this database"):
        log.verify()
    secret = "postgresql://u:hidden@127.0.0.1:1/x"
    for place in (LogPlace(tmp_path, secret), LogPlace(tmp_path, "mysql://x/y")):
        with pytest.raises(ConfigurationError) as raised:
            stores.open_store(place)
        assert "hidden" not in str(raised.value)


@pytest.mark.parametrize("url", ["postgresql://u:pw@h/d?password=pw", "postgresql://u:pw@h:1/d"])
def test_a_password_in_a_url_is_told_to_nobody(url: str) -> None:
    assert told(Settings(store=url), "store").startswith("postgresql://u@h")
    assert "pw" not in told(Settings(store=url), "store")


def test_erased_events_leave_nothing_in_any_table(log: Log) -> None:
    async def main() -> None:
        repository = log.repository()
        sent = [world.submission(body) for body in with_keys(30)]
        stored = await repository.append(sent, sender=world.SENDER, is_backfill=True)
        entries = [one.entry for one in stored[:3]]
        people = {"policy": "ten years", "requester": "r", "approver": "a"}
        said = own.erased(repository.speaking(), entries=entries, **people)
        cause = await repository.record_own(said)
        await repository.erase(entries, cause=cause.entry)
        await repository.purge()
        for one in stored[:3]:
            assert await repository.read(one.id) is None
        await repository.close()

    asyncio.run(main())
    report = log.verify()
    assert report.whole, report.findings
    assert report.erased == 3
