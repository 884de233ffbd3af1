"""What leaves a running server by itself: feeds. One begins them, one ends them."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from caretrail import config, synchronisation
from caretrail.feeding import file
from caretrail.feeding.feeds import FOLDER, Feeds
from caretrail.metrics import Figure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from caretrail.repository import Repository
    from caretrail.settings import Settings


class Onward:
    """What goes out of one log, made in the event loop of its server."""

    def __init__(self, settings: Settings, repository: Repository) -> None:
        """Read the files that say what goes where; raise ConfigurationError."""
        rows = []
        if settings.feeds is not None:
            text = config.content(settings.feeds).decode("utf-8", "replace")
            rows = file.read(text, folder=settings.feeds.parent, secret=config.token)
        self.feeds = Feeds(repository, settings.folder / FOLDER, rows)

    def start(self) -> None:
        """Begin."""
        self.feeds.start()

    async def close(self) -> None:
        """End; everything goes on where it was the next time."""
        await self.feeds.close()

    def wake(self) -> None:
        """Say that the log has grown."""
        self.feeds.wake()

    def health(self) -> dict[str, Any]:
        """Return the state of each part, for `/health/ready`."""
        found: dict[str, Any] = {"clock": synchronisation.read().health()}
        if feeds := self.feeds.health():
            found["feeds"] = feeds
        return found

    def figures(self) -> Iterator[Figure]:
        """Yield the figures of each part, for `/metrics`."""
        now = time.time()
        for feed in self.feeds.all():
            values = (
                ("feed_waiting_entries", "Entries a feed has not gone over", feed.waiting),
                ("feed_lag_seconds", "Age of the event a feed waits to hand on", feed.lag_seconds(now)),
                ("feed_delivered_events", "Events that a feed has handed on", feed.cursor.delivered),
                ("feed_refused_events", "Events that a receiver refused", feed.cursor.refusals),
                ("feed_failing", "1 while a feed cannot hand on", int(bool(feed.trouble))),
            )  # fmt: skip
            for name, text, value in values:
                yield Figure(name, text, value, "feed", feed.name)
        yield from _clock()


def _clock() -> Iterator[Figure]:
    clock = synchronisation.read()
    if clock.is_synchronised is not None:
        text = "1 while the kernel says that an outside clock is followed"
        yield Figure("clock_synchronised", text, int(clock.is_synchronised))
    if clock.offset_seconds is not None and clock.error_seconds is not None:
        yield Figure("clock_offset_seconds", "What is still to be corrected", clock.offset_seconds)
        yield Figure("clock_error_seconds", "The most that it may be off", clock.error_seconds)


@asynccontextmanager
async def going_out(settings: Settings, repository: Repository) -> AsyncIterator[Onward]:
    """Let events go out while a server runs."""
    onward = Onward(settings, repository)
    try:
        yield onward
    finally:
        await onward.close()
