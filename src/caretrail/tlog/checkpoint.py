"""The checkpoint: what a log was at one size, in one spelling, signed as a note (C2SP tlog-checkpoint).

The text of a checkpoint is what log and witnesses sign, so nothing but its only form is accepted.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self

from caretrail.errors import VerificationError
from caretrail.limits import TREE_SIZE_MAX
from caretrail.tlog.note import Note, decode_base64, encode_base64, verified
from caretrail.tlog.tree import HASH_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.tlog.note import Signature, Verifier, VerifierKey

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class Checkpoint(NamedTuple):
    """The origin, size and root of a log; extension lines are kept, and mean nothing here."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the text of a note."""
        try:
            origin, size, root, *extensions, end = text.split("\n")
            checkpoint = cls(origin, parse_decimal(size), decode_hash(root), tuple(extensions))
        except ValueError as error:
            raise VerificationError("the checkpoint is malformed") from error
        if not origin or end or not all(extensions):
            raise VerificationError("the checkpoint is not in its only valid form")
        return checkpoint

    def format(self) -> str:
        """Return the text that is signed."""
        return "\n".join(
            (self.origin, str(self.size), encode_base64(self.root), *self.extensions, "")
        )


class SignedCheckpoint(NamedTuple):
    """A checkpoint whose log's signature holds, with its note and the signatures that were checked."""

    checkpoint: Checkpoint
    note: Note
    verified: tuple[Signature, ...]

    @classmethod
    def open(cls, note: Note, verifiers: Sequence[Verifier]) -> Self:
        """Check the signatures of known keys; one at least must be under the name of the origin.

        Known keys of other names, such as those of witnesses, are checked as well, and none of
        them stands for the log.
        """
        checkpoint = Checkpoint.parse(note.text)
        signatures = verified(note, verifiers)
        if not any(one.name == checkpoint.origin for one in signatures):
            raise VerificationError("no known key of the checkpoint's origin has signed it")
        return cls(checkpoint, note, signatures)


class LogSigner(Protocol):
    """What signs a checkpoint for its log: a note signer, or a cosigner at one time."""

    @property
    def key(self) -> VerifierKey:
        """The key by which the signature can be verified."""
        ...

    def sign(self, text: str) -> Signature:
        """Return the signature over a checkpoint's text."""
        ...


def sign(checkpoint: Checkpoint, signers: Sequence[LogSigner]) -> Note:
    """Return the checkpoint as a note signed by the log's keys, whose name must be the origin.

    A log never signs two checkpoints that are inconsistent: the caller has to know that, before.
    """
    text = checkpoint.format()
    if Checkpoint.parse(text) != checkpoint:
        raise VerificationError("the checkpoint cannot be written")
    if not signers or any(one.key.name != checkpoint.origin for one in signers):
        raise VerificationError("a log signs under the name of its origin")
    return Note(text, tuple([one.sign(text) for one in signers]))


def parse_decimal(text: str) -> int:
    """Return a size or an index; raises ValueError unless it is its only spelling and in bounds."""
    if not _DECIMAL.fullmatch(text) or (number := int(text)) > TREE_SIZE_MAX:
        raise ValueError("not a decimal number in its only form")
    return number


def decode_hash(text: str) -> bytes:
    """Return a hash of 32 bytes out of base64; raises ValueError unless it is its only spelling."""
    data = decode_base64(text)
    if len(data) != HASH_BYTES:
        raise ValueError("not a hash of 32 bytes")
    return data
