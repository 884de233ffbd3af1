"""What an AuditEvent tells, as the vocabularies of SIEMs ask for it: who, what, whence, how it ended.

The event is a tree of R4 JSON, perhaps with fields taken out of it; what is not there is "".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.fhir.event_tree import child, members
from caretrail.fhir.temporal import instant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from caretrail.fhir.event_tree import Json

_DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
USER_AUTHENTICATION: Final = "110114"
LOGIN: Final = "110122"
LOGOUT: Final = "110123"
# AuditEvent.agent.network.type: what an address is.
_HOST, _ADDRESS = "1", "2"
_SUCCESS: Final = "0"


class Who(NamedTuple):
    """An agent: its id (a reference, identifier or alternative id), its name, where it came from."""

    id: str = ""
    name: str = ""
    address: str = ""
    host: str = ""


class Told(NamedTuple):
    """One event. `at` is `recorded` in milliseconds since 1970; `objects` are what it is about.

    `purposes` are codes, `outcome` is FHIR's: 0, 4, 8, 12 or "".
    """

    id: str
    at: int
    recorded: str
    action: str
    outcome: str
    reason: str
    type: str
    type_name: str
    subtypes: tuple[str, ...]
    subtype_name: str
    user: Who
    client: Who
    objects: tuple[str, ...]
    observer: str
    purposes: tuple[str, ...]

    @property
    def is_failure(self) -> bool:
        """Tell whether it did not come to the end that was wanted."""
        return self.outcome not in ("", _SUCCESS)

    @property
    def is_authentication(self) -> bool:
        """Tell whether somebody signed in or out (DICOM PS3.15, A.5.3.12)."""
        return self.type == USER_AUTHENTICATION or bool({LOGIN, LOGOUT} & set(self.subtypes))

    @property
    def operation(self) -> str:
        """Return what was done, in one word of the event: its subtype, else its type."""
        return self.subtypes[0] if self.subtypes else self.type


def told(event: Json) -> Told:
    """Return what an event tells. It is R4, as the repository keeps it; `id` is the log's."""
    agents = members(event, "agent")
    users = [one for one in agents if one.get("requestor") is True]
    others = [one for one in agents if one.get("requestor") is not True]
    kind, subtypes = child(event, "type"), members(event, "subtype")
    recorded = _text(event, "recorded")
    user = _who(users[0]) if users else Who()
    client = next((_who(one) for one in (*users, *others) if child(one, "network")), Who())
    return Told(
        id=_text(event, "id"),
        at=instant(recorded).milliseconds,
        recorded=recorded,
        action=_text(event, "action"),
        outcome=_text(event, "outcome"),
        reason=_text(event, "outcomeDesc"),
        type=_text(kind, "code"),
        type_name=_text(kind, "display") or _text(kind, "code"),
        subtypes=tuple(filter(None, (_text(one, "code") for one in subtypes))),
        subtype_name=next(filter(None, (_text(one, "display") for one in subtypes)), ""),
        user=user,
        client=client,
        objects=tuple(filter(None, (_of(child(one, "what")) for one in members(event, "entity")))),
        observer=_of(child(child(event, "source"), "observer")),
        purposes=tuple(_purposes(event)),
    )


def _who(agent: Json) -> Who:
    network = child(agent, "network")
    address, kind = _text(network, "address"), _text(network, "type")
    what = child(agent, "who")
    return Who(
        _of(what) or _text(agent, "altId"),
        _text(agent, "name") or _text(what, "display"),
        address if kind == _ADDRESS else "",
        address if kind == _HOST else "",
    )


def _of(reference: Json) -> str:
    """Return one text for a Reference: where it points, else an identifier, else what it is called."""
    found = _text(reference, "reference") or _text(child(reference, "identifier"), "value")
    return found or _text(reference, "display")


def _purposes(event: Json) -> list[str]:
    concepts = list(members(event, "purposeOfEvent"))
    for agent in members(event, "agent"):
        concepts += members(agent, "purposeOfUse")
    codes = [_text(one, "code") for concept in concepts for one in members(concept, "coding")]
    return list(dict.fromkeys(filter(None, codes)))


def _text(node: Mapping[str, object], name: str) -> str:
    value = node.get(name)
    return value if isinstance(value, str) else ""
