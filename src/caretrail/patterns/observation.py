"""What an adapter observed: the one value from which every pattern makes its AuditEvent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from caretrail.patterns import codes

if TYPE_CHECKING:
    from caretrail.patterns.codes import Code
    from caretrail.patterns.credential import Credential

Json = dict[str, Any]


def reference(literal: str, display: str | None = None) -> Json:
    """Return a literal Reference such as `Device/fhir-server`."""
    return {"reference": literal, **({"display": display} if display else {})}


def identified(value: str, *, system: str | None = None, display: str | None = None) -> Json:
    """Return a logical Reference: an identifier of something that need not be a resource."""
    identifier = {**({"system": system} if system else {}), "value": value}
    return {"identifier": identifier, **({"display": display} if display else {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A client or a server, and where on the network it was."""

    who: Json
    address: str
    address_type: str = "2"  # An IP address; "5" is a URI, the base of a FHIR server.
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """The human for whom something was done."""

    who: Json
    name: str | None = None
    roles: tuple[Code, ...] = ()

    @property
    def is_patient(self) -> bool:
        """Whether the user is a patient, by the kind of resource that `who` names."""
        return str(self.who.get("reference", "")).startswith("Patient/")


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a party saw happen; what is not known stays None.

    `interaction` is a row of `rest.PATTERNS` and "" for what is not REST, `operation` the name of
    an operation such as `$everything`. `query` is the raw request as received, `query_text` the
    understood part of it. `patient` is the subject of the data, also where the user is that
    patient; `reason` is what was said when the glass was broken. `part` says which of several
    events of one exchange this is, and `related` holds further entities, ready made.
    """

    recorded: str
    client: Machine
    server: Machine
    interaction: str = ""
    operation: str | None = None
    user: User | None = None
    credential: Credential | None = None
    organization: Json | None = None
    on_behalf_of: Json | None = None
    patient: Json | None = None
    resource: Json | None = None
    resource_role: Code = codes.DOMAIN_RESOURCE
    labels: tuple[Code, ...] = ()
    query: bytes | None = None
    query_text: str | None = None
    request_id: str | None = None
    trace_id: str | None = None
    part: str | None = None
    related: tuple[Json, ...] = ()
    purposes: tuple[Code, ...] = ()
    reason: str | None = None
    outcome: str = "0"
    outcome_text: str | None = None
    site: str | None = None
    by_client: bool = False  # Both may record; the recording one is the source's observer.
