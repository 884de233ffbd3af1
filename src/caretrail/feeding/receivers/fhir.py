"""A second Audit Record Repository, over FHIR (ITI-20, ATX: FHIR Feed): a batch of creates.

An event goes as it is served, under this log's id: bytes with a key of their own, which another
CareTrail takes once, however often they come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caretrail.capture import feed
from caretrail.errors import UnavailableError
from caretrail.feeding.contract import Item, LaterError, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caretrail.feeding.receivers.over_http import Http

_REFUSED: Final = frozenset([400, 409, 410, 412, 413, 415, 422])


class FhirRepository:
    """The FHIR base of a repository; `token` returns the bearer token, "" for none."""

    def __init__(self, http: Http, token: Callable[[], str]) -> None:
        self._http, self._token = http, token

    async def send(self, items: Sequence[Item]) -> Sequence[Refused]:
        """Send a batch; each entry has its own answer."""
        body = feed.bundle(item.body for item in items)
        answer = await self._http.post(body, feed.headers(self._token()))
        refused = []
        for item, verdict in zip(items, feed.verdicts(answer, len(items)), strict=True):
            if verdict.status in feed.AGAIN:
                raise LaterError(f"the receiver answers {verdict.status} to an event")
            if verdict.status in _REFUSED:
                refused.append(Refused(item, " ".join([str(verdict.status), *verdict.codes])))
            elif not 200 <= verdict.status < 300:
                raise UnavailableError(f"the receiver answers {verdict.status} to an event")
        return refused

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()
