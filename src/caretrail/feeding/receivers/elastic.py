"""Elasticsearch and OpenSearch: `_bulk`, each event a document under its own id.

A document that is there already is the same one, so that what is sent twice is stored once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail.errors import UnavailableError
from caretrail.feeding.contract import Item, LaterError, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caretrail.feeding.receivers.over_http import Http

_THERE: Final = 409  # A create of an id that is there.
_REFUSED: Final = frozenset([400, 413])


class _Row(msgspec.Struct):
    status: int
    error: msgspec.Raw = msgspec.Raw(b"null")


class _Answer(msgspec.Struct):
    items: list[dict[str, _Row]]


class Elastic:
    """An index or a data stream; `token` returns an API key, "" for none."""

    def __init__(self, http: Http, token: Callable[[], str], index: str) -> None:
        self._http, self._token, self._index = http, token, index

    async def send(self, items: Sequence[Item]) -> Sequence[Refused]:
        """Send one request; each document has its own answer."""
        body = b"".join(part for item in items for part in self._lines(item))
        headers = {"content-type": "application/x-ndjson"}
        if token := self._token():
            headers["authorization"] = f"ApiKey {token}"
        answer = await self._http.post(body, headers)
        refused = []
        for item, status in zip(items, _statuses(answer.content, len(items)), strict=True):
            if status in _REFUSED:
                refused.append(Refused(item, str(status)))
            elif status != _THERE and not 200 <= status < 300:
                raise LaterError(f"the receiver answers {status} to a document")
        return refused

    def _lines(self, item: Item) -> tuple[bytes, ...]:
        action: dict[str, Any] = {"create": {"_index": self._index, "_id": item.id}}
        return msgspec.json.encode(action), b"\n", item.body, b"\n"

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


def _statuses(answer: bytes, count: int) -> list[int]:
    try:
        rows = msgspec.json.decode(answer, type=_Answer).items
    except msgspec.MsgspecError as error:
        raise UnavailableError("the receiver's answer is not one of _bulk") from error
    found = [one.status for row in rows for one in row.values()]
    if len(found) != count:
        raise UnavailableError("the receiver does not answer for each document")
    return found
