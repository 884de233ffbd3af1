"""Several applications behind one port: each request goes to the one that it is for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

from caretrail import tenants
from caretrail.api.router import ROOT
from caretrail.errors import Error
from caretrail.transport.inflate import Inflater

if TYPE_CHECKING:
    from caretrail.transport.asgi import Message, Receive, Scope, Send

App = Callable[["Scope", "Receive", "Send"], Awaitable[None]]

# What the repository answers, by the part of the path after the base.
_REPOSITORY: Final = frozenset(
    ["AuditEvent", "OperationDefinition", "SearchParameter", "Subscription", ".well-known"]
)
_TENANTS: Final = tenants.path("")
_EVENT_COMPARTMENTS: Final = ("/AuditEvent", "/AuditEvent/_search")
_OF_EVENTS: Final = b"_type=AuditEvent"


class Front:
    """An ASGI application that leaves the addresses below a path to another one."""

    def __init__(
        self, inner: App, other: App, *, path: str, others: frozenset[str] = frozenset()
    ) -> None:
        """Leave `path` and what is below it to `other`, and beside it these `others`."""
        self._inner, self._other = inner, other
        self._below, self._others = f"{path}/", others | {path}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        is_other = scope["type"] == "http" and (
            scope["path"].startswith(self._below) or scope["path"] in self._others
        )
        return (self._other if is_other else self._inner)(scope, receive, send)


class Tenants:
    """An ASGI application that leaves what is below `/t/NAME` to the tenant of that name.

    A tenant's application sees its addresses as the default log's does.
    """

    def __init__(self, inner: App, others: Mapping[str, App]) -> None:
        """Take the tenants by name; what names none of them is `inner`'s to refuse."""
        self._inner, self._tenants = inner, dict(others)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith(_TENANTS):
            return self._inner(scope, receive, send)
        name, slash, rest = scope["path"][len(_TENANTS) :].partition("/")
        tenant = self._tenants.get(name)
        if tenant is None or not slash:
            return self._inner(scope, receive, send)
        prefix = scope.get("root_path", "") + _TENANTS + name
        return tenant({**scope, "path": f"/{rest}", "root_path": prefix}, receive, send)


class Switch:
    """An ASGI application in front of two.

    A Bundle goes to the clinic if `is_clinical` says so of its bytes, which may be `body_bytes_max`.
    The way of a posted AuditEvent is as short as without it: nothing is awaited here.
    """

    def __init__(
        self,
        repository: App,
        clinic: App,
        *,
        is_clinical: Callable[[bytes], bool],
        body_bytes_max: int,
    ) -> None:
        self._repository, self._clinic = repository, clinic
        self._is_clinical, self._bytes_max = is_clinical, body_bytes_max

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request by the one of the two that it is for."""
        if scope["type"] != "http":
            return self._repository(scope, receive, send)
        path = scope["path"]
        if path.rstrip("/") == ROOT and scope["method"] == "POST":
            return self._by_body(scope, receive, send, self._is_clinical)
        is_of_events = _is_of_events(path, scope["query_string"])
        if path == f"{ROOT}/_search" and scope["method"] == "POST" and not is_of_events:
            return self._by_body(scope, receive, send, lambda form: _OF_EVENTS not in form)
        chosen = self._repository if is_of_events else self._clinic
        return chosen(scope, receive, send)

    async def _by_body(
        self, scope: Scope, receive: Receive, send: Send, is_clinical: Callable[[bytes], bool]
    ) -> None:
        messages = await _read(receive, self._bytes_max)
        body = _inflated(messages, scope, self._bytes_max)
        # What cannot be read is the repository's to refuse.
        is_for_clinic = body is not None and is_clinical(body)
        chosen = self._clinic if is_for_clinic else self._repository
        await chosen(scope, _replay(messages, receive), send)


def _is_of_events(path: str, query: bytes) -> bool:
    if not path.startswith(f"{ROOT}/"):
        return path != ROOT or _OF_EVENTS in query
    rest = path[len(ROOT) + 1 :]
    if rest in ("", "_search"):
        return _OF_EVENTS in query
    return rest.partition("/")[0] in _REPOSITORY or rest.endswith(_EVENT_COMPARTMENTS)


async def _read(receive: Receive, bytes_max: int) -> list[Message]:
    """Return what comes of a body, as far as it may be read."""
    messages: list[Message] = []
    size, is_more = 0, True
    while is_more and size <= bytes_max:
        messages.append(await receive())
        size += len(messages[-1].get("body", b""))
        is_more = messages[-1].get("more_body", False)
    return messages


def _inflated(messages: list[Message], scope: Scope, bytes_max: int) -> bytes | None:
    """Return the body, or None where it is too long, cut off, or packed in a way not known here."""
    if not messages or messages[-1].get("more_body") or messages[-1]["type"] != "http.request":
        return None
    body = b"".join(message.get("body", b"") for message in messages)
    coding = next((value for name, value in scope["headers"] if name == b"content-encoding"), b"")
    if coding.lower() in (b"", b"identity"):
        return body
    if coding.lower() not in (b"gzip", b"x-gzip"):
        return None
    try:
        inflater = Inflater(bytes_max)
        inflater.feed(body)
        return inflater.finish()
    except Error:
        return None


def _replay(messages: list[Message], receive: Receive) -> Receive:
    waiting = iter(messages)

    async def replayed() -> Message:
        return next(waiting, None) or await receive()

    return replayed
