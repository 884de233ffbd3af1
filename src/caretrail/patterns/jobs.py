"""The events of a job: work that nobody asked for over HTTP (DICOM Application Activity)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from caretrail.limits import RELATED_ENTITIES_MAX
from caretrail.patterns import codes, literal, security
from caretrail.patterns.claims import settled
from caretrail.patterns.elements import coding
from caretrail.patterns.observation import reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.patterns.observation import Json, Observation


def job_events(
    observation: Observation,
    *,
    name: str,
    start: str,
    patients: Sequence[str],
    touched: Sequence[str],
) -> list[bytes]:
    """Return one event a patient, or one; it ends when the observation is recorded.

    What the job touched without a patient being named for it stands in the first event, and where
    that has no room, in further ones.
    """
    observed = [replace(observation, patient=reference(patient)) for patient in patients]
    observed = observed or [observation]
    pages = [
        tuple(map(_touched, touched[at : at + RELATED_ENTITIES_MAX]))
        for at in range(0, len(touched), RELATED_ENTITIES_MAX)
    ]
    observed[0] = replace(observed[0], related=pages[0] if pages else ())
    observed += [replace(observation, related=page) for page in pages[1:]]
    count, end = len(observed), observation.recorded
    return [
        settled(
            security.job(
                replace(one, part=f"{number}/{count}") if count > 1 else one,
                name=name,
                start=start,
                end=end,
            )
        )
        for number, one in enumerate(observed, 1)
    ]


def _touched(text: str) -> Json:
    named = literal.parse(text)
    kind = codes.resource_type(named.type) if named else codes.OTHER
    return {"what": reference(text), "type": coding(kind)}
