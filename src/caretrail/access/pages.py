"""What all pages have that people see in a browser: those of the sign-in, and the console's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caretrail.errors import MediaTypeError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

FORM: Final = "application/x-www-form-urlencoded"
# A browser that keeps, frames, sniffs or tells others nothing.
HEADERS: Final[Mapping[str, str]] = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


async def form_bytes(request: Request, bytes_max: int) -> bytes:
    """Return the body of a form; raises MediaTypeError or TooLargeError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM:
        raise MediaTypeError(f"the body has to be {FORM}")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > bytes_max:
            raise TooLargeError(f"a form may have {bytes_max} bytes")
    return bytes(body)
