"""The answer to an HTTP request that we made: read within bounds, whoever sent it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import httpx

from caretrail.errors import VerificationError

if TYPE_CHECKING:
    import ssl

# A compressed answer could grow beyond any bound.
_HEADERS: Final = {"accept-encoding": "identity", "user-agent": "caretrail"}


class Answer(NamedTuple):
    """What came back; the media type is without parameters and in lower case."""

    status: int
    media_type: str
    body: bytes


def client(*, seconds: float, tls: ssl.SSLContext | None) -> httpx.AsyncClient:
    """Return a client that checks certificates, by `tls` or else by the public authorities.

    It follows no redirect: who we talk to is said by settings, and by nobody else.
    """
    return httpx.AsyncClient(
        verify=tls or True, follow_redirects=False, timeout=seconds, headers=_HEADERS
    )


async def post(
    http: httpx.AsyncClient, url: str, content: bytes, *, media_type: str, bytes_max: int
) -> Answer:
    """Send a body and return the answer; raises VerificationError as soon as it is too long."""
    headers = {"content-type": media_type}
    async with http.stream("POST", url, content=content, headers=headers) as response:
        body = b""
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > bytes_max:
                raise VerificationError("the answer is too long")
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        return Answer(response.status_code, kind, body)
