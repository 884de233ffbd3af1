"""TLS of the server itself: suites, client certificates as identities, renewal (ITI-19, R-AC-03)."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from caretrail import tls
from caretrail.access.certificates import Certificates, Registered
from caretrail.errors import ConfigurationError
from caretrail.limits import DENIALS_PEER_MAX
from caretrail.repository import Repository
from caretrail.search.query import parse
from caretrail.storage.sqlite import SqliteStorage
from tests.api.arr import event
from tests.serving import serving

if TYPE_CHECKING:
    from pathlib import Path

    from caretrail.fhir.audit_event import AuditEvent

    Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def made(name: str, by: Pair | None = None, *, days: int = 1) -> Pair:
    """Return a certificate of that name and its key, signed by another or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by[0].subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    )
    return builder.sign(by[1] if by else key, hashes.SHA256()), key


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def written(folder: Path, name: str, pair: Pair) -> Path:
    """Write a certificate and its key into one file."""
    path = folder / f"{name}.pem"
    private = pair[1].private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    # A renewal puts a whole file in the place of the other.
    path.with_suffix(".new").write_bytes(pem(pair[0]) + private)
    path.with_suffix(".new").replace(path)
    return path


def client(folder: Path, authority: Pair, shown: Path | None, **rest: Any) -> httpx.Client:
    context = ssl.create_default_context(cadata=pem(authority[0]).decode())
    if shown is not None:
        context.load_cert_chain(shown)
    if rest.get("oldest"):
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return httpx.Client(verify=context, trust_env=False)


def test_a_source_is_known_by_its_certificate(tmp_path: Path) -> None:
    """Serve with a real server: pinned, by an authority's name, unknown, expired, and none."""
    authority, stranger = made("hospital"), made("elsewhere")
    server, pinned = made("localhost", authority), made("device-7")
    lab, ward = made("lab.example", authority), made("ward.example", authority)
    late = made("lab.example", authority, days=-1)
    written(tmp_path, "server", server)
    (tmp_path / "clients.pem").write_bytes(pem(authority[0]) + pem(pinned[0]))
    (tmp_path / "identities.toml").write_text(
        f"""
        [[certificate]]
        producer = "infusion pump"
        organisation = "north"
        sha256 = "{pinned[0].fingerprint(hashes.SHA256()).hex()}"

        [[certificate]]
        producer = "laboratory"
        subject = "lab.example"
        observer = "Device/lab"
        """
    )
    command = [
        sys.executable, "-c", _SERVE, str(tmp_path),
    ]  # fmt: skip
    with serving(command, folder=tmp_path) as running:
        assert running.address.startswith("https://")
        base = running.address.replace("127.0.0.1", "localhost") + "/fhir"

        def post(shown: Pair | None, name: str, **rest: Any) -> httpx.Response:
            path = written(tmp_path, name, shown) if shown else None
            headers = {"Content-Type": "application/fhir+json"}
            with client(tmp_path, authority, path, **rest) as one:
                return one.post(f"{base}/AuditEvent", json=event(), headers=headers)

        assert post(pinned, "pinned").status_code == 201
        assert post(lab, "lab", oldest=True).status_code == 201
        named = event(source={"observer": {"reference": "Device/ward"}})
        with client(tmp_path, authority, written(tmp_path, "lab", lab)) as one:
            flagged = one.post(f"{base}/AuditEvent", json=named, headers={"Content-Type": "application/fhir+json"})  # fmt: skip
            assert "observer-mismatch" in flagged.headers["x-caretrail-flags"]
            # A source reads nothing, and the folder's token is good for nothing beside others.
            assert one.get(f"{base}/AuditEvent").status_code == 403
            token = (tmp_path / "data" / "token").read_text().strip()
            answer = one.get(f"{base}/AuditEvent", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 401
        assert post(ward, "ward").status_code == 401
        assert post(None, "").status_code == 401
        for refused, name in ((made("device-7", stranger), "stranger"), (late, "late")):
            with pytest.raises((httpx.TransportError, ssl.SSLError)):
                post(refused, name)
        port = int(running.address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)):
            pass  # Whoever only looks whether somebody listens has refused nothing.
        for _ in range(DENIALS_PEER_MAX):
            with socket.create_connection(("127.0.0.1", port)) as plain:
                plain.sendall(b"GET /fhir/AuditEvent HTTP/1.1\r\n\r\n")
                while plain.recv(1_000):
                    pass
    told = _refused_nodes(tmp_path / "data")
    assert {address for address, _ in told} == {"127.0.0.1"}
    reasons = [details["tls-error"] for _, details in told]
    assert "issuer" in reasons[0]
    assert "expired" in reasons[1]
    # Past some of one address they are counted.
    assert reasons[2:] == ["HTTP_REQUEST"] * (DENIALS_PEER_MAX - 2) + ["many"]
    assert told[-1][1]["attempts"] == "2"


def _refused_nodes(folder: Path) -> list[tuple[str, dict[str, str]]]:
    """Return address and details of each event of a TLS handshake that failed, in order."""

    async def read() -> list[tuple[str, dict[str, str]]]:
        repository = Repository(SqliteStorage(folder))
        query = parse([("subtype", "110126"), ("_sort", "_lastUpdated")], strict=True, base="")
        try:
            return [_node(record.event) async for record in repository.every(query)]
        finally:
            await repository.close()

    return asyncio.run(read())


def _node(event: AuditEvent) -> tuple[str, dict[str, str]]:
    (agent,) = event.agent
    (entity,) = event.entity or ()
    address = agent.network.address if agent.network is not None else None
    details = {row.type: row.valueString or "" for row in entity.detail or ()}
    return address or "", details


_SERVE = """
import sys
from pathlib import Path
from caretrail import app
from caretrail.settings import Settings
folder = Path(sys.argv[1])
async def ready(server, address):
    print(address, flush=True)
app.run(Settings(
    data=folder / "data", port=0, tls_cert=folder / "server.pem",
    client_ca=folder / "clients.pem", identities=folder / "identities.toml",
), on_ready=ready)
"""


def test_a_certificate_is_renewed_without_a_restart(tmp_path: Path) -> None:
    authority = made("hospital")
    path = written(tmp_path, "server", made("localhost", authority))
    files = tls.Files(path)
    context = tls.context(files)
    renewal = tls.Renewal(context, files, seconds=0.01)

    async def shown() -> bytes:
        """Return the certificate that a new connection is shown."""
        served = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
        try:
            port = served.sockets[0].getsockname()[1]
            trusting = ssl.create_default_context(cadata=pem(authority[0]).decode())
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="localhost")  # fmt: skip
            found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.transport.abort()
            return found
        finally:
            served.close()

    async def check() -> None:
        first = await shown()
        assert not renewal.renew()
        path.write_bytes(b"half a file")
        assert not renewal.renew()
        assert await shown() == first
        written(tmp_path, "server", made("localhost", authority))
        renewal.start()
        for _ in range(2_000):
            if await shown() != first:
                break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("the certificate stays the same")
        await renewal.close()
        path.unlink()
        assert not renewal.renew()

    asyncio.run(check())


def test_old_versions_and_weak_suites_are_not_spoken(tmp_path: Path) -> None:
    context = tls.context(tls.Files(written(tmp_path, "server", made("localhost"))))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    names = {row["name"] for row in context.get_ciphers()}
    # IHE ITI TF-2, 3.19: the four that have to be there.
    assert names >= {
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "DHE-RSA-AES128-GCM-SHA256",
        "DHE-RSA-AES256-GCM-SHA384",
    }
    assert all("GCM" in name or "POLY1305" in name for name in names)


def test_files_that_do_not_fit_are_told(tmp_path: Path) -> None:
    good = written(tmp_path, "server", made("localhost"))
    other = written(tmp_path, "other", made("localhost"))
    for files in (tls.Files(tmp_path / "missing"), tls.Files(good, other)):
        with pytest.raises(ConfigurationError, match="PEM"):
            tls.context(files)
    (tmp_path / "ca").write_text("none")
    for authority in (tmp_path / "ca", tmp_path / "missing"):
        with pytest.raises(ConfigurationError, match="client-ca"):
            tls.context(tls.Files(good, None, authority))


def test_what_is_no_certificate_is_nobody() -> None:
    pair = made("lab")
    known = Certificates([Registered("laboratory", subject="lab")])
    text = pem(pair[0]).decode()
    found = known.find(text)
    assert found is not None
    assert found.producer == "laboratory"
    assert found.view("create") is not None
    assert found.view("read") is None
    assert known.find(text) is found
    assert known.find("") is known.find("text") is known.find(pem(made("x")[0]).decode()) is None
