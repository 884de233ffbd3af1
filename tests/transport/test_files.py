"""A file as an answer: sent piece by piece, and closed whatever happens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from caretrail.access.decision import Gate
from caretrail.api.http import Request, Response
from caretrail.api.router import Route
from caretrail.api.service import Service
from caretrail.repository import Repository
from caretrail.storage.sqlite import SqliteStorage
from caretrail.transport.asgi import Application

if TYPE_CHECKING:
    from pathlib import Path


async def sent(
    folder: Path, content: bytes, *, method: str = "GET", fail_at: int = -1
) -> tuple[list[dict[str, Any]], Any]:
    """Return the messages that the server is sent for a file, and the file."""
    path = folder / "file"
    path.write_bytes(content)
    opened: list[Any] = []

    async def give(_: Request, __: Service) -> Response:
        opened.append(path.open("rb"))
        return Response(200, media=b"application/x-file", file=opened[0])

    repository = Repository(SqliteStorage(folder / "data"))
    try:
        service = Service(repository, Gate(None))
        application = Application(
            service, routes=[Route("GET", "/file", give, "$export-file", fhir=False)]
        )
        messages: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            if len(messages) == fail_at:
                raise OSError("the client is gone")
            messages.append(dict(message))

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        scope = {"type": "http", "method": method, "path": "/file", "query_string": b"",
                 "headers": [(b"host", b"x"), (b"accept-encoding", b"gzip")], "scheme": "http"}  # fmt: skip
        if fail_at >= 0:
            with pytest.raises(OSError, match="gone"):
                await application(scope, receive, send)
        else:
            await application(scope, receive, send)
    finally:
        await repository.close()
    return messages, opened[0]


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1, 1_000_000])
def test_a_file_arrives_whole_and_in_pieces(tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    (start, *pieces), file = asyncio.run(sent(tmp_path, content[:size]))
    headers = dict(start["headers"])
    assert headers[b"content-length"] == b"%d" % size
    assert headers[b"cache-control"] == b"no-store"
    assert b"content-encoding" not in headers
    assert b"".join(piece["body"] for piece in pieces) == content[:size]
    assert max(len(piece["body"]) for piece in pieces) <= 256 * 1024
    assert [piece.get("more_body", False) for piece in pieces] == [True] * (len(pieces) - 1) + [
        False
    ]
    assert file.closed


def test_head_gets_the_length_alone(tmp_path: Path) -> None:
    (start, last), file = asyncio.run(sent(tmp_path, b"abc", method="HEAD"))
    assert dict(start["headers"])[b"content-length"] == b"3"
    assert last["body"] == b""
    assert file.closed


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_client_that_goes_away_leaves_no_file_open(tmp_path: Path, at: int) -> None:
    _, file = asyncio.run(sent(tmp_path, bytes(600_000), fail_at=at))
    assert file.closed
