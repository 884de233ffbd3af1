"""A syslog receiver over TLS (RFC 5425; ATNA's ATX: TLS Syslog). It says nothing of what it took.

So each batch has a connection of its own. A receiver that closes it by itself is about to stop, and
may not have looked at all of it: the batch goes once more. Else we close, and wait for the receiver
to close, too: it has read all of it then. What it keeps in memory alone is its own to lose.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from caretrail import outgoing
from caretrail.errors import UnavailableError
from caretrail.formats import syslog
from caretrail.limits import OUTGOING_SECONDS_MAX, SYSLOG_GRACE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.feeding.contract import Item, Refused
    from caretrail.outgoing import Address, Reach

_BYTES: Final = 4_096


class Syslog:
    """A receiver; `message_id` says in which words the events are."""

    def __init__(
        self, address: Address, reach: Reach, tls: ssl.SSLContext | None, message_id: str
    ) -> None:
        self._address, self._reach = address, reach
        self._tls = tls or outgoing.tls_context()
        self._message_id = message_id
        self._host = socket.gethostname()

    async def send(self, items: Sequence[Item]) -> Sequence[Refused]:
        """Send a batch over a connection of its own."""
        frames = b"".join(
            syslog.frame(
                item.body, recorded=item.recorded, host=self._host, message_id=self._message_id
            )
            for item in items
        )
        where = await outgoing.lookup(self._address.host, self._address.port, self._reach)
        try:
            await asyncio.to_thread(self._deliver, where, frames)
        except (OSError, ssl.SSLError) as error:
            said = f"the receiver did not take it ({type(error).__name__})"
            raise UnavailableError(said) from error
        return ()

    def _deliver(self, where: str, frames: bytes) -> None:
        place = (where, self._address.port)
        with (
            socket.create_connection(place, OUTGOING_SECONDS_MAX) as plain,
            self._tls.wrap_socket(plain, server_hostname=self._address.host) as connection,
        ):
            connection.sendall(frames)
            _stays(connection)
            connection.settimeout(OUTGOING_SECONDS_MAX)
            try:
                rest = connection.unwrap()
            except ssl.SSLEOFError:
                return  # Closed without a farewell, as rsyslog does. Unread bytes would reset it.
            while rest.recv(_BYTES):
                pass

    async def close(self) -> None:
        """Hold nothing: a connection ends with its batch."""


def _stays(connection: ssl.SSLSocket) -> None:
    """Return once the receiver has not closed for a while; raise OSError when it has."""
    connection.settimeout(SYSLOG_GRACE_SECONDS)
    with suppress(TimeoutError):
        while connection.recv(_BYTES):
            pass  # A receiver has nothing to say.
        raise ConnectionResetError("it closed by itself")
