"""The watch: every half minute it looks at how the server stands, and tells what is new.

What is wrong, and what has not been told yet, is kept in a file: a restart says nothing twice and
forgets nothing. Each alert, and its end, is one event of the log's own (DESIGN, decision 12).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail import clock, durable_file
from caretrail.alerting import kinds
from caretrail.alerting.channels import Message
from caretrail.alerting.kinds import BY_CODE
from caretrail.errors import ConfigurationError, Error
from caretrail.patterns import own

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from caretrail.alerting.file import Rules
    from caretrail.alerting.state import State
    from caretrail.repository import Repository

_log: Final = logging.getLogger(__name__)
_MODE: Final = 0o600
_REFERENCE_BYTES: Final = 6
FILE: Final = "alerts.json"


class Open(msgspec.Struct, frozen=True):
    """Something that is wrong and was found at an instant."""

    kind: str
    subject: str
    reference: str
    at: str


class Telling(msgspec.Struct):
    """A message on its way: the channels that do not have it yet, and whether the log does."""

    alert: Open
    state: str
    at: str
    channels: list[str]
    recorded: bool = False


class _Kept(msgspec.Struct):
    open: list[Open] = []
    telling: list[Telling] = []


class Watch:
    """Watches one server; `look` gathers how it stands."""

    def __init__(
        self,
        repository: Repository,
        rules: Rules,
        path: Path,
        look: Callable[[], Awaitable[State]],
    ) -> None:
        """Go on where the file at `path` says; raise ConfigurationError when it is damaged."""
        self._repository, self._rules, self._path, self._look = repository, rules, path, look
        self._kept = _load(path)
        self._saved = msgspec.json.encode(self._kept)
        self._failing: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for channel in self._rules.channels.values():
            await channel.close()

    def health(self) -> dict[str, Any]:
        """Return what is wrong, by kind and reference, and how many messages wait."""
        return {
            "status": "failing" if self._failing else "ok",
            "open": [{"kind": one.kind, "reference": one.reference} for one in self._kept.open],
            "untold": sum(bool(one.channels) for one in self._kept.telling),
            "failing": sorted(self._failing),
        }

    async def _run(self) -> None:
        while True:
            try:
                self._compare(await self._look())
                await self._save()
                await self._tell()
            except Exception as error:
                # The watch is the last thing that may fall silent.
                _log.exception("the watch met a fault", extra={"error": type(error).__name__})
            await asyncio.sleep(self._rules.seconds)

    def _compare(self, state: State) -> None:
        """Note what is new and what is over."""
        now = kinds.found(state, without=self._rules.without)
        known = {(one.kind, one.subject): one for one in self._kept.open}
        at = clock.instant()
        for kind, subject in sorted(now - known.keys()):
            alert = Open(kind, subject, secrets.token_hex(_REFERENCE_BYTES), at)
            self._kept.open.append(alert)
            self._begin(alert, "begun", at)
        for place in known.keys() - now:
            self._kept.open.remove(known[place])
            self._begin(known[place], "ended", at)

    def _begin(self, alert: Open, state: str, at: str) -> None:
        _log.warning(
            "an alert" if state == "begun" else "an alert is over",
            extra={"kind": alert.kind, "reference": alert.reference},
        )
        self._kept.telling.append(Telling(alert, state, at, list(self._rules.channels)))

    async def _tell(self) -> None:
        """Tell the log and the channels what they do not know yet, the oldest first."""
        failing: set[str] = set()
        for one in list(self._kept.telling):
            if not one.recorded:
                one.recorded = await self._record(one)
            for name in list(one.channels):
                # A channel that fails keeps its order: the end does not come before the beginning.
                if name in failing:
                    continue
                if name not in self._rules.channels or await self._handed_to(name, one):
                    one.channels.remove(name)
                else:
                    failing.add(name)
            if one.recorded and not one.channels:
                self._kept.telling.remove(one)
            await self._save()
        self._failing = failing

    async def _record(self, one: Telling) -> bool:
        said = own.alerted(
            self._repository.speaking(),
            reference=one.alert.reference,
            kind=one.alert.kind,
            subject=one.alert.subject,
            state=one.state,
        )
        try:
            await self._repository.record_own(said)
        except Error as error:
            _log.warning("an alert is not recorded yet", extra={"error": type(error).__name__})
            return False
        return True

    async def _handed_to(self, name: str, one: Telling) -> bool:
        row = BY_CODE.get(one.alert.kind)
        message = Message(
            one.alert.reference,
            one.alert.kind,
            row.title if row is not None else one.alert.kind,
            row.severity if row is not None else "medium",
            one.state,
            one.at,
            self._rules.link,
        )
        try:
            await self._rules.channels[name].tell(message)
        except Error as error:
            if name not in self._failing:
                _log.error("nobody was told", extra={"channel": name, "why": str(error)})
            return False
        return True

    async def _save(self) -> None:
        data = msgspec.json.encode(self._kept)
        if data == self._saved:
            return
        try:
            await asyncio.to_thread(durable_file.replace, self._path, data, mode=_MODE)
        except OSError as error:
            # Of a full disk, too, people are told.
            _log.error("the state of alerts was not kept", extra={"reason": error.strerror})
        else:
            self._saved = data


def _load(path: Path) -> _Kept:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Kept)
    except FileNotFoundError:
        return _Kept()
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigurationError(f"{path} cannot be read: remove it to begin anew") from error
