"""Jobs: what a program does with health data without being asked over HTTP."""

from __future__ import annotations

import asyncio
import functools
import uuid
from typing import TYPE_CHECKING, ParamSpec, Self, TypeVar

from caretrail import clock
from caretrail.patterns.exchange import NOBODY, Identity
from caretrail.patterns.jobs import job_events
from caretrail.patterns.observation import Observation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from caretrail.capture.recorder import Recorder

P = ParamSpec("P")
R = TypeVar("R")


class AuditedJob:
    """An asynchronous context: when it ends, whichever way, the events of the job are kept.

    A job whose events cannot be kept fails with the sink's error.
    """

    def __init__(self, recorder: Recorder, name: str, *, identity: Identity = NOBODY) -> None:
        self._recorder, self._name, self._identity = recorder, name, identity
        self._patients: dict[str, None] = {}
        self._touched: dict[str, None] = {}
        self._start = clock.instant()
        self.request_id = str(uuid.uuid4())

    def about(self, *patients: str) -> None:
        """Say about which patients (`Patient/1`) the job is; each has an event."""
        self._patients.update(dict.fromkeys(patients))

    def touched(self, *references: str) -> None:
        """Say which resources the job read or wrote."""
        self._touched.update(dict.fromkeys(references))

    async def __aenter__(self) -> Self:
        """Begin the job."""
        self._start = clock.instant()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Record how the job ended."""
        outcome, text = ("0", None) if kind is None else ("8", "the job failed")
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            outcome, text = "4", "the job was cancelled"
        recorder, who = self._recorder, self._identity
        observed = Observation(
            recorded=clock.instant(),
            client=recorder.server,
            server=recorder.server,
            user=who.user,
            credential=who.credential,
            organization=who.organization,
            on_behalf_of=who.on_behalf_of,
            purposes=who.purposes,
            reason=who.reason,
            request_id=self.request_id,
            outcome=outcome,
            outcome_text=text,
            site=recorder.site,
        )
        made = job_events(
            observed,
            name=self._name,
            start=self._start,
            patients=list(self._patients),
            touched=list(self._touched),
        )
        await asyncio.shield(recorder.keep(made))


def audited_job(
    recorder: Recorder, name: str, *, identity: Identity = NOBODY
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
    """Return a decorator of an asynchronous function: each call of it is a job of this name."""

    def decorate(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        @functools.wraps(function)
        async def wrapper(*arguments: P.args, **options: P.kwargs) -> R:
            async with AuditedJob(recorder, name, identity=identity):
                return await function(*arguments, **options)

        return wrapper

    return decorate
