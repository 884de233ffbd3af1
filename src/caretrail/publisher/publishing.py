"""The publishing loop: it signs how the log stands, keeps that outside, and has it witnessed.

A checkpoint goes to the checkpoint store before anybody sees it, so that this log never signs two
histories (DESIGN; integrity). Witnesses and anchors come after, each at its own pace.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caretrail.errors import ConfigurationError, ConflictError, Error, VerificationError
from caretrail.limits import (
    ANCHOR_SECONDS,
    CHECKPOINT_SECONDS_IDLE,
    CHECKPOINT_SECONDS_MIN,
    WITNESS_SECONDS_BETWEEN,
)
from caretrail.publisher import signing_key
from caretrail.tlog.checkpoint import Checkpoint
from caretrail.tlog.key_history import KeyHistory
from caretrail.tlog.note import ED25519, Note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caretrail.publisher.anchors import TimeStamp, TimeStampAuthority, WriteOnceFolder
    from caretrail.publisher.checkpoint_store import CheckpointStore
    from caretrail.publisher.signing_key import Signer
    from caretrail.publisher.witnesses import Witnesses
    from caretrail.storage.contract import Storage
    from caretrail.tlog.policy import Policy
    from caretrail.tlog.tree import Tree

_log: Final = logging.getLogger(__name__)


class Anchors(NamedTuple):
    """Where checkpoints are fixed in time and place, each if it is set up."""

    authority: TimeStampAuthority | None = None
    folder: WriteOnceFolder | None = None


class Signed(NamedTuple):
    """A checkpoint of ours: its note, its size, and when it was made, in seconds since 1970."""

    note: Note
    size: int
    at: float


class Publisher:
    """Publishes the checkpoints of one log.

    `tree` says how the log stands on disk, None while that is not known.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        tree: Callable[[], Tree | None],
        signers: Sequence[Signer],
        store: CheckpointStore,
        witnesses: Witnesses | None = None,
        anchors: Anchors = Anchors(),  # noqa: B008 - it is empty and never changes
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._storage = storage
        self._tree = tree
        self._signers = tuple(signers)
        self._store = store
        self._witnesses = witnesses
        self._anchors = anchors
        self._clock = clock
        self._last = store.get(storage.origin)
        self._grown = asyncio.Event()
        self._news = asyncio.Condition()
        self._signing = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self.signed: Signed | None = None
        self.cosigned: Signed | None = None
        self.trouble = ""

    @property
    def has_witnesses(self) -> bool:
        """Tell whether somebody else is asked to cosign."""
        return self._witnesses is not None

    @property
    def keys(self) -> str:
        """Return the history of the log's keys."""
        return self._storage.keys

    @property
    def policy(self) -> Policy | None:
        """Return whom we ask to cosign and how many have to, None without witnesses."""
        return self._witnesses.policy if self._witnesses is not None else None

    def public(self) -> Note | None:
        """Return the checkpoint to show to outsiders: a cosigned one where there is one."""
        shown = self.cosigned or self.signed
        return shown.note if shown is not None else None

    def wake(self) -> None:
        """Say that the log has grown."""
        self._grown.set()

    async def start(self) -> None:
        """Sign how the log stands now, and go on in the background."""
        await self.sign()
        self._tasks = [asyncio.create_task(self._follow())]
        if self._witnesses is not None:
            self._tasks.append(asyncio.create_task(self._witness()))
        if self._anchors.authority is not None or self._anchors.folder is not None:
            self._tasks.append(asyncio.create_task(self._anchor()))

    async def close(self) -> None:
        """Sign the last state of the log, and end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            if self._tasks:
                await self.sign()
        except Error as error:
            _log.error("the last checkpoint was not signed", extra={"reason": str(error)})
        if self._witnesses is not None:
            await self._witnesses.close()
        if self._anchors.authority is not None:
            await self._anchors.authority.close()

    async def sign(self) -> None:
        """Sign, keep outside, then keep inside, the log as it stands.

        Once begun it is finished, whoever is cancelled: what the store has must be known here.
        """
        await asyncio.shield(asyncio.ensure_future(self._sign()))

    async def _sign(self) -> None:
        async with self._signing:
            await self._sign_next()

    async def _sign_next(self) -> None:
        tree = self._tree()
        if tree is None:
            return
        checkpoint = Checkpoint(self._storage.origin, tree.size, tree.root())
        KeyHistory.parse(self._storage.keys).require_valid(
            [one.key for one in self._signers], size=tree.size
        )
        note = await signing_key.sign(checkpoint, self._signers)
        data, now = note.format(), self._clock()
        if data != self._last:
            await asyncio.to_thread(
                self._store.set, checkpoint.origin, expected=self._last, new=data
            )
            self._last = data
        await self._storage.publish(
            data, size=tree.size, at=int(now * 1000), cosigned=False, stays=False
        )
        async with self._news:
            self.signed = Signed(note, tree.size, now)
            self._news.notify_all()

    async def sign_text(self, text: str) -> Note:
        """Return a note of another kind than a checkpoint, signed by the log's Ed25519 key.

        Its first line says what it is, so that nobody takes it for something else.
        """
        plain = [one for one in self._signers if one.key.kind == ED25519]
        return Note(text, tuple([await one.sign(text) for one in plain]))

    @property
    def has_authority(self) -> bool:
        """Tell whether somebody is asked for time stamps."""
        return self._anchors.authority is not None

    async def stamp(self, note: Note, *, seconds: float) -> bytes | None:
        """Return a time stamp of this very checkpoint: the kept one, or one that is asked for now.

        Returns None when there is nobody to ask, and when the answer does not come in that time.
        What comes is kept in the write-once folder.
        """
        authority, folder = self._anchors
        try:
            kept = None if folder is None else await asyncio.to_thread(folder.stamp_of, note)
            if kept is not None or authority is None:
                return kept
            async with asyncio.timeout(seconds):
                made = await authority.stamp(note.format())
        except (Error, TimeoutError) as error:
            _log.warning("a checkpoint was not time-stamped", extra={"reason": str(error)})
            return None
        if folder is not None:
            await self._keep(folder, note, made)
        return made.response

    async def _keep(self, folder: WriteOnceFolder, note: Note, stamp: TimeStamp) -> None:
        try:
            await asyncio.to_thread(folder.keep, note, stamp)
        except Error as error:
            _log.warning("a time stamp was not kept", extra={"reason": str(error)})

    async def covering(self, entry: int, *, cosigned: bool, seconds: float) -> Signed | None:
        """Return a checkpoint that covers the entry, once there is one; None after that time."""

        def found() -> Signed | None:
            one = self.cosigned if cosigned else self.signed
            return one if one is not None and one.size > entry else None

        async with self._news:
            try:
                async with asyncio.timeout(seconds):
                    await self._news.wait_for(lambda: found() is not None)
            except TimeoutError:
                return None
            return found()

    async def _follow(self) -> None:
        """Sign soon after the log has grown, and now and then when it has not."""
        while True:
            try:
                async with asyncio.timeout(CHECKPOINT_SECONDS_IDLE):
                    await self._grown.wait()
            except TimeoutError:
                pass  # Silence is signed, too, and witnessed anew.
            self._grown.clear()
            try:
                await self.sign()
                self.trouble = ""
            except ConflictError:
                self.trouble = "conflict"
                _log.error("another process has signed a checkpoint of this log")
            except Error as error:
                self.trouble = "failed"
                _log.error("a checkpoint was not signed", extra={"reason": str(error)})
            await asyncio.sleep(CHECKPOINT_SECONDS_MIN)

    async def _witness(self) -> None:
        assert self._witnesses is not None
        size_time: tuple[int, float] | None = None
        while True:
            asked = await self._next(size_time)
            size_time = asked.size, asked.at
            try:
                witnessed = await self._witnesses.cosign(asked.note)
                if witnessed.quorum:
                    await self._cosigned(asked, witnessed.note)
            except Error as error:
                # A store that takes nothing now: the next checkpoint is witnessed all the same.
                _log.warning("a cosigned checkpoint was not kept", extra={"reason": str(error)})
            await asyncio.sleep(WITNESS_SECONDS_BETWEEN)

    async def _next(self, last: tuple[int, float] | None) -> Signed:
        """Return the signed checkpoint that comes after the last one."""

        def is_new() -> bool:
            return self.signed is not None and (self.signed.size, self.signed.at) != last

        async with self._news:
            await self._news.wait_for(is_new)
            assert self.signed is not None
            return self.signed

    async def _cosigned(self, asked: Signed, note: Note) -> None:
        now = self._clock()
        await self._storage.publish(
            note.format(), size=asked.size, at=int(now * 1000), cosigned=True, stays=False
        )
        async with self._news:
            self.cosigned = Signed(note, asked.size, now)
            self._news.notify_all()

    async def _anchor(self) -> None:
        while True:
            latest = self.cosigned or self.signed
            try:
                if latest is not None:
                    await self._fix(latest)
            except Error as error:
                _log.warning("a checkpoint was not anchored", extra={"reason": str(error)})
            await asyncio.sleep(ANCHOR_SECONDS)

    async def _fix(self, latest: Signed) -> None:
        authority, folder = self._anchors
        data = latest.note.format()
        stamp = await authority.stamp(data) if authority is not None else None
        if folder is not None:
            await asyncio.to_thread(folder.keep, latest.note, stamp)
        await self._storage.publish(
            data, size=latest.size, at=int(latest.at * 1000), cosigned=False, stays=True
        )

    def health(self) -> dict[str, Any]:
        """Return what a person wants to know: how old the last checkpoints are, and what is wrong."""
        tree = self._tree()
        size = tree.size if tree is not None else None
        signed, cosigned = self.signed, self.cosigned
        state: dict[str, Any] = {
            "status": self.trouble or "ok",
            "origin": self._storage.origin,
            "signed_size": signed.size if signed else None,
            "signed_seconds_ago": round(self._clock() - signed.at, 1) if signed else None,
        }
        if self._witnesses is not None:
            state |= {
                "cosigned_size": cosigned.size if cosigned else None,
                "cosigned_seconds_ago": round(self._clock() - cosigned.at, 1) if cosigned else None,
                "unwitnessed": size - cosigned.size if size is not None and cosigned else size,
                "witnesses": [
                    {"name": one.name, "size": one.size, "trouble": one.trouble.value}
                    for one in self._witnesses.states()
                ],
            }
        return state


def check_start(storage: Storage, store: CheckpointStore, *, accept_new: bool) -> bool:
    """See that the log continues what was signed last; return whether that was taken on trust.

    Raises ConfigurationError, with what to do, for a log that was rolled back, cut off or forked.
    It reads the store: call it in a thread, or before there is an event loop.
    """
    origin, size = storage.origin, storage.found.size
    last = store.get(origin)
    if last is None:
        if size and not accept_new:
            raise ConfigurationError(_NO_STORE)
        return bool(size)
    note = Note.parse(last)
    try:
        signed = KeyHistory.parse(storage.keys).open(note).checkpoint
    except VerificationError as error:
        raise ConfigurationError(f"the checkpoint store does not fit this log: {error}") from error
    if signed.size > size:
        raise ConfigurationError(_ROLLED_BACK.format(size=size, signed=signed.size))
    if storage.proofs().prover.root(signed.size) != signed.root:
        raise ConfigurationError(_FORKED.format(signed=signed.size))
    return False


_NO_STORE: Final = (
    "this log has entries, but the checkpoint store has no checkpoint of it. Name the file that has"
    " it with --checkpoint-store. If there is none any more, check the log against a checkpoint that"
    " somebody else has (caretrail verify), then start once with --accept-new-checkpoint-store"
)
_ROLLED_BACK: Final = (
    "this log has {size} entries, and {signed} were signed: it was restored from an older copy, or"
    " its end was cut off. Restore a newer copy, or let it go on under another name with"
    " `caretrail recover`"
)
_FORKED: Final = (
    "the first {signed} entries of this log are not those that were signed: they were changed, or"
    " the log ran twice. `caretrail verify` says where; restore a copy, or let it go on under"
    " another name with `caretrail recover`"
)
