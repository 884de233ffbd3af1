"""Plots of staff who look at records that are none of their business (detection rules D-01...)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caretrail.demo import names
from caretrail.demo.scene import MINUTES_PER_DAY, clock

if TYPE_CHECKING:
    from caretrail.demo.scene import Scene


def self_access(scene: Scene) -> str:
    """Somebody reads their own record."""
    nurse = scene.staff("nurse")
    scene.look(nurse, scene.patient(namesake=nurse), clock(10, 40))
    return f"Nurse {nurse.name} opened their own patient record."


def same_surname(scene: Scene) -> str:
    """Somebody reads the record of a patient with the same rare surname."""
    doctor = scene.staff("doctor")
    patient = scene.patient(family=doctor.family)
    scene.look(doctor, patient, clock(13, 5))
    return f"{doctor.name} opened {patient.name}: same rare surname, no encounter in common."


def co_worker(scene: Scene) -> str:
    """Somebody reads the record of a colleague on the same ward."""
    nurse = scene.staff("nurse")
    colleague = scene.staff("nurse", nurse.department)
    scene.look(nurse, scene.patient(namesake=colleague), clock(11, 15), count=5)
    ward = names.DEPARTMENTS[nurse.department]
    return f"{nurse.name} opened the record of {colleague.name}, a colleague in {ward}."


def famous_patient(scene: Scene) -> str:
    """Many people look at one well-known patient in a day."""
    patient = scene.patient()
    people: set[int] = set()
    while len(people) < 11:
        people.add(scene.staff("nurse").number)
    for number in sorted(people):
        at = clock(8) + scene.random.random() * clock(11)
        scene.look(scene.cast.staff[number], patient, at, count=2)
    return f"Eleven nurses of all wards opened the well-known patient {patient.name} in one day."


def sensitive_notes(scene: Scene) -> str:
    """Somebody whose work does not need them reads psychiatric notes."""
    therapist = scene.staff("therapist")
    patient = scene.patient(department=names.DEPARTMENTS.index("Psychiatry"))
    for number in range(4):
        scene.read(clock(16, 30 + number), therapist, patient, sensitive=True)
    return f"Physiotherapist {therapist.name} read restricted psychiatric notes of {patient.name}."


def after_hours(scene: Scene) -> str:
    """Somebody of the offices is at work in the middle of the night."""
    clerk, patient = scene.staff("clerk"), scene.patient()
    scene.look(clerk, patient, clock(3, 10), count=6)
    return f"Billing clerk {clerk.name} works by day, and opened {patient.name} at 03:10."


def wrong_department(scene: Scene) -> str:
    """Somebody reads the records of a ward that they have nothing to do with."""
    doctor = scene.staff("doctor", names.DEPARTMENTS.index("Dermatology"))
    for number in range(3):
        patient = scene.patient(department=names.DEPARTMENTS.index("Maternity"))
        scene.look(doctor, patient, clock(12, 20 * number), count=3)
    return f"Dermatologist {doctor.name} opened three patients of the maternity ward."


def searched_by_name(scene: Scene) -> str:
    """Somebody looks a person up by name and opens the record at once."""
    clerk, patient = scene.staff("clerk"), scene.patient()
    text = f"Patient?family={patient.family}&given={patient.given}"
    scene.search(clock(9, 48), clerk, text)
    scene.look(clerk, patient, clock(9, 49), count=3)
    return (
        f"{clerk.name} searched for {patient.name} by name and opened the record within a minute."
    )


def deceased_patient(scene: Scene) -> str:
    """Somebody reads the record of a patient who died long ago."""
    nurse, patient = scene.staff("nurse"), scene.patient()
    scene.look(nurse, patient, clock(17, 35))
    return f"{nurse.name} opened {patient.name}, who died 45 days before, for treatment."


def same_pair_again(scene: Scene) -> str:
    """Somebody returns to the same record on several days."""
    technician, patient = scene.staff("technician"), scene.patient()
    for day in range(5):
        scene.look(technician, patient, clock(14, 7 * day) - day * MINUTES_PER_DAY, count=2)
    return f"{technician.name} opened {patient.name} on five days running, and wrote nothing."


def honey_patient(scene: Scene) -> str:
    """Somebody touches a patient who does not exist."""
    clerk, patient = scene.staff("clerk"), scene.patient()
    scene.look(clerk, patient, clock(18, 2), count=2)
    return f"{clerk.name} opened {patient.name}, a honey patient: nobody has a reason to."


def wrong_purpose(scene: Scene) -> str:
    """Somebody claims a purpose of use that their role does not have."""
    clerk, patient = scene.staff("clerk"), scene.patient()
    for number in range(4):
        scene.read(clock(11, 3 * number), clerk, patient, purpose_code="TREAT")
    return f"Billing clerk {clerk.name} opened {patient.name} for TREAT, which clerks never do."
