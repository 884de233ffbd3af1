"""The log's keys as signers of notes: out of a file, or out of a command that has the key elsewhere.

A signer is asked for each checkpoint, and may be another machine's: so it is asynchronous.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, cast

from caretrail.errors import ConfigurationError, UnavailableError, VerificationError
from caretrail.key_file import Algorithm, load_or_create
from caretrail.limits import SIGNER_OUTPUT_BYTES_MAX, SIGNING_SECONDS_MAX
from caretrail.tlog import checkpoint as checkpoints
from caretrail.tlog.cosignature import Cosigner
from caretrail.tlog.keys import Ed25519PrivateKey, MLDSA44PrivateKey
from caretrail.tlog.note import ED25519, NoteSigner, NoteVerifier, Signature, VerifierKey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from caretrail.tlog.checkpoint import Checkpoint
    from caretrail.tlog.note import Note


class Signer(Protocol):
    """A key of the log that signs the text of notes."""

    @property
    def key(self) -> VerifierKey:
        """The key by which the signature can be verified."""
        ...

    async def sign(self, text: str) -> Signature:
        """Return the signature, which holds.

        Raises UnavailableError when there is none for now, and VerificationError when what was
        given instead is no signature of this key.
        """
        ...


class FileSigner:
    """Signs with the Ed25519 key of a file, which is made on the first call (`key_file`)."""

    def __init__(self, path: Path, *, origin: str, passphrase: bytes | None = None) -> None:
        seed = load_or_create(path, passphrase=passphrase)
        self._signer = NoteSigner(origin, Ed25519PrivateKey(seed))
        self.key: Final = self._signer.key

    async def sign(self, text: str) -> Signature:
        """Return the signature."""
        return self._signer.sign(text)


class QuantumSafeSigner:
    """Signs with the ML-DSA-44 key of a file, as a second signature beside the Ed25519 one.

    Its signature has a time, by `clock` in seconds since 1970 UTC (C2SP tlog-cosignature).
    """

    def __init__(
        self,
        path: Path,
        *,
        origin: str,
        clock: Callable[[], float],
        passphrase: bytes | None = None,
    ) -> None:
        seed = load_or_create(path, passphrase=passphrase, algorithm=Algorithm.MLDSA44)
        self._cosigner = Cosigner(origin, MLDSA44PrivateKey(seed))
        self._clock = clock
        self.key: Final = self._cosigner.key

    async def sign(self, text: str) -> Signature:
        """Return the signature as of now."""
        return self._cosigner.cosign(text, time=int(self._clock()))


class CommandSigner:
    """Signs by a command: a PKCS#11 tool, a security module's client, ssh to another machine.

    The command gets the text of the note on standard input, and prints its Ed25519 signature in
    base64. What it writes to standard error is dropped, for it may tell of a PIN; it keeps a log
    of its own where that is wanted. No shell is in between.
    """

    def __init__(
        self,
        command: Sequence[str],
        key: VerifierKey,
        *,
        timeout_seconds: float = SIGNING_SECONDS_MAX,
    ) -> None:
        if key.kind != ED25519 or not command:
            raise ConfigurationError("a signing command has a name, and an Ed25519 verifier key")
        self.key: Final = key
        self._verifier = NoteVerifier(key)
        self._command = tuple(command)
        self._timeout_seconds = timeout_seconds

    async def sign(self, text: str) -> Signature:
        """Run the command, and return its signature once that holds."""
        printed = await self._run(text.encode())
        try:
            signature = base64.b64decode(printed.strip(), validate=True)
        except ValueError as error:
            raise VerificationError("the signing command printed no base64") from error
        if not self._verifier.verify(text, signature):
            raise VerificationError("the signing command has another key, or signs another text")
        return Signature(self.key.name, self.key.key_id, signature)

    async def _run(self, text: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        try:
            transport, conversation = await loop.subprocess_exec(
                lambda: _Conversation(loop),
                *self._command,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise UnavailableError(
                f"the signing command cannot be started ({error.strerror})"
            ) from error
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await conversation.hold(transport, text)
        except TimeoutError as error:
            raise UnavailableError("the signing command took too long") from error
        finally:
            # Leave nothing of it behind: neither the command nor what it has started.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(transport.get_pid(), signal.SIGKILL)
            transport.close()
            await conversation.gone
        if code := transport.get_returncode():
            raise UnavailableError(f"the signing command failed (exit code {code})")
        return bytes(conversation.printed)


class _Conversation(asyncio.SubprocessProtocol):
    """What a command prints, within bounds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.printed = bytearray()
        self.ended: Final = loop.create_future()
        self.gone: Final = loop.create_future()

    async def hold(self, transport: asyncio.SubprocessTransport, text: bytes) -> None:
        """Give the text; return when the command has ended, or has printed too much."""
        stdin = cast("asyncio.WriteTransport", transport.get_pipe_transport(0))
        stdin.write(text)
        stdin.close()  # Once everything is written, or the command no longer reads.
        await self.ended

    def pipe_data_received(self, _: int, data: bytes) -> None:
        """Keep what was printed; too much of it ends the conversation."""
        self.printed += data
        if len(self.printed) > SIGNER_OUTPUT_BYTES_MAX:
            self._end()

    def connection_lost(self, _: Exception | None) -> None:
        """Take note that the command has ended, and that its output is complete."""
        self._end()
        self.gone.set_result(None)

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class _Made(NamedTuple):
    """A signature that is there already, as the kernel takes it."""

    key: VerifierKey
    signature: Signature

    def sign(self, _: str) -> Signature:
        return self.signature


async def sign(checkpoint: Checkpoint, signers: Sequence[Signer]) -> Note:
    """Return the checkpoint as a note signed by the log's keys, whose name must be the origin.

    A log never signs two checkpoints that are inconsistent: the caller has to know that, before
    (`checkpoint_store`).
    """
    if any(one.key.name != checkpoint.origin for one in signers):
        raise VerificationError("a log signs under the name of its origin")
    text = checkpoint.format()
    signatures = await asyncio.gather(*(one.sign(text) for one in signers))
    made = [_Made(one.key, found) for one, found in zip(signers, signatures, strict=True)]
    return checkpoints.sign(checkpoint, made)
