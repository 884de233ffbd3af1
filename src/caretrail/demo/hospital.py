"""A seeded synthetic hospital: endless AuditEvents of the shape and size of a real one's.

The same arguments give the same bytes. `events` is the hospital of the demonstration, with its
labelled incidents; `bench_events` is a larger one, cut at any index, for measurements.
"""

from __future__ import annotations

from heapq import merge
from operator import itemgetter
from random import Random
from typing import TYPE_CHECKING, Final

from caretrail.demo import incidents, names
from caretrail.demo.cast import Cast
from caretrail.demo.rhythm import Rhythm
from caretrail.demo.scene import Scene
from caretrail.demo.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caretrail.demo.scene import Act

# With fewer events, or in fewer days, the incidents would be most of what is there: none then.
INCIDENTS_EVENTS_MIN: Final = 2_000
INCIDENTS_DAYS_MIN: Final = 14
_EVENTS_PER_EMERGENCY: Final = 2_500  # Each is five events.
_EMERGENCIES_FROM: Final = 1_000  # Numbers of scenes that no incident has.
_REASONS: Final = (
    "unconscious on arrival, medication unknown",
    "resuscitation, allergies needed at once",
    "transfer by helicopter, no consent obtainable",
    "acute stroke, anticoagulation must be known",
)
# A block has its own random numbers, so that any slice of the stream can be made alone.
_BLOCK_EVENTS: Final = 1_000
_BENCH_STAFF: Final = 5_000


def events(*, seed: int, count: int, end_milliseconds: int, days: int = 30) -> Iterator[bytes]:
    """Yield `count` events of the last `days`, sorted by time, the incidents among them.

    What the incidents are says `incidents.plan` for the same arguments. There are none in fewer
    than INCIDENTS_EVENTS_MIN events or INCIDENTS_DAYS_MIN days.
    """
    cast, rhythm = Cast(seed), Rhythm(end_milliseconds=end_milliseconds, days=days)
    acts = _emergencies(cast, rhythm, count=count // _EVENTS_PER_EMERGENCY)
    if count >= INCIDENTS_EVENTS_MIN and days >= INCIDENTS_DAYS_MIN:
        acts += incidents.acts(seed=seed, end_milliseconds=end_milliseconds, days=days)
    acts = sorted((act for act in acts if act[0] < end_milliseconds), key=itemgetter(0))
    traffic = Traffic(cast, staff_zipf=0.9, patient_zipf=0.8, failures=0.014)
    rest = count - len(acts)
    ordinary = _stream(traffic, rhythm, seed=seed, start=0, stop=rest, total=rest)
    for _, body in merge(ordinary, acts, key=itemgetter(0)):
        yield body


def bench_events(
    *,
    seed: int,
    count: int,
    end_milliseconds: int,
    start_index: int = 0,
    total: int | None = None,
    days: int = 180,
) -> Iterator[bytes]:
    """Yield the events from `start_index` of a stream of `total`, sorted by time.

    The stream is spread over `days`; `total` is by default where this slice ends. Slices of one
    stream (same seed, total, end and days) may be made by several processes: an event depends on
    its index alone. 5,000 practitioners (Zipf 0.9), 200,000 patients (Zipf 0.8), no incidents.
    """
    stop = start_index + count
    cast = Cast(seed, staff_count=_BENCH_STAFF)
    traffic = Traffic(cast, staff_zipf=0.9, patient_zipf=0.8, failures=0.012)
    rhythm = Rhythm(end_milliseconds=end_milliseconds, days=days)
    stream = _stream(traffic, rhythm, seed=seed, start=start_index, stop=stop, total=total or stop)
    for _, body in stream:
        yield body


def _emergencies(cast: Cast, rhythm: Rhythm, *, count: int) -> list[Act]:
    """Return what breaking the glass is for: patients who are in the emergency department."""
    acts: list[Act] = []
    ward = names.DEPARTMENTS.index("Emergency")
    for number in range(count):
        at = rhythm.at((number + 0.5) / count)
        scene = Scene(cast, number=_EMERGENCIES_FROM + number, midnight_milliseconds=at)
        doctor = scene.staff("doctor", ward)
        patient = cast.patient(number * len(names.DEPARTMENTS) + ward)
        told = {"reason": scene.random.choice(_REASONS), "purpose_code": "BTG"}
        scene.security(0, "override-started", doctor, patient, **told)
        for minute in (1, 3, 4):
            scene.read(minute, doctor, patient, purpose_code="BTG")
        scene.security(10, "override-stopped", doctor, patient, **told)
        acts += scene.acts
    return acts


def _stream(
    traffic: Traffic, rhythm: Rhythm, *, seed: int, start: int, stop: int, total: int
) -> Iterator[tuple[int, bytes]]:
    block = start // _BLOCK_EVENTS
    for first in range(block * _BLOCK_EVENTS, stop, _BLOCK_EVENTS):
        random = Random(f"events {seed} {first}")  # noqa: S311  (a play, not a secret)
        for index in range(first, min(first + _BLOCK_EVENTS, stop)):
            milliseconds = rhythm.at((index + random.random()) / total)
            body = traffic.event(random, milliseconds)
            if index >= start:
                yield milliseconds, body
