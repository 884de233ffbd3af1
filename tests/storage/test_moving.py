"""A log that moves to another store: every entry, every answer and every proof goes with it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from caretrail.commands.migrate import migrate
from caretrail.errors import ConfigurationError, VerificationError
from caretrail.patterns import own
from caretrail.repository import Refused, Repository
from caretrail.search import query as search_query
from caretrail.storage import stores
from tests.storage.stores import KINDS, Log
from tests.storage.world import SENDER, bodies, submission

if TYPE_CHECKING:
    from pathlib import Path

    from caretrail.storage.contract import Storage

EVENTS = 1_100  # More than a portion.
GONE = (3, 4, 900)


# What a log can move into; ClickHouse refuses, and says so.
TARGETS = ["sqlite", "postgresql"]


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Log:
    return Log(KINDS[request.param], tmp_path / "target")


async def _filled(log: Log) -> None:
    """Make a log with numbered events, some erased, some refused, and signed checkpoints."""
    repository = log.repository()
    storage = repository._storage
    await storage.rename(origin="caretrail/origin", keys="none")
    sent = [submission(body) for body in bodies(EVENTS)]
    for at in range(0, EVENTS, 100):
        await repository.append(sent[at : at + 100], sender=SENDER, is_backfill=True)
    said = own.erased(
        repository.speaking(), entries=GONE, policy="10 years", requester="a", approver="b"
    )
    cause = await repository.record_own(said)
    await repository.erase(GONE, cause=cause.entry)
    await repository.quarantine([Refused(b"no event", ())], sender=SENDER)
    await storage.publish(b"first", size=10, at=1, cosigned=False, stays=True)
    await storage.publish(b"last", size=20, at=2, cosigned=True, stays=False)
    await repository.close()


async def _moved(source: Log, target: Log, said: list[str]) -> int:
    return await migrate(
        source.place, target.place, name="there", progress=lambda *_: None, say=said.append
    )


def _all(storage: Storage) -> list[Any]:
    """Return what a log says of itself."""
    reads, proofs = storage.searcher(), storage.proofs()
    size = storage.found.size
    refused = [
        (one.producer, one.organisation, one.received, one.body)
        for one in reads.quarantined(after=0, limit=10)
    ]
    return [
        storage.identity, storage.page_key, storage.origin, storage.keys, storage.found,
        storage.received, list(reads.entries(0, size)), list(proofs.sealed(0, size)), refused,
        sorted(proofs.notes()), proofs.gaps(), proofs.prover.inclusion(index=5, size=size), reads.span(),
    ]  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Log:
    return Log(KINDS["sqlite"], tmp_path / "source")


def test_everything_moves(source: Log, target: Log) -> None:
    async def test() -> None:
        await _filled(source)
        before = source.open()
        wanted = _all(before)
        await before.close()
        said: list[str] = []
        assert await _moved(source, target, said) == 0
        assert "goes on in there" in said[-1]
        assert target.verify().root == wanted[4].root()
        after = target.open()
        assert _all(after) == wanted
        await after.close()
        # It goes on there, with the next entry, and here no more.
        repository = target.repository()
        (stored,) = await repository.append([submission(bodies(1, seed=9)[0])], sender=SENDER)
        assert stored.entry == wanted[4].size
        found = await repository.search(
            search_query.parse([("_summary", "count")], strict=True, base="", now=0)
        )
        assert found.total == wanted[4].size + 1 - len(GONE)
        await repository.close()
        with pytest.raises(ConfigurationError, match="was moved to there"):
            source.open()
        assert source.verify().root == wanted[4].root()

    asyncio.run(test())


def test_one_that_was_broken_off_goes_on(source: Log, target: Log) -> None:
    class BrokenError(Exception):
        pass

    def once(done: int, _: int) -> None:
        if done >= 1_000:
            raise BrokenError

    async def test() -> None:
        await _filled(source)
        with pytest.raises(BrokenError):
            await migrate(source.place, target.place, name="x", progress=once, say=lambda _: None)
        half = target.open()
        assert half.found.size == 1_000
        await half.close()
        seen: list[int] = []
        await migrate(
            source.place, target.place, name="x", progress=lambda done, _: seen.append(done),
            say=lambda _: None,
        )  # fmt: skip
        assert seen == [EVENTS + 1]
        assert target.verify().whole is source.verify().whole

    asyncio.run(test())


def test_a_store_with_another_log_is_left_alone(source: Log, target: Log) -> None:
    async def test() -> None:
        await _filled(source)
        other = target.repository()
        await other.append([submission(bodies(1)[0])], sender=SENDER)
        await other.close()
        with pytest.raises(ConfigurationError, match="another log"):
            await _moved(source, target, [])
        untouched = source.open()  # It was not retired.
        await untouched.close()

    asyncio.run(test())


def test_a_half_that_was_changed_is_no_beginning(source: Log, target: Log) -> None:
    async def test() -> None:
        await _filled(source)
        old, new = source.open(), target.open()
        from caretrail import moving

        assert await moving.begin(old, new)
        await new.close()
        # Somebody goes on with the copy before it is whole.
        strange = Repository(stores.open_store(target.place))
        await strange.append([submission(bodies(1, seed=5)[0])], sender=SENDER)
        await strange.close()
        new = target.open()
        with pytest.raises(VerificationError):
            await moving.copy(old, new, progress=lambda *_: None)
        await new.close()
        await old.close()

    asyncio.run(test())


def test_the_command_says_where_the_log_goes_on(tmp_path: Path) -> None:
    source = Log(KINDS["sqlite"], tmp_path / "a")
    repository = source.repository()

    async def fill() -> None:
        await repository.append([submission(one) for one in bodies(5)], sender=SENDER)
        await repository.close()

    asyncio.run(fill())
    command = [sys.executable, "-c", "from caretrail.cli import main; main()", "migrate"]
    ends = ["--from", f"sqlite:///{tmp_path / 'a'}", "--to", f"sqlite:///{tmp_path / 'b'}"]
    done = subprocess.run([*command, *ends], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"the log goes on in sqlite:///{tmp_path / 'b'}" in done.stdout
    again = subprocess.run([*command, *ends], capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "was moved to" in again.stderr


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - set(TARGETS)))
def test_what_a_log_cannot_move_into_says_so_and_leaves_it(
    kind: str, source: Log, tmp_path: Path
) -> None:
    async def test() -> None:
        await _filled(source)
        with pytest.raises(ConfigurationError, match="in this version"):
            await _moved(source, Log(KINDS[kind], tmp_path / "target"), [])
        untouched = source.open()
        await untouched.close()

    asyncio.run(test())
