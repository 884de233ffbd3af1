"""THE table of search parameters.

A row is the whole of a parameter: the index, the parser, the CapabilityStatement, the reference
documentation and the tests are all read from it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caretrail.fhir.temporal import format_instant
from caretrail.search import elements as of
from caretrail.search import token
from caretrail.search.fold import fold
from caretrail.search.term import Or, Prefix, digest, spell_prefix
from caretrail.search.token import Token

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caretrail.search.term import Node

FHIR: Final = "http://hl7.org/fhir/SearchParameter/"
OURS: Final = "urn:caretrail:SearchParameter:"


class Type(StrEnum):
    """FHIR R4 SearchParamType, as far as AuditEvent needs it."""

    TOKEN = "token"  # noqa: S105 - FHIR's word, not a secret
    REFERENCE = "reference"
    STRING = "string"
    URI = "uri"
    DATE = "date"
    NUMBER = "number"
    SPECIAL = "special"


MODIFIERS: Final = {
    Type.TOKEN: ("missing", "not", "text"),
    Type.REFERENCE: ("missing", "identifier", "text"),
    Type.STRING: ("missing", "exact", "contains"),
    Type.URI: ("missing", "above", "below"),
    Type.DATE: ("missing",),
    Type.NUMBER: ("missing",),
    Type.SPECIAL: (),
}


class SearchParameter(NamedTuple):
    """One search parameter.

    `key` are the two letters that its terms begin with; they are stored, so a key is never given
    to another parameter. "" means that the store's own keys answer. With `lookup` no terms are
    kept either: it names terms of other parameters, and the event is compared afterwards.
    """

    code: str
    type: Type
    key: str
    expression: str
    values: Callable[[of.Facts], Sequence[Any]]
    description: str
    targets: tuple[str, ...] = ()
    lookup: Callable[[token.Value], Node] | None = None
    is_identifier: bool = False

    @property
    def url(self) -> str:
        """Return the canonical URL: HL7's where R4 has this parameter, else ours."""
        if self.code in _RESOURCE_CODES:
            return f"{FHIR}Resource-{self.code.removeprefix('_')}"
        return (FHIR + "AuditEvent-" if self.code in _R4_CODES else OURS) + self.code

    @property
    def modifiers(self) -> tuple[str, ...]:
        """Return the modifiers that this parameter has, resource types aside."""
        if self.lookup is not None:  # Other parameters' terms say nothing of displays and types.
            return ("missing", "not")
        more = ("of-type",) if self.is_identifier else ()
        return MODIFIERS[self.type] + more


_WHO: Final = (
    "Practitioner",
    "PractitionerRole",
    "Organization",
    "Device",
    "Patient",
    "RelatedPerson",
)
_R4_CODES: Final = frozenset(
    [
        "action",
        "address",
        "agent",
        "agent-name",
        "agent-role",
        "altid",
        "date",
        "entity",
        "entity-name",
        "entity-role",
        "entity-type",
        "outcome",
        "patient",
        "policy",
        "site",
        "source",
        "subtype",
        "type",
    ]
)
_RESOURCE_CODES: Final = frozenset(
    ["_id", "_lastUpdated", "_profile", "_security", "_source", "_tag", "_text", "_content"]
)


def _user(value: token.Value) -> Node:
    """Return where the index has a name of a user: among the terms of agents."""
    kind, _, name = value.code.rpartition("/")
    return Or(
        (
            value.node("al"),
            value.node("ai"),
            Prefix("an" + spell_prefix(fold(value.code))),
            Prefix("ag" + digest(name, 6) + (digest(kind, 2) if kind else "")),
        )
    )


def _meta(name: str) -> Callable[[of.Facts], Sequence[Any]]:
    return lambda r: (getattr(r.event.meta, name) or ()) if r.event.meta else ()


PARAMETERS: Final = (
    # The 18 of FHIR R4 AuditEvent.
    SearchParameter("action", Type.TOKEN, "ac", "AuditEvent.action", lambda r: of.codes(of.ACTION, r.event.action), "Type of action performed during the event"),
    SearchParameter("address", Type.STRING, "ad", "AuditEvent.agent.network.address", lambda r: [a.network.address for a in r.event.agent if a.network and a.network.address], "Identifier of the network access point of an agent"),
    SearchParameter("agent", Type.REFERENCE, "ag", "AuditEvent.agent.who", lambda r: r.agents, "Who took part", _WHO),
    SearchParameter("agent-name", Type.STRING, "an", "AuditEvent.agent.name", lambda r: [a.name for a in r.event.agent if a.name], "Name of an agent as people know it"),
    SearchParameter("agent-role", Type.TOKEN, "ar", "AuditEvent.agent.role", lambda r: [c for a in r.event.agent for c in of.concepts(a.role)], "Role of an agent"),
    SearchParameter("altid", Type.TOKEN, "al", "AuditEvent.agent.altId", lambda r: [Token(None, a.altId) for a in r.event.agent if a.altId], "Alternative user id of an agent"),
    SearchParameter("date", Type.DATE, "", "AuditEvent.recorded", lambda r: (r.event.recorded,), "When the event was recorded"),
    SearchParameter("entity", Type.REFERENCE, "en", "AuditEvent.entity.what", lambda r: r.entities, "What was touched"),
    SearchParameter("entity-name", Type.STRING, "nm", "AuditEvent.entity.name", lambda r: [e.name for e in r.event.entity or () if e.name], "Name of an entity"),
    SearchParameter("entity-role", Type.TOKEN, "er", "AuditEvent.entity.role", lambda r: [e.role for e in r.event.entity or () if e.role], "What role the entity played"),
    SearchParameter("entity-type", Type.TOKEN, "et", "AuditEvent.entity.type", lambda r: [e.type for e in r.event.entity or () if e.type], "Type of entity involved"),
    SearchParameter("outcome", Type.TOKEN, "oc", "AuditEvent.outcome", lambda r: of.codes(of.OUTCOME, r.event.outcome), "Whether the event succeeded or failed"),
    SearchParameter("patient", Type.REFERENCE, "pa", "AuditEvent.agent.who.where(resolve() is Patient) | AuditEvent.entity.what.where(resolve() is Patient)", lambda r: r.patients, "The patient concerned, as agent or entity", ("Patient",)),
    SearchParameter("policy", Type.URI, "po", "AuditEvent.agent.policy", lambda r: [p for a in r.event.agent for p in a.policy or ()], "Policy that authorized the event, or the id of its token"),
    SearchParameter("site", Type.TOKEN, "si", "AuditEvent.source.site", lambda r: [Token(None, r.event.source.site)] if r.event.source.site else (), "Logical source location within the enterprise"),
    SearchParameter("source", Type.REFERENCE, "so", "AuditEvent.source.observer", lambda r: (r.event.source.observer,), "Who recorded the event", _WHO),
    SearchParameter("subtype", Type.TOKEN, "su", "AuditEvent.subtype", lambda r: r.event.subtype or (), "More specific type of the event"),
    SearchParameter("type", Type.TOKEN, "ty", "AuditEvent.type", lambda r: (r.event.type,), "Type of event"),
    # FHIR R4, search, parameters for all resources.
    SearchParameter("_id", Type.TOKEN, "", "Resource.id", lambda r: (Token(None, r.record.id),), "Logical id"),
    SearchParameter("_lastUpdated", Type.DATE, "", "Resource.meta.lastUpdated", lambda r: (format_instant(r.record.received),), "When the repository received the event"),
    SearchParameter("_profile", Type.URI, "pf", "Resource.meta.profile", _meta("profile"), "Profiles that the event claims"),
    SearchParameter("_security", Type.TOKEN, "se", "Resource.meta.security", _meta("security"), "Security labels of the event"),
    SearchParameter("_source", Type.URI, "sr", "Resource.meta.source", lambda r: (r.event.meta.source,) if r.event.meta and r.event.meta.source else (), "Where the event comes from"),
    SearchParameter("_tag", Type.TOKEN, "tg", "Resource.meta.tag", _meta("tag"), "Tags of the event"),
    SearchParameter("_content", Type.SPECIAL, "wo", "", lambda _: (), "Words in names, descriptions and displays; all of them must occur, and one that ends in * may go on"),
    SearchParameter("_text", Type.SPECIAL, "wo", "", lambda _: (), "The same as _content: narratives are made from the same elements"),
    # IHE ITI-81.
    SearchParameter("agent.identifier", Type.TOKEN, "ai", "AuditEvent.agent.who.identifier", lambda r: of.identifiers(r.event, r.agents), "Identifier of an agent (ITI-81)", is_identifier=True),
    SearchParameter("entity.identifier", Type.TOKEN, "ei", "AuditEvent.entity.what.identifier", lambda r: of.identifiers(r.event, r.entities), "Identifier of an entity (ITI-81)", is_identifier=True),
    SearchParameter("patient.identifier", Type.TOKEN, "pi", "AuditEvent.agent.who.where(resolve() is Patient).identifier | AuditEvent.entity.what.where(resolve() is Patient).identifier", lambda r: of.identifiers(r.event, r.patients), "Identifier of the patient (ITI-81)", is_identifier=True),
    SearchParameter("source.identifier", Type.TOKEN, "oi", "AuditEvent.source.observer.identifier", lambda r: of.identifiers(r.event, (r.event.source.observer,)), "Identifier of the recorder (ITI-81)", is_identifier=True),
    # Our own.
    SearchParameter("flag", Type.TOKEN, "fl", "", lambda r: of.flags(r.record), "What the repository noticed: profile-unmet, key-conflict, suspected-duplicate, clock-skew, converted, observer-mismatch, unparsed, deviant, truncated"),
    SearchParameter("outcome-desc", Type.STRING, "od", "AuditEvent.outcomeDesc", lambda r: (r.event.outcomeDesc,) if r.event.outcomeDesc else (), "Description of the outcome"),
    SearchParameter("purpose", Type.TOKEN, "pu", "AuditEvent.purposeOfEvent | AuditEvent.agent.purposeOfUse", lambda r: of.purposes(r.event), "Purpose of use of the event or of an agent"),
    SearchParameter("request-id", Type.TOKEN, "", "AuditEvent.entity.where(type.code = 'XrequestId').what.identifier", lambda r: of.request_ids(r.event), "X-Request-Id of the HTTP exchange (BALP)", lookup=lambda value: value.node("ei"), is_identifier=True),
    SearchParameter("sequence", Type.NUMBER, "", "", lambda r: (r.record.entry,), "Receipt sequence: the event's index in the log"),
    SearchParameter("user", Type.TOKEN, "", "AuditEvent.agent.where(requestor = true)", lambda r: of.users(r.event), "The user: alternative id, name, identifier or reference of the agent that asked", lookup=_user),
)  # fmt: skip

BY_CODE: Final = {row.code: row for row in PARAMETERS}
# Every event has a term for each of these, and one more that names those that it has.
INDEXED: Final = tuple(
    row for row in PARAMETERS if row.key and row.type is not Type.SPECIAL and row.lookup is None
)
assert len({row.key for row in INDEXED}) == len(INDEXED)
assert all(len(row.key) == 2 for row in INDEXED)
