"""A small FHIR R4 server for all resource types but AuditEvent, which stays the repository's.

Its libraries are the extra `caretrail[clinic]`: only the wiring imports it, and only if it is set.
"""

from caretrail.clinic.bundle import is_clinical
from caretrail.clinic.server import ABOUT, Clinic
from caretrail.clinic.sqlite import SqliteClinic

__all__ = ["ABOUT", "Clinic", "SqliteClinic", "is_clinical"]
