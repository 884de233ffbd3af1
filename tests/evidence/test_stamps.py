"""Who made a time stamp: verify.py believes the certificates that the auditor gives, and no others."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

from caretrail.evidence import verify
from tests.evidence.maker import World
from tests.evidence.test_verify import codes, run
from tests.publisher.authority import EC, RSA, Authority, needs_openssl

if TYPE_CHECKING:
    from collections.abc import Sequence

SIGSTAGE = Path(__file__).parents[3] / "shared" / "vectors" / "merkle" / "rfc3161" / "sigstage.json"


def stamped(authority: Authority, data: bytes) -> bytes:
    """Return the authority's time stamp of the data."""
    builder = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256)
    return authority.reply(builder.build().as_bytes())


def bundle(token: bytes) -> bytes:
    """Return a good bundle with this time stamp."""
    world = World()
    return world.resigned(world.members(world.evidence(timestamps={"a.tsr": token})))


def check(token: bytes, pem: bytes) -> tuple[dict[str, Any], str]:
    """Return what verify.py says for machines and for people."""
    checked = verify.Check(bundle(token), tsa=x509.load_pem_x509_certificates(pem))
    return verify.machine(checked), "\n".join(verify.page(checked))


def test_the_signer_of_others_time_stamps_is_found() -> None:
    if not SIGSTAGE.exists():
        pytest.skip("needs ../shared/vectors/merkle")
    found = json.loads(SIGSTAGE.read_text())
    own, root = x509.load_pem_x509_certificates(found["ts_chain_pem"].encode())
    for name, made in (("response-sha256", True), ("response-invalid-signature", False)):
        _, *signed = verify.stamp_of(base64.b64decode(found["responses"][name]))
        assert verify.made_by(own, *signed) is made
        assert not verify.made_by(root, *signed)


@needs_openssl
@pytest.mark.parametrize("key", [EC, RSA], ids=["EC", "RSA"])
def test_a_time_stamp_by_a_given_authority_holds_and_names_it(
    tmp_path: Path, key: Sequence[str]
) -> None:
    authority = Authority(tmp_path / "tsa", key=key)
    token = stamped(authority, World().checkpoint())
    (tmp_path / "bundle.zip").write_bytes(bundle(token))
    (tmp_path / "tsa.pem").write_bytes(authority.root + authority.own)
    done = run(tmp_path / "bundle.zip", "--tsa", tmp_path / "tsa.pem")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "timestamps/a.tsr, by CN=authority" in done.stdout
    assert "NOT CHECKED" not in done.stdout
    done = run(tmp_path / "bundle.zip")
    assert done.returncode == 0
    assert "timestamps/a.tsr, by whom is NOT CHECKED" in done.stdout
    assert "who made the time stamps" in done.stdout


@needs_openssl
def test_a_time_stamp_by_anybody_else_is_a_finding(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "tsa"), Authority(tmp_path / "other")
    token = stamped(authority, World().checkpoint())
    cases = [(token, other.own), (token, authority.root)]
    # A byte of what is signed, of the attributes over it, and of the signature itself.
    parts = verify.stamp_of(token)
    ((_, signer),) = verify.der(parts[3])
    attributes, _, signature = [body for _, body in verify.der(signer)][3:6]
    for part in (parts[2], attributes, signature):
        at = token.index(part) + len(part) - 1
        cases.append((token[:at] + bytes([token[at] ^ 1]) + token[at + 1 :], authority.own))
    for damaged, pem in cases:
        said, page = check(damaged, pem)
        assert codes(said) == {"bad-timestamp"}
        assert [one["by"] for one in said["timestamps"]] in ([None], [])
        assert page.startswith("DOES NOT HOLD.")


@needs_openssl
def test_a_time_outside_of_the_certificates_is_not_believed(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tsa")
    key = load_pem_private_key((tmp_path / "tsa" / "own.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    name, now = x509.Name([]), datetime.now(UTC)
    begun = x509.CertificateBuilder(name, name, key.public_key(), 1)
    for first, made in ((now + timedelta(hours=1), False), (now - timedelta(hours=1), True)):
        dated = begun.not_valid_before(first).not_valid_after(now + timedelta(days=9))
        signed = dated.sign(key, hashes.SHA256())
        _, *parts = verify.stamp_of(stamped(authority, b"data"))
        assert verify.made_by(signed, *parts) is made


def test_the_command_refuses_a_file_that_has_no_certificate(tmp_path: Path) -> None:
    world = World()
    (tmp_path / "bundle.zip").write_bytes(world.resigned(world.members()))
    for wrong in (b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\n"):
        (tmp_path / "tsa.pem").write_bytes(wrong)
        done = run(tmp_path / "bundle.zip", "--tsa", tmp_path / "tsa.pem")
        assert done.returncode == 2
        assert "does not have certificates in PEM" in done.stderr
    assert run(tmp_path / "bundle.zip", "--tsa", tmp_path / "none.pem").returncode == 2
