"""Receivers that are asked by HTTP: one request a batch, judged by its status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caretrail import outgoing
from caretrail.capture import feed
from caretrail.errors import UnavailableError
from caretrail.feeding.contract import LaterError, RefusedError
from caretrail.limits import FEED_RETRY_AFTER_SECONDS_MAX

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    import httpx

    from caretrail.outgoing import Reach

# Refused for what it is; everything else, wrong addresses and credentials included, is an
# operator's to mend, and the events wait for it.
_REFUSED: Final = frozenset([400, 409, 410, 412, 413, 415, 422])


class Http:
    """Posts to one address."""

    def __init__(self, url: str, reach: Reach, tls: ssl.SSLContext | None) -> None:
        self.url = url
        self._http = outgoing.client(reach, tls=tls)

    async def post(self, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """Return an answer of success; raise LaterError, RefusedError or UnavailableError."""
        answer = await outgoing.post(self._http, self.url, body, headers)
        status = answer.status_code
        if 200 <= status < 300:
            return answer
        if status in feed.AGAIN:
            asked = feed.retry_after(answer, seconds_max=FEED_RETRY_AFTER_SECONDS_MAX)
            raise LaterError(f"the receiver answers {status}", asked)
        if status in _REFUSED:
            raise RefusedError(str(status))
        raise UnavailableError(f"the receiver answers {status}")

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()
