"""The witnesses of a policy, as a log asks them: all at once, and none holds up the others.

A witness is asked by C2SP tlog-witness. What it remembers of the log is learned from its answers, so
nothing is kept here beyond the process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import httpx

from caretrail.errors import Error, VerificationError
from caretrail.limits import (
    WITNESS_GRACE_SECONDS,
    WITNESS_PAUSE_SECONDS_MAX,
    WITNESS_PAUSE_SECONDS_MIN,
    WITNESS_REQUEST_BYTES_MAX,
    WITNESS_SECONDS_MAX,
)
from caretrail.publisher.answer import client, post
from caretrail.tlog.checkpoint import Checkpoint
from caretrail.tlog.cosignature import time_of, verifier
from caretrail.tlog.policy import Cosigned, Policy, Witness
from caretrail.tlog.witness import Behind, Cosignatures, Refused, Request, read_answer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from caretrail.tlog.note import Note, Signature

_log: Final = logging.getLogger(__name__)

_MEDIA: Final = "text/plain; charset=utf-8"
# The first without knowing the witness's size, the second knowing it, and one more in case that
# another request of this log was quicker.
_REQUESTS_MAX: Final = 3


class Trouble(StrEnum):
    """Why a witness has not cosigned: words for health and metrics."""

    NONE = ""
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"  # No connection, or its certificate does not hold.
    REDIRECTED = "redirected"
    UNKNOWN_LOG = "unknown-log"  # 404: the witness is not configured for this log.
    SIGNATURE = "signature"  # 403: it knows another key of this log.
    INCONSISTENT = "inconsistent"  # 422: it has seen another history.
    AHEAD = "ahead"  # It has cosigned a larger tree than the one that it was asked for.
    MOVING = "moving"  # Its size changed with every request: somebody else asks for this log.
    REFUSED = "refused"  # Any other status.
    ANSWER = "invalid-answer"  # No cosignature of its key, or no answer of the protocol.
    PROOF = "no-proof"  # We could not prove consistency from its size.
    FAULT = "fault"  # A mistake of ours; the log has more.


_STATUS: Final = {
    403: Trouble.SIGNATURE,
    404: Trouble.UNKNOWN_LOG,
    422: Trouble.INCONSISTENT,
    **dict.fromkeys(range(300, 400), Trouble.REDIRECTED),
}


class Consistency(Protocol):
    """What proves that the log's tree of `new` leaves continues that of `old`, 0 < old <= new."""

    async def __call__(self, *, old: int, new: int) -> Sequence[bytes]:
        """Return the hashes; raises an Error of ours when there is no such proof."""
        ...


class WitnessState(NamedTuple):
    """A witness as it was last seen: what it has cosigned and when, and what is wrong now."""

    name: str
    size: int | None = None
    time: int | None = None
    trouble: Trouble = Trouble.NONE


class Witnessed(NamedTuple):
    """A checkpoint with the cosignatures that came, all verified, and whether they are a quorum."""

    note: Note
    witnesses: tuple[Cosigned, ...]
    quorum: bool


class Witnesses:
    """Asks the witnesses of a policy that have an address.

    `tls` says which certificates of theirs hold, where the public authorities do not.
    """

    def __init__(
        self,
        policy: Policy,
        prove: Consistency,
        *,
        tls: ssl.SSLContext | None = None,
        timeout_seconds: float = WITNESS_SECONDS_MAX,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.policy: Final = policy
        self._http = client(seconds=timeout_seconds, tls=tls)
        self._asked = [
            _Asked(one, self._http, prove, timeout_seconds, monotonic)
            for one in policy.witnesses
            if one.url
        ]

    def states(self) -> tuple[WitnessState, ...]:
        """Return every witness that is asked, as it was last seen."""
        return tuple([one.state for one in self._asked])

    async def cosign(self, note: Note) -> Witnessed:
        """Ask for cosignatures of a signed checkpoint; call it for one at a time.

        Returns soon after a quorum has cosigned, or once nobody is left to wait for. Who is slow
        is not waited for then; who has not answered yet, or failed a moment ago, is left out.
        """
        tasks = {one.start(note): one for one in self._asked if one.is_free()}
        waiting = set(tasks)
        while waiting and not self.policy.witnessed_by(_names(tasks, waiting)):
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if waiting:
            _, waiting = await asyncio.wait(waiting, timeout=WITNESS_GRACE_SECONDS)
        found = [
            (Cosigned(one.state.name, time_of(signature)), signature)
            for task, one in tasks.items()
            if task not in waiting and (signature := task.result())
        ]
        return Witnessed(
            note.add([signature for _, signature in found]),
            tuple([cosigned for cosigned, _ in found]),
            self.policy.witnessed_by({cosigned.name for cosigned, _ in found}),
        )

    async def close(self) -> None:
        """End what is under way."""
        for one in self._asked:
            await one.stop()
        await self._http.aclose()


_Task = asyncio.Task["Signature | None"]


def _names(tasks: dict[_Task, _Asked], waiting: set[_Task]) -> set[str]:
    return {one.state.name for task, one in tasks.items() if task not in waiting and task.result()}


class _TroubleError(Exception):
    """The conversation has come to an end without a cosignature."""

    def __init__(self, trouble: Trouble) -> None:
        self.trouble = trouble
        super().__init__(trouble)


def _trouble_of(error: Exception) -> Trouble:
    match error:
        case _TroubleError():
            return error.trouble
        case TimeoutError() | httpx.TimeoutException():
            return Trouble.TIMEOUT
        case httpx.HTTPError() | httpx.InvalidURL():
            return Trouble.UNREACHABLE
        case VerificationError():
            return Trouble.ANSWER
    _log.error("asking a witness failed", exc_info=error)
    return Trouble.FAULT


class _Asked:
    """One witness, and what is known of it."""

    def __init__(
        self,
        witness: Witness,
        http: httpx.AsyncClient,
        prove: Consistency,
        timeout_seconds: float,
        monotonic: Callable[[], float],
    ) -> None:
        self.state = WitnessState(witness.name)
        self._url = f"{(witness.url or '').rstrip('/')}/add-checkpoint"
        self._verifiers = [verifier(witness.key)]
        self._http, self._prove = http, prove
        self._timeout_seconds = timeout_seconds
        self._monotonic = monotonic
        # What the witness has cosigned; who does not know says 0, and is told.
        self._size = 0
        self._failures = 0
        self._not_before = monotonic()
        self._task: _Task | None = None

    def is_free(self) -> bool:
        """Tell whether it may be asked: not while it is, nor too soon after a failure."""
        busy = self._task is not None and not self._task.done()
        return not busy and self._monotonic() >= self._not_before

    def start(self, note: Note) -> _Task:
        """Begin to ask."""
        self._task = asyncio.create_task(self._ask(note))
        return self._task

    async def stop(self) -> None:
        """End the conversation."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _ask(self, note: Note) -> Signature | None:
        """Return the cosignature; None when there is none, and `state` says why."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                signature = await self._converse(note)
        except Exception as error:
            # Whatever it is, the other witnesses' cosignatures must not be lost to it.
            self._failed(_trouble_of(error))
            return None
        self._failures = 0
        if self.state.trouble:
            _log.info("a witness cosigns again", extra={"witness": self.state.name})
        self.state = WitnessState(self.state.name, self._size, time_of(signature))
        return signature

    async def _converse(self, note: Note) -> Signature:
        size = Checkpoint.parse(note.text).size
        for _ in range(_REQUESTS_MAX):
            request = await self._request(note, size)
            status, media_type, body = await post(
                self._http,
                self._url,
                request.format(),
                media_type=_MEDIA,
                bytes_max=WITNESS_REQUEST_BYTES_MAX,
            )
            answer = read_answer(
                request, status=status, media_type=media_type, body=body, verifiers=self._verifiers
            )
            match answer:
                case Cosignatures(signatures):
                    self._size = size
                    return signatures[0]
                case Behind(at):
                    self._size = at
                case Refused(status):
                    raise _TroubleError(_STATUS.get(status, Trouble.REFUSED))
        raise _TroubleError(Trouble.MOVING)

    async def _request(self, note: Note, size: int) -> Request:
        old = self._size
        if old > size:
            raise _TroubleError(Trouble.AHEAD)
        if not old:
            return Request.make(note)
        try:
            proof = await self._prove(old=old, new=size)
        except Error as error:
            raise _TroubleError(Trouble.PROOF) from error
        return Request.make(note, old=old, proof=proof)

    def _failed(self, trouble: Trouble) -> None:
        pause = min(WITNESS_PAUSE_SECONDS_MIN * 2.0**self._failures, WITNESS_PAUSE_SECONDS_MAX)
        self._failures = min(self._failures + 1, 63)
        self._not_before = self._monotonic() + pause
        if trouble != self.state.trouble:
            # Said once, when it begins or changes; `states` has it as long as it lasts.
            _log.log(
                logging.ERROR if trouble is Trouble.INCONSISTENT else logging.WARNING,
                "a witness does not cosign",
                extra={"witness": self.state.name, "trouble": trouble.value},
            )
        self.state = self.state._replace(trouble=trouble)
