"""Connections that we begin because somebody named an address: where they may lead, and only there.

A name is looked up once, every address that it has is judged, and the connection goes to one of
those: a name that says something else a moment later leads nowhere (DNS rebinding, T-17). Nobody is
followed anywhere, and no proxy of the environment is asked.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import httpx

from caretrail.errors import ConfigurationError, UnavailableError
from caretrail.limits import OUTGOING_ANSWER_BYTES_MAX, OUTGOING_SECONDS_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_HEADERS: Final = {"accept-encoding": "identity", "user-agent": "caretrail"}
_LOOPBACK_NAMES: Final = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a connection may lead.

    Link-local (cloud metadata), multicast and unspecified addresses never; with `is_operators` an
    address inside the own network is meant by who runs this server, else only `hosts` may be there,
    by their names.
    """

    is_operators: bool = False
    hosts: frozenset[str] = frozenset()

    def allows(self, host: str, address: IPv4Address | IPv6Address) -> bool:
        """Tell whether a connection to `host` may go to this address of it."""
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if address.is_link_local or address.is_multicast or address.is_unspecified:
            return False
        return self.is_operators or host in self.hosts or address.is_global


OPERATORS: Final = Reach(is_operators=True)


class Address(NamedTuple):
    """Where to: a scheme, a host and a port, and the whole address."""

    scheme: str
    host: str
    port: int
    url: str


def address_of(text: str, *, schemes: Mapping[str, int], plain: frozenset[str]) -> Address:
    """Return an address of one of the schemes, each with its usual port; raise ConfigurationError.

    Those in `plain` are not encrypted and go to loopback alone. No address holds a password.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError("the address is malformed") from error
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in schemes or not host:
        raise ConfigurationError(f"the address begins with {' or '.join(schemes)}, and has a host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ConfigurationError("the address holds no user, password or fragment")
    if parts.scheme in plain and host not in _LOOPBACK_NAMES:
        raise ConfigurationError(f"{parts.scheme} is not encrypted: it goes to loopback only")
    return Address(parts.scheme, host, port or schemes[parts.scheme], text)


async def lookup(host: str, port: int, reach: Reach) -> str:
    """Return an address of `host` that connections may go to; raise UnavailableError.

    One address that is out of reach rules all of them out.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UnavailableError("the name of the receiver is not found") from error
    addresses = [str(row[4][0]).partition("%")[0] for row in found]
    if not addresses or not all(reach.allows(host, ip_address(one)) for one in addresses):
        raise UnavailableError("the receiver is at an address that nothing may be sent to")
    return addresses[0]


def pairs_of(query: str) -> list[tuple[str, str]]:
    """Return the names and values of a query string."""
    return parse_qsl(query, keep_blank_values=True)


class _Pinned(httpx.AsyncBaseTransport):
    """Sends each request to an address that was judged; the certificate is the name's."""

    def __init__(self, reach: Reach, tls: ssl.SSLContext) -> None:
        self._reach = reach
        self._inner = httpx.AsyncHTTPTransport(verify=tls, trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        address = await lookup(host, port, self._reach)
        request.extensions = {**request.extensions, "sni_hostname": host}
        request.url = request.url.copy_with(host=address)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def tls_context(ca: Path | None = None, certificate: Path | None = None) -> ssl.SSLContext:
    """Return what a client speaks TLS with: who is trusted, and what it shows of itself.

    Without `ca` the public authorities are trusted. Raises ConfigurationError.
    """
    try:
        made = ssl.create_default_context(cafile=str(ca) if ca else None)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate is not None:
            made.load_cert_chain(str(certificate))
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"certificates of a receiver cannot be read ({type(error).__name__})"
        ) from error
    return made


def client(
    reach: Reach, *, tls: ssl.SSLContext | None = None, seconds: float = OUTGOING_SECONDS_MAX
) -> httpx.AsyncClient:
    """Return a client that goes where it may and follows nobody."""
    return httpx.AsyncClient(
        transport=_Pinned(reach, tls or tls_context()),
        follow_redirects=False,
        trust_env=False,
        timeout=seconds,
        headers=_HEADERS,
    )


async def post(
    http: httpx.AsyncClient, url: str, content: bytes, headers: Mapping[str, str]
) -> httpx.Response:
    """Send a body and return the answer, read within bounds; raise UnavailableError for none."""
    try:
        async with http.stream("POST", url, content=content, headers=dict(headers)) as answer:
            body = b""
            async for piece in answer.aiter_raw():
                body += piece
                if len(body) > OUTGOING_ANSWER_BYTES_MAX:
                    raise UnavailableError("the receiver's answer is too long")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnavailableError(f"the receiver gives no answer ({type(error).__name__})") from error
    return httpx.Response(answer.status_code, headers=answer.headers, content=body)
