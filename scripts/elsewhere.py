"""Synthetic AuditEvents of other people's senders, for the dictionary to learn from.

Other hosts and ids than our hospital's, displays, other orders of members, tokens of SAML, DICOM
messages, R5: nearly what such senders write, and nobody's data.
"""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any, Final

from caretrail.demo import names
from caretrail.demo.cast import uuid
from caretrail.patterns import codes, elements, rest, security
from caretrail.patterns.codes import Code
from caretrail.patterns.observation import Machine, Observation, User, identified, reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Json = dict[str, Any]

DICOM_TYPES: Final = {
    "110100": "Application Activity", "110101": "Audit Log Used",
    "110102": "Begin Transferring DICOM Instances", "110103": "DICOM Instances Accessed",
    "110104": "DICOM Instances Transferred", "110105": "DICOM Study Deleted", "110106": "Export",
    "110107": "Import", "110108": "Network Entry", "110109": "Order Record",
    "110110": "Patient Record", "110111": "Procedure Record", "110112": "Query",
    "110113": "Security Alert", "110114": "User Authentication",
}  # fmt: skip
IHE_TRANSACTIONS: Final = {
    "ITI-9": "PIX Query", "ITI-18": "Registry Stored Query", "ITI-20": "Record Audit Event",
    "ITI-41": "Provide and Register Document Set-b", "ITI-43": "Retrieve Document Set",
    "ITI-47": "Patient Demographics Query", "ITI-55": "Cross Gateway Patient Discovery",
    "ITI-65": "Provide Document Bundle", "ITI-67": "Find Document References",
    "ITI-68": "Retrieve Document", "ITI-71": "Get Access Token",
    "ITI-78": "Mobile Patient Demographics Query", "ITI-81": "Retrieve ATNA Audit Event",
    "ITI-83": "Mobile Patient Identifier Cross-reference Query",
}  # fmt: skip
# What patterns leave out and others write.
DISPLAYS: Final = {
    (codes.DCM, "110150"): "Application",
    (codes.DCM, "110152"): "Destination Role ID",
    (codes.DCM, "110153"): "Source Role ID",
    (f"{codes.THO}/v3-ParticipationType", "IRCP"): "information recipient",
    (f"{codes.THO}/v3-ParticipationType", "AUT"): "author (originator)",
    (f"{codes.THO}/v3-RoleClass", "PROV"): "healthcare provider",
    (f"{codes.THO}/v3-RoleClass", "PAT"): "patient",
    (f"{codes.THO}/extra-security-role-type", "humanuser"): "human user",
    (f"{codes.THO}/extra-security-role-type", "authserver"): "authorization server",
    (f"{codes.THO}/provenance-participant-type", "custodian"): "Custodian",
    (f"{codes.THO}/security-source-type", "1"): "User Device",
    (f"{codes.THO}/security-source-type", "3"): "Web Server",
    (f"{codes.THO}/security-source-type", "4"): "Application Server",
    (f"{codes.THO}/security-source-type", "6"): "Security Server",
    (f"{codes.THO}/audit-entity-type", "1"): "Person",
    (f"{codes.THO}/audit-entity-type", "2"): "System Object",
    (f"{codes.THO}/object-role", "1"): "Patient",
    (f"{codes.THO}/object-role", "3"): "Report",
    (f"{codes.THO}/object-role", "4"): "Domain Resource",
    (f"{codes.THO}/object-role", "6"): "User",
    (f"{codes.THO}/object-role", "13"): "Security Resource",
    (f"{codes.THO}/object-role", "24"): "Query",
    (f"{codes.THO}/v3-ActReason", "TREAT"): "treatment",
    (f"{codes.THO}/v3-ActReason", "ETREAT"): "Emergency Treatment",
    (f"{codes.THO}/v3-ActReason", "BTG"): "break the glass",
    (f"{codes.THO}/v3-ActReason", "HPAYMT"): "healthcare payment",
    (f"{codes.THO}/v3-ActReason", "HOPERAT"): "healthcare operations",
    (f"{codes.THO}/v3-ActReason", "PATRQT"): "patient requested",
    (f"{codes.THO}/v3-ActReason", "HTEST"): "test health data",
}
RESOURCES: Final = (
    "Patient", "Observation", "Encounter", "Condition", "MedicationRequest", "DiagnosticReport",
    "DocumentReference", "List", "Bundle", "Task", "ImagingStudy", "Procedure", "Immunization",
)  # fmt: skip


class Elsewhere:
    """Makes events of hospitals that are not ours."""

    def __init__(self, seed: int) -> None:
        """Begin with a seed; each seed has other ids, hosts and names."""
        self.random = Random(f"elsewhere {seed}")
        self._makers: tuple[Callable[[], Json], ...] = (
            self.interaction, self.interaction, self.interaction, self.comprehensive, self.saml,
            self.token_request, self.consent, self.disclosure, self.sign_in, self.dicom,
            self.dicom, self.small,
        )  # fmt: skip

    def events(self, count: int) -> Iterator[bytes]:
        """Yield `count` events, each in the dress of some sender."""
        for _ in range(count):
            event = self.random.choice(self._makers)()
            if self.random.random() < 0.7:
                event = displayed(event)
            if self.random.random() < 0.15:
                event = as_r5(event)
            yield self.written(event)

    def written(self, event: Json) -> bytes:
        """Return the bytes: compact or spaced, the members ordered as several libraries do."""
        order = self.random.choice(("ours", "ours", "code first", "alphabetical"))
        if order == "code first":
            event = code_first(event)
        sort = order == "alphabetical"
        separators = (", ", ": ") if self.random.random() < 0.1 else (",", ":")
        return json.dumps(event, ensure_ascii=False, separators=separators, sort_keys=sort).encode()

    def interaction(self) -> Json:
        """Return a REST interaction, recorded by either side."""
        observed = self.observation()
        event = rest.BY_INTERACTION[observed.interaction](observed)
        return {**event, "subtype": [{**event["subtype"][0], "display": observed.interaction}]}

    def comprehensive(self) -> Json:
        """Return a REST interaction with OAuth Comprehensive, or with an opaque token."""
        event = self.interaction()
        user = next((agent for agent in event["agent"] if agent["requestor"]), None)
        if user is None or "meta" not in event:
            return event
        kind = self.random.choice(("Comprehensive", "Opaque"))
        who = identified(self.id(), system=f"https://{self.host()}", display=self.name())
        event["agent"][0]["type"]["coding"].append(elements.coding(codes.APPLICATION))
        user |= {"who": who, "name": who["display"]}
        event["meta"]["profile"][-1] = f"{codes.BASIC_AUDIT}OAUTHaccessTokenUse.{kind}"
        return event

    def saml(self) -> Json:
        """Return an event with the user, organisation and consent of a SAML assertion."""
        kind = self.random.choice(("Minimal", "Comprehensive"))
        identifier = f"{codes.BALP}/CodeSystem/OtherIdentifierTypes"
        user = {
            "extension": [
                self.extension("ihe-assuranceLevel", "valueCodeableConcept", elements.concept(
                    Code(f"{codes.THO}/v3-ObservationValue", "LOAAP4"))),
                *(
                    self.extension("ihe-otherId", "valueIdentifier", {
                        "type": elements.concept(code), "value": self.id()})
                    for code in (
                        Code(identifier, "SAML-subject-id"),
                        Code(f"{codes.THO}/v2-0203", "NPI"), Code(f"{codes.THO}/v2-0203", "PRN"),
                    )
                ),
            ],
            "type": elements.concept(
                Code(f"{codes.BALP}/CodeSystem/UserAgentTypes", "UserSamlAgent"), codes.RECIPIENT
            ),
            "who": identified(self.id(), system=f"https://{self.host()}"),
            "requestor": True, "policy": [f"_{self.id()}"],
            "purposeOfUse": [elements.concept(self.purpose())],
        }  # fmt: skip
        community = Code("urn:ihe:iti:xca:2010", "homeCommunityId")
        organization = identified(f"urn:oid:{self.oid()}", display="Some Organization")
        agents = [
            user,
            {"type": elements.concept(codes.PROVIDER), "who": organization, "requestor": False},
            {"type": elements.concept(community), "who": identified(f"urn:oid:{self.oid()}"),
             "requestor": False},
        ]  # fmt: skip
        detail = elements.detail_list(
            {
                "urn:ihe:iti:xua:2012:acp": f"urn:uuid:{self.id()}",
                "urn:oasis:names:tc:xacml:2.0:resource:resource-id": f"{self.id()}^^^&{self.oid()}&ISO",
            }
        )
        what = {"identifier": {"value": f"urn:uuid:{self.id()}"}}
        consent = {"what": what, "type": elements.coding(codes.CONSENT), "detail": detail}
        event = self.interaction()
        if kind == "Minimal":
            user.pop("extension")
            agents, consent = agents[:1], {}
        event["agent"] = [agent for agent in event["agent"] if not agent["requestor"]] + agents
        event["entity"] += [consent] if consent else []
        event["meta"] = {"profile": [f"{codes.BASIC_AUDIT}SAMLaccessTokenUse.{kind}"]}
        return event

    def token_request(self) -> Json:
        """Return IUA's Get Access Token."""
        observed = self.observation()
        event = security.login(observed)
        subtype = Code("urn:ihe:event-type-code", "ITI-71", "Get Access Token")
        service = Code(f"{codes.BALP}/CodeSystem/UserAgentTypes", "AuthzOauthService")
        event["meta"] = {"profile": [f"{codes.BALP}/StructureDefinition/IHE.IUA.71"]}
        event["subtype"] = [elements.coding(subtype)]
        event["agent"].append(elements.machine_agent(observed.server, service))
        request = f"POST {self.host()}/token\n\ngrant_type=authorization_code&code={self.id()}"
        event["entity"] = elements.query_entity(request.encode(), None)
        return event

    def consent(self) -> Json:
        """Return a consent decision."""
        observed = self.observation(user=True, patient=True, by_client=False)
        return security.consent_decision(
            observed,
            organization=reference(f"Organization/{self.id()}", "Some Organization"),
            consent=reference(f"Consent/{self.id()}"),
        )

    def disclosure(self) -> Json:
        """Return a disclosure, as its source or its recipient records it."""
        observed = self.observation(user=True, patient=True, by_client=False)
        event = security.disclosure(
            observed, recipient=self.machine(), custodian=reference(f"Organization/{self.id()}")
        )
        if self.random.random() < 0.5:
            event["meta"] = {"profile": [f"{codes.BASIC_AUDIT}PrivacyDisclosure.Recipient"]}
            event["type"] = {"system": codes.DCM, "code": "110107", "display": "Import"}
            event["action"] = "C"
        return event

    def sign_in(self) -> Json:
        """Return some other security event."""
        observed = self.observation(user=True, patient=True)
        makers: tuple[Callable[[Observation], Json], ...] = (
            security.login,
            security.logout,
            security.audit_log_used,
            lambda seen: security.application(seen, started=True, version="1.0.0"),
            lambda seen: security.application(seen, started=False, version="1.0.0"),
            lambda seen: security.emergency_override(seen, started=True, reason="emergency"),
            lambda seen: security.emergency_override(seen, started=False, reason="emergency"),
            lambda seen: security.export(
                seen, destination=self.machine(), patients="7", media_type="application/pdf"
            ),
            lambda seen: security.user_attributes_changed(
                seen, account=reference(f"Practitioner/{self.id()}"), before="a", after="b"
            ),
        )
        return self.random.choice(makers)(observed)

    def dicom(self) -> Json:
        """Return what a DICOM or IHE audit message looks like as AuditEvent."""
        code, display = self.random.choice(list(DICOM_TYPES.items()))
        transaction, title = self.random.choice(list(IHE_TRANSACTIONS.items()))
        event = security.login(self.observation(user=True, patient=True))
        event["type"] = {"system": codes.DCM, "code": code, "display": display}
        event["subtype"] = [
            {"system": "urn:ihe:event-type-code", "code": transaction, "display": title}
        ]
        event["source"] = {
            "site": self.oid(),
            "observer": identified(self.host()),
            "type": [elements.coding(codes.APPLICATION_SERVER)],
        }
        study = {
            "what": {"identifier": {
                "type": elements.concept(Code(codes.DCM, "110180", "Study Instance UID")),
                "system": "urn:dicom:uid", "value": f"urn:oid:{self.oid()}"}},
            "type": elements.coding(codes.SYSTEM_OBJECT), "role": elements.coding(codes.REPORT),
            "lifecycle": {"system": f"{codes.THO}/dicom-audit-lifecycle", "code": "6",
                          "display": "Access / Use"},
            "detail": [{"type": "SOPClass", "valueBase64Binary": "MS4yLjg0MA=="}],
        }  # fmt: skip
        patient = f"{self.id()}^^^&{self.oid()}&ISO"
        event["entity"] = [
            *elements.patient_entity({"identifier": {"value": patient}}),
            study,
        ]
        for agent in event["agent"]:
            agent["altId"] = str(self.random.randrange(1, 9_999))
        return event

    def small(self) -> Json:
        """Return an event with little more than R4 demands."""
        return {
            "resourceType": "AuditEvent",
            "id": self.id(),
            "type": elements.coding(codes.REST),
            "action": "R",
            "recorded": self.time(),
            "outcome": "0",
            "agent": [{"who": identified(self.id()), "name": self.name(), "requestor": True}],
            "source": {"observer": {"display": self.host()}},
            "entity": [{"what": reference(f"{self.random.choice(RESOURCES)}/{self.id()}")}],
        }

    def observation(
        self,
        *,
        user: bool | None = None,
        patient: bool | None = None,
        by_client: bool | None = None,
    ) -> Observation:
        """Return an observation; what is not told is left to chance."""
        chance = self.random.random
        server = Machine(
            who=reference(f"Device/{self.id()}"), address=f"https://{self.host()}/fhir",
            address_type="5", name=self.host() if chance() < 0.3 else None,
        )  # fmt: skip
        resource = f"{self.random.choice(RESOURCES)}/{self.id()}"
        request_id = self.id()
        text = f"{self.random.choice(RESOURCES)}?patient=Patient/{self.id()}&_count=10"
        raw = f"GET {self.host()}/fhir/{text}\nAccept: application/fhir+json\nX-Request-Id: {request_id}"
        somebody = User(
            who=reference(f"Practitioner/{self.id()}", self.name() if chance() < 0.5 else None),
            name=self.name(),
            roles=(Code(f"{codes.THO}/practitioner-role", "doctor", "Doctor"),),
        )
        return Observation(
            interaction=self.random.choice(list(rest.BY_INTERACTION)),
            recorded=self.time(),
            client=self.machine(),
            server=server,
            user=somebody if user or (user is None and chance() < 0.8) else None,
            patient=reference(f"Patient/{self.id()}")
            if patient or (patient is None and chance() < 0.8)
            else None,
            resource=reference(resource),
            query=raw.encode(),
            query_text=text,
            request_id=request_id if chance() < 0.8 else None,
            jti=self.id() if chance() < 0.6 else None,
            purposes=(self.purpose(),),
            outcome="0" if chance() < 0.95 else self.random.choice(("4", "8", "12")),
            site=self.host() if chance() < 0.7 else None,
            by_client=chance() < 0.3 if by_client is None else by_client,
        )

    def machine(self) -> Machine:
        """Return a client somewhere in the networks that are kept for examples."""
        number = self.random.randrange(1, 255)
        net = self.random.choice(("192.0.2", "198.51.100", "203.0.113", "10.20.30"))
        who = identified(self.id()) if number % 2 else reference(f"Device/{self.id()}")
        return Machine(who=who, address=f"{net}.{number}")

    def extension(self, name: str, member: str, value: Json) -> Json:
        """Return an extension of BALP."""
        return {"url": f"{codes.BALP}/StructureDefinition/{name}", member: value}

    def purpose(self) -> Code:
        """Return a purpose of use."""
        return codes.purpose(self.random.choice(("TREAT", "ETREAT", "BTG", "HPAYMT", "PATRQT")))

    def time(self) -> str:
        """Return an instant as some clock writes it."""
        random = self.random
        day = f"{random.randrange(2024, 2031)}-{random.randrange(1, 13):02d}-{random.randrange(1, 29):02d}"
        time = f"{random.randrange(24):02d}:{random.randrange(60):02d}:{random.randrange(60):02d}"
        return f"{day}T{time}{random.choice(('Z', '.123Z', '.4567891Z', '+00:00', '+02:00'))}"

    def id(self) -> str:
        """Return an id: most often a UUID."""
        bits = self.random.getrandbits(128)
        return uuid(bits) if bits % 3 else str(bits % 10**6)

    def oid(self) -> str:
        """Return an OID of the arc that is kept for examples."""
        return f"2.999.{self.random.randrange(10**6)}.{self.random.randrange(10**4)}"

    def host(self) -> str:
        """Return a host that cannot exist."""
        name = self.random.choice(("fhir", "ehr", "server", "audit", "portal"))
        return (
            f"{name}{self.random.randrange(99)}.example.{self.random.choice(('org', 'com', 'net'))}"
        )

    def name(self) -> str:
        """Return a name that nobody bears."""
        return f"{self.random.choice(names.GIVEN_NAMES)} {self.random.choice(names.SURNAMES)}"


def displayed(value: Any) -> Any:
    """Return the same with the displays that patterns leave out."""
    if isinstance(value, list):
        return [displayed(one) for one in value]
    if not isinstance(value, dict):
        return value
    display = DISPLAYS.get((value.get("system"), value.get("code")))
    more = {"display": display} if display and "display" not in value else {}
    return {**{name: displayed(one) for name, one in value.items()}, **more}


_CODE_FIRST: Final = (
    "resourceType", "id", "meta", "security", "agent", "code", "type", "requestor", "role", "what",
)  # fmt: skip


def code_first(value: Any) -> Any:
    """Return the same with codes before systems and agents before types, as SUSHI writes."""
    if isinstance(value, list):
        return [code_first(one) for one in value]
    if not isinstance(value, dict):
        return value
    first = [name for name in _CODE_FIRST if name in value]
    return {name: code_first(value[name]) for name in dict.fromkeys([*first, *value])}


def as_r5(event: Json) -> Json:
    """Return nearly the same event as R5 spells it."""
    outcome = {"system": f"{codes.THO}/audit-event-outcome", "code": event.get("outcome", "0")}
    agents = [
        {name: value for name, value in agent.items() if name not in ("network", "name")}
        | ({"networkString": agent["network"]["address"]} if "network" in agent else {})
        for agent in event["agent"]
    ]
    entities = [
        {name: value for name, value in entity.items() if name != "type"}
        | ({"role": {"coding": [entity["role"]]}} if "role" in entity else {})
        for entity in event.get("entity", [])
    ]
    return {
        "resourceType": "AuditEvent",
        "category": [{"coding": [event["type"]]}],
        "code": {"coding": event.get("subtype") or [event["type"]]},
        "action": event["action"],
        "recorded": event["recorded"],
        "outcome": {"code": outcome},
        "agent": agents,
        "source": event["source"],
        "entity": entities,
    }
