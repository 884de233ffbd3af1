"""ITI-20 by syslog: TLS (RFC 5425), UDP (RFC 5426), and TCP in clear on loopback (RFC 6587).

Every connection has its own limits, so that none of its peers holds up another: how much it may
have waiting, how long half a message may take, how many connections one address has.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from caretrail.errors import ConfigurationError
from caretrail.limits import (
    SYSLOG_ADDRESSES_MAX,
    SYSLOG_CONNECTIONS_MAX,
    SYSLOG_CONNECTIONS_PEER_MAX,
    SYSLOG_FRAME_SECONDS_MAX,
    SYSLOG_HANDSHAKE_SECONDS_MAX,
    SYSLOG_STOP_SECONDS_MAX,
    SYSLOG_STRAYS_MAX,
)
from caretrail.repository import Sender
from caretrail.transport.framing import Framing, Piece
from caretrail.transport.syslog_queue import Intake, Queue, Source

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from caretrail.access.identity import Identity
    from caretrail.repository import Repository

_log: Final = logging.getLogger(__name__)
TLS, TCP, UDP = "tls", "tcp", "udp"
_LOOPBACK: Final = "127.0.0.1"
# What the system keeps of datagrams while this process does something else.
_UDP_BUFFER_BYTES: Final = 8 * 1024 * 1024


class Ports(NamedTuple):
    """Where to listen; a port that is None is not opened, and 0 takes a free one."""

    host: str = _LOOPBACK
    tls: int | None = None
    udp: int | None = None
    tcp: int | None = None


class Rules(NamedTuple):
    """Who may send. `find` returns the source with this certificate (PEM), None for others.

    `denied` is told of a connection that was refused, with its address. Without `find` every
    connection is taken. What has no certificate is filed under `organisation`.
    """

    find: Callable[[str], Identity | None] | None = None
    organisation: str = ""
    denied: Callable[[str], Awaitable[None]] | None = None
    frame_seconds: float = SYSLOG_FRAME_SECONDS_MAX


class Syslog:
    """The listeners of one log."""

    def __init__(
        self,
        repository: Repository,
        ports: Ports,
        *,
        rules: Rules = Rules(),  # noqa: B008 - it is frozen.
        context: ssl.SSLContext | None = None,
    ) -> None:
        if ports.tls is not None and context is None:
            raise ConfigurationError("syslog over TLS needs --tls-cert")
        self.intake = Intake(repository)
        self.rules = rules
        self._ports, self._context = ports, context
        self._servers: list[asyncio.Server] = []
        self._datagrams: asyncio.DatagramTransport | None = None
        self._receiver: _Datagrams | None = None
        self._telling: set[asyncio.Future[None]] = set()
        self.connections: set[_Connection] = set()
        self.by_peer: dict[str, int] = {}
        # The ports that are listened on, by transport.
        self.opened: dict[str, int] = {}

    async def start(self) -> None:
        """Listen; raise ConfigurationError for a port that cannot be had."""
        try:
            if self._ports.tls is not None:
                await self._listen(TLS, self._ports.host, self._ports.tls, self._context)
            if self._ports.tcp is not None:
                await self._listen(TCP, _LOOPBACK, self._ports.tcp, None)
            if self._ports.udp is not None:
                await self._receive(self._ports.host, self._ports.udp)
        except OSError as error:
            await self.close()
            raise ConfigurationError(
                f"a port for syslog cannot be listened on ({error.strerror}): choose another"
            ) from error

    async def close(self) -> None:
        """Take nothing more, keep what was sent, and end."""
        for server in self._servers:
            server.close()
        if self._datagrams is not None:
            self._datagrams.close()
        for connection in tuple(self.connections):
            connection.finish()
        left = await self.intake.drain(seconds=SYSLOG_STOP_SECONDS_MAX)
        await asyncio.gather(*self._telling, return_exceptions=True)
        if left:
            _log.error("messages were not stored before the stop", extra={"messages": left})

    async def _listen(
        self, transport: str, host: str, port: int, context: ssl.SSLContext | None
    ) -> None:
        patience = SYSLOG_HANDSHAKE_SECONDS_MAX if context is not None else None
        server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self, transport),
            host,
            port,
            ssl=context,
            ssl_handshake_timeout=patience,
            ssl_shutdown_timeout=patience,
        )
        self._servers.append(server)
        self.opened[transport] = server.sockets[0].getsockname()[1]

    async def _receive(self, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        receiver = socket.socket(family, socket.SOCK_DGRAM)
        try:
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _UDP_BUFFER_BYTES)
            receiver.bind((host, port))
            receiver.setblocking(False)
        except OSError:
            receiver.close()
            raise
        self._datagrams, self._receiver = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Datagrams(self), sock=receiver
        )
        self.opened[UDP] = receiver.getsockname()[1]

    def refuse(self, transport: str, peer: str) -> None:
        """Count somebody who may not send, and let the log say so."""
        self.intake.figures.refuse(transport)
        if self.rules.denied is None:
            return
        task = asyncio.ensure_future(self.rules.denied(peer))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)


class _Connection(asyncio.Protocol):
    """One stream, of TLS or in clear."""

    def __init__(self, syslog: Syslog, kind: str) -> None:
        self._syslog, self._kind = syslog, kind
        self._framing = Framing()
        self._transport: asyncio.Transport
        self._queue: Queue | None = None
        self._peer = ""
        self._is_paused = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Those of uvloop are no subclasses.
        found = self._transport = cast("asyncio.Transport", transport)
        self._peer = str((transport.get_extra_info("peername") or ("",))[0])
        syslog = self._syslog
        count = syslog.by_peer.get(self._peer, 0)
        if (
            count >= SYSLOG_CONNECTIONS_PEER_MAX
            or len(syslog.connections) >= SYSLOG_CONNECTIONS_MAX
        ):
            syslog.intake.figures.refuse(self._kind)
            found.abort()
            return
        source = self._source()
        if source is None:
            syslog.refuse(self._kind, self._peer)
            found.abort()
            return
        syslog.by_peer[self._peer] = count + 1
        syslog.connections.add(self)
        self._queue = Queue(syslog.intake, source, on_room=self._resume)

    def data_received(self, data: bytes) -> None:
        if self._queue is None:
            return
        pieces = self._framing.feed(data)
        self._take(pieces)
        self._watch(begins_anew=bool(pieces))
        if self._framing.strays > SYSLOG_STRAYS_MAX:
            _log.warning("a stream of syslog has no messages any more", extra={"kind": self._kind})
            self.finish()
        elif self._queue.is_full and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
            self._look_again()

    def connection_lost(self, _: Exception | None) -> None:
        if self._queue is not None:
            self._take(self._framing.end())
        if self._timer is not None:
            self._timer.cancel()
        syslog = self._syslog
        if self in syslog.connections:
            syslog.connections.discard(self)
            syslog.by_peer[self._peer] -= 1
            if not syslog.by_peer[self._peer]:
                del syslog.by_peer[self._peer]

    def finish(self) -> None:
        """Keep what has come, and close."""
        if self._queue is not None:
            self._take(self._framing.end())
        self._transport.close()

    def _take(self, pieces: list[Piece]) -> None:
        assert self._queue is not None
        self._syslog.intake.figures.took(self._kind, pieces)
        self._queue.put(pieces)

    def _source(self) -> Source | None:
        rules = self._syslog.rules
        if self._kind != TLS or rules.find is None:
            return Source(Sender(f"syslog-{self._kind}:{self._peer}", rules.organisation))
        connection: Any = self._transport.get_extra_info("ssl_object")
        shown = connection.getpeercert(binary_form=True)
        known = rules.find(ssl.DER_cert_to_PEM_cert(shown)) if shown else None
        if known is None:
            return None
        return Source(Sender(known.producer, known.organisation), known.observer)

    def _watch(self, *, begins_anew: bool) -> None:
        """Let half a message wait for its other half no longer than it may."""
        if self._timer is not None and (begins_anew or not self._framing.held):
            self._timer.cancel()
            self._timer = None
        if self._timer is None and self._framing.held:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._syslog.rules.frame_seconds, self._given_up)

    def _given_up(self) -> None:
        self._timer = None
        if self._is_paused:  # It is us who do not read.
            self._watch(begins_anew=False)
        else:
            self.finish()

    def _resume(self) -> None:
        if self._is_paused and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()

    def _look_again(self) -> None:
        """Go on reading once all queues together have room, whoever made it."""
        if not self._is_paused:
            return
        assert self._queue is not None
        if not self._queue.is_full:
            self._resume()
        else:
            asyncio.get_running_loop().call_later(_ROOM_SECONDS, self._look_again)


_ROOM_SECONDS: Final = 0.1


class _Datagrams(asyncio.DatagramProtocol):
    """Messages of one datagram each. Nobody has proved where they come from."""

    def __init__(self, syslog: Syslog) -> None:
        self._syslog = syslog
        self._queues: dict[str, Queue] = {}

    def datagram_received(self, data: bytes, address: tuple[str | Any, int]) -> None:
        intake = self._syslog.intake
        peer = str(address[0])
        if peer not in self._queues and len(self._queues) >= SYSLOG_ADDRESSES_MAX:
            peer = ""
        queue = self._queues.get(peer)
        if queue is None:
            name = f"syslog-{UDP}:{peer}" if peer else f"syslog-{UDP}"
            source = Source(Sender(name, self._syslog.rules.organisation))
            queue = self._queues[peer] = Queue(intake, source)
        if queue.is_full:
            intake.figures.refuse(UDP)
            return
        pieces = [Piece(data)]
        intake.figures.took(UDP, pieces)
        queue.put(pieces)

    def error_received(self, exc: Exception) -> None:
        _log.info("a datagram met an error", extra={"error": type(exc).__name__})
