"""The witness itself: it reads its state, decides, stores the new state durably, and then answers."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.errors import UnavailableError, VerificationError
from caretrail.limits import WITNESS_CLOCK_BACK_SECONDS_MAX
from caretrail.tlog.checkpoint import SignedCheckpoint
from caretrail.tlog.witness import Request, State, answer_body, decide
from caretrail.witness.state_store import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caretrail.tlog.cosignature import Cosigner
    from caretrail.tlog.note import Signature, Verifier
    from caretrail.tlog.witness import Decision
    from caretrail.witness.known_logs import KnownLogs
    from caretrail.witness.state_store import StateStore

_log: Final = logging.getLogger(__name__)

_TEXT: Final = "text/plain; charset=utf-8"
# Whoever can reach the witness can cause the first two; the others are a known log's.
_LEVELS: Final = {400: logging.DEBUG, 404: logging.DEBUG, 409: logging.DEBUG, 422: logging.ERROR}


class Answer(NamedTuple):
    """What is answered to a request."""

    status: int
    body: bytes
    media_type: str = _TEXT


class Witness:
    """One witness. Its calls read and write the disk; one thread makes them all."""

    def __init__(
        self,
        cosigner: Cosigner,
        logs: KnownLogs,
        store: StateStore,
        clock: Callable[[], float],
        *,
        second: Cosigner | None = None,
    ) -> None:
        """Cosign by one key, which is the witness's for good, and by a second one beside it."""
        self.key: Final = cosigner.key
        self.second: Final = None if second is None else second.key
        self.decisions: Final = Counter[int]()
        self._cosigners = (cosigner,) if second is None else (cosigner, second)
        self._logs = logs
        self._store = store
        self._clock = clock

    def add_checkpoint(self, body: bytes) -> Answer:
        """Cosign the checkpoint of a request, or say why not (C2SP tlog-witness, add-checkpoint).

        A status of 200 means: the new state survives a power cut, and no request that crosses this
        one can bring back an older state. Raises StoreError or UnavailableError, which are no
        decision: the client may ask again.
        """
        answer = self._decided(body)
        self.decisions[answer.status] += 1
        return answer

    def _decided(self, body: bytes) -> Answer:
        try:
            request = Request.parse(body)
        except VerificationError as error:
            return Answer(400, f"{error}\n".encode())
        verifiers = self._logs.verifiers(request.checkpoint.origin)
        if verifiers is None:
            return _answer(decide(request, State(), None))
        with self._store.exclusively() as store:
            row = store.get(request.checkpoint.origin)
            decision = decide(request, row.state if row else State(), verifiers)
            if decision.state is not None:
                answer = self._cosigned(request, decision, verifiers)
            else:
                _say(request, decision)
                return _answer(decision)
        # It is on the disk from here on. Whoever does not get this answer asks again.
        _log.info(
            "cosigned", extra={"log": request.checkpoint.origin, "size": request.checkpoint.size}
        )
        return answer

    def states(self) -> list[tuple[str, int, int]]:
        """Return the origin, size and time of the last cosignature of each log."""
        return self._store.states()

    def checkpoint(self, path: str) -> Answer:
        """Return the last cosigned checkpoint of a log, by its monitoring path."""
        note = self._store.note(path)
        return Answer(404, b"nothing is here\n") if note is None else Answer(200, note)

    def health(self) -> dict[str, str]:
        """Return what is wrong, by its part; nothing while checkpoints are cosigned."""
        wrong = {}
        self._logs.refresh()
        if not self._logs.is_current:
            wrong["logs"] = "the list of logs cannot be read: the one before is in force"
        if self._clock() < self._store.latest_time() - WITNESS_CLOCK_BACK_SECONDS_MAX:
            wrong["clock"] = "the clock is behind the last cosignature"
        return wrong

    def _cosigned(
        self, request: Request, decision: Decision, verifiers: Sequence[Verifier]
    ) -> Answer:
        """Put the new state, and return the answer that may be sent once that is on the disk."""
        assert decision.state is not None
        time = self._time()
        made = [one.cosign(request.note.text, time=time) for one in self._cosigners]
        # Lines of keys that we do not know are not handed on to auditors.
        checked = SignedCheckpoint.open(request.note, verifiers).verified
        note = request.note._replace(signatures=checked).add(made)
        self._store.put(request.checkpoint.origin, Row(decision.state, time, note.format()))
        return _answer(decision, made)

    def _time(self) -> int:
        """Return the time to sign, never one before an earlier cosignature's.

        A clock that is set right by some seconds waits for itself. One that is far behind is
        wrong now, or was when it signed the future: neither is vouched for.
        """
        now, last = int(self._clock()), self._store.latest_time()
        if now < last - WITNESS_CLOCK_BACK_SECONDS_MAX:
            _log.error("the clock is behind the last cosignature", extra={"seconds": last - now})
            raise UnavailableError("the witness's clock is wrong")
        return max(now, last)


def _answer(decision: Decision, cosignatures: Sequence[Signature] = ()) -> Answer:
    media_type, body = answer_body(decision, cosignatures)
    return Answer(decision.status, body, media_type)


def _say(request: Request, decision: Decision) -> None:
    level = _LEVELS.get(decision.status, logging.WARNING)
    origin, size = request.checkpoint.origin, request.checkpoint.size
    extra = {"log": origin, "size": size, "status": decision.status, "reason": decision.reason}
    _log.log(level, "not cosigned", extra=extra)
