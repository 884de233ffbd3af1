"""Servers that answer as no good witness does: real sockets, and bytes as they are written here."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

NEVER = b"never"


def http(status: int, body: bytes = b"", *, media: str = "text/plain", more: str = "") -> bytes:
    """Return an answer in HTTP/1.1."""
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\n{more}"
    return head.encode() + b"Connection: close\r\n\r\n" + body


@asynccontextmanager
async def answering(
    answer: Callable[[bytes], bytes], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve `answer` of each body on a loopback port; `NEVER` is what it says."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            data = answer(await reader.readexactly(length))
            if data is NEVER:
                await reader.read()  # Until the other side gives up.
            else:
                writer.write(data)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
