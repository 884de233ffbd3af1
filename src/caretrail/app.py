"""The application: settings become a running server. Only here are a storage and a transport named."""

from __future__ import annotations

import asyncio
import gc
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import uvicorn
import uvloop

from caretrail import listening, logs
from caretrail.access import token
from caretrail.access.decision import Gate
from caretrail.api.service import Service
from caretrail.metrics import Metrics
from caretrail.repository import Repository
from caretrail.storage.sqlite import SqliteStorage
from caretrail.transport.asgi import Application

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from caretrail.config import Settings

_log: Final = logging.getLogger(__name__)

# Events are structures without cycles: looking for garbage cycles among them finds nothing.
_GARBAGE_THRESHOLD: Final = 50_000


class Server:
    """One log behind one port."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Application]:
        """Open the store, and let go of it in the end, whatever happens."""
        settings = self.settings
        storage = SqliteStorage(settings.folder)
        self.repository = Repository(storage, on_commit=self.metrics.on_commit)
        try:
            self.secret = None if settings.insecure_no_auth else token.load(settings.folder)
            gate = Gate(self.secret, producer=settings.producer, organisation=settings.organisation)
            self.metrics.watch(
                waiting=lambda: self.repository.waiting, size=lambda: self.repository.size
            )
            service = Service(
                self.repository,
                gate,
                public_url=settings.public_url,
                require_date=settings.require_date,
                event_bytes_max=settings.event_bytes_max,
                bundle_bytes_max=settings.bundle_bytes_max,
                bundle_entries_max=settings.bundle_entries_max,
                metrics=self.metrics.text,
            )
            yield Application(service, on_request=self.metrics.on_request)
        finally:
            await self.repository.close()


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
    async with server.opened() as application:
        config = uvicorn.Config(
            application,
            loop="uvloop",
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # Links follow --public-url; nobody's header is believed.
            date_header=True,
            backlog=listening.BACKLOG,
            timeout_graceful_shutdown=listening.STOP_SECONDS,
            ws="none",
        )
        running = listening.Server(config)
        address = listening.address_of(listener)
        if settings.insecure_no_auth:
            _log.warning(
                "everybody who reaches this port may read and write, and no read is recorded"
            )
        _log.info("listening", extra={"address": address})
        beside = asyncio.create_task(on_ready(server, address)) if on_ready else None
        _settle()
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


def _settle() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD, 20, 100)
