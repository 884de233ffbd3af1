"""What single steps cost: microseconds of processor for an event, alone on one core."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail import clock
from caretrail.fhir import audit_event
from caretrail.fhir.decoding import check_whole, cut, decode
from caretrail.repository import event_id
from caretrail.search.record import Flag, Record
from caretrail.sequencer import Identity, leaf
from caretrail.tlog import tree as merkle
from caretrail.tlog.entry import SALT_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ROUNDS: Final = 3
_ID_BYTES: Final = 10
_NOISE_BYTES: Final = 16_384
# As many as a busy server commits at once.
_BATCH_EVENTS: Final = 64


class Decoding(NamedTuple):
    """Microseconds to decode an event, and those of them that find duplicate names."""

    whole: float
    duplicate_names: float


def decoding(bodies: Sequence[bytes]) -> Decoding:
    """Measure `decode`, and the writing and counting that its check for names is."""
    cuts = [(cut(body), body) for body in bodies]

    def scan() -> None:
        for found, body in cuts:
            check_whole(found, body)

    def decode_all() -> None:
        for body in bodies:
            decode(body)

    return Decoding(_each(decode_all, len(bodies)), _each(scan, len(bodies)))


def integrity(bodies: Sequence[bytes]) -> float:
    """Measure what the log adds to an event: salt, commitment, tags, entry, leaf and tree."""
    identity = Identity(os.urandom(16), os.urandom(32))
    records = [_record(body) for body in bodies]

    def seal() -> None:
        noise, at, tree = b"", 0, merkle.Tree()
        leaves: list[bytes] = []
        for one in records:
            if at + SALT_BYTES + _ID_BYTES > len(noise):
                noise, at = os.urandom(_NOISE_BYTES), 0
            salt = noise[at : at + SALT_BYTES]
            at += SALT_BYTES + _ID_BYTES
            leaves.append(leaf(one, salt=salt, identity=identity))
            if len(leaves) == _BATCH_EVENTS:
                tree, _ = merkle.append(tree, leaves)
                tree.root()
                leaves.clear()

    return _each(seal, len(records))


def _record(body: bytes) -> Record:
    event = audit_event.read(body)
    now = clock.milliseconds()
    return Record(event, event_id(now, os.urandom(10)), -1, now, Flag(0), "bench", "", body, 0)


def _each(work: Callable[[], None], count: int) -> float:
    """Return the microseconds of one of `count`, in the fastest of some rounds."""
    taken = []
    for _ in range(_ROUNDS):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return min(taken) / max(count, 1) * 1e6
