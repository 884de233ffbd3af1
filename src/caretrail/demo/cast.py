"""Who plays in the synthetic hospital: departments, staff, patients, the client applications.

A person carries `fields`: what the shapes (`shapes`) have blanks for, already safe inside a JSON
string. A patient is computed from his number, so that there may be 200,000 of them at no cost.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Final

from caretrail.demo import names

if TYPE_CHECKING:
    from caretrail.demo.names import Role

Fields = dict[str, str]
HOST: Final = "hospital.example"
# The numbers after the ordinary patients belong to those that an incident is about.
PATIENTS_RESERVED: Final = 100
# Odd constants, as far from patterns as possible (splitmix64), make neighbours look unrelated.
_MIX: Final = 0x9E3779B97F4A7C15F39CC0605CEDC835
_MASK: Final = (1 << 128) - 1


def safe(text: str) -> str:
    """Return `text` as it stands inside a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def uuid(number: int) -> str:
    """Return the UUID of 128 random bits."""
    digits = f"{number & _MASK:032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def scatter(*numbers: int) -> int:
    """Return 128 bits that only these numbers give, for names that must not change."""
    bits = 0
    for number in numbers:
        bits = (bits ^ number) * _MIX & _MASK
        bits ^= bits >> 61
    return bits


@dataclass(frozen=True, slots=True)
class Staff:
    """An employee; `number` is also the rank of his activity in his team."""

    number: int
    given: str
    family: str
    role: Role
    department: int
    fields: Fields = field(repr=False)

    @property
    def reference(self) -> str:
        """Return the literal reference that events name him by."""
        return f"Practitioner/{self.fields['user_id']}"

    @property
    def name(self) -> str:
        """Return the name that people know him by."""
        return f"{self.given} {self.family}"


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient, in the department that treats him."""

    number: int
    id: str
    given: str
    family: str
    department: int

    @property
    def reference(self) -> str:
        """Return the literal reference that events name him by."""
        return f"Patient/{self.id}"

    @property
    def name(self) -> str:
        """Return the name that people know him by; events do not hold it (BALP: minimal)."""
        return f"{self.given} {self.family}"


@dataclass(frozen=True)
class Cast:
    """Everybody of one seed; the same seed gives the same people."""

    seed: int
    staff_count: int = 1_200
    patient_count: int = 200_000

    @cached_property
    def staff(self) -> tuple[Staff, ...]:
        """Return all employees, ordered so that roles and departments are well mixed."""
        random = Random(f"staff {self.seed}")  # noqa: S311  (a play, not a secret)
        weights = [role.share for role in names.ROLES]
        roles = random.choices(names.ROLES, weights, k=self.staff_count)
        return tuple(self._staff(number, role, random) for number, role in enumerate(roles))

    def patient(self, number: int) -> Patient:
        """Return the patient of this number; those past `patient_count` are the reserved ones."""
        bits = scatter(self.seed, number, 7)
        given = names.GIVEN_NAMES[bits % len(names.GIVEN_NAMES)]
        family = names.SURNAMES[(bits >> 32) % len(names.SURNAMES)]
        department = number % len(names.DEPARTMENTS)
        return Patient(number, patient_id(number), given, family, department)

    def _staff(self, number: int, role: Role, random: Random) -> Staff:
        given, family = random.choice(names.GIVEN_NAMES), random.choice(names.SURNAMES)
        department = random.randrange(len(names.DEPARTMENTS))
        return Staff(
            number,
            given,
            family,
            role,
            department,
            _fields(number, f"{given} {family}", role, department),
        )


def patient_id(number: int) -> str:
    """Return the logical id of the patient of this number."""
    return f"pat-{number:06d}"


def _fields(number: int, name: str, role: Role, department: int) -> Fields:
    client = role.client
    # 10.0.0.0/8 is nobody's: the second number is the department, the last the workstation.
    address = f"10.{department + 1}.{number // 250 % 250}.{number % 250 + 1}"
    return {
        "user_id": f"staff-{number:05d}",
        "user_name": safe(name),
        "role_code": role.code,
        "role_display": role.display,
        "site": names.DEPARTMENTS[department],
        "client_id": client,
        "client_name": names.CLIENTS[client],
        "address": address,
        "purpose_code": role.purposes[0][0],
    }
