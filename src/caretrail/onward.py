"""What leaves a running server by itself: feeds and alerts. All begin here, and end here."""

from __future__ import annotations

import asyncio
import shutil
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from caretrail import clock, config, synchronisation
from caretrail.access.view import of_producer
from caretrail.alerting import watch
from caretrail.alerting.file import Expected
from caretrail.alerting.file import read as read_alerts
from caretrail.alerting.state import Source, State
from caretrail.alerting.watch import Watch
from caretrail.feeding import file, subscriptions
from caretrail.feeding.feeds import FOLDER, Feeds
from caretrail.feeding.subscriptions import Subscriptions
from caretrail.metrics import Figure
from caretrail.search.parameters import BY_CODE
from caretrail.search.query import Query, Sort, parse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from caretrail.repository import Repository
    from caretrail.settings import Settings


class Onward:
    """What goes out of one log, made in the event loop of its server."""

    def __init__(self, settings: Settings, repository: Repository, *, tenant: str = "") -> None:
        """Read the files that say what goes where; raise ConfigurationError."""
        rows = []
        if settings.feeds is not None:
            text = config.content(settings.feeds).decode("utf-8", "replace")
            rows = file.read(text, folder=settings.feeds.parent, secret=config.token, tenant=tenant)
        self._settings, self._repository = settings, repository
        self.feeds = Feeds(repository, settings.folder / FOLDER, rows)
        hosts = filter(None, (one.strip() for one in settings.subscription_hosts.split(",")))
        self.subscriptions = Subscriptions(
            self.feeds, settings.folder / subscriptions.FILE, frozenset(hosts)
        )
        self._watch: Watch | None = None
        self._evidence: tuple[Callable[[], Mapping[str, Any]], ...] = (dict, dict)
        self._begun = clock.milliseconds()
        if settings.alerts is not None:
            text = config.content(settings.alerts).decode("utf-8", "replace")
            self._rules = read_alerts(
                text, folder=settings.alerts.parent, secret=config.token, tenant=tenant
            )
            path = settings.folder / watch.FILE
            self._watch = Watch(repository, self._rules, path, self._state)

    def start(
        self,
        *,
        checkpoints: Callable[[], Mapping[str, Any]],
        verification: Callable[[], Mapping[str, Any]],
    ) -> None:
        """Begin; the two say how signing and verifying stand."""
        self._evidence = (checkpoints, verification)
        self.feeds.start()
        self.subscriptions.start()
        if self._watch is not None:
            self._watch.start()

    async def close(self) -> None:
        """End; everything goes on where it was the next time."""
        if self._watch is not None:
            await self._watch.close()
        await self.subscriptions.close()
        await self.feeds.close()

    def wake(self) -> None:
        """Say that the log has grown."""
        self.feeds.wake()

    def health(self) -> dict[str, Any]:
        """Return the state of each part, for `/health/ready`."""
        found: dict[str, Any] = {"clock": synchronisation.read().health()}
        if feeds := self.feeds.health():
            found["feeds"] = feeds
        if self._watch is not None:
            found["alerts"] = self._watch.health()
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
        if self._watch is not None:
            health = self._watch.health()
            yield Figure("alerts_open", "What is wrong now", len(health["open"]))
            yield Figure("alerts_untold", "Messages that nobody has got yet", health["untold"])
        yield from _clock()

    async def _state(self) -> State:
        """Return how the server stands now, for the watch."""
        checkpoints, verification = self._evidence
        usage = await asyncio.to_thread(shutil.disk_usage, self._settings.folder)
        return State(
            clock.milliseconds(),
            self._rules.limits,
            self._repository.health(),
            checkpoints(),
            verification(),
            self.feeds.health(),
            synchronisation.read().health(),
            100.0 * usage.free / usage.total,
            await self._repository.prove(lambda proofs: proofs.gaps()),
            [await self._source(one) for one in self._rules.sources],
            await self._skewed(),
        )

    async def _skewed(self) -> tuple[int, str] | None:
        """Return when the newest event with a clock a day off came, and from whom."""
        asked = [("flag", "clock-skew"), ("_sort", "-_lastUpdated"), ("_count", "1")]
        page = await self._repository.search(parse(asked, strict=True, base=""))
        found = [(one.received, one.producer) for one in page.records]
        return found[0] if found else None

    async def _source(self, one: Expected) -> Source:
        newest = Query(sort=(Sort(BY_CODE["_lastUpdated"], descending=True),), count=1)
        view = of_producer(one.producer, one.organisation)
        page = await self._repository.search(view.over(newest))
        last = page.records[0].received if page.records else self._begun
        organisation = one.organisation.replace("*", "")
        return Source(one.producer, organisation, one.minutes, last)


def _clock() -> Iterator[Figure]:
    clock = synchronisation.read()
    if clock.is_synchronised is not None:
        text = "1 while the kernel says that an outside clock is followed"
        yield Figure("clock_synchronised", text, int(clock.is_synchronised))
    if clock.offset_seconds is not None and clock.error_seconds is not None:
        yield Figure("clock_offset_seconds", "What is still to be corrected", clock.offset_seconds)
        yield Figure("clock_error_seconds", "The most that it may be off", clock.error_seconds)


@asynccontextmanager
async def going_out(
    settings: Settings, repository: Repository, *, tenant: str = ""
) -> AsyncIterator[Onward]:
    """Let events go out while a server runs; `tenant` says of which log, "" is the default one."""
    onward = Onward(settings, repository, tenant=tenant)
    try:
        yield onward
    finally:
        await onward.close()
