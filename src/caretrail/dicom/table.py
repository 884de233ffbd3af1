"""THE table of the mapping: what of an audit message stands where in an AuditEvent, and what is lost.

The reference documentation is made from it, and a test tries every row: its sample goes into a
message (or an event), through the mapping and back, and comes back or does not, as the row says.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Row(NamedTuple):
    """What of a message becomes what of an event.

    `sample` are elements of a message that has none beside them. `element` is a path in the event,
    "" where there is none. Where the way back gives another message, `loss` says how.
    """

    message: str
    element: str
    sample: str
    loss: str = ""


class Lost(NamedTuple):
    """What of an event a message has no place for. `sample` is JSON of members at `element`."""

    element: str
    sample: str
    reason: str


def _event(attributes: str = "", children: str = "") -> str:
    return f"<EventIdentification {attributes}>{children}</EventIdentification>"


def _agent(attributes: str = "", children: str = "") -> str:
    return f'<ActiveParticipant UserID="u" UserIsRequestor="true" {attributes}>{children}</ActiveParticipant>'


def _source(attributes: str = "", children: str = "") -> str:
    return f'<AuditSourceIdentification AuditSourceID="s" {attributes}>{children}</AuditSourceIdentification>'


def _object(attributes: str = "", children: str = "") -> str:
    kind = '<ParticipantObjectIDTypeCode csd-code="110182" codeSystemName="DCM" originalText="Node ID"/>'
    return (
        f'<ParticipantObjectIdentification ParticipantObjectID="o" {attributes}>{kind}{children}'
        "</ParticipantObjectIdentification>"
    )


def _code(name: str, code: str, system: str = "DCM", text: str = "a text") -> str:
    return f'<{name} csd-code="{code}" codeSystemName="{system}" originalText="{text}"/>'


_DESCRIPTION: Final = "ParticipantObjectDescription"
_EXTENSION: Final = "entity.extension"

ROWS: Final = (
    Row("EventIdentification/EventID", "type", _event("", _code("EventID", "110112"))),
    Row("EventIdentification/EventTypeCode", "subtype", _event("", _code("EventTypeCode", "ITI-9", "IHE Transactions"))),
    Row("EventIdentification/@EventActionCode", "action", _event('EventActionCode="R"')),
    Row("EventIdentification/@EventDateTime", "recorded", _event('EventDateTime="2026-01-02T03:04:05.123456789+01:00"')),
    Row("EventIdentification/@EventOutcomeIndicator", "outcome", _event('EventOutcomeIndicator="4"')),
    Row("EventIdentification/EventOutcomeDescription", "outcomeDesc", _event("", "<EventOutcomeDescription>no</EventOutcomeDescription>")),
    Row("EventIdentification/PurposeOfUse", "purposeOfEvent", _event("", _code("PurposeOfUse", "NORM", "2.16.756.5"))),
    Row("ActiveParticipant/@UserID", "agent.who.identifier", _agent()),
    Row("ActiveParticipant/@UserID, as `id^^^name&oid&ISO`", "agent.who.identifier.system", '<ActiveParticipant UserID="7^^^N&amp;1.2.3&amp;ISO" UserIsRequestor="true"/>'),
    Row("ActiveParticipant/UserIDTypeCode", "agent.who.identifier.type", _agent("", _code("UserIDTypeCode", "11", "RFC-3881"))),
    Row("ActiveParticipant/@UserTypeCode, 2", "agent.who.type", _agent('UserTypeCode="2"')),
    Row("ActiveParticipant/@UserTypeCode, others", "", _agent('UserTypeCode="1"'), "it is not a standard attribute, and says less than the roles do"),
    Row("ActiveParticipant/@AlternativeUserID", "agent.altId", _agent('AlternativeUserID="a"')),
    Row("ActiveParticipant/@UserName", "agent.name", _agent('UserName="n"')),
    Row("ActiveParticipant/@UserIsRequestor", "agent.requestor", _agent()),
    Row("ActiveParticipant/RoleIDCode", "agent.role", _agent("", _code("RoleIDCode", "110153"))),
    Row("ActiveParticipant/RoleIDCode, the first of 110150 to 110156, else the first", "agent.type", _agent("", _code("RoleIDCode", "HCP", "2.16.756.5") + _code("RoleIDCode", "110152"))),
    Row("ActiveParticipant/MediaIdentifier/MediaType", "agent.media", _agent("", f"<MediaIdentifier>{_code('MediaType', '110033')}</MediaIdentifier>")),
    Row("ActiveParticipant/@NetworkAccessPointID", "agent.network.address", _agent('NetworkAccessPointID="h"')),
    Row("ActiveParticipant/@NetworkAccessPointTypeCode", "agent.network.type", _agent('NetworkAccessPointTypeCode="1"')),
    Row("AuditSourceIdentification/@AuditSourceID", "source.observer.identifier", _source()),
    Row("AuditSourceIdentification/@AuditEnterpriseSiteID", "source.site", _source('AuditEnterpriseSiteID="e"')),
    Row("AuditSourceIdentification/AuditSourceTypeCode", "source.type", _source("", '<AuditSourceTypeCode csd-code="4"/>')),
    Row("AuditSourceIdentification, further ones", "extension", _source() + '<AuditSourceIdentification AuditSourceID="t"/>', "only the id is kept, and a message that is made again has one source"),
    Row("ParticipantObjectIdentification/@ParticipantObjectID", "entity.what.identifier", _object()),
    Row("ParticipantObjectIdentification/ParticipantObjectIDTypeCode", "entity.what.identifier.type", _object()),
    Row("ParticipantObjectIdentification/@ParticipantObjectTypeCode", "entity.type", _object('ParticipantObjectTypeCode="2"')),
    Row("ParticipantObjectIdentification/@ParticipantObjectTypeCodeRole", "entity.role", _object('ParticipantObjectTypeCodeRole="3"')),
    Row("ParticipantObjectIdentification/@ParticipantObjectDataLifeCycle", "entity.lifecycle", _object('ParticipantObjectDataLifeCycle="6"')),
    Row("ParticipantObjectIdentification/@ParticipantObjectSensitivity", "entity.securityLabel", _object('ParticipantObjectSensitivity="R"')),
    Row("ParticipantObjectIdentification/ParticipantObjectName", "entity.name", _object("", "<ParticipantObjectName>n</ParticipantObjectName>")),
    Row("ParticipantObjectIdentification/ParticipantObjectQuery", "entity.query", _object("", "<ParticipantObjectQuery>AAEC</ParticipantObjectQuery>")),
    Row("ParticipantObjectName beside a ParticipantObjectQuery", "entity.description", _object("", "<ParticipantObjectName>n</ParticipantObjectName><ParticipantObjectQuery>AAEC</ParticipantObjectQuery>"), "R4 has one of the two (sev-1); the name becomes a description"),
    Row("ParticipantObjectIdentification/ParticipantObjectDetail", "entity.detail.valueBase64Binary", _object("", '<ParticipantObjectDetail type="t" value="AAEC"/>')),
    Row("ParticipantObjectDetail whose value is not base64", "entity.detail.valueString", _object("", '<ParticipantObjectDetail type="t" value="not base64"/>'), "the value is base64 of the text then"),
    Row("ParticipantObjectDetail without a value", "", _object("", '<ParticipantObjectDetail type="t" value=""/>'), "a detail has a value in R4"),
    Row(f"{_DESCRIPTION} as text", "entity.description", _object("", f"<{_DESCRIPTION}>d</{_DESCRIPTION}>")),
    Row(f"{_DESCRIPTION}/MPPS", _EXTENSION, _object("", f'<{_DESCRIPTION}><MPPS UID="1.2"/></{_DESCRIPTION}>')),
    Row(f"{_DESCRIPTION}/Accession", _EXTENSION, _object("", f'<{_DESCRIPTION}><Accession Number="7"/></{_DESCRIPTION}>')),
    Row(f"{_DESCRIPTION}/SOPClass", _EXTENSION, _object("", f'<{_DESCRIPTION}><SOPClass UID="1.2" NumberOfInstances="2"><Instance UID="1.3"/></SOPClass></{_DESCRIPTION}>')),
    Row(f"{_DESCRIPTION}/SOPClass, several: count and instances stand in the extension of theirs", _EXTENSION, _object("", f'<{_DESCRIPTION}><SOPClass UID="1.2" NumberOfInstances="2"/><SOPClass UID="1.4" NumberOfInstances="1"><Instance UID="1.5"/></SOPClass></{_DESCRIPTION}>')),
    Row(f"{_DESCRIPTION}/ParticipantObjectContainsStudy", _EXTENSION, _object("", f'<{_DESCRIPTION}><ParticipantObjectContainsStudy><StudyIDs UID="1.2"/></ParticipantObjectContainsStudy></{_DESCRIPTION}>')),
    Row("ParticipantObjectContainsStudy, from the second on", "entity.detail.valueString", _object("", f'<{_DESCRIPTION}><ParticipantObjectContainsStudy><StudyIDs UID="1.2"/><StudyIDs UID="1.3"/></ParticipantObjectContainsStudy></{_DESCRIPTION}>')),
    Row(f"{_DESCRIPTION}/Encrypted", _EXTENSION, _object("", f"<{_DESCRIPTION}><Encrypted>true</Encrypted></{_DESCRIPTION}>")),
    Row(f"{_DESCRIPTION}/Anonymized", _EXTENSION, _object("", f"<{_DESCRIPTION}><Anonymized>false</Anonymized></{_DESCRIPTION}>")),
    Row("attributes and elements that the standard does not know", "", _object("", "<Private>p</Private>"), "only the original has them"),
)  # fmt: skip

LOST: Final = (
    Lost("id", '"id": "x"', "a message has no id"),
    Lost("meta", '"meta": {"profile": ["http://example.org/p"]}', "a message names no profile"),
    Lost("period", '"period": {"start": "2026-01-02"}', "a message has one instant"),
    Lost("extension", '"extension": [{"url": "urn:x", "valueCode": "y"}]', "extensions of FHIR have no place"),
    Lost("agent.location", '"location": {"display": "ward"}', "there is no attribute for it"),
    Lost("agent.policy", '"policy": ["urn:p"]', "there is no attribute for it"),
    Lost("agent.purposeOfUse", '"purposeOfUse": [{"text": "care"}]', "it becomes the event's PurposeOfUse"),
    Lost("source.observer.display", '"display": "log"', "the source has one name: identifier, else reference, else display"),
    Lost("entity.what.reference", '"reference": "Patient/1"', "it becomes the id, of the type 12 (URI), where there is no identifier"),
)  # fmt: skip
