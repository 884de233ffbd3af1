"""People: who may sign in, with which roles, and what happens after wrong passwords."""

from __future__ import annotations

import re
import secrets
import uuid
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caretrail.access.roles import BY_CODE, conflicts
from caretrail.access.server.store import hashed
from caretrail.errors import ConflictError, InvalidError, NotFoundError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from caretrail.access.server.store import Act

# What a person or a client may be.
ROLES: Final = tuple(sorted(BY_CODE))
ADMINISTRATOR: Final = "administrator"
# Whose account opens most: these need a second factor.
PRIVILEGED: Final = frozenset([ADMINISTRATOR, "auditor", "privacy-officer", "security-officer"])

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")
_TEXT: Final = re.compile(r"[^\x00-\x1f\x7f]{0,200}")
_PATIENT: Final = re.compile(r"[A-Za-z0-9.-]{1,64}")  # FHIR id.
INVITATION_SECONDS: Final = 24 * 3600
# So many wrong answers in a row close the account, and each further one doubles the time.
FAILURES_MAX: Final = 5
_LOCK_SECONDS: Final = 30
_LOCK_SECONDS_MAX: Final = 3600


class Person(NamedTuple):
    """An account; `patient` is the id of a Patient who the person is, `fhir_user` a reference."""

    id: str
    name: str
    display: str
    roles: tuple[str, ...]
    organisation: str = ""
    fhir_user: str = ""
    patient: str = ""
    active: bool = True
    has_totp: bool = False
    failures: int = 0
    locked_until: int = 0

    def get_user_id(self) -> str:
        """Return the subject of tokens, as Authlib asks for it."""
        return self.id

    @property
    def state(self) -> str:
        """Return what can be changed of the account, as events say it."""
        rows = {
            "roles": " ".join(self.roles) or "none",
            "active": str(self.active).lower(),
            "organisation": self.organisation,
            "second-factor": str(self.has_totp).lower(),
        }
        return "; ".join(f"{name}={value}" for name, value in rows.items() if value)


def _person(row: sqlite3.Row) -> Person:
    return Person(
        row["id"],
        row["name"],
        row["display"],
        tuple(row["roles"].split()),
        row["organisation"],
        row["fhir_user"],
        row["patient"],
        bool(row["active"]),
        row["totp"] is not None,
        row["failures"],
        row["locked_until"],
    )


def find(act: Act, name: str) -> Person | None:
    """Return the person of a user name, in any case of its letters."""
    row = act.one("SELECT * FROM person WHERE name = ?", name.lower())
    return _person(row) if row is not None else None


def get(act: Act, person_id: str) -> Person | None:
    """Return the person of an id."""
    row = act.one("SELECT * FROM person WHERE id = ?", person_id)
    return _person(row) if row is not None else None


def named(act: Act, name: str) -> Person:
    """Return the person of a user name; raises NotFoundError."""
    person = find(act, name)
    if person is None:
        raise NotFoundError("there is no user of this name: `caretrail access users` lists them")
    return person


def everybody(act: Act) -> list[Person]:
    """Return all people, by name."""
    return [_person(row) for row in act.every("SELECT * FROM person ORDER BY name")]


def check_roles(roles: Sequence[str]) -> None:
    """Raise InvalidError for roles that do not exist, or that one person must not have together."""
    unknown = [role for role in roles if role not in ROLES]
    if unknown:
        raise InvalidError(f"roles are: {', '.join(ROLES)}")
    if conflicts(frozenset(roles)):
        raise InvalidError(
            "an administrator reads no events: give the other role to another person"
        )


def is_patient_id(text: str) -> bool:
    """Tell whether a text may be the id of a Patient."""
    return _PATIENT.fullmatch(text) is not None


def add(act: Act, **given: Any) -> Person:
    """Add a person who has no password yet; raises InvalidError or ConflictError."""
    person = Person(id=str(uuid.uuid4()), **given)
    person = person._replace(name=person.name.lower(), roles=tuple(person.roles))
    check_roles(person.roles)
    if not _NAME.fullmatch(person.name):
        raise InvalidError("a user name has 1 to 100 letters, digits and . _ @ + -")
    texts = (person.display, person.organisation, person.fhir_user)
    if not person.display or not all(_TEXT.fullmatch(text) for text in texts):
        raise InvalidError("the name to show has 1 to 200 characters")
    _check_patient(person)
    if person.patient and not is_patient_id(person.patient):
        raise InvalidError("the id of a Patient has 1 to 64 letters, digits, - and .")
    if find(act, person.name) is not None:
        raise ConflictError("there is a user of this name")
    act.do(
        "INSERT INTO person (id, name, display, roles, organisation, fhir_user, patient)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        *(person.id, person.name, person.display, " ".join(person.roles)),
        *(person.organisation, person.fhir_user, person.patient),
    )
    return person


def set_roles(act: Act, person: Person, roles: Sequence[str]) -> Person:
    """Give a person these roles and no others; raises InvalidError."""
    check_roles(roles)
    person = person._replace(roles=tuple(roles))
    _check_patient(person)
    act.do("UPDATE person SET roles = ? WHERE id = ?", " ".join(roles), person.id)
    return person


def _check_patient(person: Person) -> None:
    if "patient" in person.roles and not person.patient:
        raise InvalidError("who has the role patient needs the id of a Patient")


def set_active(act: Act, person: Person, *, active: bool) -> Person:
    """Let a person sign in, or not any more."""
    act.do(
        "UPDATE person SET active = ?, failures = 0, locked_until = 0 WHERE id = ?",
        *(int(active), person.id),
    )
    return person._replace(active=active)


def set_password(act: Act, person: Person, kept: str) -> None:
    """Keep the hash of a new password; what was counted of wrong ones is over."""
    act.do(
        "UPDATE person SET password = ?, failures = 0, locked_until = 0 WHERE id = ?",
        *(kept, person.id),
    )


def clear(act: Act, person: Person, *, second_factor: bool) -> Person:
    """Forget a password, and perhaps the second factor: the person has to set up another one."""
    act.do(
        "UPDATE person SET password = NULL, failures = 0, locked_until = 0 WHERE id = ?", person.id
    )
    return set_totp(act, person, None) if second_factor else person


def set_totp(act: Act, person: Person, secret: str | None, *, step: int = 0) -> Person:
    """Keep the secret of the second factor, or none."""
    act.do("UPDATE person SET totp = ?, totp_step = ? WHERE id = ?", secret, step, person.id)
    return person._replace(has_totp=secret is not None)


def invite(act: Act, person: Person | None) -> str:
    """Return the secret of a link that is good once, for a person or for the first of all.

    Older links of that person are good no longer.
    """
    who = person.id if person is not None else None
    secret = secrets.token_urlsafe(32)
    act.do("DELETE FROM invitation WHERE person IS ?", who)
    act.do(
        "INSERT INTO invitation (hash, person, expires) VALUES (?, ?, ?)",
        *(hashed(secret), who, act.now + INVITATION_SECONDS),
    )
    return secret


class Invitation(NamedTuple):
    """A link that is good: for `person`, or for the first of all, who has no account yet."""

    person: Person | None


def invitation(act: Act, secret: str) -> Invitation | None:
    """Return what a link is for, or None when it is good no longer."""
    row = act.one("SELECT * FROM invitation WHERE hash = ?", hashed(secret))
    if row is None or row["expires"] < act.now:
        return None
    if row["person"] is None:
        return None if everybody(act) else Invitation(None)
    person = get(act, row["person"])
    return Invitation(person) if person is not None and person.active else None


def use_invitation(act: Act, secret: str) -> None:
    """Let a link be good no longer."""
    act.do("DELETE FROM invitation WHERE hash = ?", hashed(secret))


class Attempt(NamedTuple):
    """An answer that is about to be checked, counted as a wrong one until it is found right."""

    person: Person
    password: str | None
    totp: str | None
    totp_step: int
    closes: bool  # Whether the account is locked should this be one too many.


def attempt(act: Act, person: Person) -> Attempt | None:
    """Count an attempt before it is checked, so that many at once are counted; None when locked."""
    row = act.one("SELECT * FROM person WHERE id = ?", person.id)
    assert row is not None
    if not row["active"] or row["locked_until"] > act.now:
        return None
    failures = row["failures"] + 1
    over = failures - FAILURES_MAX
    wait = min(_LOCK_SECONDS << min(over, 16), _LOCK_SECONDS_MAX) if over >= 0 else 0
    act.do(
        "UPDATE person SET failures = ?, locked_until = ? WHERE id = ?",
        *(failures, act.now + wait if wait else 0, person.id),
    )
    return Attempt(_person(row), row["password"], row["totp"], row["totp_step"], wait > 0)


def is_current(act: Act, checked: Attempt) -> bool:
    """Tell whether what was checked is still so: an account may be reset or closed meanwhile."""
    row = act.one("SELECT password, active FROM person WHERE id = ?", checked.person.id)
    return row is not None and bool(row["active"]) and row["password"] == checked.password


def take_back(act: Act, person: Person) -> None:
    """Let an attempt not have been one: it was right, though not all that it takes."""
    act.do(
        "UPDATE person SET failures = max(failures - 1, 0), locked_until = 0 WHERE id = ?",
        person.id,
    )


def succeeded(act: Act, person: Person, *, step: int | None = None) -> None:
    """Forget the wrong answers; `step` is that of the one-time password, good once."""
    act.do("UPDATE person SET failures = 0, locked_until = 0 WHERE id = ?", person.id)
    if step is not None:
        act.do("UPDATE person SET totp_step = ? WHERE id = ?", step, person.id)
