"""Signers: what they sign holds, and a command that signs is kept at a distance."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

import pytest
import uvloop

from caretrail.errors import ConfigurationError, UnavailableError, VerificationError
from caretrail.key_file import load_or_create
from caretrail.publisher.signing_key import CommandSigner, FileSigner, QuantumSafeSigner, sign
from caretrail.tlog.checkpoint import Checkpoint, SignedCheckpoint
from caretrail.tlog.cosignature import Cosigner, time_of, verifier
from caretrail.tlog.keys import Ed25519PrivateKey
from caretrail.tlog.note import Note, NoteSigner, VerifierKey

if TYPE_CHECKING:
    from pathlib import Path

ORIGIN = "log.example/caretrail"
CHECKPOINT = Checkpoint(ORIGIN, 3, b"r" * 32)
TEXT = CHECKPOINT.format()
# Another machine's signer: a key file of its own, standard input, standard output.
SIGNS = """
import base64, sys
from cryptography.hazmat.primitives.serialization import load_pem_private_key
key = load_pem_private_key(open(sys.argv[1], "rb").read(), None)
print("the PIN is 1234", file=sys.stderr)
print(base64.b64encode(key.sign(sys.stdin.buffer.read())).decode())
"""


def key_of(path: Path) -> VerifierKey:
    return NoteSigner(ORIGIN, Ed25519PrivateKey(load_or_create(path, passphrase=None))).key


def command(script: str, key: VerifierKey, *arguments: str, seconds: float = 20) -> CommandSigner:
    return CommandSigner([sys.executable, "-c", script, *arguments], key, timeout_seconds=seconds)


def test_a_checkpoint_has_the_signatures_of_all_keys(tmp_path: Path) -> None:
    first = FileSigner(tmp_path / "log.key", origin=ORIGIN)
    second = QuantumSafeSigner(
        tmp_path / "second.key", origin=ORIGIN, clock=lambda: 1_700_000_000.5
    )
    note = asyncio.run(sign(CHECKPOINT, [first, second]))
    opened = SignedCheckpoint.open(
        Note.parse(note.format()), [verifier(first.key), verifier(second.key)]
    )
    assert opened.checkpoint == CHECKPOINT
    assert [one.key_id for one in opened.verified] == [first.key.key_id, second.key.key_id]
    assert time_of(opened.verified[1]) == 1_700_000_000


def test_a_log_signs_under_its_origin_alone(tmp_path: Path) -> None:
    signer = FileSigner(tmp_path / "log.key", origin="another.example/log")
    for signers in ([signer], []):
        with pytest.raises(VerificationError, match="under the name of its origin"):
            asyncio.run(sign(CHECKPOINT, signers))


def test_a_command_signs_like_the_file_that_it_has(tmp_path: Path) -> None:
    path = tmp_path / "far.key"
    signer = command(SIGNS, key_of(path), str(path))
    there = FileSigner(path, origin=ORIGIN)
    assert signer.key == there.key
    note = asyncio.run(sign(CHECKPOINT, [there]))
    assert asyncio.run(sign(CHECKPOINT, [signer])) == note
    assert uvloop.run(sign(CHECKPOINT, [signer])) == note


def test_a_signature_of_another_key_or_text_is_not_used(tmp_path: Path) -> None:
    path, other = tmp_path / "far.key", tmp_path / "other.key"
    load_or_create(other, passphrase=None)
    for script, words in (
        (SIGNS, "another key"),
        (SIGNS.replace("sys.stdin.buffer.read()", "b'something else'"), "another key"),
        ("print('no base64!')", "no base64"),
        ("print()", "another key"),
    ):
        arguments = [str(path if "something" in script else other)]
        with pytest.raises(VerificationError, match=words):
            asyncio.run(command(script, key_of(path), *arguments).sign(TEXT))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("import sys; print('secret', file=sys.stderr); sys.exit(3)", "exit code 3"),
        ("import sys; print('x' * 100_000_000)", "exit code -9"),
        ("import os, sys; os.close(0); sys.exit(4)", "exit code 4"),
    ],
)
def test_a_command_that_fails_is_asked_again_later(tmp_path: Path, script: str, words: str) -> None:
    with pytest.raises(UnavailableError, match=words) as caught:
        asyncio.run(command(script, key_of(tmp_path / "k")).sign("x" * 1_000_000 + "\n"))
    assert "secret" not in str(caught.value)
    # The server runs in another event loop.
    with pytest.raises(UnavailableError, match=words):
        uvloop.run(command(script, key_of(tmp_path / "k")).sign("x" * 1_000_000 + "\n"))


def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "alive"
    script = (
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time, sys; time.sleep(2);"
        ' open(sys.argv[1], "w").close()\', sys.argv[1]])\n'
        "time.sleep(60)"
    )
    begun = time.monotonic()
    with pytest.raises(UnavailableError, match="too long"):
        asyncio.run(command(script, key_of(tmp_path / "k"), str(mark), seconds=1).sign(TEXT))
    assert time.monotonic() - begun < 10
    time.sleep(2)
    assert not mark.exists()


def test_a_command_that_cannot_be_is_said_to(tmp_path: Path) -> None:
    key = key_of(tmp_path / "k")
    with pytest.raises(UnavailableError, match="cannot be started"):
        asyncio.run(CommandSigner([str(tmp_path / "absent")], key).sign(TEXT))
    with pytest.raises(ConfigurationError):
        CommandSigner([], key)
    cosigner = Cosigner(ORIGIN, Ed25519PrivateKey(b"W" * 32))
    with pytest.raises(ConfigurationError):
        CommandSigner(["true"], cosigner.key)
