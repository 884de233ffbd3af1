"""Servers die and come back: nothing that was acknowledged is lost or doubled, and nothing is made up.

Each test has sources that send every event until it is acknowledged, while a part of the cluster is
killed and started again. The cluster is this module's own.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from caretrail.errors import StoreError, ThrottledError
from caretrail.repository import Repository
from caretrail.sequencer import sender_key
from caretrail.storage.clickhouse import ClickHouseStorage
from caretrail.storage.clickhouse.verification import verify
from caretrail.storage.contract import LogPlace
from tests.storage import world
from tests.storage.clickhouse.cluster import Cluster, missing
from tests.storage.world import SENDER, submission

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from caretrail.repository import Stored

pytestmark = pytest.mark.xdist_group("clickhouse-failover")
_WAIT_SECONDS: Final = 240.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    one = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        one.start()
        yield one
    finally:
        one.stop()


@pytest.fixture
def url(cluster: Cluster) -> str:
    """A log in a database of its own, so that a test does not wait for another's rows."""
    return cluster.url(f"d{uuid.uuid4().hex}")


def _bodies(count: int) -> list[bytes]:
    """Return events that have a key of their own, so that one that is sent again is known."""
    return [body for body in world.bodies(count) if sender_key(submission(body).event)]


async def _sent_until_stored(repository: Repository, body: bytes) -> Stored:
    end = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            (stored,) = await repository.append([submission(body)], sender=SENDER, is_backfill=True)
        except (StoreError, ThrottledError):
            assert time.monotonic() < end, "the store did not come back"
            await asyncio.sleep(0.2)
        else:
            return stored


def _run(url: str, *troubles: Callable[[], object]) -> None:
    """Send events in portions; before each but the first, one trouble comes."""
    bodies = _bodies(60 * (len(troubles) + 1))
    size = len(bodies) // (len(troubles) + 1)

    async def main() -> list[Stored]:
        repository = Repository(ClickHouseStorage(LogPlace(Path(), url)))
        stored: list[Stored] = []
        try:
            for n, trouble in enumerate((lambda: None, *troubles)):
                portion = bodies[n * size : (n + 1) * size]
                work = [
                    asyncio.create_task(_sent_until_stored(repository, body)) for body in portion
                ]
                await asyncio.to_thread(trouble)
                stored += await asyncio.gather(*work)
        finally:
            await repository.close()
        return stored

    stored = asyncio.run(main())
    # Each was stored once, whatever the sender was told the first times.
    entries = {one.entry for one in stored}
    assert len(entries) == len(stored) == size * (len(troubles) + 1)
    report = verify(url, progress=lambda _: None)
    assert report.whole, report.findings
    assert report.size == len(stored)


def test_a_replica_that_dies_stops_nobody_for_long(cluster: Cluster, url: str) -> None:
    """Batches go to the other shard; when it is back, the replica gets what it missed."""
    node = cluster.node(2, 2)
    try:
        _run(url, node.kill)
    finally:
        node.start()
        cluster.wait()
    _run_again(url)


def test_a_shard_that_dies_is_waited_for(cluster: Cluster, url: str) -> None:
    nodes = [cluster.node(1, 1), cluster.node(1, 2)]

    def kill() -> None:
        for node in nodes:
            node.kill()

    def start() -> None:
        for node in nodes:
            node.start()
        cluster.wait()

    def kill_for_a_moment() -> None:
        kill()
        start()

    _run(url, kill_for_a_moment)


def test_without_zookeeper_nothing_is_written_and_reads_go_on(cluster: Cluster, url: str) -> None:
    async def main() -> None:
        storage = ClickHouseStorage(LogPlace(Path(), url))
        repository = Repository(storage)
        try:
            (first,) = await repository.append([submission(_bodies(3)[0])], sender=SENDER)
            await asyncio.to_thread(cluster.kill_zookeeper)
            with pytest.raises(StoreError):
                await repository.append([submission(_bodies(3)[1])], sender=SENDER)
            records = await asyncio.to_thread(lambda: list(storage.searcher().entries(0, 1)))
            assert [one.id for one in records] == [first.id]
            found = await asyncio.to_thread(lambda: storage.searcher().read(first.id))
            assert found == records[0]
            await asyncio.to_thread(cluster.start_zookeeper)
            stored = await _sent_until_stored(repository, _bodies(3)[1])
            assert stored.entry == 1
        finally:
            await repository.close()

    try:
        asyncio.run(main())
    finally:
        cluster.start_zookeeper()
    assert verify(url, progress=lambda _: None).size == 2


def _run_again(url: str) -> None:
    """See that the log goes on where it was."""
    before = verify(url, progress=lambda _: None).size

    async def main() -> None:
        repository = Repository(ClickHouseStorage(LogPlace(Path(), url)))
        try:
            stored = await _sent_until_stored(repository, world.bodies(1, seed=77)[0])
            assert stored.entry == before
        finally:
            await repository.close()

    asyncio.run(main())
    assert verify(url, progress=lambda _: None).whole
