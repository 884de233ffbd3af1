"""Splunk's HTTP Event Collector: `/services/collector/event`, objects one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail.errors import UnavailableError
from caretrail.fhir.temporal import instant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caretrail.feeding.contract import Item, Refused
    from caretrail.feeding.receivers.over_http import Http

_SUCCESS: Final = 0


class Splunk:
    """A collector; `token` returns its token, `source_type` says in which words the events are."""

    def __init__(self, http: Http, token: Callable[[], str], source_type: str) -> None:
        self._http, self._token, self._source_type = http, token, source_type

    async def send(self, items: Sequence[Item]) -> Sequence[Refused]:
        """Send one request; the collector takes all of it or nothing."""
        body = b"\n".join(map(self._line, items))
        headers = {
            "authorization": f"Splunk {self._token()}",
            "content-type": "application/json",
        }
        answer = await self._http.post(body, headers)
        if _code(answer.content) != _SUCCESS:
            raise UnavailableError("the collector's answer is not one of success")
        return ()

    def _line(self, item: Item) -> bytes:
        row: dict[str, Any] = {
            "time": instant(item.recorded).milliseconds / 1000,
            "sourcetype": self._source_type,
            "fields": {"caretrail_entry": str(item.entry)},
            "event": _event(item.body),
        }
        return msgspec.json.encode(row)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


def _event(body: bytes) -> object:
    """Return what stands for the event: its JSON, or a line of text."""
    return msgspec.Raw(body) if body[:1] == b"{" else body.decode("utf-8", "replace")


def _code(answer: bytes) -> object:
    try:
        found = msgspec.json.decode(answer)
    except msgspec.MsgspecError:
        return None
    return found.get("code") if isinstance(found, dict) else None
