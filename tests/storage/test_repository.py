"""Appending: once, in order, and never silently dropped (DESIGN, decisions 2, 3 and 5)."""

from __future__ import annotations

import asyncio
import itertools
import random
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from caretrail import committer, sequencer
from caretrail.errors import PreconditionError, StoreError, ThrottledError
from caretrail.fhir import audit_event, temporal
from caretrail.limits import COPIES_COMPARED_MAX
from caretrail.repository import Refused, Repository, Sender
from caretrail.search.query import parse
from caretrail.search.record import Flag
from caretrail.sequencer import Batch, prepare
from caretrail.storage.contract import Known
from caretrail.storage.sqlite import SqliteStorage, verify
from caretrail.tlog.entry import Entry
from tests.storage import world
from tests.storage.world import SENDER, submission

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.storage.stores import Log

NOW = world.END / 1000


def run(log: Log, test: Callable[[Repository], Any], **options: Any) -> Any:
    async def main() -> Any:
        repository = log.repository(**options)
        try:
            return await test(repository)
        finally:
            await repository.close()

    return asyncio.run(main())


def changed(body: bytes, **members: Any) -> bytes:
    event = msgspec.json.decode(body) | members
    return msgspec.json.encode({name: value for name, value in event.items() if value is not None})


BODY = world.bodies(1)[0]
KEYLESS = changed(BODY, entity=None)


def test_the_same_bytes_with_a_key_of_their_own_are_stored_once(log: Log) -> None:
    async def test(repository: Repository) -> None:
        stored = await asyncio.gather(
            *(repository.append([submission(BODY)], sender=SENDER) for _ in range(50))
        )
        assert len({row.id for (row,) in stored}) == 1
        assert sum(row.created for (row,) in stored) == 1
        assert repository.size == 1

    run(log, test)
    (again,) = run(log, lambda repository: repository.append([submission(BODY)], sender=SENDER))
    assert not again.created
    assert log.verify().size == 1


def test_a_copy_that_comes_after_the_window_is_another_event(log: Log) -> None:
    times = iter([NOW, NOW + 3_599, NOW + 3_601])

    async def test(repository: Repository) -> None:
        created = [
            (await repository.append([submission(BODY)], sender=SENDER))[0].created
            for _ in range(3)
        ]
        assert created == [True, False, True]

    run(log, test, clock=lambda: next(times), copy_window=3_600_000)
    assert log.verify().size == 2


def test_another_source_may_send_the_same_bytes(log: Log) -> None:
    async def test(repository: Repository) -> None:
        await repository.append([submission(BODY)], sender=SENDER)
        (other,) = await repository.append([submission(BODY)], sender=Sender("other"))
        assert other.created
        assert not other.flags & (Flag.KEY_CONFLICT | Flag.SUSPECTED_DUPLICATE)

    run(log, test)


def test_the_same_bytes_without_a_key_are_both_stored_and_flagged(log: Log) -> None:
    async def test(repository: Repository) -> None:
        first, second = await repository.append([submission(KEYLESS)] * 2, sender=SENDER)
        assert first.created
        assert second.created
        assert Flag.SUSPECTED_DUPLICATE not in first.flags
        assert Flag.SUSPECTED_DUPLICATE in second.flags
        query = parse([("flag", "suspected-duplicate")], strict=True, base="")
        page = await repository.search(query)
        assert [one.id for one in page.records] == [second.id]

    run(log, test)
    assert log.verify().whole


def test_a_sender_that_repeats_itself_is_compared_with_its_latest_events(log: Log) -> None:
    """Otherwise each copy would take longer than the one before."""
    copies = 2 * COPIES_COMPARED_MAX

    async def test(repository: Repository) -> None:
        stored = await repository.append([submission(KEYLESS)] * copies, sender=SENDER)
        assert [Flag.SUSPECTED_DUPLICATE in one.flags for one in stored] == [False] + [True] * (
            copies - 1
        )
        record = await repository.read(stored[0].id)
        assert record is not None
        again = prepare(record, salt=bytes(16))
        batch = Batch(copies, [again, again])
        known = await repository._storage.commit(batch, unless_known=True)
        assert isinstance(known, Known)
        (found,) = known.events.values()
        latest = range(copies - COPIES_COMPARED_MAX, copies)
        assert sorted(one.entry for one in found) == list(latest)

    run(log, test)


@pytest.mark.parametrize("key", ["id", "number"])
def test_the_same_key_with_other_bytes_is_stored_and_flagged(key: str, log: Log) -> None:
    numbered = [{"url": "urn:caretrail:source-sequence", "valueInteger": 7}]
    given = {"id": "mine"} if key == "id" else {"extension": numbered}

    async def test(repository: Repository) -> None:
        (first,) = await repository.append([submission(changed(BODY, **given))], sender=SENDER)
        other = changed(BODY, action="D", **given)
        (second,) = await repository.append([submission(other)], sender=SENDER)
        assert second.created
        assert second.id != first.id
        assert Flag.KEY_CONFLICT in second.flags

    run(log, test)
    assert log.verify().whole


def test_one_request_may_leave_an_event_for_each_patient(log: Log) -> None:
    one = next(body for body in world.bodies(50) if b'"Patient/' in body)
    other = one.replace(b'"Patient/', b'"Patient/x')

    async def test(repository: Repository) -> None:
        _, second = await repository.append([submission(one), submission(other)], sender=SENDER)
        assert Flag.KEY_CONFLICT not in second.flags

    run(log, test)


def test_a_number_of_the_source_is_in_the_leaf(log: Log) -> None:
    body = changed(BODY, extension=[{"url": "urn:caretrail:source-sequence", "valueInteger": 7}])
    stored = run(log, lambda r: r.append([submission(body)], sender=SENDER))
    storage = log.open()
    record = storage.searcher().read(stored[0].id)
    assert record is not None
    entry = sequencer.entry_of(record, salt=bytes(32), identity=storage.identity)
    assert entry.number == 7
    assert Entry.decode(entry.encode()) == entry
    asyncio.run(storage.close())


def test_a_clock_that_is_set_back_does_not_reorder_the_log(log: Log) -> None:
    times = iter([NOW, NOW, NOW - 86_400, NOW - 86_400, NOW + 1, NOW + 1, NOW + 1, NOW + 1])

    async def test(repository: Repository) -> None:
        rows = [
            (await repository.append([submission(body)], sender=SENDER))[0]
            for body in world.bodies(3)
        ]
        received = [row.received for row in rows]
        assert received == sorted(received)

    run(log, test, clock=lambda: next(times))


@pytest.mark.parametrize(("days", "flagged"), [(1, True), (-1, True), (0.5, False)])
def test_a_source_clock_a_day_off_is_flagged_and_harmless(
    days: float, flagged: bool, log: Log
) -> None:
    recorded = temporal.instant(audit_event.read(BODY).recorded).seconds

    async def test(repository: Repository) -> None:
        (stored,) = await repository.append([submission(BODY)], sender=SENDER)
        assert (Flag.CLOCK_SKEW in stored.flags) is flagged

    run(log, test, clock=lambda: recorded + days * 86_400 + 1 * (days > 0) - 1 * (days < 0))


def test_if_none_exist_stores_only_when_nothing_fits(log: Log) -> None:
    event = audit_event.read(BODY)
    condition = parse([("date", event.recorded)], strict=True, base="")

    async def test(repository: Repository) -> None:
        rows = await asyncio.gather(
            *(
                repository.append([submission(body)], sender=SENDER, unless=condition)
                for body in (changed(BODY, action=action) for action in "CRUDE")
            )
        )
        assert sum(row.created for (row,) in rows) == 1
        assert len({row.id for (row,) in rows}) == 1
        await repository.append([submission(changed(BODY, outcome="4"))], sender=SENDER)
        with pytest.raises(PreconditionError):
            await repository.append([submission(BODY)], sender=SENDER, unless=condition)

    run(log, test)


def test_a_full_queue_refuses_at_once(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "QUEUE_ENTRIES_MAX", 5)

    async def test(repository: Repository) -> None:
        with pytest.raises(ThrottledError):
            await repository.append([submission(body) for body in world.bodies(6)], sender=SENDER)

    run(log, test)


def test_a_store_that_fails_is_asked_before_the_next_batch(tmp_path: Path) -> None:
    """Another connection holds the write lock: the commit fails, and later ones work again."""

    async def test(repository: Repository) -> None:
        await repository.append([submission(BODY)], sender=SENDER)
        other = sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        later = world.bodies(2)[1]
        with pytest.raises(StoreError):
            await repository.append([submission(later)], sender=SENDER)
        assert repository.health()["accepting"] is False
        other.execute("ROLLBACK")
        other.close()
        (stored,) = await repository.append([submission(later)], sender=SENDER)
        assert stored.entry == 1
        assert repository.health()["accepting"] is True

    async def main() -> None:
        repository = Repository(SqliteStorage(tmp_path, busy_seconds=0.05))
        await test(repository)
        await repository.close()

    asyncio.run(main())
    assert verify(tmp_path).whole


def test_what_was_refused_is_kept_in_quarantine(log: Log) -> None:
    async def test(repository: Repository) -> None:
        await repository.quarantine([Refused(b"{", ())], sender=SENDER)

        (row,) = await repository.quarantined(after=0, limit=10)
        assert (row.body, row.producer) == (b"{", SENDER.producer)
        assert await repository.quarantined(after=row.number, limit=10) == []

    run(log, test)


def test_more_events_than_a_millisecond_has_keys_are_all_kept(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With four keys a millisecond instead of four million, the next ones are used."""
    monkeypatch.setattr(sequencer, "ENTRY_MASK", 3)
    same = [changed(body, recorded="2026-06-01T00:00:00.000Z") for body in world.bodies(20)]

    async def test(repository: Repository) -> None:
        for body in same:
            await repository.append([submission(body)], sender=SENDER)
        query = parse(
            [("date", "2026-06-01T00:00:00.000Z"), ("_count", "100")], strict=True, base=""
        )
        assert len((await repository.search(query)).records) == 20

    run(log, test)


def with_keys(count: int) -> list[bytes]:
    """Return events that are known again when they are sent again."""
    return [body for body in world.bodies(count) if sequencer.sender_key(submission(body).event)]


def test_batches_under_way_together_keep_every_event_once(log: Log) -> None:
    """Copies lie in the batch before, in the same batch, and in the log."""
    bodies, choice = with_keys(300), random.Random(3)
    sent = [body for body in bodies for _ in range(choice.choice((1, 1, 1, 2)))]

    async def test(repository: Repository) -> None:
        appended = (repository.append([submission(body)], sender=SENDER) for body in sent)
        stored = [row[0] for row in await asyncio.gather(*appended)]
        assert repository.size == len(bodies)
        where = dict(zip(sent, stored, strict=True))
        for body, one in zip(sent, stored, strict=True):
            assert one.id == where[body].id
        assert sorted(one.entry for one in stored if one.created) == list(range(len(bodies)))
        received = [one.received for one in sorted(stored, key=lambda one: one.entry)]
        assert received == sorted(received)

    run(log, test)
    assert log.verify().whole


@pytest.mark.parametrize("seed", range(3))
def test_a_writer_that_dies_between_batches_loses_nothing(seed: int, log: Log) -> None:
    """Its process is killed again and again while several batches are under way."""
    bodies, choice = with_keys(400), random.Random(seed)

    async def main() -> None:
        repository = log.repository()

        async def append(body: bytes) -> None:
            while True:
                with suppress(StoreError):
                    (stored,) = await repository.append([submission(body)], sender=SENDER)
                    found = await repository.read(stored.id)
                    assert found is not None
                    assert found.body == body
                    return

        async def kill() -> None:
            for _ in range(4):
                target = repository.size + choice.randrange(20, 60)
                while repository.size < target and not done.is_set():
                    await asyncio.sleep(0.001)
                log.kind.kill_writer(log.place)

        done = asyncio.Event()
        killing = asyncio.create_task(kill())
        await asyncio.gather(*(append(body) for body in bodies))
        done.set()
        await killing
        await repository.close()

    asyncio.run(main())
    found = log.verify()
    assert found.whole
    assert found.size == len(bodies)


def test_what_the_log_says_of_itself_keeps_the_order_of_receipt(log: Log) -> None:
    """A read is recorded while a Bundle is being prepared, which takes several turns."""
    now = itertools.count(int(NOW))

    async def test(repository: Repository) -> None:
        bundles = [world.bodies(100, seed=seed) for seed in (1, 2, 3)]
        work = [
            repository.append([submission(body) for body in bundle], sender=SENDER)
            for bundle in bundles
        ]
        said = [repository.record_own(msgspec.json.decode(BODY)) for _ in range(20)]
        await asyncio.gather(*work, *said)

    run(log, test, clock=lambda: float(next(now)))
    report = log.verify()
    assert report.whole, report.findings
