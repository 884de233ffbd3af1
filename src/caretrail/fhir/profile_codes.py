"""The codes and value sets that BALP profiles name (IHE BALP 1.1.4, terminology)."""

from __future__ import annotations

from typing import Final

from caretrail.fhir.profile import Code, ValueSet

BALP_CODES: Final = "https://profiles.ihe.net/ITI/BALP/CodeSystem/"
DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
THO: Final = "http://terminology.hl7.org/CodeSystem/"
# What the id of a JSON Web Token is prefixed with where it is a policy (BALP, OAuth token use).
JTI: Final = "urn:ietf:params:oauth:jti:"


def _value_set(name: str, system: str, *codes: str) -> ValueSet:
    return ValueSet(name, frozenset(Code(system, code) for code in codes))


INTERACTION: Final = "http://hl7.org/fhir/restful-interaction"
_PARTICIPATION: Final = THO + "v3-ParticipationType"
_IDENTIFIER: Final = THO + "v2-0203"
ALL_READ: Final = _value_set("AllReadVS", INTERACTION, "read", "vread")
ALL_UPDATE: Final = _value_set("AllUpdateVS", INTERACTION, "update", "patch")
ALL_SEARCH: Final = _value_set("AllSearchVS", INTERACTION, "search", "search-type", "search-system")
DATA_SOURCES: Final = _value_set("DataSources", _PARTICIPATION, "AUT", "INF", "CST")
OBJECT_ROLES: Final = _value_set("RestObjectRoles", THO + "object-role", "4", "3", "20")
AUTHZ_SUBTYPES: Final = _value_set(
    "AuthZsubTypeVS", BALP_CODES + "AuthZsubType", "AuthZ-Consent", "AuthZ-Role"
)
OTHER_IDENTIFIERS: Final = ValueSet(
    "OtherIdentifierTypesVS",
    frozenset(
        {
            Code(BALP_CODES + "OtherIdentifierTypes", "SAML-subject-id"),
            Code(_IDENTIFIER, "NPI"),
            Code(_IDENTIFIER, "PRN"),
        }
    ),
)

REST: Final = Code(THO + "audit-event-type", "rest")
APPLICATION: Final = Code(DCM, "110150")
DESTINATION: Final = Code(DCM, "110152")
SOURCE: Final = Code(DCM, "110153")
CUSTODIAN: Final = Code(THO + "provenance-participant-type", "custodian")
IRCP: Final = Code(_PARTICIPATION, "IRCP")
OAUTH_AGENT: Final = Code(BALP_CODES + "UserAgentTypes", "UserOauthAgent")
PERSON: Final = Code(THO + "audit-entity-type", "1")
SYSTEM_OBJECT: Final = Code(THO + "audit-entity-type", "2")
PATIENT_ROLE: Final = Code(THO + "object-role", "1")
QUERY_ROLE: Final = Code(THO + "object-role", "24")
VAL_AUDIT_SOURCE: Final = "val-audit-source"
SAML_AGENT: Final = Code(BALP_CODES + "UserAgentTypes", "UserSamlAgent")
AUTHZ_SERVICE: Final = Code(BALP_CODES + "UserAgentTypes", "AuthzOauthService")
AUTHSERVER: Final = Code(THO + "extra-security-role-type", "authserver")
PROVIDER: Final = Code(THO + "v3-RoleClass", "PROV")
HOME_COMMUNITY: Final = Code("urn:ihe:iti:xca:2010", "homeCommunityId")
TRANSACTION: Final = Code(BALP_CODES + "BasicAuditEntityType", "XrequestId")
CONSENT: Final = Code("http://hl7.org/fhir/resource-types", "Consent")
DISCLOSE: Final = Code(THO + "iso-21089-lifecycle", "disclose")
ITI_71: Final = Code("urn:ihe:event-type-code", "ITI-71")
SNOMED: Final = "http://snomed.info/sct"
