"""The witness over HTTP, as a small ASGI application (C2SP tlog-witness)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from caretrail.errors import Error, TooLargeError
from caretrail.limits import WITNESS_BODY_SECONDS_MAX, WITNESS_REQUEST_BYTES_MAX
from caretrail.witness import figures
from caretrail.witness.cosigning import Answer

if TYPE_CHECKING:
    from caretrail.witness.cosigning import Witness

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_T = TypeVar("_T")

_log: Final = logging.getLogger(__name__)

_JSON: Final = "application/json"
_HEADERS: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_NOTHING: Final = Answer(404, b"nothing is here\n")
_ALIVE: Final = Answer(200, b'{"status":"ok"}', _JSON)


class _GoneError(Exception):
    """The client has gone, or is too slow to wait for."""


class Application:
    """The addresses of a witness; their work is done in one thread, one after the other."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._figures = figures.Figures(witness)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="witness")

    def close(self) -> None:
        """Finish what was begun."""
        self._worker.shutdown()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        body = _Body(receive)
        try:
            answer = await self._answer(scope["method"], scope["path"], body)
        except _GoneError:
            return
        except Error as error:
            answer = Answer(error.status, f"{error}\n".encode())
        except Exception:
            _log.exception("a request failed")
            answer = Answer(500, b"the witness failed\n")
        await _send(send, scope["method"], answer, is_pending=body.is_pending)

    async def _answer(self, method: str, path: str, body: _Body) -> Answer:
        wanted = ("POST",) if path == "/add-checkpoint" else ("GET", "HEAD")
        if method not in wanted:
            return Answer(405, f"the method is {wanted[0]}\n".encode())
        match path:
            case "/add-checkpoint":
                data = await body.read(WITNESS_REQUEST_BYTES_MAX)
                return await self._in_thread(partial(self._witness.add_checkpoint, data))
            case "/health/live":
                return _ALIVE
            case "/health/ready":
                return _ready(await self._in_thread(self._witness.health))
            case "/metrics":
                return Answer(200, await self._in_thread(self._figures.text), figures.MEDIA_TYPE)
            case _ if path.endswith("/checkpoint"):
                return await self._in_thread(partial(self._witness.checkpoint, path[1:]))
        return _NOTHING

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, call)


def _ready(wrong: dict[str, str]) -> Answer:
    """Return 503 when no cosignature is made; a list that cannot be read leaves the one before."""
    body = msgspec.json.encode({"status": "failing" if wrong else "ok", **wrong})
    return Answer(503 if "clock" in wrong else 200, body, _JSON)


class _Body:
    """The body of one request."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        # What stays unread would be taken for the next request's beginning.
        self.is_pending = True

    async def read(self, bytes_max: int) -> bytes:
        """Return the body; raises TooLargeError as soon as it is too large."""
        data = b""
        try:
            async with asyncio.timeout(WITNESS_BODY_SECONDS_MAX):
                while self.is_pending:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise _GoneError
                    data += message.get("body", b"")
                    self.is_pending = message.get("more_body", False)
                    if len(data) > bytes_max:
                        raise TooLargeError(f"the body may have {bytes_max} bytes")
        except TimeoutError as error:
            raise _GoneError from error
        return data


async def _send(send: Send, method: str, answer: Answer, *, is_pending: bool) -> None:
    headers = [
        *_HEADERS,
        (b"content-type", answer.media_type.encode()),
        (b"content-length", b"%d" % len(answer.body)),
    ]
    if answer.status == 405:
        headers.append((b"allow", answer.body.split()[-1]))
    if is_pending and method not in ("GET", "HEAD"):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    body = b"" if method == "HEAD" else answer.body
    await send({"type": "http.response.body", "body": body})
