"""A few charts of the synthetic hospital: the patients whom its events are about, with content."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any, Final

from caretrail.demo import names
from caretrail.demo.cast import Cast
from caretrail.fhir.temporal import format_instant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caretrail.demo.cast import Patient

PATIENTS: Final = 12
_OBSERVATIONS: Final = 3  # Of each kind and patient.
_DAY: Final = 86_400_000  # in milliseconds
_HOUR: Final = 3_600_000
_LOINC: Final = "http://loinc.org"
_UCUM: Final = "http://unitsofmeasure.org"
# Code, display, unit as people read it, code of the unit, usual range.
_VITALS: Final = (
    ("8867-4", "Heart rate", "beats/minute", "/min", 58, 96),
    ("8310-5", "Body temperature", "°C", "Cel", 36, 38),
    ("9279-1", "Respiratory rate", "breaths/minute", "/min", 12, 20),
)


def transaction(*, seed: int, end_milliseconds: int) -> bytes:
    """Return a transaction Bundle with the charts, under the ids that the events of `seed` name."""
    entries = [
        {"resource": row, "request": {"method": "PUT", "url": f"{row['resourceType']}/{row['id']}"}}
        for row in _resources(Cast(seed), Random(f"charts {seed}"), end_milliseconds)  # noqa: S311
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    return json.dumps(bundle, ensure_ascii=False).encode()


def _resources(cast: Cast, random: Random, end: int) -> Iterator[dict[str, Any]]:
    yield {"resourceType": "Organization", "id": "hospital", "name": "Synthetic Hospital"}
    for number in range(len(names.DEPARTMENTS)):
        one = cast.staff[number]
        yield {
            "resourceType": "Practitioner",
            "id": one.fields["user_id"],
            "name": [{"family": one.family, "given": [one.given]}],
        }
    for number in range(PATIENTS):
        yield from _chart(cast, cast.patient(number), random, end)


def _chart(cast: Cast, patient: Patient, random: Random, end: int) -> Iterator[dict[str, Any]]:
    doctor = {"reference": cast.staff[patient.department].reference}
    subject = {"reference": patient.reference}
    yield {
        "resourceType": "Patient",
        "id": patient.id,
        "identifier": [{"system": "urn:caretrail:demo:chart", "value": f"{patient.number:06d}"}],
        "name": [{"family": patient.family, "given": [patient.given]}],
        "gender": random.choice(("female", "male", "other")),
        "birthDate": f"{random.randint(1935, 2020)}-{random.randint(1, 12):02}-{random.randint(1, 28):02}",
        "generalPractitioner": [doctor],
        "managingOrganization": {"reference": "Organization/hospital"},
    }
    start = end - random.randint(2, 20) * _DAY
    stay = f"stay-{patient.number:06d}"
    yield {
        "resourceType": "Encounter",
        "id": stay,
        "status": "in-progress",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
        "subject": subject,
        "participant": [{"individual": doctor}],
        "period": {"start": format_instant(start)},
        "serviceType": {"text": names.DEPARTMENTS[patient.department]},
    }
    for place, (code, display, unit, ucum, low, high) in enumerate(_VITALS):
        for turn in range(_OBSERVATIONS):
            yield {
                "resourceType": "Observation",
                "id": f"vital-{patient.number:06d}-{place}-{turn}",
                "status": "final",
                "code": {"coding": [{"system": _LOINC, "code": code, "display": display}]},
                "subject": subject,
                "encounter": {"reference": f"Encounter/{stay}"},
                "effectiveDateTime": format_instant(start + turn * 8 * _HOUR),
                "valueQuantity": {
                    "value": random.randint(low, high), "unit": unit, "system": _UCUM, "code": ucum,
                },
            }  # fmt: skip
