"""The key file: made once, whole, for its owner alone, and clear about what is wrong with it."""

from __future__ import annotations

import shutil
import stat
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from caretrail.errors import ConfigurationError
from caretrail.key_file import Algorithm, load_or_create
from caretrail.tlog.keys import Ed25519PrivateKey, MLDSA44PrivateKey

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("passphrase", [None, b"a long random passphrase"])
@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_key_is_made_once_and_stays(
    tmp_path: Path, passphrase: bytes | None, algorithm: Algorithm
) -> None:
    path = tmp_path / "keys" / "log.key"
    seed = load_or_create(path, passphrase=passphrase, algorithm=algorithm)
    before = path.read_bytes()
    assert load_or_create(path, passphrase=passphrase, algorithm=algorithm) == seed
    assert path.read_bytes() == before
    assert len(seed) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["log.key"]
    assert (b"ENCRYPTED" in before) is (passphrase is not None)
    kernel = Ed25519PrivateKey if algorithm is Algorithm.ED25519 else MLDSA44PrivateKey
    assert kernel(seed).public.verify(b"x", kernel(seed).sign(b"x"))


def test_starts_at_once_end_up_with_one_key(tmp_path: Path) -> None:
    path, seeds = tmp_path / "log.key", []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        seeds.append(load_or_create(path, passphrase=None))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seeds) == 8
    assert len(set(seeds)) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["log.key"]


def test_what_is_wrong_with_a_key_is_said_without_a_secret(tmp_path: Path) -> None:
    plain, secret = tmp_path / "plain", tmp_path / "secret"
    seed = load_or_create(plain, passphrase=None)
    load_or_create(secret, passphrase=b"right-horse")
    cut = tmp_path / "cut"
    cut.touch(mode=0o600)
    cut.write_bytes(plain.read_bytes()[:-20])
    other = tmp_path / "other"
    other.touch(mode=0o600)
    other.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    )
    for path, passphrase, words in (
        (secret, None, "give its passphrase"),
        (secret, b"wrong-horse", "the passphrase is another one"),
        (plain, b"right-horse", "is not encrypted"),
        (plain, b"", "is empty"),
        (cut, None, "is damaged"),
        (other, None, "another algorithm"),
        (tmp_path, None, "cannot be read or written"),
        (plain / "below", None, "cannot be read or written"),
    ):
        with pytest.raises(ConfigurationError, match=words) as caught:
            load_or_create(path, passphrase=passphrase)
        assert "horse" not in str(caught.value)
        assert seed.hex() not in str(caught.value)
    with pytest.raises(ConfigurationError, match="another algorithm"):
        load_or_create(plain, passphrase=None, algorithm=Algorithm.MLDSA44)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "log.key"
    load_or_create(path, passphrase=None)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        load_or_create(path, passphrase=None)


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs the openssl command")
def test_openssl_reads_the_key(tmp_path: Path) -> None:
    path = tmp_path / "log.key"
    seed = load_or_create(path, passphrase=b"sesame-sesame")
    done = subprocess.run(
        ["openssl", "pkey", "-in", str(path), "-passin", "pass:sesame-sesame", "-text", "-noout"],
        capture_output=True,
        text=True,
        check=True,
    )
    private = done.stdout.partition("priv:")[2].partition("pub:")[0]
    assert "".join(private.split()).replace(":", "") == seed.hex()
