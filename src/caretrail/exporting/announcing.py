"""Every export is an event of the log's own, and exactly one, whatever becomes of it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from caretrail import clock
from caretrail.patterns import own

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from caretrail.repository import Repository

T = TypeVar("T")


class Progress(NamedTuple):
    """How far an export is; `last` is the last entry that is safe in the file, -1 for none."""

    done: int
    total: int
    last: int = -1


class Exported(NamedTuple):
    """What an export has come to: how many events, and when the log was asked, in milliseconds."""

    events: int
    at: int


class Announcement:
    """The event `exported` of one export (DESIGN, decision 12)."""

    def __init__(self, repository: Repository, *, query: str, media: str, requester: str) -> None:
        self.query, self.media, self.requester = query, media, requester
        self.at = clock.milliseconds()
        self.entry: int | None = None
        self._repository = repository

    async def say(self, events: int) -> int:
        """Record that so many events leave the log; return the entry that says so."""
        assert self.entry is None
        return await to_end(self._say(events))

    async def _say(self, events: int) -> int:
        stored = await self._repository.record_own(
            own.exported(
                self._repository.speaking(),
                query=self.query,
                events=events,
                media_type=self.media,
                requester=self.requester,
            )
        )
        self.entry = stored.entry
        return stored.entry


@asynccontextmanager
async def announced(
    repository: Repository, *, query: str, media: str, requester: str
) -> AsyncIterator[Announcement]:
    """Give an announcement; what was not said within is said in the end: that no event left."""
    one = Announcement(repository, query=query, media=media, requester=requester)
    try:
        yield one
    finally:
        if one.entry is None:
            await one.say(0)


async def in_thread(call: Callable[[], T]) -> T:
    """Return what `call` returns, out of a thread that has ended in any case.

    So a file is written by nobody once it has been closed or removed.
    """
    return await to_end(asyncio.to_thread(call))


async def to_end(doing: Coroutine[Any, Any, T]) -> T:
    """Return what `doing` returns; whoever is cancelled meanwhile still waits for its end."""
    running = asyncio.ensure_future(doing)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
