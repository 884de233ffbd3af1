"""`metadata` and the definitions it refers to, all made from the tables (FHIR R4, http)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail import __version__
from caretrail.api.http import Request, Response
from caretrail.api.operations import BY_ID, OPERATIONS, Operation
from caretrail.errors import NotFoundError
from caretrail.fhir.profiles import PROFILES
from caretrail.fhir.subscription import PROFILE, TOPIC
from caretrail.search.parameters import FHIR, PARAMETERS, SearchParameter, Type

if TYPE_CHECKING:
    from caretrail.api.service import Service

# The day of the last change to what is said here.
_DATE: Final = "2026-11-24"
_FORMATS: Final = ("application/fhir+json", "json", "application/fhir+xml", "xml")
_INTERACTIONS: Final = {
    "create": "ITI-20. A sender's id, meta.versionId and meta.lastUpdated are replaced; everything"
    " else is kept. If-None-Exist is honoured. The same bytes with a key of their own, sent again,"
    " are answered 200 with the first Location.",
    "read": "The event as received, with id, meta.versionId and meta.lastUpdated set.",
    "vread": "An event has one version, 1, for ever.",
    "history-instance": "The one version.",
    "search-type": "ITI-81, by GET or POST _search.",
}
_SYSTEM_INTERACTIONS: Final = {
    "batch": "Entries may lack `request`: then they are creates. Type collection is taken too."
    " Each entry has its own answer.",
    "transaction": "All entries or none. References between entries are kept as they were sent.",
    "search-system": "With _type=AuditEvent.",
}
_SEARCHING: Final = """\
Events are immutable: update, patch and delete answer 405. \
A date without a zone is in UTC. \
A relative or bare reference value matches references to that resource on any server, versioned \
ones as well; an absolute value matches its own server only, a versioned value only that version. \
Without _sort the newest come first (-date). \
Unknown parameters are left out of `self` and named in an OperationOutcome, or refused with \
Prefer: handling=strict. `total` is left out where counting would take long, unless _total asks."""
_COMPARATORS: Final = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")
_OAUTH_URIS: Final = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
_SERVICES: Final = "http://terminology.hl7.org/CodeSystem/restful-security-service"
_FHIR_VERSION: Final = "4.0.1"


async def metadata(request: Request, service: Service) -> Response:
    """FHIR capabilities: the CapabilityStatement of this server."""
    return Response(
        200,
        _statement(
            request.base,
            service.issuer,
            insecure=service.gate.insecure,
            subscribes=service.subscriptions is not None,
        ),
    )


async def operation_definition(request: Request, _: Service) -> Response:
    """FHIR read of an OperationDefinition."""
    found = BY_ID.get(request.captures[0])
    if found is None:
        raise NotFoundError("there is no OperationDefinition of this id")
    return Response(200, msgspec.json.encode(found.definition()))


async def operation_definitions(request: Request, _: Service) -> Response:
    """FHIR search of OperationDefinitions: all of them."""
    return _all(request, [row.definition() for row in OPERATIONS])


async def search_parameter(request: Request, _: Service) -> Response:
    """FHIR read of a SearchParameter."""
    for row in PARAMETERS:
        if _id(row) == request.captures[0]:
            return Response(200, msgspec.json.encode(_definition(row)))
    raise NotFoundError("there is no SearchParameter of this id")


async def search_parameters(request: Request, _: Service) -> Response:
    """FHIR search of SearchParameters: all that AuditEvent has here."""
    return _all(request, [_definition(row) for row in PARAMETERS])


def _all(request: Request, found: list[dict[str, Any]]) -> Response:
    kind = found[0]["resourceType"]
    entries = [
        {
            "fullUrl": f"{request.base}/{kind}/{one['id']}",
            "resource": one,
            "search": {"mode": "match"},
        }
        for one in found
    ]
    bundle = {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(found),
        "link": [{"relation": "self", "url": f"{request.base}/{kind}"}],
        "entry": entries,
    }
    return Response(200, msgspec.json.encode(bundle))


@lru_cache(8)
def _statement(base: str, issuer: str, *, insecure: bool, subscribes: bool) -> bytes:
    return msgspec.json.encode(
        {
            "resourceType": "CapabilityStatement",
            "name": "CareTrail",
            "title": "CareTrail Audit Record Repository",
            "status": "active",
            "date": _DATE,
            "description": "An Audit Record Repository (IHE ITI TF-1, 9) for FHIR R4 AuditEvents",
            "kind": "instance",
            "software": {"name": "CareTrail", "version": __version__},
            "implementation": {"description": "This Audit Record Repository", "url": base},
            "fhirVersion": _FHIR_VERSION,
            "format": _FORMATS,
            "rest": [_rest(issuer, insecure=insecure, subscribes=subscribes)],
        }
    )


def security(issuer: str, *, insecure: bool) -> dict[str, Any]:
    """Return CapabilityStatement.rest.security; SMART clients of before 2 look here for addresses."""
    bearer = "No credential is asked for: a trial." if insecure else "A bearer token (RFC 6750)."
    found: dict[str, Any] = {"cors": False, "description": bearer}
    if issuer:
        rows = ("authorize", "token", "revoke", "introspect")
        addresses = [{"url": name, "valueUri": f"{issuer}/{name}"} for name in rows]
        service = {"system": _SERVICES, "code": "SMART-on-FHIR"}
        found |= {
            "service": [{"coding": [service]}],
            "extension": [{"url": _OAUTH_URIS, "extension": addresses}],
        }
    return found


def _rest(issuer: str, *, insecure: bool, subscribes: bool) -> dict[str, Any]:
    return {
        "mode": "server",
        "documentation": _SEARCHING,
        "security": security(issuer, insecure=insecure),
        "resource": [
            _audit_event(),
            *map(_conformance, ("OperationDefinition", "SearchParameter")),
            *([_subscription()] if subscribes else []),
        ],
        "interaction": _documented(_SYSTEM_INTERACTIONS),
        "operation": [_called(row) for row in OPERATIONS if row.on_system],
        "compartment": [
            f"http://hl7.org/fhir/CompartmentDefinition/{kind}"
            for kind in ("patient", "practitioner", "device")
        ],
    }


def _audit_event() -> dict[str, Any]:
    return {
        "type": "AuditEvent",
        "supportedProfile": [row.url for row in PROFILES],
        "interaction": _documented(_INTERACTIONS),
        "versioning": "versioned",
        "readHistory": True,
        "updateCreate": False,
        "conditionalCreate": True,
        "conditionalRead": "full-support",
        "conditionalUpdate": False,
        "conditionalDelete": "not-supported",
        "searchInclude": ["AuditEvent:entity"],
        "searchRevInclude": ["AuditEvent:entity"],
        "searchParam": [
            {
                "name": row.code,
                "definition": row.url,
                "type": row.type,
                "documentation": row.description,
            }
            for row in PARAMETERS
        ],
        "operation": [_called(row) for row in OPERATIONS],
    }


def _called(row: Operation) -> dict[str, str]:
    return {"name": row.code, "definition": row.url, "documentation": row.description}


def _conformance(kind: str) -> dict[str, Any]:
    return {"type": kind, "interaction": [{"code": "read"}, {"code": "search-type"}]}


def _subscription() -> dict[str, Any]:
    """Return what there is of Subscription (Subscriptions R5 Backport, R4)."""
    return {
        "type": "Subscription",
        "supportedProfile": [PROFILE],
        "interaction": [{"code": code} for code in ("create", "read", "search-type", "delete")],
        "documentation": f"Topic {TOPIC}: an AuditEvent was recorded. rest-hook; empty or id-only.",
    }


def _documented(interactions: dict[str, str]) -> list[dict[str, str]]:
    return [{"code": code, "documentation": text} for code, text in interactions.items()]


def _id(row: SearchParameter) -> str:
    """Return the logical id of a parameter's definition: how its canonical URL ends."""
    last = row.url.removeprefix(FHIR) if row.url.startswith(FHIR) else row.url.rpartition(":")[2]
    return last.replace("_", "-")


def _definition(row: SearchParameter) -> dict[str, Any]:
    """Return the SearchParameter of a row."""
    definition: dict[str, Any] = {
        "resourceType": "SearchParameter",
        "id": _id(row),
        "url": row.url,
        "name": row.code,
        "status": "active",
        "description": row.description,
        "code": row.code,
        "base": ["Resource" if row.url.startswith(f"{FHIR}Resource-") else "AuditEvent"],
        "type": row.type,
        "expression": row.expression,
        "xpathUsage": "normal" if row.expression else None,
        "target": list(row.targets),
        "multipleOr": True,
        "multipleAnd": True,
        "comparator": list(_COMPARATORS) if row.type in (Type.DATE, Type.NUMBER) else [],
        "modifier": [_modifier(name) for name in row.modifiers],
    }
    # An empty string or array is no valid FHIR.
    return {name: value for name, value in definition.items() if value not in ("", [], None)}


def _modifier(name: str) -> str:
    return {"of-type": "ofType"}.get(name, name)
