"""The labelled incidents of the synthetic hospital: what a detection ought to find.

A row of PLOTS is the whole of an incident: the detection rule that it is about, and the plot that
plays it. Its label is the plot's sentence; its keys find its events.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from caretrail.demo import curiosity, misuse
from caretrail.demo.cast import Cast
from caretrail.demo.rhythm import DAY_MILLISECONDS, instant, is_weekend
from caretrail.demo.scene import Act, Scene

if TYPE_CHECKING:
    from collections.abc import Iterable

PLOTS: Final = (
    ("D-01", curiosity.self_access),
    ("D-02", curiosity.same_surname),
    ("D-06", curiosity.co_worker),
    ("D-07", curiosity.famous_patient),
    ("D-08", curiosity.sensitive_notes),
    ("D-09", curiosity.after_hours),
    ("D-10", misuse.account_of_a_leaver),
    ("D-11", misuse.glass_without_encounter),
    ("D-11", misuse.glass_as_a_habit),
    ("D-12", misuse.scraping),
    ("D-12", misuse.mass_export),
    ("D-13", misuse.two_places_at_once),
    ("D-14", misuse.guessed_password),
    ("D-14", misuse.password_spray),
    ("D-15", misuse.denial_probing),
    ("D-16", misuse.dormant_account),
    ("D-17", curiosity.wrong_department),
    ("D-19", curiosity.searched_by_name),
    ("D-20", curiosity.deceased_patient),
    ("D-23", curiosity.same_pair_again),
    ("D-24", misuse.shared_credential),
    ("D-25", misuse.borrowed_privilege),
    ("D-26", curiosity.honey_patient),
    ("D-27", misuse.watching_the_watchers),
    ("D-29", curiosity.wrong_purpose),
)
# A plot may begin four days before its own day, which may be two days before a weekend.
_DAYS_BEFORE: Final = 6
# More people than this are not searched for one by one.
_USERS_SEARCHED_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Incident:
    """What happened, who did it to whom, and how its events are found.

    `kind` is a detection rule. `keys` are the X-Request-Ids of exactly its events (search by
    `entity:identifier`); each of `searches` is a query of AuditEvent whose results hold them too.
    """

    kind: str
    label: str
    users: tuple[str, ...]
    patients: tuple[str, ...]
    start: str
    end: str
    keys: tuple[str, ...]
    searches: tuple[str, ...]


def plan(*, seed: int, end_milliseconds: int, days: int = 30) -> tuple[Incident, ...]:
    """Return the incidents that `hospital.events` of the same arguments holds, as data."""
    scenes = _play(seed=seed, end_milliseconds=end_milliseconds, days=days)
    return tuple(_incident(kind, label, scene) for kind, label, scene in scenes)


def acts(*, seed: int, end_milliseconds: int, days: int = 30) -> list[Act]:
    """Return the events of all incidents with their times, sorted."""
    scenes = _play(seed=seed, end_milliseconds=end_milliseconds, days=days)
    return sorted((act for _, _, scene in scenes for act in scene.acts), key=itemgetter(0))


def to_json(incidents: Iterable[Incident]) -> str:
    """Return what the demonstration writes beside its events."""
    rows = [asdict(incident) for incident in incidents]
    return json.dumps(rows, ensure_ascii=False, indent=2) + "\n"


def _play(*, seed: int, end_milliseconds: int, days: int) -> list[tuple[str, str, Scene]]:
    # Whole days only: the first and the last of the span are cut off somewhere.
    last = end_milliseconds // DAY_MILLISECONDS - 1
    room = days - 1 - _DAYS_BEFORE
    if room < 1:
        raise ValueError(f"the incidents take more than {_DAYS_BEFORE + 1} days")
    cast, played = Cast(seed), []
    for number, (kind, plot) in enumerate(PLOTS):
        day = last - number * 7 % room
        # On working days only: the offices, too, have their stories.
        day -= 2 if is_weekend(day) else 0
        scene = Scene(cast, number=number, midnight_milliseconds=day * DAY_MILLISECONDS)
        label = plot(scene)
        played.append((kind, label, scene))
    return played


def _incident(kind: str, label: str, scene: Scene) -> Incident:
    times = sorted(time for time, _ in scene.acts)
    start, end = instant(times[0]), instant(times[-1])
    users, patients = tuple(scene.users), tuple(scene.patients)
    if len(users) <= _USERS_SEARCHED_MAX:
        who = [f"agent={user}" for user in users]
    else:
        who = [f"patient={patient}" for patient in patients] or [f"address={scene.address}"]
    searches = tuple(f"AuditEvent?{found}&date=ge{start}&date=le{end}" for found in who)
    return Incident(kind, label, users, patients, start, end, tuple(scene.keys), searches)
