"""Subscriptions (FHIR R4, and HL7's R5 backport): create, read, search, delete by their owner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from caretrail.api import negotiation
from caretrail.api.http import Request, Response
from caretrail.errors import InvalidError, MediaTypeError, NotFoundError
from caretrail.fhir import strict_json, subscription

if TYPE_CHECKING:
    from caretrail.api.service import Service
    from caretrail.feeding.subscriptions import Subscriptions


async def create(request: Request, service: Service) -> Response:
    """FHIR create: answer 201 once it is kept; its status says when the endpoint has agreed."""
    if negotiation.content(request).xml:
        raise MediaTypeError("a Subscription is sent as application/fhir+json")
    subscriptions = _of(service)
    document = strict_json.parse(request.body)
    if document.issues:
        raise InvalidError(document.issues)
    wanted = subscription.read(document.tree)
    made = await subscriptions.create(
        wanted, owner=_owner(request), view=request.view, base=request.base
    )
    found = subscriptions.resource(made, _owner(request))
    where = f"{request.base}/Subscription/{made}".encode()
    return Response(201, msgspec.json.encode(found), ((b"location", where),))


async def read(request: Request, service: Service) -> Response:
    """FHIR read."""
    found = _of(service).resource(request.captures[0], _owner(request))
    return Response(200, msgspec.json.encode(found))


async def search(request: Request, service: Service) -> Response:
    """FHIR search: all that the asker has."""
    base = f"{request.base}/Subscription"
    found = _of(service).all_of(_owner(request))
    bundle: dict[str, Any] = {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(found),
        "link": [{"relation": "self", "url": base}],
    }
    if found:
        bundle["entry"] = [
            {"fullUrl": f"{base}/{one['id']}", "resource": one, "search": {"mode": "match"}}
            for one in found
        ]
    return Response(200, msgspec.json.encode(bundle))


async def delete(request: Request, service: Service) -> Response:
    """FHIR delete: no message is sent from then on."""
    await _of(service).remove(request.captures[0], _owner(request))
    return Response(204)


def _of(service: Service) -> Subscriptions:
    if service.subscriptions is None:
        raise NotFoundError("there are no Subscriptions here")
    return service.subscriptions


def _owner(request: Request) -> str:
    """Return one text for whoever asks."""
    one = request.identity
    return "\n".join([one.issuer, one.subject, one.client, one.producer])
