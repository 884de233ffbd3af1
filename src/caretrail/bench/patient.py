"""A server that does nothing: it answers everything with one synthetic patient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PATIENT: Final = (
    b'{"resourceType":"Patient","id":"1","active":true,"gender":"other","birthDate":"1970-01-01"}'
)
_HEADERS: Final = [
    (b"content-type", b"application/fhir+json"),
    (b"content-length", b"%d" % len(PATIENT)),
]


async def patient(
    scope: Any,
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[Any], Awaitable[None]],
) -> None:
    """Answer a request (ASGI)."""
    assert scope["type"] == "http"
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": PATIENT})
