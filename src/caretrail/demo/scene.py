"""One incident while it is written: its events, and what will find them again."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final

from caretrail.demo import shapes
from caretrail.demo.cast import Patient, scatter, uuid
from caretrail.demo.rhythm import instant
from caretrail.demo.traffic import STAFF_RESERVED, search

if TYPE_CHECKING:
    from caretrail.demo.cast import Cast, Fields, Staff

Act = tuple[int, bytes]
MINUTES_PER_DAY: Final = 24 * 60
# The busiest do everything anyway; a story about one of them would drown.
_BUSIEST: Final = 100
_PATIENTS_PER_SCENE: Final = 4


def clock(hour: int, minute: int = 0) -> float:
    """Return the time of day in minutes, as acts take it."""
    return hour * 60.0 + minute


class Scene:
    """Adds the acts of one incident; times are minutes from the midnight of its day."""

    def __init__(self, cast: Cast, *, number: int, midnight_milliseconds: int) -> None:
        self.cast, self.number, self._midnight = cast, number, midnight_milliseconds
        self.random = Random(f"scene {cast.seed} {number}")  # noqa: S311  (a play, not a secret)
        self.acts: list[Act] = []
        self.keys: list[str] = []
        self.users: dict[str, None] = {}
        self.patients: dict[str, None] = {}
        self.address = ""
        self._patients_made = 0

    def staff(self, role: str, department: int | None = None) -> Staff:
        """Return somebody of this role who also has ordinary work."""
        return self.random.choice(
            [
                person
                for person in self.cast.staff[_BUSIEST:-STAFF_RESERVED]
                if person.role.code == role and department in (None, person.department)
            ]
        )

    def stranger(self) -> Staff:
        """Return an employee who is in no ordinary event."""
        return self.cast.staff[-1 - self.number]

    def patient(
        self, *, namesake: Staff | None = None, family: str = "", department: int | None = None
    ) -> Patient:
        """Return a patient whom only this incident touches; a `namesake` lends his name."""
        made = self.number * _PATIENTS_PER_SCENE + self._patients_made
        self._patients_made += 1
        plain = self.cast.patient(self.cast.patient_count + made)
        return Patient(
            plain.number,
            plain.id,
            namesake.given if namesake else plain.given,
            family or (namesake.family if namesake else plain.family),
            plain.department if department is None else department,
        )

    def look(self, person: Staff, patient: Patient, at: float, *, count: int = 4) -> None:
        """Search for the patient's data, then read what was found, within some minutes."""
        text = f"DocumentReference?patient={patient.reference}&_count=20"
        self.search(at, person, text, patient)
        for number in range(1, count):
            self.read(at + number * self.random.uniform(0.4, 2.5), person, patient)

    def search(self, at: float, person: Staff, text: str, patient: Patient | None = None) -> None:
        """Add a search by an employee."""
        shape = shapes.interaction("search-type", about_patient=patient is not None)
        request_id = uuid(self.random.getrandbits(128))
        self._add(at, shape, person, patient, search(text, request_id), request_id)

    def read(
        self,
        at: float,
        person: Staff,
        patient: Patient,
        *,
        failure: str = "",
        sensitive: bool = False,
        **fields: str,
    ) -> None:
        """Add a read by an employee; `failure` is the text of one that was denied."""
        shape = shapes.interaction("read", failed=bool(failure), sensitive=sensitive)
        resource = f"DocumentReference/{uuid(self.random.getrandbits(128))}"
        told = {"resource": resource, "outcome": "4", "outcome_text": failure, **fields}
        self._add(at, shape, person, patient, told)

    def security(
        self,
        at: float,
        name: str,
        person: Staff,
        patient: Patient | None = None,
        *,
        failure: str = "",
        **fields: str,
    ) -> None:
        """Add a security event (`shapes.security_event`); `fields` fill its blanks."""
        shape = shapes.security_event(name, failed=bool(failure))
        told = {"outcome": "4", "outcome_text": failure, **fields}
        self._add(at, shape, person, patient, told)

    def audit(self, at: float, person: Staff, text: str) -> None:
        """Add a search of the audit log itself."""
        request_id = uuid(self.random.getrandbits(128))
        shape = shapes.security_event("log-used")
        self._add(at, shape, person, None, search(text, request_id), request_id)

    def _add(
        self,
        at: float,
        shape: str,
        person: Staff,
        patient: Patient | None,
        fields: Fields,
        request_id: str = "",
    ) -> None:
        milliseconds = self._midnight + int(at * 60_000)
        key = request_id or uuid(self.random.getrandbits(128))
        known = {
            "recorded": instant(milliseconds),
            "request_id": key,
            "jti": uuid(scatter(self.cast.seed, person.number, self.number)),
            "patient_id": patient.id if patient else "",
        }
        self.acts.append((milliseconds, shapes.fill(shape, {**person.fields, **known, **fields})))
        self.keys.append(key)
        self.users[person.reference] = None
        if patient:
            self.patients[patient.reference] = None
        self.address = fields.get("address", self.address)
