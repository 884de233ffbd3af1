"""An ordinary day: what staff, patients and systems of the hospital do, in realistic shares."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Final

from caretrail.demo import names, shapes
from caretrail.demo.cast import patient_id, safe, scatter, uuid
from caretrail.demo.rhythm import HOUR_MILLISECONDS, Rota, instant
from caretrail.demo.shapes import FHIR_BASE, PORTAL, STAFF, SYSTEM
from caretrail.patterns.rest import PATTERNS

if TYPE_CHECKING:
    from random import Random

    from caretrail.demo.cast import Cast, Fields, Staff

# Employees that the play keeps for its incidents; they are never on duty.
STAFF_RESERVED: Final = 40
_CONSULTS: Final = 0.1
_ON_THE_PHONE: Final = 0.12
_ABOUT_PATIENT: Final = 0.95
_DENIED: Final = 0.12
_SESSION_MILLISECONDS: Final = 8 * HOUR_MILLISECONDS

# What happens, of 1,000 events: reads and queries 750, writes 215, sign-ins 20.
_MIX: Final = {
    "read": 418, "vread": 22, "search-type": 310, "create": 130, "update": 66, "patch": 15,
    "delete": 4, "login": 12, "logout": 8, "consent": 7, "disclosure": 3, "log-used": 2,
    "export": 2, "account-changed": 0.9, "started": 0.1,
}  # fmt: skip
_KINDS: Final = tuple(_MIX)
_SHARES: Final = tuple(accumulate(_MIX.values()))

_READ: Final = (
    "Patient", "Observation", "Observation", "Observation", "Encounter", "Condition",
    "MedicationRequest", "DiagnosticReport", "DocumentReference", "AllergyIntolerance",
    "ImagingStudy", "CarePlan",
)  # fmt: skip
_WRITTEN: Final = (
    "Observation", "Observation", "Observation", "MedicationAdministration", "Condition",
    "MedicationRequest", "DocumentReference", "Task", "Encounter",
)  # fmt: skip
_SHARED: Final = ("Organization", "Location", "Medication", "Practitioner", "ValueSet")
_SEARCHES: Final = (
    "Observation?patient=Patient/%(patient_id)s&category=laboratory&_sort=-date&_count=50",
    "Observation?patient=Patient/%(patient_id)s&category=vital-signs&_sort=-date&_count=20",
    "MedicationRequest?patient=Patient/%(patient_id)s&status=active",
    "Condition?patient=Patient/%(patient_id)s&clinical-status=active",
    "AllergyIntolerance?patient=Patient/%(patient_id)s",
    "DiagnosticReport?patient=Patient/%(patient_id)s&_sort=-issued&_count=10",
    "Encounter?patient=Patient/%(patient_id)s&_sort=-date&_count=5",
    "DocumentReference?patient=Patient/%(patient_id)s&type=http://loinc.org|11506-3&_count=20",
    "Appointment?patient=Patient/%(patient_id)s&date=ge2026-01-01&_count=10",
)
_SHARED_SEARCHES: Final = (
    "Schedule?actor=Practitioner/%(user_id)s&_count=20",
    "Location?organization=Organization/synthetic-hospital&_count=100",
    "Task?owner=Practitioner/%(user_id)s&status=requested&_sort=-modified&_count=20",
)
_LOG_SEARCH: Final = "AuditEvent?patient=Patient/%(patient_id)s&_sort=-date&_count=50"
# What is one role's work alone: anybody else who does it is an incident.
_OFFICES: Final = {"log-used": "privacy", "export": "researcher", "account-changed": "ict"}
# What a search or read failed of; never with a value in it.
_FAILURES: Final = (
    ("4", "403 Forbidden: no treatment relationship with this patient"),
    ("4", "403 Forbidden: the scope of the access token does not cover this interaction"),
    ("4", "404 Not Found: no such resource or version"),
    ("4", "409 Conflict: the version in If-Match is not the current one"),
    ("4", "422 Unprocessable: a required element is missing"),
    ("8", "500 Internal Server Error: the query was interrupted"),
    ("12", "503 Service Unavailable: the database does not answer"),
)
_DENIALS: Final = (
    ("8", "the consent does not permit this purpose of use"),
    ("8", "the consent was withdrawn"),
)
_SIGN_IN_FAILURES: Final = (
    ("4", "the password is wrong"),
    ("4", "the second factor was not confirmed in time"),
    ("8", "the account is locked"),
)


_LABORATORY: Final = {
    "client_id": "lab-interface",
    "client_name": names.CLIENTS["lab-interface"],
    "address": "10.200.0.7",
    "site": "Laboratory",
    "jti": uuid(scatter(110153)),
}
# Where data go: recipients that cannot exist (RFC 2606).
_DESTINATIONS: Final = ("registry.example", "insurer.example", "second-opinion.example")


class Traffic:
    """Makes ordinary events; all chance comes from the `random` that each call is given."""

    def __init__(
        self, cast: Cast, *, staff_zipf: float, patient_zipf: float, failures: float
    ) -> None:
        """`failures` is the share of the interactions and sign-ins that go wrong."""
        staff = cast.staff[:-STAFF_RESERVED]
        self._cast, self._staff, self._rota = cast, staff, Rota(staff)
        self._staff_zipf, self._patient_zipf = staff_zipf, patient_zipf
        self._patients = cast.patient_count // len(names.DEPARTMENTS)
        self._failures = failures

    def event(self, random: Random, milliseconds: int) -> bytes:
        """Return what happens at this time."""
        kind = random.choices(_KINDS, cum_weights=_SHARES)[0]
        team = self._rota.on_duty(milliseconds)
        if kind in _OFFICES:
            team = [person for person in team if person.role.code == _OFFICES[kind]]
            if not team:  # By night nobody is there for it: the wards go on reading.
                kind, team = "read", self._rota.on_duty(milliseconds)
        person = team[_rank(random, len(team), self._staff_zipf)]
        fields = self._fields(random, milliseconds, person)
        failed = random.random() < self._failures
        if kind in PATTERNS:
            return self._interaction(random, kind, fields, failed=failed)
        return self._security(random, kind, fields, failed=failed)

    def _fields(self, random: Random, milliseconds: int, person: Staff) -> Fields:
        patient = self._patient(random, person.department)
        session = milliseconds // _SESSION_MILLISECONDS
        fields = {
            **person.fields,
            "recorded": instant(milliseconds),
            "request_id": uuid(random.getrandbits(128)),
            "jti": uuid(scatter(self._cast.seed, person.number, session)),
            "patient_id": patient_id(patient),
        }
        if len(person.role.purposes) > 1:
            purposes, weights = zip(*person.role.purposes, strict=True)
            fields["purpose_code"] = random.choices(purposes, weights)[0]
        return fields

    def _patient(self, random: Random, department: int) -> int:
        # Nine of ten patients are those of the own department; the others are consults.
        if random.random() < _CONSULTS:
            department = random.randrange(len(names.DEPARTMENTS))
        rank = _rank(random, self._patients, self._patient_zipf)
        return rank * len(names.DEPARTMENTS) + department

    def _interaction(self, random: Random, kind: str, fields: Fields, *, failed: bool) -> bytes:
        by = _actor(random, kind)
        if by == PORTAL:
            fields |= self._portal(fields["patient_id"])
        elif by == SYSTEM:
            fields |= _LABORATORY
        elif random.random() < _ON_THE_PHONE:
            fields |= {"client_id": "rounds-mobile", "client_name": names.CLIENTS["rounds-mobile"]}
        about_patient = by != STAFF or random.random() < _ABOUT_PATIENT
        if failed:
            fields["outcome"], fields["outcome_text"] = random.choice(_FAILURES)
        if kind == "search-type":
            text = random.choice(_SEARCHES if about_patient else _SHARED_SEARCHES)
            fields |= search(text % fields, fields["request_id"])
        else:
            fields["resource"] = self._resource(random, kind, fields, about_patient=about_patient)
        shape = shapes.interaction(kind, by=by, about_patient=about_patient, failed=failed)
        return shapes.fill(shape, fields)

    def _portal(self, patient: str) -> Fields:
        person = self._cast.patient(int(patient.removeprefix("pat-")))
        return {
            "user_id": person.id,
            "user_name": safe(person.name),
            "client_id": "patient-portal",
            "client_name": names.CLIENTS["patient-portal"],
            "address": f"198.51.100.{person.number % 250 + 1}",  # RFC 5737: nobody's.
            "site": "Patient portal",
            "purpose_code": "PATRQT",
        }

    def _resource(self, random: Random, kind: str, fields: Fields, *, about_patient: bool) -> str:
        if not about_patient:
            return f"{random.choice(_SHARED)}/shared-{random.randrange(400):03d}"
        name = random.choice(_READ if kind in ("read", "vread") else _WRITTEN)
        if name == "Patient":
            return f"Patient/{fields['patient_id']}"
        # A patient has a dozen of each; what was written once is read again.
        number = int(fields["patient_id"].removeprefix("pat-"))
        literal = (
            f"{name}/{uuid(scatter(self._cast.seed, number, len(name), random.randrange(12)))}"
        )
        if kind in ("vread", "update", "patch"):
            return f"{literal}/_history/{random.randrange(1, 9)}"
        return literal

    def _security(self, random: Random, kind: str, fields: Fields, *, failed: bool) -> bytes:
        failed = random.random() < _DENIED if kind == "consent" else failed and kind == "login"
        if failed:
            reasons = _SIGN_IN_FAILURES if kind == "login" else _DENIALS
            fields["outcome"], fields["outcome_text"] = random.choice(reasons)
        fields |= search(_LOG_SEARCH % fields, fields["request_id"])
        fields |= {
            "consent_id": f"consent-{fields['patient_id']}",
            "destination": random.choice(_DESTINATIONS),
            "resource": f"DocumentReference/{uuid(random.getrandbits(128))}",
            "patients": str(random.randrange(1, 40)),
            "account_id": random.choice(self._staff).fields["user_id"],
            "before": "roles: nurse",
            "after": "roles: nurse, shift lead",
        }
        return shapes.fill(shapes.security_event(kind, failed=failed), fields)


def search(text: str, request_id: str) -> Fields:
    """Return what fills the blanks of a search: its text, and the request as it was received."""
    raw = f"GET {FHIR_BASE}/{text}\nX-Request-Id: {request_id}"
    return {"query_text": text, "query": shapes.encoded(raw)}


def _rank(random: Random, count: int, zipf: float) -> int:
    """Return a rank below `count` with the probabilities of Zipf's law, by its integral."""
    power = 1.0 - zipf
    top = (count + 1.0) ** power
    return min(int((1.0 + random.random() * (top - 1.0)) ** (1.0 / power)) - 1, count - 1)


def _actor(random: Random, kind: str) -> str:
    """Return who does it: machines write much, patients only read."""
    chance = random.random()
    if kind == "create":
        return SYSTEM if chance < 0.45 else STAFF
    if kind in ("read", "search-type") and chance < 0.05:
        return PORTAL
    return STAFF
