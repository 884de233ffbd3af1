"""The Subscriptions of a log: kept in a file, each delivered as a feed, until it ends.

Who creates one is no operator: its endpoint may not be inside the own network, unless a setting
names the host, and what goes wrong there is told in one sentence whatever it was (T-17).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import uuid
from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail import clock, durable_file, outgoing
from caretrail.access.view import EVERY_ORGANISATION, of_organisation
from caretrail.errors import (
    ConfigurationError,
    Error,
    ForbiddenError,
    Issue,
    NotFoundError,
    StoreError,
    ThrottledError,
    UnavailableError,
    UnprocessableError,
)
from caretrail.feeding.contract import Item, LaterError, Refused
from caretrail.feeding.feed import Telling
from caretrail.fhir import subscription
from caretrail.fhir.subscription import Note, Wanted
from caretrail.fhir.temporal import format_instant
from caretrail.limits import (
    SUBSCRIPTION_DAYS_MAX,
    SUBSCRIPTION_ENTRIES_MAX,
    SUBSCRIPTION_HANDSHAKES_MAX,
    SUBSCRIPTIONS_MAX,
    SUBSCRIPTIONS_OWNER_MAX,
)
from caretrail.outgoing import Reach
from caretrail.search.query import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from caretrail.access.view import View
    from caretrail.feeding.feeds import Feeds
    from caretrail.search.query import Query
    from caretrail.search.record import Record

_log: Final = logging.getLogger(__name__)
FILE: Final = "subscriptions.json"
_MODE: Final = 0o600
_ID_BYTES: Final = 12
_DAY_MILLISECONDS: Final = 24 * 3_600_000
_EXPIRY_SECONDS: Final = 30.0
_SCHEMES: Final = {"https": 443, "http": 80}
_FAILED: Final = "the endpoint does not take messages"
_PARTIAL: Final = "a subscription needs a view of the whole log, or of an organisation"


class Kept(msgspec.Struct, frozen=True):
    """A Subscription as it is kept. `owner` may see and end it; `organisation` is "*" for any.

    `status` is requested, active, error or off; `end` in milliseconds since 1970.
    """

    id: str
    owner: str
    organisation: str
    base: str
    wanted: Wanted
    end: int
    status: str = "requested"


class RestHook:
    """The endpoint of one Subscription; `count` says how many events it has had."""

    def __init__(self, kept: Kept, reach: Reach, count: Callable[[], int]) -> None:
        self._kept, self._count = kept, count
        self._http = outgoing.client(reach)

    async def send(self, items: Sequence[Item]) -> Sequence[Refused]:
        """Send one message."""
        before = self._count()
        notes = [
            Note(number, item.id, format_instant(item.received))
            for number, item in enumerate(items, before + 1)
        ]
        await self._post("event-notification", notes, before + len(items))
        return ()

    async def handshake(self) -> None:
        """Ask the endpoint whether it wants messages; raise UnavailableError when it does not."""
        await self._post("handshake", (), 0)

    async def _post(self, kind: str, notes: Sequence[Note], total: int) -> None:
        kept = self._kept
        body = subscription.message(
            kept.wanted,
            base=kept.base,
            subscription_id=kept.id,
            kind=kind,
            at=clock.instant(),
            ids=(str(uuid.uuid4()), str(uuid.uuid4())),
            notes=notes,
            total=total,
        )
        headers = dict(kept.wanted.headers) | {"content-type": "application/fhir+json"}
        try:
            answer = await outgoing.post(
                self._http, kept.wanted.endpoint, msgspec.json.encode(body), headers
            )
        except UnavailableError as error:
            raise LaterError(_FAILED) from error
        if not 200 <= answer.status_code < 300:
            raise LaterError(_FAILED)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


class Subscriptions:
    """The Subscriptions of one log at one server; `hosts` may be inside the own network."""

    def __init__(
        self,
        feeds: Feeds,
        path: Path,
        hosts: frozenset[str],
        *,
        expiry_seconds: float = _EXPIRY_SECONDS,
    ) -> None:
        """Read those that are kept; raise ConfigurationError when that cannot be done."""
        self._feeds, self._path, self._reach = feeds, path, Reach(hosts=hosts)
        self._expiry_seconds = expiry_seconds
        self._kept = _load(path)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._writing = asyncio.Lock()
        self._expiring: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Go on with all of them."""
        for kept in self._kept.values():
            if kept.status != "off":
                self._begin(kept)
        self._expiring = asyncio.create_task(self._expire())

    async def close(self) -> None:
        """End; the feeds are ended by whoever has them."""
        tasks = [*self._tasks.values(), *([self._expiring] if self._expiring else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def create(self, wanted: Wanted, *, owner: str, view: View, base: str) -> str:
        """Keep a new one and begin it; return its id.

        Raises UnprocessableError, ForbiddenError for a view that it cannot be held to, and
        ThrottledError when there are too many.
        """
        organisation = _organisation(view)
        self._check(wanted)
        live = [one for one in self._kept.values() if one.status != "off"]
        mine = sum(one.owner == owner for one in live)
        if len(live) >= SUBSCRIPTIONS_MAX or mine >= SUBSCRIPTIONS_OWNER_MAX:
            raise ThrottledError("there are too many subscriptions: delete one that is not needed")
        now = clock.milliseconds()
        latest = now + SUBSCRIPTION_DAYS_MAX * _DAY_MILLISECONDS
        end = latest if wanted.end is None else min(wanted.end, latest)
        if end <= now:
            raise _wrong("value", "its end is in the past", "end")
        name = secrets.token_hex(_ID_BYTES)
        kept = Kept(name, owner, organisation, base, wanted, end)
        await self._keep({**self._kept, name: kept})
        self._begin(kept)
        return name

    def resource(self, subscription_id: str, owner: str) -> dict[str, Any]:
        """Return the Subscription of its owner; raise NotFoundError to all others."""
        return self._served(self._found(subscription_id, owner))

    def all_of(self, owner: str) -> list[dict[str, Any]]:
        """Return the Subscriptions of an owner."""
        return [self._served(one) for one in self._kept.values() if one.owner == owner]

    async def remove(self, subscription_id: str, owner: str) -> None:
        """End one, and forget it; raise NotFoundError when it is not the owner's."""
        self._found(subscription_id, owner)
        await self._stop(subscription_id)
        await self._keep({n: one for n, one in self._kept.items() if n != subscription_id})

    def _found(self, subscription_id: str, owner: str) -> Kept:
        kept = self._kept.get(subscription_id)
        if kept is None or kept.owner != owner:
            raise NotFoundError("there is no Subscription of this id")
        return kept

    def _served(self, kept: Kept) -> dict[str, Any]:
        feed = self._feeds.find(_feed_name(kept.id))
        is_failing = kept.status == "error" or (feed is not None and bool(feed.trouble))
        status = "error" if is_failing and kept.status != "off" else kept.status
        return subscription.resource(
            kept.wanted,
            subscription_id=kept.id,
            status=status,
            end=format_instant(kept.end),
            error=_FAILED if status == "error" else "",
        )

    def _check(self, wanted: Wanted) -> None:
        """Refuse what could never be delivered."""
        try:
            address = outgoing.address_of(
                wanted.endpoint, schemes=_SCHEMES, plain=frozenset(["http"])
            )
        except ConfigurationError as error:
            raise _wrong("value", str(error), "channel.endpoint") from error
        if address.scheme == "http" and address.host not in self._reach.hosts:
            raise _wrong("value", "the endpoint is https", "channel.endpoint")
        query_of(wanted)

    def _begin(self, kept: Kept) -> None:
        """Let a feed begin where the log is now, once the endpoint has agreed."""
        name = _feed_name(kept.id)

        def count() -> int:
            feed = self._feeds.find(name)
            return feed.cursor.delivered if feed is not None else 0

        query = of_organisation(kept.organisation).over(query_of(kept.wanted))
        hook = RestHook(kept, self._reach, count)
        self._feeds.add(
            name,
            "subscription",
            # What the log says of itself stays: reading what a message names is recorded, too.
            Telling(query, _nothing, own_events=False),
            hook,
            begins_now=True,
            batch=SUBSCRIPTION_ENTRIES_MAX,
        )
        if kept.status == "active":
            self._feeds.begin(name)
        else:
            self._tasks[kept.id] = asyncio.create_task(self._shake_hands(kept, hook))

    async def _shake_hands(self, kept: Kept, hook: RestHook) -> None:
        for attempt in range(SUBSCRIPTION_HANDSHAKES_MAX):
            try:
                await hook.handshake()
            except Error:
                await self._set(kept.id, "error")
                await asyncio.sleep(2.0**attempt)
                continue
            await self._set(kept.id, "active")
            self._feeds.begin(_feed_name(kept.id))
            return
        _log.warning("a subscription's endpoint did not agree", extra={"subscription": kept.id})

    async def _set(self, subscription_id: str, status: str) -> None:
        kept = self._kept.get(subscription_id)
        if kept is not None and kept.status != status:
            changed = msgspec.structs.replace(kept, status=status)
            await self._keep({**self._kept, subscription_id: changed})

    async def _stop(self, subscription_id: str) -> None:
        task = self._tasks.pop(subscription_id, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._feeds.find(_feed_name(subscription_id)) is not None:
            await self._feeds.remove(_feed_name(subscription_id))

    async def _expire(self) -> None:
        """End those whose time is over."""
        while True:
            now = clock.milliseconds()
            for kept in list(self._kept.values()):
                if kept.status != "off" and kept.end <= now:
                    await self._stop(kept.id)
                    await self._set(kept.id, "off")
            await asyncio.sleep(self._expiry_seconds)

    async def _keep(self, kept: dict[str, Kept]) -> None:
        async with self._writing:
            data = msgspec.json.encode(kept)
            try:
                await asyncio.to_thread(durable_file.replace, self._path, data, mode=_MODE)
            except OSError as error:
                raise StoreError("the subscription could not be kept") from error
            self._kept = kept


def query_of(wanted: Wanted) -> Query:
    """Return what an event has to fit; raise UnprocessableError for what is no search."""
    pairs = [pair for text in wanted.filters for pair in outgoing.pairs_of(text)]
    try:
        query = parse(pairs, strict=True, base="")
    except Error as error:
        raise UnprocessableError(
            [row._replace(expression="Subscription.criteria") for row in error.issues()]
        ) from error
    if len(query.clauses) != len(pairs):
        raise _wrong("not-supported", "criteria have search parameters with values", "criteria")
    return query


def _organisation(view: View) -> str:
    """Return whose events a view is of; raise ForbiddenError where that is not all that it says."""
    if view.is_whole:
        return EVERY_ORGANISATION
    name = view.binding.removeprefix("organisation ")
    if view.projection is not None or view != of_organisation(name):
        raise ForbiddenError(_PARTIAL)
    return name


def _feed_name(subscription_id: str) -> str:
    return f"subscription-{subscription_id}"


def _nothing(_: bytes, __: Record) -> bytes:
    """Return what a message has of an event: its id goes beside it."""
    return b""


def _wrong(code: str, said: str, place: str) -> UnprocessableError:
    return UnprocessableError((Issue(code, said, f"Subscription.{place}"),))


def _load(path: Path) -> dict[str, Kept]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Kept])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigurationError(f"{path} cannot be read: restore it") from error
