"""A page asks the API as the person would: the same views, the same refusals, the same record.

The questions go through the router in this process. So a page can show nothing that the person's
token would not get, and each thing that it shows leaves its Audit Log Used event (DESIGN, 12).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qs, urlencode

import msgspec

from caretrail.api.http import Request, Response
from caretrail.api.router import ROOT, Router
from caretrail.errors import Error, ForbiddenError, InvalidError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.access.identity import Identity
    from caretrail.api.http import Pairs
    from caretrail.api.service import Service

_EVENTS: Final = f"{ROOT}/AuditEvent"
_JSON: Final = b"application/fhir+json"


# What an administrator is told of: names of lists, and their lines.
Inventory = Callable[[], Awaitable[dict[str, list[str]]]]


class RefusedError(Error):
    """The API has refused a question of a page: its status, and what it says."""

    def __init__(self, status: int, diagnostics: Sequence[str]) -> None:
        super().__init__(" ".join(diagnostics))
        self.code, self.diagnostics = status, tuple(diagnostics)


class Found(NamedTuple):
    """A page of events; `next` and `previous` are cursors, "" at an end."""

    events: list[dict[str, Any]]
    total: int | None
    next: str = ""
    previous: str = ""


class Counts(NamedTuple):
    """What `$stats` tells. Buckets are pairs of an instant and a number."""

    total: int | None
    estimated: bool
    buckets: list[tuple[str, int]]
    facets: dict[str, list[dict[str, Any]]]


class Routers:
    """The API in this process: with a record of each question, and without one.

    The second answers what a recorded question of the same page already covers.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.recording = Router(service)
        self.beside = Router(service._replace(auditing=None))


class Asking:
    """One request of a person's browser. `pairs` are the parameters of its address."""

    def __init__(
        self,
        routers: Routers,
        *,
        identity: Identity,
        bearer: str,
        peer: str,
        scheme: str,
        host: str,
        pairs: Sequence[tuple[str, str]] = (),
        captures: Sequence[str] = (),
        inventory: Inventory | None = None,
    ) -> None:
        self.identity, self.captures = identity, tuple(captures)
        self.pairs = list(pairs)
        self.service, self.inventory = routers.service, inventory
        self._routers, self._peer, self._scheme = routers, peer, scheme
        self._headers = {b"host": host.encode("latin-1", "replace"), b"accept": _JSON}
        if bearer:
            self._headers[b"authorization"] = f"Bearer {bearer}".encode("latin-1", "replace")

    def value(self, name: str, default: str = "") -> str:
        """Return the last value of a parameter of the page's address."""
        return next((value for key, value in reversed(self.pairs) if key == name), default)

    def may(self, *interactions: str) -> bool:
        """Tell whether the person may do all of these."""
        return all(self.identity.grants.get(one) is not None for one in interactions)

    async def answer(self, path: str, query: str = "", *, is_beside: bool = False) -> Response:
        """Return the API's answer; raises RefusedError, or what of it the page can say better."""
        router = self._routers.beside if is_beside else self._routers.recording
        request = Request("GET", path, query, self._headers, peer=self._peer)
        _, response = await router.answer(request, self._scheme, _no_body)
        if response.status >= 400:
            _refuse(response)
        return response

    async def order(
        self,
        method: str,
        path: str,
        pairs: Sequence[tuple[str, str]] = (),
        **headers: str,
    ) -> Response:
        """Have the API do something, with parameters in a form; raises as `answer` does."""
        body = urlencode(pairs).encode()

        async def read(_: int) -> bytes:
            return body

        named = {name.encode(): value.encode() for name, value in headers.items()}
        form = {b"content-type": b"application/x-www-form-urlencoded"} if pairs else {}
        everything = {**self._headers, **named, **form}
        request = Request(method, path, "", everything, peer=self._peer)
        _, response = await self._routers.recording.answer(request, self._scheme, read)
        if response.status >= 400:
            _refuse(response)
        return response

    async def json(self, path: str, query: str = "", *, is_beside: bool = False) -> Any:
        """Return what the API answers, decoded."""
        response = await self.answer(path, query, is_beside=is_beside)
        return msgspec.json.decode(response.body)

    async def search(self, pairs: Pairs, *, is_beside: bool = False) -> Found:
        """Return the events that a search finds, one page of them."""
        bundle = await self.json(_EVENTS, urlencode(pairs), is_beside=is_beside)
        cursors = {
            one["relation"]: parse_qs(one["url"].partition("?")[2]).get("_page", [""])[0]
            for one in bundle["link"]
        }
        events = [
            one["resource"]
            for one in bundle.get("entry", ())
            if one["resource"]["resourceType"] == "AuditEvent"
        ]
        return Found(
            events, bundle.get("total"), cursors.get("next", ""), cursors.get("previous", "")
        )

    async def stats(
        self,
        pairs: Pairs,
        *,
        by: Sequence[str] = (),
        interval: str = "",
        newest: int = 0,
        is_beside: bool = False,
    ) -> Counts:
        """Return the counts of a search, with facets of so many `newest` events."""
        asked = list(pairs)
        asked += [("_by", ",".join(by))] if by else []
        asked += [("_interval", interval)] if interval else []
        asked += [("_newest", str(newest))] if newest and by else []
        found = await self.json(f"{_EVENTS}/$stats", urlencode(asked), is_beside=is_beside)
        return _counts(found)

    async def event(self, event_id: str) -> dict[str, Any]:
        """Return one event; raises NotFoundError."""
        found: dict[str, Any] = await self.json(f"{_EVENTS}/{event_id}")
        return found

    async def parameters(self, path: str, *, is_beside: bool = False) -> list[dict[str, Any]]:
        """Return the parameters that an operation answers."""
        found = await self.json(path, "_format=json", is_beside=is_beside)
        rows: list[dict[str, Any]] = found.get("parameter", [])
        return rows


async def _no_body(_: int) -> bytes:
    return b""


def _refuse(response: Response) -> None:
    try:
        outcome = msgspec.json.decode(response.body)
        said = [str(one.get("diagnostics", "")) for one in outcome.get("issue", ())]
    except (msgspec.MsgspecError, AttributeError):
        said = []
    message = " ".join(filter(None, said)) or "the log does not answer that"
    if response.status == 403:
        raise ForbiddenError(message)
    if response.status == 404:
        raise NotFoundError(message)
    if response.status in (400, 414, 422):
        raise InvalidError(message)
    raise RefusedError(response.status, [message])


def part(row: dict[str, Any], name: str) -> Any:
    """Return the value of a part of a parameter, None where it is absent."""
    for one in row.get("part", ()):
        if one["name"] == name:
            return next((value for key, value in one.items() if key.startswith("value")), None)
    return None


def _counts(found: dict[str, Any]) -> Counts:
    total: int | None = None
    estimated = False
    buckets: list[tuple[str, int]] = []
    facets: dict[str, list[dict[str, Any]]] = {}
    for row in found.get("parameter", ()):
        match row["name"]:
            case "total":
                total = row["valueInteger"]
            case "estimated":
                estimated = row["valueBoolean"]
            case "bucket":
                buckets.append((part(row, "start"), part(row, "count")))
            case "facet":
                facets[part(row, "parameter")] = [
                    {name: part(one, name) for name in ("value", "display", "count")}
                    for one in _values(row)
                ]
    return Counts(total, estimated, buckets, facets)


def _values(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in row["part"] if one["name"] == "value"]
