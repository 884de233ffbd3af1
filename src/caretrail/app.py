"""The application: settings become a running server. Only here are a storage and a transport named."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import uvloop

from caretrail import config, listening, logs, opening, tenants, tls
from caretrail.access import identities, token
from caretrail.access.admission import Admission
from caretrail.access.bearer import Issuer, JwtVerifier
from caretrail.access.decision import Gate
from caretrail.access.identities import Identities
from caretrail.access.jwks import HeldKeys
from caretrail.access.projection import Disclosure
from caretrail.access.rate import Rate
from caretrail.api.auditing import Auditing
from caretrail.api.router import ROOT
from caretrail.api.service import Service
from caretrail.beside import in_front, with_authorization, with_clinic, with_console
from caretrail.exporting.jobs import Exports
from caretrail.metrics import Metrics
from caretrail.onward import going_out
from caretrail.patterns import own
from caretrail.patterns.log_use import Asker
from caretrail.publisher.checkpoint_store import beside
from caretrail.transport.asgi import Application
from caretrail.transport.switch import Tenants
from caretrail.transport.syslog import Ports, Rules, Syslog
from caretrail.transport.syslog_queue import figures
from caretrail.verification import background

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from caretrail.access.decision import Verifier
    from caretrail.access.identity import Identity
    from caretrail.access.server.application import AuthorizationServer
    from caretrail.committer import Commit
    from caretrail.onward import Onward
    from caretrail.repository import Repository
    from caretrail.settings import Settings
    from caretrail.transport.switch import App
    from caretrail.verification.background import Result

_log: Final = logging.getLogger(__name__)


class Server:
    """One log behind one port, or one of several: the default one, "", or that of a `tenant`."""

    def __init__(self, settings: Settings, *, tenant: str | None = None) -> None:
        self.settings, self.tenant = settings, tenant
        self._prefix = tenants.path(tenant) if tenant else ""
        self.metrics = Metrics()
        self.secret: str | None = None
        self.repository: Repository
        self.authorization: AuthorizationServer | None = None
        self.onward: Onward | None = None
        self.auditing: Auditing | None = None

    @asynccontextmanager
    async def opened(self, address: str = "") -> AsyncIterator[App]:
        """Open the log, and let go of it in the end, whatever happens.

        `address` is where this server listens.
        """
        settings = self.settings
        async with (
            opening.opened(settings, on_commit=self.on_commit, is_server=True) as log,
            going_out(settings, log.repository, tenant=self.tenant or "") as onward,
            with_authorization(settings, log.repository, address=address) as authorization,
        ):
            self.repository, self.authorization = log.repository, authorization
            self.onward = onward
            self.secret = None if settings.insecure_no_auth else token.load(settings.folder)
            gate = _gate(settings, self.secret, address + self._prefix, authorization, self.tenant)
            auditing = self.auditing = None if gate.insecure else Auditing(log.repository)
            verification = self._verification()
            self.metrics.watch(
                waiting=lambda: log.repository.waiting,
                size=lambda: log.repository.size,
                evidence=lambda: log.publisher.health() | verification.health(),
                figures=onward.figures,
            )
            exports = Exports(log.repository, log.publisher, settings.folder / "exports")
            on_request = self.metrics.on_request
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
                auditing=auditing,
                rate=_rate(settings),
                prefix=self._prefix,
                parts=onward.health,
                subscriptions=onward.subscriptions,
            )
            verification.start()
            onward.start(checkpoints=log.publisher.health, verification=verification.health)
            try:
                async with (
                    _with_syslog(settings, log.repository, gate, auditing, self.metrics),
                    with_clinic(
                        Application(service, on_request=on_request),
                        service,
                        settings,
                        address=address,
                        on_request=on_request,
                    ) as both,
                    with_console(
                        both, service, settings, address=address, server=authorization
                    ) as seen,
                ):
                    yield in_front(seen, authorization)
            finally:
                await verification.close()
                await exports.close()
                await gate.close()
                if auditing is not None:
                    await auditing.close()

    def _verification(self) -> background.Background:
        settings = self.settings
        return background.Background(
            settings.folder,
            url=settings.store,
            hours=settings.verify_hours,
            store=settings.checkpoint_store,
            on_result=self.record_verification,
        )

    def on_commit(self, commit: Commit) -> None:
        """Count a commit, and let what goes out know of it."""
        self.metrics.on_commit(commit)
        if self.onward is not None:
            self.onward.wake()

    async def record_verification(self, result: Result) -> None:
        """Let the log say that it was read whole: one event a run (DESIGN, decision 12)."""
        event = own.verified(
            self.repository.speaking(),
            size=result.size,
            findings=result.findings,
            seconds=round(result.seconds),
        )
        await self.repository.record_own(event)


@asynccontextmanager
async def _with_syslog(
    settings: Settings,
    repository: Repository,
    gate: Gate,
    auditing: Auditing | None,
    metrics: Metrics,
) -> AsyncIterator[None]:
    """Take in syslog at the ports that are set, with certificates that are renewed without a restart."""
    renewal, context = None, None
    if (files := _tls_files(settings)) is not None and settings.syslog_tls_port:
        context = tls.context(files, required=not gate.insecure)
        # A sender that reads nothing closes with these unread, and its system then sends a reset,
        # at which ours throws away what has not been read yet.
        context.num_tickets = 0
        renewal = tls.Renewal(context, files)
        renewal.start()
    syslog = _syslog(settings, repository, gate, auditing, context)
    metrics.watch_syslog(lambda: figures(syslog.intake))
    try:
        await syslog.start()
        yield
    finally:
        await syslog.close()
        if renewal is not None:
            await renewal.close()


@asynccontextmanager
async def with_tenants(settings: Settings, default: App, *, address: str) -> AsyncIterator[App]:
    """Open the logs of the tenants beside the default one, if there are any."""
    if not settings.tenants:
        yield default
        return
    store = settings.checkpoint_store or beside(settings.folder)
    async with AsyncExitStack() as stack:
        found = {}
        for name in tenants.names(settings.tenants):
            server = Server(of_tenant(settings, name, checkpoint_store=store), tenant=name)
            found[name] = await stack.enter_async_context(server.opened(address))
        yield Tenants(default, found)


def of_tenant(settings: Settings, name: str, *, checkpoint_store: Path) -> Settings:
    """Return what holds for a tenant's log; `checkpoint_store` is that of all of them.

    Keys are its own. People sign in at the default log, and the clinic is there.
    """
    keys, worm, url = settings.data_keys, settings.worm_folder, settings.public_url.rstrip("/")
    return replace(
        settings,
        data=settings.folder / tenants.FOLDER / name,
        store="",
        public_url=url + tenants.path(name) if url else "",
        checkpoint_store=checkpoint_store,
        signing_key=None,
        data_keys=keys.with_name(f"{keys.name}.{name}") if keys is not None else None,
        worm_folder=worm / name if worm is not None else None,
        authorization_server=False,
        clinic=False,
        console=False,
        syslog_tls_port=0,
        syslog_udp_port=0,
        syslog_tcp_port=0,
        tenants="",
    )


async def serve(
    settings: Settings,
    *,
    on_ready: Callable[[Server, str], Coroutine[None, None, None]] | None = None,
) -> None:
    """Run until a signal to stop, then finish what was begun.

    `on_ready` is told the address once posts are taken, and runs beside the server.
    """
    files = _tls_files(settings)
    context = tls.context(files) if files is not None else None
    listener = listening.listen(settings.host, settings.port)
    server = Server(settings, tenant="" if settings.tenants else None)
    address = listening.address_of(listener, scheme="https" if context else "http")
    async with (
        server.opened(address) as default,
        with_tenants(settings, default, address=address) as application,
    ):
        auditing = server.auditing
        running = listening.server(
            application,
            context=context,
            on_refused=auditing.node_refused if auditing is not None else None,
        )
        renewal = tls.Renewal(context, files) if context is not None and files is not None else None
        if renewal is not None:
            renewal.start()
        if settings.insecure_no_auth:
            _log.warning(
                "everybody who reaches this port may read and write, and no read is recorded"
            )
        _log.info("listening", extra={"address": address})
        beside = asyncio.create_task(on_ready(server, address)) if on_ready else None
        listening.settle()
        await running.serve(sockets=[listener])
        if renewal is not None:
            await renewal.close()
        if beside is not None:
            beside.cancel()
            await asyncio.gather(beside, return_exceptions=True)
    _log.info("stopped")


def _gate(
    settings: Settings,
    secret: str | None,
    address: str,
    authorization: AuthorizationServer | None = None,
    tenant: str | None = None,
) -> Gate:
    """Return who may come in, by the settings; `address` is where this server listens."""
    base = (settings.public_url.rstrip("/") or address) + ROOT
    found = Identities()
    path = settings.identities
    if path is not None:
        text = config.content(path).decode("utf-8", "replace")
        found = identities.read(
            text, base=base, folder=path.parent, secret=config.token, tenant=tenant or ""
        )
    disclosure = Disclosure(settings.staff_disclosure)
    admission = Admission(base=base, disclosure=disclosure, shares=found.shares, tenant=tenant)
    holder: Identity | None = None
    if secret is not None and settings.token_roles not in ("", "all"):
        holder = identities.holder(
            settings.token_roles,
            producer=settings.producer,
            organisation=settings.organisation,
            admission=admission,
        )
    elif secret is not None and found.any and not settings.token_roles:
        secret = (
            token.unheld()
        )  # Others are set up, so that the folder's token is good for nothing.
    return Gate(
        secret,
        producer=settings.producer,
        organisation=settings.organisation,
        holder=holder,
        verifiers=(*_own_tokens(authorization), *found.verifiers),
        admission=admission,
        certificates=found.certificates,
        is_revoked=authorization.is_revoked if authorization is not None else lambda _: False,
    )


def _syslog(
    settings: Settings,
    repository: Repository,
    gate: Gate,
    auditing: Auditing | None,
    context: ssl.SSLContext | None,
) -> Syslog:
    """Return what listens for syslog, by the settings."""

    async def denied(peer: str) -> None:
        if auditing is not None:
            await auditing.refused(Asker(address=peer), "syslog", 403)

    tls_port, udp_port, tcp_port = (port or None for port in settings.syslog_ports)
    return Syslog(
        repository,
        Ports(settings.host, tls_port, udp_port, tcp_port),
        rules=Rules(None if gate.insecure else gate.source, settings.organisation, denied),
        context=context,
    )


def _tls_files(settings: Settings) -> tls.Files | None:
    if not settings.tls_cert:
        return None
    return tls.Files(settings.tls_cert, settings.tls_key, settings.client_ca)


def _rate(settings: Settings) -> Rate | None:
    return Rate(settings.source_rate, time.monotonic) if settings.source_rate else None


def _own_tokens(authorization: AuthorizationServer | None) -> tuple[Verifier, ...]:
    """Return what verifies the tokens of the authorization server in this process."""
    if authorization is None:
        return ()
    rules, keys = authorization.rules, HeldKeys(authorization.jwks)
    return (JwtVerifier([Issuer(rules.issuer, (rules.audience,), keys)]),)


def run(
    settings: Settings,
    *,
    on_ready: Callable[[Server, str], Coroutine[None, None, None]] | None = None,
) -> None:
    """Serve in a new event loop."""
    logs.start(settings.log_level)
    uvloop.run(serve(settings, on_ready=on_ready))
