"""The application: settings become a running server. Only here are a storage and a transport named."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import uvloop

from caretrail import listening, logs, opening
from caretrail.access import token
from caretrail.access.decision import Gate
from caretrail.api.service import Service
from caretrail.beside import in_front, with_authorization, with_clinic
from caretrail.exporting.jobs import Exports
from caretrail.metrics import Metrics
from caretrail.patterns import own
from caretrail.transport.asgi import Application
from caretrail.verification import background

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from caretrail.access.server.application import AuthorizationServer
    from caretrail.config import Settings
    from caretrail.repository import Repository
    from caretrail.transport.switch import App
    from caretrail.verification.background import Result

_log: Final = logging.getLogger(__name__)


class Server:
    """One log behind one port."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.secret: str | None = None
        self.repository: Repository
        self.authorization: AuthorizationServer | None = None

    @asynccontextmanager
    async def opened(self, address: str = "") -> AsyncIterator[App]:
        """Open the log, and let go of it in the end, whatever happens.

        `address` is where this server listens.
        """
        settings = self.settings
        async with (
            opening.opened(settings, on_commit=self.metrics.on_commit, is_server=True) as log,
            with_authorization(settings, log.repository, address=address) as authorization,
        ):
            self.repository, self.authorization = log.repository, authorization
            self.secret = None if settings.insecure_no_auth else token.load(settings.folder)
            gate = Gate(self.secret, producer=settings.producer, organisation=settings.organisation)
            verification = background.Background(
                settings.folder,
                hours=settings.verify_hours,
                store=settings.checkpoint_store,
                on_result=self.record_verification,
            )
            self.metrics.watch(
                waiting=lambda: log.repository.waiting,
                size=lambda: log.repository.size,
                evidence=lambda: log.publisher.health() | verification.health(),
            )
            exports = Exports(log.repository, log.publisher, settings.folder / "exports")
            service = Service(
                log.repository,
                gate,
                public_url=settings.public_url,
                require_date=settings.require_date,
                event_bytes_max=settings.event_bytes_max,
                bundle_bytes_max=settings.bundle_bytes_max,
                bundle_entries_max=settings.bundle_entries_max,
                log_access=settings.log_access,
                publisher=log.publisher,
                exports=exports,
                metrics=self.metrics.text,
                integrity=verification.health,
                issuer=authorization.rules.issuer if authorization is not None else "",
            )
            verification.start()
            on_request = self.metrics.on_request
            application = Application(service, on_request=on_request)
            try:
                async with with_clinic(
                    application, service, settings, address=address, on_request=on_request
                ) as both:
                    yield in_front(both, authorization)
            finally:
                await verification.close()
                await exports.close()

    async def record_verification(self, result: Result) -> None:
        """Let the log say that it was read whole: one event a run (DESIGN, decision 12)."""
        event = own.verified(
            self.repository.speaking(),
            size=result.size,
            findings=result.findings,
            seconds=round(result.seconds),
        )
        await self.repository.record_own(event)


async def serve(
    settings: Settings,
    *,
    on_ready: Callable[[Server, str], Coroutine[None, None, None]] | None = None,
) -> None:
    """Run until a signal to stop, then finish what was begun.

    `on_ready` is told the address once posts are taken, and runs beside the server.
    """
    listener = listening.listen(settings.host, settings.port)
    server = Server(settings)
    address = listening.address_of(listener)
    async with server.opened(address) as application:
        running = listening.server(application)
        if settings.insecure_no_auth:
            _log.warning(
                "everybody who reaches this port may read and write, and no read is recorded"
            )
        _log.info("listening", extra={"address": address})
        beside = asyncio.create_task(on_ready(server, address)) if on_ready else None
        listening.settle()
        await running.serve(sockets=[listener])
        if beside is not None:
            beside.cancel()
            await asyncio.gather(beside, return_exceptions=True)
    _log.info("stopped")


def run(
    settings: Settings,
    *,
    on_ready: Callable[[Server, str], Coroutine[None, None, None]] | None = None,
) -> None:
    """Serve in a new event loop."""
    logs.start(settings.log_level)
    uvloop.run(serve(settings, on_ready=on_ready))
