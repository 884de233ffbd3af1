"""TLS of our own servers: ITI-19's suites, client certificates, and renewal without a restart."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from caretrail.errors import ConfigurationError
from caretrail.limits import CERTIFICATE_SECONDS_BETWEEN

if TYPE_CHECKING:
    from pathlib import Path

_log: Final = logging.getLogger(__name__)
# IHE ITI TF-2, 3.19 (STX: TLS 1.2 Floor using BCP195) names the first four; TLS 1.3 has its own.
_SUITES: Final = (
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256"
    ":DHE-RSA-AES256-GCM-SHA384:DHE-RSA-AES128-GCM-SHA256"
    ":ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256"
)


class Files(NamedTuple):
    """The server's certificate with its chain, its key, and whom clients' certificates lead to."""

    certificate: Path
    key: Path | None = None
    client_ca: Path | None = None


def context(files: Files, *, required: bool = False) -> ssl.SSLContext:
    """Return what a server speaks TLS with; raise ConfigurationError for files that do not fit.

    A client may show a certificate, or must where it is `required`, and one that leads nowhere
    ends the handshake.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_ciphers(_SUITES)
    made.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    _load(made, files)
    if files.client_ca is not None:
        made.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        # A source's own certificate may be the anchor: then it is pinned (ITI-19, direct trust).
        made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return made


class Renewal:
    """Takes other files into use for new connections, soon after they were put in their place."""

    def __init__(
        self, context: ssl.SSLContext, files: Files, *, seconds: float = CERTIFICATE_SECONDS_BETWEEN
    ) -> None:
        self._context, self._files, self._seconds = context, files, seconds
        self._seen = self._written()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look from now on, in this event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def renew(self) -> bool:
        """Take the files into use if they have changed; tell whether that was done."""
        written = self._written()
        if written == self._seen:
            return False
        self._seen = written
        try:
            # A context that does not fit any more is not changed half.
            context(self._files)
            _load(self._context, self._files)
        except ConfigurationError as error:
            _log.error("the certificate stays as it was", extra={"error": str(error)})
            return False
        _log.info("another certificate is in use")
        return True

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            self.renew()

    def _written(self) -> list[tuple[int, int, int]]:
        found = []
        for path in self._files:
            try:
                state = path.stat() if path is not None else None
            except OSError:
                state = None
            found.append((state.st_mtime_ns, state.st_ino, state.st_size) if state else (0, 0, 0))
        return found


def _load(made: ssl.SSLContext, files: Files) -> None:
    try:
        # Nobody is there to type a passphrase in.
        made.load_cert_chain(files.certificate, files.key, password=lambda: b"")
    except (OSError, ssl.SSLError, ValueError) as error:
        raise ConfigurationError(
            "--tls-cert and --tls-key are PEM files that fit each other, the key without a passphrase"
        ) from error
    if files.client_ca is None:
        return
    try:
        made.load_verify_locations(files.client_ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError("--client-ca is a file of certificates in PEM") from error


class TlsProtocol(HttpToolsProtocol):
    """HTTP over TLS that tells the application which certificate the client has proved.

    It does so by ASGI's extension for TLS (asgi.readthedocs.io, tls), as far as we read it.
    """

    _extension: dict[str, Any]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note the certificate once: it is the connection's, not a request's."""
        super().connection_made(transport)
        connection = transport.get_extra_info("ssl_object")
        shown = connection.getpeercert(binary_form=True) if connection is not None else None
        chain = [ssl.DER_cert_to_PEM_cert(shown)] if shown else []
        self._extension = {"tls": {"client_cert_chain": chain}}

    def on_message_begin(self) -> None:
        """Begin a request, and say whose connection it came over."""
        super().on_message_begin()
        self.scope["extensions"] = self._extension
