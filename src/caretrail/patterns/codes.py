"""The codes that patterns write: one constant a concept, with its system and display."""

from __future__ import annotations

from typing import Final, NamedTuple


class Code(NamedTuple):
    """A code of a system, and what people call it."""

    system: str
    code: str
    display: str = ""


BALP: Final = "https://profiles.ihe.net/ITI/BALP"
PROFILES: Final = f"{BALP}/StructureDefinition/"
BASIC_AUDIT: Final = f"{PROFILES}IHE.BasicAudit."
DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
THO: Final = "http://terminology.hl7.org/CodeSystem"
INTERACTION: Final = "http://hl7.org/fhir/restful-interaction"
RESOURCE_TYPES: Final = "http://hl7.org/fhir/resource-types"
SNOMED: Final = "http://snomed.info/sct"
# RFC 7519 names no URN; BALP asks for this one in front of a token's id.
JTI: Final = "urn:ietf:params:oauth:jti:"

# AuditEvent.type
REST: Final = Code(f"{THO}/audit-event-type", "rest", "Restful Operation")
APPLICATION_ACTIVITY: Final = Code(DCM, "110100", "Application Activity")
AUDIT_LOG_USED: Final = Code(DCM, "110101", "Audit Log Used")
EXPORT: Final = Code(DCM, "110106", "Export")
IMPORT: Final = Code(DCM, "110107", "Import")
SECURITY_ALERT: Final = Code(DCM, "110113", "Security Alert")
USER_AUTHENTICATION: Final = Code(DCM, "110114", "User Authentication")


# AuditEvent.subtype
APPLICATION_START: Final = Code(DCM, "110120", "Application Start")
APPLICATION_STOP: Final = Code(DCM, "110121", "Application Stop")
LOGIN: Final = Code(DCM, "110122", "Login")
LOGOUT: Final = Code(DCM, "110123", "Logout")
NODE_AUTHENTICATION: Final = Code(DCM, "110126", "Node Authentication")
EMERGENCY_OVERRIDE_STARTED: Final = Code(DCM, "110127", "Emergency Override Started")
EMERGENCY_OVERRIDE_STOPPED: Final = Code(DCM, "110138", "Emergency Override Stopped")
USER_ATTRIBUTES_CHANGED: Final = Code(DCM, "110137", "User Security Attributes Changed")
SOFTWARE_CONFIGURATION: Final = Code(DCM, "110131", "Software Configuration")
SECURITY_CONFIGURATION: Final = Code(DCM, "110129", "Security Configuration")
RESTRICTED_FUNCTION: Final = Code(DCM, "110132", "Use of Restricted Function")
SECURITY_ROLES_CHANGED: Final = Code(DCM, "110136", "Security Roles Changed")
RECORDING_STOPPED: Final = Code(DCM, "110133", "Audit Recording Stopped")
RECORDING_STARTED: Final = Code(DCM, "110134", "Audit Recording Started")
TOKEN_REQUEST: Final = Code("urn:ihe:event-type-code", "ITI-71", "Get Access Token")
TOKEN_INTROSPECTION: Final = Code("urn:ihe:event-type-code", "ITI-102", "Introspect Token")
SERVER_METADATA: Final = Code(
    "urn:ihe:event-type-code", "ITI-103", "Get Authorization Server Metadata"
)
CONSENT_DECISION: Final = Code(f"{BALP}/CodeSystem/AuthZsubType", "AuthZ-Consent", "Consent")
DISCLOSE: Final = Code(f"{THO}/iso-21089-lifecycle", "disclose", "Disclose Record Lifecycle Event")

# Of what neither DICOM nor IHE has a code for.
SECURITY_EVENT: Final = "urn:caretrail:security-event"


def security_event(code: str, display: str) -> Code:
    """Return a code of our own that says more closely what a security event was."""
    return Code(SECURITY_EVENT, code, display)


# From here on without displays: they are the same few codes in every event, and a reader of the
# numbers has the code system at hand.

# AuditEvent.agent.type
APPLICATION: Final = Code(DCM, "110150")
DESTINATION: Final = Code(DCM, "110152")
SOURCE: Final = Code(DCM, "110153")
CUSTODIAN: Final = Code(f"{THO}/provenance-participant-type", "custodian")
RECIPIENT: Final = Code(f"{THO}/v3-ParticipationType", "IRCP")
AUTHOR: Final = Code(f"{THO}/v3-ParticipationType", "AUT")
PATIENT_USER: Final = Code(f"{THO}/v3-RoleClass", "PAT")
AGENT: Final = Code(f"{THO}/v3-RoleClass", "AGNT")  # Acts on behalf of another.
PROVIDER: Final = Code(f"{THO}/v3-RoleClass", "PROV")
HUMAN: Final = Code(f"{THO}/extra-security-role-type", "humanuser")
AUTHORIZER: Final = Code(f"{THO}/extra-security-role-type", "authserver")
RECORD_KEEPER: Final = Code(SNOMED, "159541003")  # BALP: a disclosure's custodian.
RELEASER: Final = Code(SNOMED, "429577009")  # BALP: a disclosure's authorizer.
HOME_COMMUNITY: Final = Code("urn:ihe:iti:xca:2010", "homeCommunityId")
SAML_USER: Final = Code(f"{BALP}/CodeSystem/UserAgentTypes", "UserSamlAgent")
AUTHORIZATION_SERVICE: Final = Code(f"{BALP}/CodeSystem/UserAgentTypes", "AuthzOauthService")
OAUTH_USER: Final = Code(f"{BALP}/CodeSystem/UserAgentTypes", "UserOauthAgent")

# AuditEvent.source.type
USER_DEVICE: Final = Code(f"{THO}/security-source-type", "1")
APPLICATION_SERVER: Final = Code(f"{THO}/security-source-type", "4")
SECURITY_SERVER: Final = Code(f"{THO}/security-source-type", "6")

# AuditEvent.entity.type
PERSON: Final = Code(f"{THO}/audit-entity-type", "1")
SYSTEM_OBJECT: Final = Code(f"{THO}/audit-entity-type", "2")
OTHER: Final = Code(f"{THO}/audit-entity-type", "4")
REQUEST: Final = Code(f"{BALP}/CodeSystem/BasicAuditEntityType", "XrequestId")
CONSENT: Final = Code(RESOURCE_TYPES, "Consent")

# AuditEvent.entity.role
PATIENT: Final = Code(f"{THO}/object-role", "1")
REPORT: Final = Code(f"{THO}/object-role", "3")
DOMAIN_RESOURCE: Final = Code(f"{THO}/object-role", "4")
USER: Final = Code(f"{THO}/object-role", "6")
JOB: Final = Code(f"{THO}/object-role", "20")
SECURITY_RESOURCE: Final = Code(f"{THO}/object-role", "13")
QUERY: Final = Code(f"{THO}/object-role", "24")

# Kinds of other identifiers of a user, in BALP's extension for them.
OTHER_ID: Final = f"{BALP}/StructureDefinition/ihe-otherId"
ASSURANCE_LEVEL: Final = f"{BALP}/StructureDefinition/ihe-assuranceLevel"
SAML_SUBJECT_ID: Final = Code(f"{BALP}/CodeSystem/OtherIdentifierTypes", "SAML-subject-id")
NATIONAL_PROVIDER: Final = Code(f"{THO}/v2-0203", "NPI")
PROVIDER_NUMBER: Final = Code(f"{THO}/v2-0203", "PRN")

# AuditEvent.entity.detail.type of a consent (IHE XUA).
CONSENT_POLICY: Final = "urn:ihe:iti:xua:2012:acp"
CONSENT_PATIENT: Final = "urn:oasis:names:tc:xacml:2.0:resource:resource-id"
# W3C Trace Context names no URN for its trace-id.
TRACE_ID: Final = "https://www.w3.org/TR/trace-context/#trace-id"


def resource_type(name: str) -> Code:
    """Return the code of a resource type, for an object that is not the event's main one."""
    return Code(RESOURCE_TYPES, name)


def purpose(code: str) -> Code:
    """Return a purpose of use (HL7 v3 ActReason) such as TREAT."""
    return Code(f"{THO}/v3-ActReason", code)
