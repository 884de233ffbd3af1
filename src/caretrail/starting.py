"""What a log says when it is opened, before it takes posts: how it was left, and what is new.

A start compares itself with the last one, as the log tells of it: the settings, the version, the
clock. While the log is open the clock is watched.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from dataclasses import fields
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from caretrail import __version__, clock, config, os_account
from caretrail.errors import Error, TooCostlyError
from caretrail.fhir.temporal import format_instant
from caretrail.limits import CLOCK_STEP_MILLISECONDS, CLOCK_WATCH_SECONDS
from caretrail.patterns import codes, own
from caretrail.settings import told

if TYPE_CHECKING:
    from collections.abc import Callable

    from caretrail.clock import Reading
    from caretrail.patterns.codes import Code
    from caretrail.repository import Repository
    from caretrail.settings import Settings

_log: Final = logging.getLogger(__name__)
_DIGEST_DIGITS: Final = 32
_READS: Final = "reads of the log"


async def say_started(
    repository: Repository,
    settings: Settings,
    *,
    left: int | None,
    received: int,
    on_trust: bool,
    is_server: bool,
) -> None:
    """Record the start, and before it what has changed since the last one.

    `left` is when a log that was not stopped properly took its last event, None otherwise;
    `received` the latest receipt of all. A server's settings are compared with the last server's.
    """
    log, size = repository.speaking(), repository.size
    if left is not None:
        since = format_instant(left)
        await repository.record_own(own.gap(log, since=since, until=log.recorded))
    if on_trust:
        await repository.record_own(own.checkpoint_store_accepted(log, size=size))
    await _compare_clock(repository, received)
    await _compare_version(repository)
    if is_server:
        await _compare_settings(repository, settings)
    await repository.record_own(
        own.started(
            log,
            version=__version__,
            size=size,
            configuration=digest(settings),
            clean=left is None,
        )
    )


def digest(settings: Settings) -> str:
    """Return a digest of the settings in force: equal settings have equal ones."""
    rows = [f"{row.name}={told(settings, row.name)}" for row in fields(settings)]
    return sha256("\n".join(rows).encode()).hexdigest()


async def _compare_clock(repository: Repository, received: int) -> None:
    now = clock.milliseconds()
    if received - now >= CLOCK_STEP_MILLISECONDS:
        before, after = format_instant(received), format_instant(now)
        await repository.record_own(
            own.clock_stepped(
                repository.speaking(), before=before, after=after, milliseconds=now - received
            )
        )


async def _compare_version(repository: Repository) -> None:
    last = await _found(repository, codes.APPLICATION_START)
    before = last.get("version", __version__)
    if before != __version__:
        log = repository.speaking()
        await repository.record_own(own.software_changed(log, before=before, after=__version__))


async def _compare_settings(repository: Repository, settings: Settings) -> None:
    """Record the settings, if they are not those of the last server.

    A digest is made with the log's own key: who reads the log cannot try out what a value may be.
    """
    key = repository.identity.tag_key
    now = config.facts(
        settings,
        digest=lambda text: hmac.digest(key, text.encode(), sha256).hex()[:_DIGEST_DIGITS],
    )
    last = await _found(repository, own.SETTINGS)
    before = own.settings_of(last) if last else None
    known = {name: value for name, value in now.items() if value}
    if before == known:
        return
    by = os_account.current().name
    log = repository.speaking()
    await repository.record_own(own.configured(log, settings=now, before=before, account=by))
    was_open = (before or {}).get("insecure_no_auth", "False")
    if was_open != str(settings.insecure_no_auth):
        started, reason = not settings.insecure_no_auth, "insecure_no_auth"
        await repository.record_own(
            own.recording(log, started=started, scope=_READS, reason=reason)
        )


async def last_settings(repository: Repository) -> dict[str, str] | None:
    """Return what the last server's settings were, as the log tells of them; None before any."""
    last = await _last(repository, own.SETTINGS)
    return own.settings_of(last) if last else None


async def _found(repository: Repository, subtype: Code) -> dict[str, str]:
    """Return what `_last` does, {} where that takes too long to find: a start does not fail."""
    try:
        return await _last(repository, subtype)
    except TooCostlyError:
        _log.warning("what the last start said could not be found in time")
        return {}


async def _last(repository: Repository, subtype: Code) -> dict[str, str]:
    """Return the details of the newest event of the log's own with that subtype, {} for none."""
    async for record in repository.own_facts(subtype, newest_first=True):
        return own.details_of(record.event)
    return {}


async def watch_clock(
    repository: Repository,
    *,
    read: Callable[[], Reading] = clock.reading,
    seconds: float = CLOCK_WATCH_SECONDS,
) -> None:
    """Record each step of the clock while the log is open, until cancelled."""
    before = read()
    while True:
        await asyncio.sleep(seconds)
        now = read()
        moved = clock.step(before, now)
        if moved:
            said = own.clock_stepped(
                repository.speaking(),
                before=format_instant(now.wall - moved),
                after=format_instant(now.wall),
                milliseconds=moved,
            )
            try:
                await repository.record_own(said)
            except Error:
                # A store that takes nothing now: the step is told when it does.
                _log.warning("a step of the clock could not be recorded yet")
                continue
        before = now
