"""The floor: what this machine's HTTP costs when nothing is done with the events.

The same server as that of `app.serve`, and an application that reads the body and
answers 201 with nothing else. No rate of ours can exceed it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import uvloop

from caretrail import listening

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_START: Final = {
    "type": "http.response.start",
    "status": 201,
    "headers": [(b"content-length", b"0")],
}
_BODY: Final = {"type": "http.response.body", "body": b""}


async def application(
    scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Read the request's body and answer 201."""
    assert scope["type"] == "http"
    pieces = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return
        pieces.append(message["body"])
        if not message["more_body"]:
            break
    b"".join(pieces)
    await send(_START)
    await send(_BODY)


def main(answering: Any = application) -> None:
    """Say the port and serve until the process is stopped."""
    listener = listening.listen("127.0.0.1", 0)
    listening.settle()
    print(listener.getsockname()[1], flush=True)  # noqa: T201  (the parent reads it)
    uvloop.run(listening.server(answering).serve(sockets=[listener]))
