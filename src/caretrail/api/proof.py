"""`$proof` and receipts: what shows that one event stands in the tree (C2SP tlog-proof)."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail.api import negotiation
from caretrail.api.http import Request, Response
from caretrail.api.log import TEXT
from caretrail.errors import NotFoundError, ThrottledError
from caretrail.limits import RECEIPT_SECONDS_MAX
from caretrail.tlog.proof_file import ProofFile

if TYPE_CHECKING:
    from caretrail.api.service import Service
    from caretrail.storage.contract import Sealed

_WAIT_SECONDS: Final = 2.0


async def proof(request: Request, service: Service) -> Response:
    """Operation `$proof`: the proof file of one event, or Parameters where FHIR is asked for.

    The proof file has the entry as its extra data, so that it can be checked by itself.
    """
    (event_id, *_) = request.captures
    sealed = await service.repository.prove(lambda proofs: proofs.sealed_event(event_id))
    if not (request.view.is_whole or (sealed.record and request.view.includes(sealed.record))):
        raise NotFoundError("there is no event with this id")
    file = await _file(sealed, service, seconds=_WAIT_SECONDS)
    if file is None:
        raise ThrottledError("no checkpoint covers this event yet: ask again in a second")
    if b"fhir" in request.headers.get(b"accept", b"") or "_format" in request.query:
        form = negotiation.response_format(request)
        body = msgspec.json.encode(_parameters(sealed, service, file, salted=True))
        return Response(200, body, form=form, rows=1)
    return Response(200, file.format(), media=TEXT, rows=1)


async def receipt(event_id: str, service: Service, *, wait: bool) -> bytes:
    """Return the receipt of an event that was just stored, as Parameters.

    With `wait` it has the proof, once a checkpoint covers the event: a cosigned one where there
    are witnesses. Past RECEIPT_SECONDS_MAX it comes without, as `$proof` will have it later.
    """
    sealed = await service.repository.prove(lambda proofs: proofs.sealed_event(event_id))
    file = (
        await _file(sealed, service, seconds=RECEIPT_SECONDS_MAX, cosigned=True) if wait else None
    )
    return msgspec.json.encode(_parameters(sealed, service, file))


async def _file(
    sealed: Sealed, service: Service, *, seconds: float, cosigned: bool = False
) -> ProofFile | None:
    publisher = service.publisher
    if publisher is None:
        return None
    best = publisher.has_witnesses and (
        cosigned or (publisher.cosigned is not None and publisher.cosigned.size > sealed.entry)
    )
    signed = await publisher.covering(sealed.entry, cosigned=best, seconds=seconds)
    if signed is None:
        return None
    hashes = await service.repository.prove(
        lambda proofs: proofs.prover.inclusion(index=sealed.entry, size=signed.size)
    )
    return ProofFile(sealed.entry, hashes, signed.note, sealed.data)


def _parameters(
    sealed: Sealed, service: Service, file: ProofFile | None, *, salted: bool = False
) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [
        {"name": "origin", "valueString": service.repository.origin},
        {"name": "index", "valueString": str(sealed.entry)},
        {"name": "entry", "valueBase64Binary": b64encode(sealed.data).decode()},
    ]
    if salted and sealed.salt is not None:
        rows.append({"name": "salt", "valueBase64Binary": b64encode(sealed.salt).decode()})
    if file is not None:
        rows.append({"name": "proof", "valueString": file.format().decode()})
    return {"resourceType": "Parameters", "parameter": rows}
