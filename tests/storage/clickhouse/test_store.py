"""What ClickHouse does in a way of its own: erasing, epochs, blocks that are sent again."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from caretrail.errors import ConflictError, InUseError
from caretrail.repository import Repository
from caretrail.search.query import parse
from caretrail.sequencer import prepare
from caretrail.storage import messages as say
from caretrail.storage.clickhouse import ClickHouseStorage
from caretrail.storage.clickhouse.address import Address
from caretrail.storage.clickhouse.commits import epochs
from caretrail.storage.clickhouse.schema import COMMIT
from caretrail.storage.clickhouse.servers import Http, ServerError, Servers
from caretrail.storage.clickhouse.verification import verify
from caretrail.storage.clickhouse.writer import Options, Writer
from caretrail.storage.contract import LogPlace
from caretrail.storage.linked import _row
from tests.storage import stores, world
from tests.storage.world import SENDER, submission

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.xdist_group("clickhouse")


@pytest.fixture
def url() -> str:
    return stores.cluster().url("caretrail", log=f"log-{uuid.uuid4().hex}")


def _run(url: str, test: Callable[[Repository, ClickHouseStorage], Any]) -> Any:
    async def main() -> Any:
        storage = ClickHouseStorage(LogPlace(Path(), url))
        repository = Repository(storage)
        try:
            return await test(repository, storage)
        finally:
            await repository.close()

    return asyncio.run(main())


def _report(url: str) -> Any:
    return verify(url, progress=lambda _: None)


def _numbered(number: int) -> bytes:
    event = msgspec.json.decode(world.bodies(1)[0])
    extension = {"url": "urn:caretrail:source-sequence", "valueInteger": number}
    return msgspec.json.encode(event | {"extension": [extension]})


def test_gaps_in_the_sources_numbers_are_told(url: str) -> None:
    async def test(repository: Repository, storage: ClickHouseStorage) -> None:
        for number in (3, 1, 2, 7, 9, 8, 20):
            await repository.append([submission(_numbered(number))], sender=SENDER)
        gaps = await asyncio.to_thread(lambda: storage.proofs().gaps())
        assert [(one.producer, one.organisation, one.first, one.last) for one in gaps] == [
            (*SENDER, 4, 6),
            (*SENDER, 10, 19),
        ]
        assert all(one.since <= one.until or one.first == 4 for one in gaps)

    _run(url, test)
    assert _report(url).whole


def test_what_is_erased_is_in_no_answer_and_its_leaf_stays(url: str) -> None:
    bodies = world.bodies(20)

    async def test(repository: Repository, storage: ClickHouseStorage) -> None:
        stored = [
            (await repository.append([submission(body)], sender=SENDER, is_backfill=True))[0]
            for body in bodies
        ]
        hashes = await repository.prove(lambda proofs: proofs.prover.root(20))
        await storage.erase([3, 4, 17], cause=19)
        await storage.erase([4], cause=19)
        assert await repository.read(stored[3].id) is None
        found = await repository.search(
            parse([("_count", "100"), ("_total", "accurate")], strict=True, base="")
        )
        assert found.total == 17
        assert {one.entry for one in found.records} == set(range(20)) - {3, 4, 17}
        sealed = await repository.prove(lambda proofs: list(proofs.sealed(0, 20)))
        assert [one.cause for one in sealed if one.record is None] == [19, 19, 19]
        assert await repository.prove(lambda proofs: proofs.prover.root(20)) == hashes
        # Sent again it is new, since nothing is left of it.
        (again,) = await repository.append([submission(bodies[3])], sender=SENDER)
        assert (again.created, again.entry) == (True, 20)
        with pytest.raises(ConflictError):
            await storage.erase([99], cause=19)

    _run(url, test)
    report = _report(url)
    # An event of the hospital's does not say why anything was erased, which is what is found.
    assert {one.entry for one in report.findings} == {3, 4, 17}
    assert {one.what for one in report.findings} == {"the event is missing: no erasure names it"}


def test_only_one_writes_to_a_log(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = ClickHouseStorage(LogPlace(Path(), url))
    try:
        monkeypatch.setattr("caretrail.storage.clickhouse.lease._TAKE_SECONDS", 1.0)
        with pytest.raises(InUseError):
            Writer(Options(url))
    finally:
        asyncio.run(storage.close())


def test_blocks_without_a_commit_row_are_void(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is cut off before its commit row; another takes its place, and both are in the tables."""
    pending = [_row(prepare(record, salt=bytes(32)), n) for n, record in enumerate(_records(4))]
    writer = Writer(Options(url))
    share = writer._share

    def lost(table: Any, rows: Any) -> None:
        if table is COMMIT:
            raise ServerError(0)
        share(table, rows)

    with monkeypatch.context() as patch:
        patch.setattr(writer, "_share", lost)
        answer = writer.answer(say.Commit(0, pending, unless_known=False))
    assert isinstance(answer, say.Failed)
    assert isinstance(writer.answer(say.Commit(0, pending, unless_known=False)), say.Failed)
    state = writer.state()
    assert state.size == 0
    answer = writer.answer(say.Commit(0, pending[:3], unless_known=True))
    assert isinstance(answer, say.State)
    assert answer.size == 3
    writer.answer(say.Close())
    report = _report(url)
    assert report.whole, report.findings
    assert report.size == 3
    address = Address.parse(url)
    servers = Servers(address, Http(address))
    ask = "SELECT toUInt64(count()) FROM {d}.leaf WHERE log = {log}"
    assert servers.ask(("UInt64",), ask) == [(7,)]
    assert [one.closed for one in epochs(servers)] == [False, False, True]
    servers.engine.close()

    async def test(repository: Repository, _: ClickHouseStorage) -> None:
        query = parse([("_total", "accurate"), ("_count", "9")], strict=True, base="")
        page = await repository.search(query)
        assert page.total == len(page.records) == 3

    _run(url, test)


def test_a_block_that_is_sent_again_is_there_once(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to each block is lost the first time, after the server has taken it."""
    pending = [_row(prepare(record, salt=bytes(32)), n) for n, record in enumerate(_records(5))]
    writer = Writer(Options(url))
    insert, seen = writer._servers.insert, set()

    def deaf(host: str, table: Any, block: bytes, **options: Any) -> None:
        insert(host, table, block, **options)
        if block not in seen:
            seen.add(block)
            raise ServerError(0)

    monkeypatch.setattr(writer._servers, "insert", deaf)
    answer = writer.answer(say.Commit(0, pending, unless_known=False))
    assert isinstance(answer, say.State), answer
    writer.answer(say.Close())
    assert len(seen) >= 5
    report = _report(url)
    assert report.whole, report.findings
    assert report.size == 5


def _records(count: int) -> list[Any]:
    async def test(repository: Repository, storage: ClickHouseStorage) -> Any:
        await repository.append(
            [submission(body) for body in world.bodies(count)], sender=SENDER, is_backfill=True
        )
        return await asyncio.to_thread(lambda: list(storage.searcher().entries(0, count)))

    return _run(stores.cluster().url("caretrail", log=f"log-{uuid.uuid4().hex}"), test)
