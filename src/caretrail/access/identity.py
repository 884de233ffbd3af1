"""Who sends a request, and what he may do with which events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.access.roles import CLINIC, INTERACTIONS
from caretrail.access.view import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from caretrail.access.view import View

CLINIC_BUNDLE: Final = "clinic.*"
# May do everything, and sees all of the log.
FULL: Final[Mapping[str, View]] = dict.fromkeys(
    (*INTERACTIONS, *CLINIC.values(), CLINIC_BUNDLE), EVERYTHING
)
_NO_GRANTS: Final[Mapping[str, View]] = {}


class Identity(NamedTuple):
    """Who sends a request; `producer` and `organisation` are written beside what it records.

    `grants` has a view for each interaction that is allowed, by its name. `issuer` and `subject`
    say who it is to those who gave the credential, `client` by which application, `reference` by
    which FHIR resource (`fhirUser`), `token_id` by which token. `observer` is the only recorder
    that its events may name, "" for any.
    """

    producer: str
    organisation: str = ""
    grants: Mapping[str, View] = _NO_GRANTS
    issuer: str = ""
    subject: str = ""
    client: str = ""
    name: str = ""
    reference: str = ""
    token_id: str = ""
    roles: tuple[str, ...] = ()
    observer: str = ""

    def view(self, interaction: str) -> View | None:
        """Return what is there for one that is allowed, None for one that is not."""
        return self.grants.get(interaction)


ANONYMOUS: Final = Identity("anonymous", grants=FULL)
