"""NATS JetStream: each event a message under its own id, acknowledged by the stream.

A stream that captures the subject has to be there; within its window of duplicates it stores what
comes twice once.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import nats
from nats.errors import Error as NatsError
from nats.js.errors import APIError, NoStreamResponseError

from caretrail import outgoing
from caretrail.errors import UnavailableError
from caretrail.limits import OUTGOING_SECONDS_MAX

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from nats.aio.client import Client
    from nats.js import JetStreamContext

    from caretrail.feeding.contract import Item, Refused
    from caretrail.outgoing import Address, Reach

_ID: Final = "Nats-Msg-Id"
_CONNECT_SECONDS: Final = 5


class Nats:
    """A subject of a server; `token` returns its token, "" for none."""

    def __init__(
        self,
        address: Address,
        reach: Reach,
        tls: ssl.SSLContext | None,
        token: Callable[[], str],
        subject: str,
    ) -> None:
        self._address, self._reach, self._tls = address, reach, tls
        self._token, self._subject = token, subject
        self._client: Client | None = None
        self._stream: JetStreamContext | None = None

    async def send(self, items: Sequence[Item]) -> Sequence[Refused]:
        """Publish all of them, and wait for the stream to have each."""
        try:
            async with asyncio.timeout(OUTGOING_SECONDS_MAX):
                stream = await self._connected()
                await asyncio.gather(*[
                    stream.publish(self._subject, item.body, headers={_ID: item.id})
                    for item in items
                ])  # fmt: skip
        except NoStreamResponseError as error:
            raise UnavailableError("no stream takes the subject of this feed") from error
        except (NatsError, APIError, OSError, TimeoutError) as error:
            await self.close()
            raise UnavailableError(
                f"the receiver did not take it ({type(error).__name__})"
            ) from error
        return ()

    async def _connected(self) -> JetStreamContext:
        if self._stream is not None and self._client is not None and self._client.is_connected:
            return self._stream
        await self.close()
        scheme, host, port, _ = self._address
        where = await outgoing.lookup(host, port, self._reach)
        shown = f"[{where}]" if ":" in where else where
        options: dict[str, Any] = {}
        if scheme == "tls":
            options = {"tls": self._tls or outgoing.tls_context(), "tls_hostname": host}
        if token := self._token():
            options["token"] = token
        self._client = await nats.connect(
            f"{scheme}://{shown}:{port}",
            allow_reconnect=False,
            connect_timeout=_CONNECT_SECONDS,
            error_cb=_quiet,
            **options,
        )
        self._stream = self._client.jetstream(timeout=OUTGOING_SECONDS_MAX)
        return self._stream

    async def close(self) -> None:
        """Close the connection."""
        client, self._client, self._stream = self._client, None, None
        if client is not None:
            with suppress(NatsError, OSError):
                await client.close()


async def _quiet(_: Exception) -> None:
    """Keep quiet: the publishing that fails tells what is wrong."""
