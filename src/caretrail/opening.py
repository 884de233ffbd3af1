"""Opening a log: its store, its keys, what was signed last, and the facts that it records of itself.

Every process that writes to a log opens it here, the server like the commands: each start and stop
is an event in the log, and nothing is signed that does not continue what was signed before.
"""

from __future__ import annotations

import asyncio
import secrets
import shlex
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail import __version__, starting
from caretrail.config import content
from caretrail.errors import ConfigurationError
from caretrail.patterns import codes, own
from caretrail.publisher import publishing
from caretrail.publisher.anchors import Pinned, TimeStampAuthority, WriteOnceFolder
from caretrail.publisher.checkpoint_store import CheckpointStore, beside
from caretrail.publisher.publishing import Anchors, Publisher
from caretrail.publisher.signing_key import CommandSigner, FileSigner, QuantumSafeSigner, Signer
from caretrail.publisher.witnesses import Witnesses
from caretrail.repository import Repository
from caretrail.sequencer import HOUR_MILLISECONDS
from caretrail.storage.contract import LogPlace
from caretrail.storage.stores import open_store
from caretrail.tlog.entry import Kind
from caretrail.tlog.key_history import KeyHistory
from caretrail.tlog.note import VerifierKey
from caretrail.tlog.policy import Policy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from caretrail.committer import Commit
    from caretrail.settings import Settings
    from caretrail.storage.contract import Proofs, Storage

SIGNING_KEY: Final = "signing-key.pem"
QUANTUM_SAFE_KEY: Final = "signing-key-ml-dsa-44.pem"


class Opened(NamedTuple):
    """A log that is open for writing, and what signs it."""

    repository: Repository
    publisher: Publisher


@asynccontextmanager
async def opened(
    settings: Settings,
    *,
    on_commit: Callable[[Commit], None] = lambda _: None,
    is_server: bool = False,
) -> AsyncIterator[Opened]:
    """Open the log, and let go of it in the end, whatever happens.

    A server says how its settings differ from the last server's, and watches the clock. Raises ConfigurationError when it is in use, damaged, or not what was signed last.
    """
    storage = open_store(place_of(settings))
    try:
        signers = signers_of(settings, storage.origin)
        await begin_keys(storage, signers)
        store = checkpoint_store(settings)
        on_trust = publishing.check_start(
            storage, store, accept_new=settings.accept_new_checkpoint_store
        )
        left = _was_stopped(storage.proofs(), storage.found.size)
        received = storage.received
    except BaseException:
        await storage.close()
        raise
    publisher: Publisher | None = None

    def committed(commit: Commit) -> None:
        on_commit(commit)
        if publisher is not None:
            publisher.wake()

    window = settings.copy_window_hours * HOUR_MILLISECONDS
    repository = Repository(storage, on_commit=committed, copy_window=window)
    try:
        publisher = Publisher(
            storage,
            tree=lambda: repository.tree,
            signers=signers,
            store=store,
            witnesses=_witnesses(settings, repository),
            anchors=_anchors(settings),
        )
        await starting.say_started(
            repository,
            settings,
            left=left,
            received=received,
            on_trust=on_trust,
            is_server=is_server,
        )
        await publisher.start()
        watch = asyncio.create_task(starting.watch_clock(repository)) if is_server else None
        try:
            yield Opened(repository, publisher)
        finally:
            if watch is not None:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
            await repository.record_own(own.stopped(repository.speaking(), version=__version__))
    finally:
        # Whatever went wrong: nothing is signed any more when the log is let go.
        if publisher is not None:
            await publisher.close()
        await repository.close()


def place_of(settings: Settings) -> LogPlace:
    """Return where the log is."""
    return LogPlace(settings.folder, settings.store, settings.data_keys)


def signers_of(settings: Settings, origin: str) -> list[Signer]:
    """Return what signs for the log, the Ed25519 key first."""
    passphrase = _passphrase(settings.signing_passphrase_file)
    signers: list[Signer] = []
    if settings.signing_command:
        key = VerifierKey.parse(settings.signing_command_key)
        signers.append(CommandSigner(shlex.split(settings.signing_command), key))
    else:
        signers.append(FileSigner(key_path(settings), origin=origin, passphrase=passphrase))
    if settings.sign_ml_dsa:
        path = key_path(settings).with_name(QUANTUM_SAFE_KEY)
        signers.append(
            QuantumSafeSigner(path, origin=origin, clock=time.time, passphrase=passphrase)
        )
    return signers


def key_path(settings: Settings) -> Path:
    """Return where the log's signing key is."""
    return settings.signing_key or settings.folder / SIGNING_KEY


def checkpoint_store(settings: Settings) -> CheckpointStore:
    """Return the store of the last signed checkpoints."""
    path = settings.checkpoint_store or beside(settings.folder)
    return CheckpointStore(path, data=settings.folder)


async def begin_keys(storage: Storage, signers: Sequence[Signer]) -> None:
    """Begin the history of a new log's keys, or see that the signers are the log's."""
    keys = tuple(one.key for one in signers)
    if not storage.keys:
        await storage.rename(origin=storage.origin, keys=KeyHistory.begin(*keys).format())
        return
    valid = KeyHistory.parse(storage.keys).periods[-1].keys
    if not set(keys) <= set(valid):
        raise ConfigurationError(
            "the signing key is not the one that this log has announced: bring it back, or let"
            " another take over with `caretrail rotate-key`"
        )


def _passphrase(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(
            f"the file of the signing key's passphrase cannot be read ({error.strerror})"
        ) from error


def _witnesses(settings: Settings, repository: Repository) -> Witnesses | None:
    if settings.witness_policy is None:
        return None

    async def prove(*, old: int, new: int) -> tuple[bytes, ...]:
        return await repository.prove(lambda proofs: proofs.prover.consistency(old=old, new=new))

    policy = Policy.parse(content(settings.witness_policy))
    return Witnesses(policy, prove)


def _anchors(settings: Settings) -> Anchors:
    authority = None
    if settings.timestamp_url:
        if settings.timestamp_certificates is None:
            raise ConfigurationError("--timestamp-url needs --timestamp-certificates")
        pinned = Pinned.parse(content(settings.timestamp_certificates))
        authority = TimeStampAuthority(settings.timestamp_url, pinned)
    folder = WriteOnceFolder(settings.worm_folder) if settings.worm_folder else None
    return Anchors(authority, folder)


def _was_stopped(proofs: Proofs, size: int) -> int | None:
    """Return None where the log is new or was stopped properly, else when it took its last event."""
    if not size:
        return None
    (last,) = proofs.sealed(size - 1, size)
    if last.record is None:
        return None
    subtypes = {coding.code for coding in last.record.event.subtype or ()}
    if last.record.kind == Kind.OWN and codes.APPLICATION_STOP.code in subtypes:
        return None
    return last.record.received


async def recover(settings: Settings) -> str:
    """Let a restored log go on under another name; return its new origin.

    Its first entry under that name names the old origin, what was signed last under it, and how
    much of it is there. The old key goes out of use.
    """
    storage = open_store(place_of(settings))
    repository = Repository(storage)
    try:
        store, before, size = checkpoint_store(settings), storage.origin, storage.found.size
        signed = store.get(before) or storage.proofs().checkpoint()
        path = key_path(settings)
        if settings.signing_command:
            raise ConfigurationError(
                "a log whose key is kept elsewhere is recovered with a key file: leave out"
                " --signing-command, then rotate to the new command's key"
            )
        if path.exists():
            path.rename(path.with_name(f"{path.name}.of-{before.rpartition('/')[2]}"))
        origin = f"caretrail/{secrets.token_hex(16)}"
        signers = signers_of(settings, origin)
        history = KeyHistory.begin(*(one.key for one in signers))
        await storage.rename(origin=origin, keys=history.format())
        text = signed.decode() if signed is not None else None
        log = repository.speaking()
        await repository.record_own(own.recovered(log, origin=before, checkpoint=text, size=size))
        await _sign_once(storage, repository, signers, store)
    finally:
        await repository.close()
    return origin


async def rotate_key(
    settings: Settings, following: Path, *, persons: Mapping[str, str] = own.NOBODY
) -> str:
    """Let the key in the file `following` take over; return its verifier key.

    The rotation is an entry, and the checkpoint over it is the last that the old key signs.
    `persons` name who did it and who approved, where that takes two.
    """
    storage = open_store(place_of(settings))
    repository = Repository(storage)
    try:
        signers = signers_of(settings, storage.origin)
        store = checkpoint_store(settings)
        publishing.check_start(storage, store, accept_new=False)
        passphrase = _passphrase(settings.signing_passphrase_file)
        after = FileSigner(following, origin=storage.origin, passphrase=passphrase)
        keys = (after.key, *(one.key for one in signers[1:]))
        # The entry of the rotation is covered by the old key; the next one by the new.
        since = repository.size + 2
        vkeys = [key.format() for key in keys]
        log = repository.speaking()
        await repository.record_own(own.key_changed(log, keys=vkeys, since=since, persons=persons))
        await _sign_once(storage, repository, signers, store)
        history = KeyHistory.parse(storage.keys).rotate(since=since, keys=keys)
        await storage.rename(origin=storage.origin, keys=history.format())
    finally:
        await repository.close()
    path = key_path(settings)
    if path != following:
        await asyncio.to_thread(following.replace, path)
    return after.key.format()


async def _sign_once(
    storage: Storage, repository: Repository, signers: Sequence[Signer], store: CheckpointStore
) -> None:
    publisher = Publisher(storage, tree=lambda: repository.tree, signers=signers, store=store)
    await publisher.sign()
