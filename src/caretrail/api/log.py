"""`/log`: the tree for outsiders, as C2SP tlog-tiles; checkpoint, tiles of hashes, entry bundles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caretrail.api.failure import FORBIDDEN
from caretrail.api.http import Request, Response
from caretrail.errors import ForbiddenError, NotFoundError, VerificationError
from caretrail.exporting.static_tiles import content
from caretrail.tlog import tile
from caretrail.tlog.tile import Tile

if TYPE_CHECKING:
    from caretrail.api.service import Service

ACCESS: Final = ("public", "hashes", "private")
# The parts of a tile's path after its level: groups of three digits, and the width of a partial one.
TILE_PARTS_MAX: Final = 8
TEXT: Final = b"text/plain; charset=utf-8"
BINARY: Final = b"application/octet-stream"


async def checkpoint(request: Request, service: Service) -> Response:
    """Return the latest checkpoint; where witnesses are set up, the latest that they cosigned."""
    await _admit(request, service, "hashes")
    note = service.publisher.public() if service.publisher is not None else None
    if note is None:
        raise NotFoundError("this log has not signed a checkpoint yet")
    return Response(200, note.format(), media=TEXT)


async def latest(request: Request, service: Service) -> Response:
    """Return the latest checkpoint, whether witnesses have cosigned it or not."""
    await _admit(request, service, "hashes")
    signed = service.publisher.signed if service.publisher is not None else None
    if signed is None:
        raise NotFoundError("this log has not signed a checkpoint yet")
    return Response(200, signed.note.format(), media=TEXT)


async def keys(request: Request, service: Service) -> Response:
    """Return the history of the log's keys: who trusts this address alone takes them from here."""
    await _admit(request, service, "hashes")
    history = service.publisher.keys if service.publisher is not None else ""
    if not history:
        raise NotFoundError("this log has no key")
    return Response(200, history.encode(), media=TEXT)


async def resource(request: Request, service: Service) -> Response:
    """Return a tile or an entry bundle of the signed tree; neither ever changes."""
    try:
        named = tile.parse("tile/" + "/".join(request.captures))
    except VerificationError as error:
        raise NotFoundError("there is no such tile") from error
    await _admit(request, service, "hashes" if isinstance(named, Tile) else "public")
    signed = service.publisher.signed if service.publisher is not None else None
    if signed is None or not named.within(signed.size):
        raise NotFoundError("the signed tree does not have that tile")
    body = await service.repository.prove(lambda proofs: content(proofs, named))
    return Response(200, body, media=BINARY, lasting=True)


async def _admit(request: Request, service: Service, needed: str) -> None:
    """Ask for a credential unless the deployment's policy lets everybody have this.

    Entries are those of all the log, so that only whoever sees all of it has them.
    """
    if ACCESS.index(service.log_access) <= ACCESS.index(needed):
        return
    identity = await service.gate.identify(request.headers, request.certificate)
    view = identity.view("log")
    if view is None or (needed == "public" and not view.is_whole):
        raise ForbiddenError(FORBIDDEN)
