"""The gateway as a process: settings become a proxy, its spool, and what empties the spool."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
import uvloop

from caretrail import __version__, clock, listening, logs
from caretrail.capture import gateway as audited
from caretrail.capture.forwarder import Forwarder
from caretrail.capture.forwarding import Base
from caretrail.capture.middleware import AuditMiddleware
from caretrail.capture.proxy import Proxy
from caretrail.capture.recorder import Recorder, fhir_server
from caretrail.capture.spool import Confirming, Spool
from caretrail.capture.spool_folder import Gap, SpoolFolder
from caretrail.capture.token_endpoints import TokenEndpoints
from caretrail.capture.upstream import Upstream
from caretrail.errors import ConfigurationError, Error
from caretrail.fhir.temporal import format_instant
from caretrail.limits import FORWARD_GATHERING_SECONDS, FORWARD_SECONDS_MAX
from caretrail.patterns import security
from caretrail.patterns.claims import settled
from caretrail.patterns.observation import Observation

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable

    from caretrail.patterns.observation import Machine
    from caretrail.settings import GatewaySettings

_log: Final = logging.getLogger(__name__)
# What reads the spool runs beside the event loop, which should not have to wait 5 ms for it.
_SWITCH_SECONDS: Final = 0.001
_PROBE_SECONDS: Final = 1.0
# What is left after a stop stays in the spool; a short while is for the last events.
_DRAIN_SECONDS: Final = 5.0


class Process:
    """One gateway behind one port."""

    def __init__(self, settings: GatewaySettings, address: str) -> None:
        self._settings = settings
        upstream = Base.parse(settings.upstream, what="--upstream")
        repository = Base.parse(settings.repository, what="--repository")
        public = Base.parse(settings.public_url or address + upstream.path, what="--public-url")
        self.base = public.url
        self._server = fhir_server(public.url)
        token = _token(settings.token_file)
        self._folder = SpoolFolder(settings.spool)
        self._spool = Spool(
            self._folder,
            describe=self._described,
            bytes_max=settings.spool_bytes_max,
            emergency=settings.emergency,
        )
        is_confirming = settings.on_failure == "block"
        self._forwarder = Forwarder(
            self._spool,
            repository.url,
            client=httpx.AsyncClient(
                timeout=FORWARD_SECONDS_MAX,
                verify=_tls(settings.repository_ca_file, what="--repository-ca-file"),
            ),
            token=token,
            gathering_seconds=0.0 if is_confirming else FORWARD_GATHERING_SECONDS,
        )
        self._recorder = Recorder(
            Confirming(self._spool) if is_confirming else self._spool,
            server=self._server,
            site=settings.site or None,
        )
        self._proxy = Proxy(
            upstream,
            public,
            connections=Upstream(
                upstream.origin,
                seconds=settings.upstream_seconds,
                tls=_tls(settings.upstream_ca_file, what="--upstream-ca-file"),
            ),
            on_accepted=audited.believing() if settings.upstream_verifies_tokens else None,
        )
        self.application = audited.Gateway(
            AuditMiddleware(
                self._proxy,
                self._recorder,
                base=public.path,
                endpoints=TokenEndpoints.parse(settings.token_endpoints),
            ),
            self._proxy,
            upstream=upstream,
            public=public,
            spool=self._spool,
            forwarder=self._forwarder,
            confirming=is_confirming,
            passed=settings.prefixes,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Forward events; in the end stop in order, whatever happens."""
        tasks = [asyncio.create_task(self._forwarder.run()), asyncio.create_task(self._probe())]
        try:
            await self._start()
            yield
        finally:
            await self._stop(tasks)

    async def _start(self) -> None:
        stopped_ms = self._folder.stopped_ms
        with contextlib.suppress(Error):  # A full disk: it is known, and nothing is let in.
            if stopped_ms:
                reason = "the gateway was not stopped in order"
                await self._spool.record_gap(Gap(stopped_ms, clock.milliseconds(), 0, reason))
            await self._spool.keep([self._activity(started=True)])

    async def _stop(self, tasks: list[asyncio.Task[None]]) -> None:
        with contextlib.suppress(Error):
            position = await self._spool.keep([self._activity(started=False)])
            if self._forwarder.is_delivering:
                await self._spool.confirmed(position, seconds=_DRAIN_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._forwarder.aclose()
        await self._proxy.aclose()
        await self._spool.close()

    async def _probe(self) -> None:
        while True:
            await asyncio.sleep(_PROBE_SECONDS)
            with contextlib.suppress(Error):  # It is still full.
                await self._spool.probe()

    def _described(self, gap: Gap) -> list[bytes]:
        event = security.gap(
            _seen(self._server, self._settings.site),
            since=format_instant(gap.since_ms),
            until=format_instant(gap.until_ms),
            exchanges=gap.exchanges,
            reason=gap.reason,
        )
        return [settled(event)]

    def _activity(self, *, started: bool) -> bytes:
        seen = _seen(self._server, self._settings.site)
        return settled(security.application(seen, started=started, version=__version__))


def _seen(server: Machine, site: str) -> Observation:
    return Observation(recorded=clock.instant(), client=server, server=server, site=site or None)


def _tls(file: str, *, what: str) -> ssl.SSLContext:
    """Return what a server's certificate is checked by: those of a file, or what is usual here."""
    try:
        return ssl.create_default_context(cafile=file or None)
    except OSError as error:  # An SSLError is one, too.
        raise ConfigurationError(f"{what} {file} is no file of certificates in PEM") from error


def _token(file: str) -> Callable[[], str]:
    """Return what reads the token each time it is needed, so that it can be changed."""
    if not file:
        return str
    path = Path(file)
    if not path.is_file():
        raise ConfigurationError(f"--token-file {path} is not there")
    return lambda: path.read_text(encoding="ascii").strip()


async def serve(settings: GatewaySettings, *, on_ready: Callable[[str], None]) -> None:
    """Run until a signal to stop, then finish what was begun."""
    listener: socket.socket = listening.listen(settings.host, settings.port)
    process = Process(settings, listening.address_of(listener))
    # The date is the FHIR server's own.
    running = listening.server(process.application, dates=False, joins_writes=True)
    async with process.running():
        _log.info("listening", extra={"address": process.base})
        # By then a signal to stop is heeded.
        asyncio.get_running_loop().call_soon(on_ready, process.base)
        listening.settle()
        await running.serve(sockets=[listener])
    _log.info("stopped")


def run(settings: GatewaySettings, *, on_ready: Callable[[str], None]) -> None:
    """Serve in a new event loop."""
    logs.start(settings.log_level)
    # These tell addresses, which hold search values, and headers, which hold tokens.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    sys.setswitchinterval(_SWITCH_SECONDS)
    uvloop.run(serve(settings, on_ready=on_ready))
