"""`/intake/PROVIDER`: events of an identity provider, posted as it writes them (a webhook).

They become AuditEvents one by one, and each is answered for itself like an entry of a batch. A
provider sends again what it got no answer for; with its ids nothing is stored twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail.api.bundle import answer, failed
from caretrail.api.http import JSON, Request, Response
from caretrail.api.record import sender, submission
from caretrail.errors import InvalidError, NotFoundError
from caretrail.fhir import intake
from caretrail.patterns.providers.table import PROVIDERS, convert
from caretrail.repository import Refused

if TYPE_CHECKING:
    from caretrail.api.service import Service

# Okta asks once whether an event hook is ours: we say what it said.
_CHALLENGE: Final = b"x-okta-verification-challenge"
_CHALLENGE_BYTES_MAX: Final = 256


async def take(request: Request, service: Service) -> Response:
    """Record what a provider sent; each entry is answered in its place.

    An entry that cannot become an event is refused and kept in quarantine, without its secrets.
    """
    entries = convert(_provider(request), request.body, entries_max=service.bundle_entries_max)
    each = service.repository.turns.each
    told = [one async for one in each(entries)]
    if service.rate is not None:
        service.rate.take(request.identity.producer, len(told))
    who = sender(request)
    kept = [one.body for one in told if one.error is None]
    events = [submission(body, intake.parse(body), request.identity) async for body in each(kept)]
    stored = iter(await service.repository.append(events, sender=who) if events else ())
    refused = [
        Refused(one.body, tuple(one.error.issues())) for one in told if one.error is not None
    ]
    if refused:
        await service.repository.quarantine(refused, sender=who)
    answers: list[Any] = []
    for one in told:
        if one.error is not None:
            answers.append(failed(one.error))
            continue
        done = next(stored)
        status = 201 if done.created else 200
        answers.append(answer(status, done.id, received=done.received, base=request.base))
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "batch-response"}
    if answers:
        bundle["entry"] = answers
    return Response(200, msgspec.json.encode(bundle))


async def verify(request: Request, _: Service) -> Response:
    """Answer Okta's question whether this address is its hook's."""
    challenge = request.headers.get(_CHALLENGE, b"")
    if _provider(request) != "okta" or not 0 < len(challenge) <= _CHALLENGE_BYTES_MAX:
        raise InvalidError("events are posted here; only Okta's verification is a GET")
    body = msgspec.json.encode({"verification": challenge.decode("latin-1")})
    return Response(200, body, media=JSON)


def _provider(request: Request) -> str:
    (name,) = request.captures
    if name not in PROVIDERS:
        raise NotFoundError(f"there is no such provider: there are {', '.join(PROVIDERS)}")
    return name
