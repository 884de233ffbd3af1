"""`/health/live`, `/health/ready` and `/metrics`: what operators and their tools ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from caretrail.api.http import JSON, Request, Response

if TYPE_CHECKING:
    from caretrail.api.service import Service

# The text format of Prometheus.
_METRICS: Final = b"text/plain; version=0.0.4; charset=utf-8"


async def live(_: Request, __: Service) -> Response:
    """Answer 200 as long as the process answers at all."""
    return Response(200, b'{"status":"ok"}', media=JSON)


async def ready(_: Request, service: Service) -> Response:
    """Answer 200 when posts are taken, else 503; the body has the state of each part."""
    health = service.repository.health()
    open_to_all = "requests need no credential" if service.gate.insecure else "ok"
    parts = {**health, "authentication": {"status": open_to_all}}
    # What was found is said, and posts are taken all the same: evidence must not get lost.
    parts["integrity"] = {**health.get("integrity", {}), **service.integrity()}
    if service.publisher is not None:
        parts["checkpoints"] = service.publisher.health()
    for name, state in service.parts().items():
        parts[name] = {**parts.get(name, {}), **state}
    accepting = health["accepting"] and parts.get("checkpoints", {}).get("status") != "conflict"
    body = msgspec.json.encode(parts | {"accepting": accepting})
    return Response(200 if accepting else 503, body, media=JSON)


async def metrics(_: Request, service: Service) -> Response:
    """Hand out what the metrics are at the moment."""
    return Response(200, service.metrics(), media=_METRICS)
