"""The application: settings become a running server. Only here are a storage and a transport named."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import uvicorn
import uvloop
from msgspec.structs import replace

from caretrail import logs
from caretrail.access import token
from caretrail.access.decision import Gate
from caretrail.api.router import ROOT
from caretrail.api.service import Service
from caretrail.capture.middleware import AuditMiddleware, about, bearer
from caretrail.capture.recorder import Recorder, fhir_server
from caretrail.errors import ConfigurationError, UnauthenticatedError
from caretrail.fhir import intake
from caretrail.metrics import Metrics
from caretrail.patterns.observation import identified
from caretrail.repository import Repository, Sender, Submission
from caretrail.storage.sqlite import SqliteStorage
from caretrail.transport.asgi import Application
from caretrail.transport.switch import Switch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
    from contextvars import ContextVar

    from caretrail.capture.middleware import Message, Receive, Scope, Send
    from caretrail.config import Settings
    from caretrail.patterns.exchange import Identity
    from caretrail.transport.switch import App

_log: Final = logging.getLogger(__name__)

# Events are structures without cycles: looking for garbage cycles among them finds nothing.
_GARBAGE_THRESHOLD: Final = 50_000
_BACKLOG: Final = 1_024
_STOP_SECONDS: Final = 20
# As whose the events of the clinic are filed.
_CLINIC: Final = Sender("caretrail:clinic")


class Server:
    """One log behind one port."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()

    @asynccontextmanager
    async def opened(self, address: str = "") -> AsyncIterator[App]:
        """Open the store, and let go of it in the end, whatever happens.

        `address` is where this server listens; what is recorded of the clinic names it.
        """
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
            application = Application(service, on_request=self.metrics.on_request)
            async with self._clinic(application, service, address) as both:
                yield both
        finally:
            await self.repository.close()

    @asynccontextmanager
    async def _clinic(
        self, repository: Application, service: Service, address: str
    ) -> AsyncIterator[App]:
        """Put the clinic beside the repository, if that is set; it is audited like any application."""
        if not self.settings.clinic:
            yield repository
            return
        clinic = _imported()
        store = clinic.SqliteClinic(self.settings.folder)
        try:
            inner = Application(
                service,
                routes=clinic.Clinic(store).routes(),
                on_request=self.metrics.on_request,
            )
            base = (self.settings.public_url.rstrip("/") or address) + ROOT
            recorder = Recorder(RepositorySink(self.repository), server=fhir_server(base))
            audited = AuditMiddleware(
                Noted(inner, clinic.ABOUT),
                recorder,
                base=ROOT,
                identify=partial(_identity, service.gate),
            )
            yield Switch(
                repository,
                audited,
                is_clinical=clinic.is_clinical,
                body_bytes_max=service.bundle_bytes_max,
            )
        finally:
            await store.close()


class RepositorySink:
    """Keeps the events of our own exchanges in our own log: once `record` returns they are durable."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def record(self, events: Sequence[bytes]) -> None:
        """Keep the events, all in one transaction."""
        taken = [intake.parse(body) for body in events]
        submissions = [
            Submission(body, one.form, one.event) for body, one in zip(events, taken, strict=True)
        ]
        await self._repository.append(submissions, sender=_CLINIC)


class Noted:
    """Tells the auditor of patients whom an answer does not show: those of deleted resources."""

    def __init__(self, inner: App, patients: ContextVar[list[str] | None]) -> None:
        self._inner, self._patients = inner, patients

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; what was noted meanwhile is told before the answer leaves."""
        noted: list[str] = []
        self._patients.set(noted)

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                about(scope, *dict.fromkeys(noted))
            await send(message)

        await self._inner(scope, receive, told)


def _identity(gate: Gate, scope: Scope) -> Identity:
    """Return who asks the clinic: the holder of the token, once the gate has known it."""
    presented = bearer(scope)
    try:
        known = gate.identify(dict(scope["headers"]))
    except UnauthenticatedError:
        return presented
    return replace(presented, client=identified(known.producer))


def _imported() -> Any:
    """Return the clinic, whose libraries need not be there."""
    try:
        from caretrail import clinic
    except ImportError as error:
        raise ConfigurationError(
            "--clinic needs more libraries: install caretrail with its extra, clinic"
        ) from error
    return clinic


async def serve(
    settings: Settings,
    *,
    on_ready: Callable[[Server, str], Coroutine[None, None, None]] | None = None,
) -> None:
    """Run until a signal to stop, then finish what was begun.

    `on_ready` is told the address once posts are taken, and runs beside the server.
    """
    listener = _listen(settings.host, settings.port)
    server = Server(settings)
    address = _address(listener)
    async with server.opened(address) as application:
        config = uvicorn.Config(
            application,
            interface="asgi3",
            loop="uvloop",
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # Links follow --public-url; nobody's header is believed.
            date_header=True,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=_STOP_SECONDS,
            ws="none",
        )
        running = _Uvicorn(config)
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


class _Uvicorn(uvicorn.Server):
    """Stops on a signal like any other, but leaves the rest of the process to end by itself."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


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


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"{host} port {port} cannot be listened on ({error.strerror}): choose another --port"
        ) from error
    listener.listen(_BACKLOG)
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
