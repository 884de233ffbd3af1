"""What stands beside the repository, behind one port: the clinic, audited, and the sign-in."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from caretrail.access.server.desk import ROOT as AUTHORIZATION
from caretrail.access.server.desk import Rules, base_of
from caretrail.api.router import ROOT
from caretrail.capture.middleware import AuditMiddleware, about, bearer
from caretrail.capture.recorder import Recorder, fhir_server
from caretrail.config import content
from caretrail.errors import ConfigurationError
from caretrail.fhir import intake
from caretrail.patterns.observation import identified
from caretrail.repository import Sender, Submission
from caretrail.transport.asgi import Application
from caretrail.transport.switch import Front, Switch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextvars import ContextVar
    from pathlib import Path

    from caretrail.access.decision import Gate
    from caretrail.access.relying_party import RelyingParty
    from caretrail.access.server.application import AuthorizationServer
    from caretrail.api.service import Service
    from caretrail.capture.middleware import Message, Receive, Scope, Send
    from caretrail.patterns.exchange import Identity
    from caretrail.repository import Repository
    from caretrail.settings import Settings
    from caretrail.transport.switch import App

_log: Final = logging.getLogger(__name__)

CONSOLE: Final = "/console"
# What the console may ask people for: whatever of it their roles do not see, they do not get.
SCOPE: Final = (
    "openid profile fhirUser online_access launch/patient user/AuditEvent.rs patient/AuditEvent.rs"
)
# As whose the events of the clinic are filed.
_CLINIC: Final = Sender("caretrail:clinic")


@asynccontextmanager
async def with_clinic(
    repository: Application,
    service: Service,
    settings: Settings,
    *,
    address: str,
    on_request: Callable[[str, int, float], None],
) -> AsyncIterator[App]:
    """Put the clinic beside the repository, if that is set.

    `address` is where the server listens; what is recorded of the clinic names it.
    """
    if not settings.clinic:
        yield repository
        return
    clinic = _imported()
    store = clinic.SqliteClinic(settings.folder)
    try:
        # What is done with resources the middleware records: it is no use of the log.
        apart = service._replace(auditing=None)
        inner = Application(apart, routes=clinic.Clinic(store).routes(), on_request=on_request)
        base = (settings.public_url.rstrip("/") or address) + ROOT
        recorder = Recorder(RepositorySink(service.repository), server=fhir_server(base))
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


@asynccontextmanager
async def with_authorization(
    settings: Settings, repository: Repository, *, address: str
) -> AsyncIterator[AuthorizationServer | None]:
    """Open the authorization server, if it is set and safe; say what is missing if it is not."""
    if settings.insecure_no_auth or not settings.authorization_server:
        yield None
        return
    try:
        base = base_of(settings.public_url, address=address)
    except ConfigurationError as error:
        _log.warning("nobody can sign in: %s", error)
        yield None
        return
    rules = Rules(
        base=base,
        access_seconds=settings.access_token_seconds,
        refresh_seconds=settings.refresh_token_hours * 3600,
        idle_seconds=settings.session_idle_minutes * 60,
        require_second_factor=settings.require_second_factor,
    )
    # Its libraries take a while to load.
    from caretrail.access.server import application

    server = application.AuthorizationServer(
        settings.folder,
        rules,
        record=repository.record_own,
        origin=repository.origin,
        organisation=settings.organisation,
    )
    try:
        await server.start()
        yield server
    finally:
        await server.close()


def in_front(inner: App, server: AuthorizationServer | None) -> App:
    """Let the authorization server answer at its addresses."""
    if server is None:
        return inner
    return Front(inner, server.application, path=AUTHORIZATION, others=server.others)


@asynccontextmanager
async def with_console(
    inner: App,
    service: Service,
    settings: Settings,
    *,
    address: str,
    server: AuthorizationServer | None,
) -> AsyncIterator[App]:
    """Put the console at `/console`, if that is set; people sign in at `server` or elsewhere.

    `address` is where this server listens.
    """
    if not settings.console:
        yield inner
        return
    # What makes its pages takes a while to load.
    from caretrail.console.application import Console

    base = settings.public_url.rstrip("/") or address
    console = Console(
        service,
        idle_seconds=settings.session_idle_minutes * 60,
        relying_party=_relying_party(settings, base, server),
        inventory=partial(_inventory, settings, server),
    )
    try:
        yield Front(inner, console.application, path=CONSOLE)
    finally:
        await console.close()


async def _inventory(
    settings: Settings, server: AuthorizationServer | None
) -> dict[str, list[str]]:
    """Return what administrators look after: people, clients, and settings that may be shown."""
    found: dict[str, list[str]] = {}
    if server is not None:
        for name in ("users", "clients"):
            found[name] = await server.change({"change": name, "by": "caretrail"})
    found["settings"] = [
        f"{row.name} = {getattr(settings, row.name)}"
        for row in fields(settings)
        if row.metadata.get("shown")
    ]
    return found


def _relying_party(
    settings: Settings, base: str, server: AuthorizationServer | None
) -> RelyingParty | None:
    """Return the console as a client of whoever signs people in, None where nobody does."""
    if not settings.console_issuer and server is None:
        return None
    from caretrail.access.relying_party import RelyingParty

    redirect_uri, after = f"{base}{CONSOLE}/callback", f"{base}{CONSOLE}/sign-in"
    if settings.console_issuer:
        path = settings.console_client_secret_file
        return RelyingParty(
            settings.console_issuer,
            settings.console_client,
            redirect_uri=redirect_uri,
            after=after,
            audience=f"{base}{ROOT}",
            secret=content(path).decode("utf-8", "replace").strip() if path is not None else "",
        )
    assert server is not None
    return RelyingParty(
        server.rules.issuer,
        settings.console_client,
        redirect_uri=redirect_uri,
        after=after,
        audience=server.rules.audience,
        application=server.application,
        jwks=server.jwks,
        prepare=partial(
            server.register_console,
            settings.console_client,
            redirect_uri=redirect_uri,
            after=after,
            scope=SCOPE,
        ),
        present=server.note_presence,
    )


@asynccontextmanager
async def clinic_alone(service: Service, folder: Path) -> AsyncIterator[App]:
    """Give the clinic with no audit of its own, as it would stand behind a gateway."""
    clinic = _imported()
    store = clinic.SqliteClinic(folder)
    try:
        yield Application(service, routes=clinic.Clinic(store).routes())
    finally:
        await store.close()


class RepositorySink:
    """Keeps the events of our own exchanges in our own log: once `record` returns they are durable."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def record(self, events: Sequence[bytes]) -> None:
        """Keep the events, all in one transaction."""
        submissions: list[Submission] = []
        async for body in self._repository.turns.each(events):
            one = intake.parse(body)
            submissions.append(Submission(body, one.form, one.event))
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
    known = gate.known(dict(scope["headers"]))
    return presented if known is None else replace(presented, client=identified(known.producer))


def _imported() -> Any:
    """Return the clinic, whose libraries need not be there."""
    try:
        from caretrail import clinic
    except ImportError as error:
        raise ConfigurationError(
            "--clinic needs more libraries: install caretrail with its extra, clinic"
        ) from error
    return clinic
