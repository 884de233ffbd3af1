"""Any collector that takes lines over HTTP (Vector, Fluent Bit, Logstash): an event a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caretrail.feeding.contract import Item, Refused
    from caretrail.feeding.receivers.over_http import Http

_MEDIA: Final = "application/x-ndjson"


class Lines:
    """A collector; `token` returns a bearer token, "" for none."""

    def __init__(self, http: Http, token: Callable[[], str]) -> None:
        self._http, self._token = http, token

    async def send(self, items: Sequence[Item]) -> Sequence[Refused]:
        """Send one request: the status is about all of it."""
        headers = {"content-type": _MEDIA}
        if token := self._token():
            headers["authorization"] = f"Bearer {token}"
        await self._http.post(b"".join(item.body + b"\n" for item in items), headers)
        return ()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()
