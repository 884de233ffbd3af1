"""The 19 profiles of IHE BALP 1.1.4 as rows (IHE BALP, StructureDefinitions).

A row is the whole of a profile: the check, the doctor and the tests are all read from it, so adding
a profile is adding a row.
"""

from __future__ import annotations

from typing import Final

from caretrail.fhir.profile import BALP, Code, Element, Profile, Slice, Slicing, ValueSet
from caretrail.fhir.profile_codes import (
    ALL_READ,
    ALL_SEARCH,
    ALL_UPDATE,
    APPLICATION,
    AUTHSERVER,
    AUTHZ_SERVICE,
    AUTHZ_SUBTYPES,
    CONSENT,
    CUSTODIAN,
    DATA_SOURCES,
    DCM,
    DESTINATION,
    DISCLOSE,
    HOME_COMMUNITY,
    INTERACTION,
    IRCP,
    ITI_71,
    OAUTH_AGENT,
    OBJECT_ROLES,
    OTHER_IDENTIFIERS,
    PATIENT_ROLE,
    PERSON,
    PROVIDER,
    QUERY_ROLE,
    REST,
    SAML_AGENT,
    SNOMED,
    SOURCE,
    SYSTEM_OBJECT,
    THO,
    TRANSACTION,
    VAL_AUDIT_SOURCE,
)


def _needs(*paths: str) -> tuple[Element, ...]:
    return tuple(Element(path, min=1) for path in paths)


def _forbids(*paths: str) -> tuple[Element, ...]:
    return tuple(Element(path, max=0) for path in paths)


_INITIATES: Final = Element("requestor", pattern=True)
_ASSISTS: Final = Element("requestor", pattern=False)
_SYSTEM: Final = (*_needs("who", "network"), *_forbids("media"))
_USER: Final = (*_needs("who"), _INITIATES, *_forbids("media", "network"))
_PATIENT: Final = Slice(
    "patient",
    PERSON,
    (
        Element("what", min=1, target="Patient"),
        Element("role", min=1, pattern=PATIENT_ROLE),
    ),
    min=1,
)
_REQUEST_ID: Final = Slice("transaction", TRANSACTION, _needs("what.identifier.value"))
_DATA: Final = Slice(
    "data",
    SYSTEM_OBJECT,
    (*_needs("what"), Element("role", min=1, binding=OBJECT_ROLES)),
    min=1,
)
# A Read may leave out the role of what was read.
_DATA_READ: Final = _DATA._replace(
    elements=(*_needs("what"), Element("role", binding=OBJECT_ROLES))
)
_QUERY: Final = Slice(
    "query",
    SYSTEM_OBJECT,
    (
        *_forbids("what", "lifecycle", "detail"),
        *_needs("query"),
        Element("role", min=1, pattern=QUERY_ROLE),
    ),
    min=1,
)


def _rest(
    name: str,
    action: str,
    subtype: Slice,
    agents: tuple[Code, Code, Code | ValueSet],
    entity: Slice = _DATA,
) -> Profile:
    client, server, user = agents
    return Profile(
        f"IHE.BasicAudit.{name}",
        (
            Element("type", pattern=REST),
            Element("action", pattern=action),
            Element("outcome", min=1, pattern="0"),
        ),
        (
            Slicing("subtype", (subtype,), discriminator="$this"),
            Slicing(
                "agent",
                (
                    Slice("client", client, _SYSTEM, min=1),
                    Slice("server", server, _SYSTEM, min=1),
                    Slice("user", user, _USER),
                ),
            ),
            Slicing("entity", (_REQUEST_ID, entity)),
        ),
    )


def _with_patient(parent: Profile) -> Profile:
    name = parent.id.replace("BasicAudit.", "BasicAudit.Patient")
    return Profile(name, slicings=(Slicing("entity", (_PATIENT,)),), parent=parent)


_PUSHED: Final = (SOURCE, DESTINATION, DATA_SOURCES)
_CREATE: Final = _rest(
    "Create", "C", Slice("anyCreate", Code(INTERACTION, "create"), min=1), _PUSHED
)
# What is read flows to the client: its code is the server's in the other profiles.
_READ: Final = _rest(
    "Read",
    "R",
    Slice("anyRead", ALL_READ, min=1),
    (DESTINATION, SOURCE, IRCP),
    _DATA_READ,
)
_UPDATE: Final = _rest("Update", "U", Slice("anyUpdate", ALL_UPDATE, min=1), _PUSHED)
_DELETE: Final = _rest(
    "Delete",
    "D",
    Slice("anyDelete", Code(INTERACTION, "delete"), min=1),
    (APPLICATION, CUSTODIAN, DATA_SOURCES),
)
_SEARCH: Final = _rest(
    "Query",
    "E",
    Slice("anySearch", ALL_SEARCH, min=1),
    (SOURCE, DESTINATION, IRCP),
    _QUERY,
)

_ONE_POLICY: Final = Element("policy", min=1, max=1)


def _oauth(name: str, *slices: Slice) -> Profile:
    return Profile(
        f"IHE.BasicAudit.OAUTHaccessTokenUse.{name}",
        slicings=(Slicing("agent", slices),),
    )


_SAML_MINIMAL: Final = Profile(
    "IHE.BasicAudit.SAMLaccessTokenUse.Minimal",
    slicings=(
        Slicing(
            "agent",
            (
                Slice(
                    "user",
                    SAML_AGENT,
                    (
                        *_needs("who", "who.identifier.value"),
                        *_forbids("altId", "media", "network"),
                        _INITIATES,
                        _ONE_POLICY,
                    ),
                    min=1,
                    max=None,
                ),
            ),
        ),
    ),
)
# The reslices of otherId (subject-id, npi, provider-id) ask nothing that otherId does not.
_EXTENSIONS: Final = Slicing(
    "extension",
    (
        Slice(
            "assuranceLevel",
            BALP + "ihe-assuranceLevel",
            (*_needs("valueCodeableConcept"), *_forbids("extension")),
            max=None,
        ),
        Slice(
            "otherId",
            BALP + "ihe-otherId",
            (
                *_needs("valueIdentifier", "valueIdentifier.value"),
                Element("valueIdentifier.type", min=1, binding=OTHER_IDENTIFIERS),
                *_forbids("extension"),
            ),
            max=None,
        ),
    ),
    discriminator="url",
)
_BARE: Final = _forbids("role", "altId", "name", "location", "policy", "media", "network")
_NOTHING_ELSE: Final = (*_BARE, *_forbids("purposeOfUse"))
_SAML_COMPREHENSIVE: Final = Profile(
    "IHE.BasicAudit.SAMLaccessTokenUse.Comprehensive",
    slicings=(
        Slicing(
            "agent",
            (
                Slice("user", SAML_AGENT, slicings=(_EXTENSIONS,)),
                Slice(
                    "userorg",
                    PROVIDER,
                    (*_needs("who.identifier.value", "who.display"), _ASSISTS, *_NOTHING_ELSE),
                    max=None,
                ),
                Slice(
                    "homeCommunityId",
                    HOME_COMMUNITY,
                    (*_needs("who.identifier"), _ASSISTS, *_NOTHING_ELSE),
                    max=None,
                ),
            ),
        ),
        Slicing(
            "entity",
            (
                Slice(
                    "consent",
                    CONSENT,
                    max=None,
                    slicings=(
                        Slicing(
                            "detail",
                            (
                                Slice("acp", "urn:ihe:iti:xua:2012:acp", _needs("valueString")),
                                Slice(
                                    "patient-id",
                                    "urn:oasis:names:tc:xacml:2.0:resource:resource-id",
                                    _needs("valueString"),
                                ),
                            ),
                        ),
                    ),
                ),
            ),
        ),
    ),
    parent=_SAML_MINIMAL,
)

_IUA_71: Final = Profile(
    "IHE.IUA.71",
    (
        Element("type", pattern=Code(DCM, "110114")),
        Element("subtype", min=1, max=1, pattern=ITI_71),
        Element("action", pattern="E"),
        Element("outcome", min=1, pattern="0"),
    ),
    (
        Slicing(
            "agent",
            (
                Slice("client", APPLICATION, _SYSTEM, min=1),
                Slice("auth-server", AUTHZ_SERVICE, _SYSTEM, min=1),
                Slice("user", IRCP, (*_USER, *_forbids("altId"))),
            ),
            closed=True,
        ),
        # One entity at most, and it is the request: nothing can ever be the response.
        Slicing(
            "entity",
            (
                Slice(
                    "token-request",
                    QUERY_ROLE,
                    (
                        *_forbids("what"),
                        Element("type", min=1, pattern=SYSTEM_OBJECT),
                        *_needs("query"),
                    ),
                    min=1,
                ),
                Slice(
                    "token-response",
                    Code(THO + "object-role", "13"),
                    (
                        *_needs("what", "detail"),
                        Element("type", min=1, pattern=SYSTEM_OBJECT),
                    ),
                ),
            ),
            discriminator="role",
            closed=True,
            max=1,
        ),
    ),
)

_AUTHZ_CONSENT: Final = Profile(
    "IHE.BasicAudit.AuthZconsent",
    (
        *_forbids("modifierExtension"),
        Element("type", pattern=Code(DCM, "110113")),
        Element("subtype", min=1, binding=AUTHZ_SUBTYPES),
        Element("action", pattern="E"),
        *_needs("outcome"),
    ),
    (
        Slicing(
            "agent",
            (
                Slice(
                    "client",
                    APPLICATION,
                    (*_SYSTEM, *_forbids("role", "altId", "name", "location", "purposeOfUse")),
                    min=1,
                ),
                Slice("user", IRCP, (*_USER, *_forbids("altId", "location")), min=1),
                Slice(
                    "userorg",
                    PROVIDER,
                    (*_needs("who"), _ASSISTS, *_BARE),
                    min=1,
                ),
                Slice(
                    "authorizer",
                    AUTHSERVER,
                    (*_needs("who"), _ASSISTS, *_NOTHING_ELSE),
                    min=1,
                    invariant=VAL_AUDIT_SOURCE,
                ),
            ),
        ),
        Slicing(
            "entity",
            (
                _PATIENT,
                Slice("consent", CONSENT, _needs("what"), min=1, max=None),
                Slice(
                    "token",
                    OAUTH_AGENT,
                    _needs("what", "what.identifier", "what.identifier.value"),
                ),
            ),
            closed=True,
        ),
    ),
)


def _party(name: str, code: Code, recorder: str) -> Slice:
    invariant = VAL_AUDIT_SOURCE if name == recorder else ""
    return Slice(name, code, _needs("who", "network"), min=1, invariant=invariant)


def _disclosure(recorder: str, event: Code, action: str) -> Profile:
    """Each party records what it did: the recorder is the source or the recipient."""
    return Profile(
        f"IHE.BasicAudit.PrivacyDisclosure.{recorder.title()}",
        (
            *_forbids("modifierExtension"),
            Element("type", pattern=event),
            Element("action", pattern=action),
            *_needs("outcome"),
        ),
        (
            Slicing("subtype", (Slice("disclosure", DISCLOSE, min=1),), discriminator="$this"),
            Slicing(
                "agent",
                (
                    _party("source", SOURCE, recorder),
                    _party("recipient", DESTINATION, recorder),
                    Slice("custodian", Code(SNOMED, "159541003"), _needs("who")),
                    Slice("authorizer", Code(SNOMED, "429577009"), _needs("who")),
                ),
            ),
            # The patient and at least one thing that was disclosed.
            Slicing("entity", (_PATIENT,), min=2),
        ),
    )


ROWS: Final[tuple[Profile, ...]] = (
    _CREATE,
    _with_patient(_CREATE),
    _READ,
    _with_patient(_READ),
    _UPDATE,
    _with_patient(_UPDATE),
    _DELETE,
    _with_patient(_DELETE),
    _SEARCH,
    _with_patient(_SEARCH),
    _oauth(
        "Opaque",
        Slice("oUser", OAUTH_AGENT, (_INITIATES, _ONE_POLICY), min=1, max=None),
    ),
    _oauth(
        "Minimal",
        Slice(
            "oUser",
            OAUTH_AGENT,
            (_INITIATES, _ONE_POLICY, *_forbids("media", "network")),
            min=1,
            max=None,
        ),
    ),
    _oauth(
        "Comprehensive",
        Slice(
            "oClient",
            APPLICATION,
            (*_needs("who", "who.identifier", "who.identifier.value"), *_forbids("media")),
            min=1,
        ),
        Slice("oUser", IRCP, (*_USER, *_needs("who.identifier"), _ONE_POLICY)),
    ),
    _SAML_MINIMAL,
    _SAML_COMPREHENSIVE,
    _IUA_71,
    _AUTHZ_CONSENT,
    _disclosure("source", Code(DCM, "110106"), "R"),
    _disclosure("recipient", Code(DCM, "110107"), "C"),
)
