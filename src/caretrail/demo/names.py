"""The words of the synthetic hospital: every name says that nobody bears it."""

from __future__ import annotations

from typing import Final, NamedTuple

# 15 x 18 surnames, from `Sampleton` to `Placeholderova`; none is a person's.
_BEGINNINGS: Final = (
    "Sample", "Mock", "Demo", "Test", "Dummy", "Fiction", "Example", "Pseudo", "Trial",
    "Proto", "Specimen", "Synth", "Draft", "Replica", "Placeholder",
)  # fmt: skip
_ENDINGS: Final = (
    "ton", "field", "ridge", "well", "by", "ham", "stone", "worth", "mann", "sson", "ova", "ley",
    "ford", "oğlu", "ström", "escu", "’Mock", "-Müster",
)  # fmt: skip
SURNAMES: Final = tuple(start + end for start in _BEGINNINGS for end in _ENDINGS)
GIVEN_NAMES: Final = (
    "Ada", "Åse", "Bela", "Carmen", "Chidi", "Dana", "Devi", "Elif", "Émile", "Farid", "Freja",
    "Gita", "Hana", "Hugo", "Ines", "Ivo", "Jin", "Jonas", "Kaja", "Kofi", "Leïla", "Liam",
    "Mara", "Milan", "Nadia", "Noor", "Ole", "Olga", "Paul", "Petra", "Quentin", "Rosa", "Rui",
    "Sana", "Søren", "Tara", "Tomás", "Uma", "Viktor", "Wanda", "Xenia", "Yara", "Yusuf", "Zoë",
)  # fmt: skip

DEPARTMENTS: Final = (
    "Emergency", "Cardiology", "Oncology", "Surgery", "Maternity", "Paediatrics", "Neurology",
    "Psychiatry", "Orthopaedics", "Intensive Care", "Radiology", "Dermatology",
)  # fmt: skip


class Role(NamedTuple):
    """What somebody is employed as.

    `share` is of 100 employees, `purposes` are weighted codes of v3-ActReason, `office` says that
    they work by day and not at weekends.
    """

    code: str
    display: str
    share: int
    purposes: tuple[tuple[str, int], ...]
    client: str
    office: bool = False


ROLES: Final = (
    Role("nurse", "Registered nurse", 44, (("TREAT", 97), ("ETREAT", 3)), "ward-ehr"),
    Role("doctor", "Physician", 26, (("TREAT", 93), ("ETREAT", 7)), "ward-ehr"),
    Role("therapist", "Physiotherapist", 7, (("TREAT", 100),), "rounds-mobile"),
    Role("technician", "Medical technician", 7, (("TREAT", 100),), "imaging-viewer"),
    Role("pharmacist", "Pharmacist", 4, (("TREAT", 100),), "pharmacy"),
    Role("clerk", "Billing clerk", 7, (("HPAYMT", 70), ("HOPERAT", 30)), "billing", office=True),
    Role("researcher", "Researcher", 2, (("HRESCH", 100),), "research-desk", office=True),
    Role("ict", "Systems engineer", 2, (("HSYSADMIN", 100),), "admin-desk", office=True),
    Role("privacy", "Privacy officer", 1, (("HOPERAT", 100),), "admin-desk", office=True),
)

# id, name; what they are used for is in `Role.client` and in `traffic`.
CLIENTS: Final = {
    "ward-ehr": "Ward workstation",
    "rounds-mobile": "Rounds on the phone",
    "imaging-viewer": "Imaging viewer",
    "pharmacy": "Pharmacy desk",
    "billing": "Billing",
    "research-desk": "Research desk",
    "admin-desk": "Administration desk",
    "lab-interface": "Laboratory interface",
    "patient-portal": "Patient portal",
}
