"""A tiny log: leaves in memory, checkpoints by a key file, proofs by RFC 9162's own definitions."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from caretrail.errors import VerificationError
from caretrail.publisher.signing_key import FileSigner, sign
from caretrail.tlog.checkpoint import Checkpoint
from tests.tlog import merkle

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from caretrail.tlog.note import Note

ORIGIN = "log.example/caretrail"


def leaf(number: int) -> bytes:
    return sha256(b"\0" + b"entry %d" % number).digest()


class Log:
    """A log that can also lie: `forge` changes an old leaf, and it goes on with its real key."""

    def __init__(self, folder: Path, *, origin: str = ORIGIN, size: int = 0) -> None:
        self.origin = origin
        self.signer = FileSigner(folder / "log.key", origin=origin)
        self.leaves = [leaf(number) for number in range(size)]

    @property
    def vkey(self) -> str:
        return self.signer.key.format()

    def grow(self, count: int) -> None:
        self.leaves += [leaf(len(self.leaves) + number) for number in range(count)]

    def forge(self) -> None:
        self.leaves[0] = sha256(b"forged").digest()

    def root(self, size: int | None = None) -> bytes:
        return merkle.mth(self.leaves[:size])

    async def note(self, size: int | None = None) -> Note:
        size = len(self.leaves) if size is None else size
        return await sign(Checkpoint(self.origin, size, self.root(size)), [self.signer])

    async def prove(self, *, old: int, new: int) -> Sequence[bytes]:
        if not 0 < old <= new <= len(self.leaves):
            raise VerificationError("there is no such proof")
        return merkle.proof(old, self.leaves[:new])
