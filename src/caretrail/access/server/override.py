"""Emergency access: a person says why, and tokens about that patient say BTG until it ends.

What a resource server makes of the purpose of use is its own to say; here is who claimed it, when
and for what reason (HL7 v3 ActReason, BTG; DICOM PS3.15 A.5, Emergency Override).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.access.server import people
from caretrail.errors import InvalidError

if TYPE_CHECKING:
    import sqlite3

    from caretrail.access.server.desk import Desk
    from caretrail.access.server.events import Seen
    from caretrail.access.server.people import Person
    from caretrail.access.server.store import Act

PURPOSE: Final = "BTG"
_SECONDS: Final = 4 * 3600
_REASON_MAX: Final = 200


class Override(NamedTuple):
    """An emergency access; times are seconds since 1970."""

    person: str
    patient: str
    reason: str
    expires: int


def _override(row: sqlite3.Row | None) -> Override | None:
    return Override(*row) if row is not None else None


def of(act: Act, person: str) -> Override | None:
    """Return a person's emergency access, if there is one now."""
    return _override(
        act.one("SELECT * FROM override WHERE person = ? AND expires > ?", person, act.now)
    )


def covers(act: Act, person: str, patient: str) -> bool:
    """Tell whether a person has emergency access to a patient now."""
    found = of(act, person)
    return found is not None and found.patient == patient


def is_for(person: Person) -> bool:
    """Tell whether somebody may claim an emergency: not a patient, not who runs the system."""
    return bool(set(person.roles) - {"patient", people.ADMINISTRATOR})


def start(act: Act, desk: Desk, at: Seen, person: Person, *, patient: str, reason: str) -> None:
    """Begin an emergency access, and tell so; raises InvalidError without a patient or a reason."""
    if not people.is_patient_id(patient):
        raise InvalidError("Enter the id of a patient")
    if not reason or len(reason) > _REASON_MAX or not reason.isprintable():
        raise InvalidError(f"Enter a reason of 1 to {_REASON_MAX} characters")
    act.do(
        "INSERT INTO override (person, patient, reason, expires) VALUES (?, ?, ?, ?)",
        *(person.id, patient, reason, act.now + _SECONDS),
    )
    act.note(desk.events.override(at, person, patient=patient, started=True, reason=reason))


def stop(act: Act, desk: Desk, at: Seen, person: Person, *, why: str) -> None:
    """End a person's emergency access, if there is one, and tell so."""
    row = act.one("SELECT * FROM override WHERE person = ?", person.id)
    found = _override(row)
    if found is None:
        return
    act.do("DELETE FROM override WHERE person = ?", person.id)
    act.note(
        desk.events.override(
            at, person, patient=found.patient, started=False, reason=f"{found.reason}; {why}"
        )
    )


def stop_all_over(act: Act, desk: Desk, at: Seen) -> None:
    """End every emergency access whose time is over."""
    for row in act.every("SELECT person FROM override WHERE expires <= ?", act.now):
        person = people.get(act, row["person"])
        assert person is not None
        stop(act, desk, at, person, why="the time was over")
