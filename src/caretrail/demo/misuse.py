"""Plots of accounts that are misused, and of data that leave in bulk (detection rules D-10...)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caretrail.demo.scene import MINUTES_PER_DAY, clock

if TYPE_CHECKING:
    from caretrail.demo.scene import Scene

_WRONG_PASSWORD = "the password is wrong"  # noqa: S105  (a text, not a secret)
_NO_RELATIONSHIP = "403 Forbidden: no treatment relationship with this patient"


def account_of_a_leaver(scene: Scene) -> str:
    """Somebody who has left still gets in."""
    leaver, patient, admin = scene.stranger(), scene.patient(), scene.staff("ict")
    scene.security(
        clock(17) - 3 * MINUTES_PER_DAY, "account-changed", admin,
        account_id=leaver.fields["user_id"], before="active", after="disabled: left the hospital",
    )  # fmt: skip
    scene.security(clock(21, 30), "login", leaver)
    scene.look(leaver, patient, clock(21, 32))
    return f"{leaver.name} left three days before, and the account still opened {patient.name}."


def glass_without_encounter(scene: Scene) -> str:
    """Somebody breaks the glass for a patient who is not in the hospital."""
    nurse, patient = scene.staff("nurse"), scene.patient()
    scene.security(clock(20), "override-started", nurse, patient, reason="x", purpose_code="BTG")
    for number in range(1, 6):
        scene.read(clock(20, 2 * number), nurse, patient, purpose_code="BTG")
    scene.security(
        clock(20, 15), "override-stopped", nurse, patient, reason="x", purpose_code="BTG"
    )
    return f"{nurse.name} broke the glass for {patient.name}, who has no encounter; reason: 'x'."


def glass_as_a_habit(scene: Scene) -> str:
    """Somebody breaks the glass again and again, always for the same reason."""
    doctor = scene.staff("doctor")
    for number in range(4):
        patient, at = scene.patient(), clock(9 + 2 * number)
        told = {"reason": "emergency", "purpose_code": "BTG"}
        scene.security(at, "override-started", doctor, patient, **told)
        scene.read(at + 2, doctor, patient, purpose_code="BTG")
        scene.security(at + 9, "override-stopped", doctor, patient, **told)
    return f"{doctor.name} broke the glass four times in a day, each time for 'emergency'."


def scraping(scene: Scene) -> str:
    """Somebody reads patient after patient in the order of their numbers."""
    researcher = scene.staff("researcher")
    for number in range(80):
        patient = scene.cast.patient(140_000 + number)
        scene.read(clock(19) + number * 0.15, researcher, patient)
    return f"{researcher.name} read 80 patients in 12 minutes, in the order of their numbers."


def mass_export(scene: Scene) -> str:
    """Somebody exports the data of thousands to a place that is on no list."""
    engineer = scene.staff("ict")
    scene.security(clock(22, 5), "login", engineer)
    for number in range(3):
        scene.security(
            clock(22, 10 + 8 * number), "export", engineer, patients=str(12_000 + 731 * number),
            resource=f"Group/everybody-{number + 1}", destination="file-drop.example",
        )  # fmt: skip
    return f"{engineer.name} exported more than 30,000 patients to file-drop.example at night."


def two_places_at_once(scene: Scene) -> str:
    """Somebody signs in far away, minutes after they did in the hospital."""
    doctor, patient = scene.staff("doctor"), scene.patient()
    scene.security(clock(9), "login", doctor)
    scene.security(clock(9, 12), "login", doctor, address="203.0.113.57")
    for number in range(3):
        scene.read(clock(9, 14 + number), doctor, patient, address="203.0.113.57")
    return f"{doctor.name} signed in on the ward, and 12 minutes later from far away."


def guessed_password(scene: Scene) -> str:
    """Somebody guesses a password until it fits."""
    nurse, patient = scene.staff("nurse"), scene.patient()
    for number in range(9):
        scene.security(
            clock(2, 10) + number * 0.4, "login", nurse,
            failure=_WRONG_PASSWORD, address="203.0.113.66",
        )  # fmt: skip
    scene.security(clock(2, 15), "login", nurse, address="203.0.113.66")
    scene.read(clock(2, 16), nurse, patient, address="203.0.113.66")
    return f"Nine wrong passwords for {nurse.name} in four minutes, then the right one."


def password_spray(scene: Scene) -> str:
    """One address tries one password on many accounts."""
    tried = scene.random.sample(scene.cast.staff[100:-40], 25)
    for number, person in enumerate(tried):
        scene.security(
            clock(4, 30) + number * 0.3, "login", person,
            failure=_WRONG_PASSWORD, address="203.0.113.99",
        )  # fmt: skip
    return "One address tried a password on 25 accounts within eight minutes."


def denial_probing(scene: Scene) -> str:
    """Somebody tries records until one opens."""
    technician = scene.staff("technician")
    for number in range(12):
        patient = scene.cast.patient(150_000 + 37 * number)
        scene.read(clock(16) + number * 0.6, technician, patient, failure=_NO_RELATIONSHIP)
    return f"{technician.name} was denied twelve patients within eight minutes."


def dormant_account(scene: Scene) -> str:
    """Somebody uses an account that was silent for months."""
    sleeper, patient = scene.stranger(), scene.patient()
    scene.security(clock(5, 50), "login", sleeper)
    scene.look(sleeper, patient, clock(5, 55), count=5)
    return f"{sleeper.name}'s account was silent for 200 days, then opened {patient.name}."


def shared_credential(scene: Scene) -> str:
    """One account is used on two wards at the same time."""
    nurse = scene.staff("nurse")
    patients = scene.patient(), scene.patient()
    for number in range(10):
        side = number % 2
        address, site = (("10.3.0.41", "Oncology"), ("10.9.0.87", "Orthopaedics"))[side]
        scene.read(clock(10, number), nurse, patients[side], address=address, site=site)
    return f"{nurse.name}'s account worked in Oncology and Orthopaedics at the same time."


def borrowed_privilege(scene: Scene) -> str:
    """Somebody is given a role, uses it, and loses it again."""
    admin, clerk, patient = scene.staff("ict"), scene.staff("clerk"), scene.patient()
    account, plain, more = clerk.fields["user_id"], "roles: clerk", "roles: clerk, doctor"
    scene.security(
        clock(18), "account-changed", admin, account_id=account, before=plain, after=more
    )
    for number in range(3):
        scene.read(clock(18, 10 + number), clerk, patient, sensitive=True)
    scene.security(
        clock(18, 30), "account-changed", admin, account_id=account, before=more, after=plain
    )
    return f"{admin.name} made {clerk.name} a doctor for half an hour; sensitive notes were read."


def watching_the_watchers(scene: Scene) -> str:
    """Somebody who guards the audit log searches it for their own name."""
    officer = scene.staff("privacy")
    text = f"AuditEvent?agent={officer.reference}&_count=100"
    for number in range(6):
        scene.audit(clock(19, 30 + number), officer, text)
    return f"Privacy officer {officer.name} searched the audit log for their own name six times."
