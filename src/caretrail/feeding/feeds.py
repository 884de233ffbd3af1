"""All feeds of a log: begun together, woken by each commit, ended together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail import __version__
from caretrail.errors import ConfigurationError
from caretrail.feeding import kinds
from caretrail.feeding.feed import Feed, Telling
from caretrail.limits import FEED_ENTRIES_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from caretrail.feeding.contract import Receiver
    from caretrail.feeding.file import Row
    from caretrail.repository import Repository
    from caretrail.search.record import Record

FOLDER: Final = "feeds"


class Feeds:
    """The feeds of one log at one server; made in its event loop.

    Their cursors are in `folder`, a file each, by the feed's name.
    """

    def __init__(self, repository: Repository, folder: Path, rows: Sequence[Row] = ()) -> None:
        """Raise ConfigurationError when the folder cannot be used."""
        self._repository, self._folder = repository, folder
        self._turn = asyncio.Semaphore(1)
        self._running: dict[str, tuple[Feed, asyncio.Task[None] | None]] = {}
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"the folder of feeds cannot be used ({error.strerror})"
            ) from error
        for row in rows:
            receiver = kinds.make(row.kind, row.wanted)
            self.add(
                row.wanted.name,
                row.kind.code,
                telling(row),
                receiver,
                begins_now=row.begins_now,
                batch=row.kind.batch,
            )

    def add(
        self,
        name: str,
        kind: str,
        told: Telling,
        receiver: Receiver,
        *,
        begins_now: bool,
        batch: int = FEED_ENTRIES_MAX,
    ) -> None:
        """Add a feed, which is still to begin."""
        feed = Feed(
            name,
            kind,
            self._repository,
            told,
            receiver,
            self._folder / f"{name}.json",
            turn=self._turn,
            begins_now=begins_now,
            batch=batch,
        )
        self._running[name] = (feed, None)

    def find(self, name: str) -> Feed | None:
        """Return the feed of that name."""
        found = self._running.get(name)
        return found[0] if found is not None else None

    def begin(self, name: str) -> None:
        """Begin one feed that was added."""
        feed, task = self._running[name]
        if task is None:
            self._running[name] = (feed, asyncio.create_task(feed.run()))

    async def remove(self, name: str) -> None:
        """End a feed, and forget where it was."""
        feed, task = self._running.pop(name)
        await _ended(task)
        await feed.close()
        await asyncio.to_thread((self._folder / f"{name}.json").unlink, missing_ok=True)

    def start(self) -> None:
        """Begin."""
        for name in self._running:
            self.begin(name)

    def wake(self) -> None:
        """Say that the log has grown."""
        for feed, _ in self._running.values():
            feed.wake()

    async def close(self) -> None:
        """End all of them; each goes on from its cursor the next time."""
        for feed, task in self._running.values():
            await _ended(task)
            await feed.close()

    def all(self) -> list[Feed]:
        """Return the feeds, by their names."""
        return [feed for _, (feed, _) in sorted(self._running.items())]

    def health(self) -> dict[str, Any]:
        """Return the state of each feed, by its name."""
        return {feed.name: feed.health() for feed in self.all()}


async def _ended(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def telling(row: Row) -> Telling:
    """Return which events a row is of, and how it tells them."""

    def write(body: bytes, _: Record) -> bytes:
        if row.is_verbatim:
            return body
        return row.format.write(row.redacted(msgspec.json.decode(body)), __version__)

    return Telling(row.query, write, row.own_events)
