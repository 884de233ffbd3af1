"""The proof file: one entry's inclusion and a cosigned checkpoint, to be checked offline (C2SP tlog-proof).

Whoever has the entry, the file and a policy needs nothing else, and nobody's help.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from caretrail.errors import VerificationError
from caretrail.limits import PROOF_EXTRA_BYTES_MAX, PROOF_FILE_BYTES_MAX, PROOF_HASHES_MAX
from caretrail.tlog.checkpoint import Checkpoint, decode_hash, parse_decimal
from caretrail.tlog.note import Note, decode_base64, encode_base64
from caretrail.tlog.proof import verify_inclusion
from caretrail.tlog.tree import leaf_hash

if TYPE_CHECKING:
    from caretrail.tlog.policy import Accepted, Policy

HEADER: Final = "c2sp.org/tlog-proof@v1"
_EXTRA: Final = "extra "
_INDEX: Final = "index "


@dataclass(frozen=True, slots=True)
class ProofFile:
    """An index, an inclusion proof and a checkpoint; `extra` is not authenticated by any of them."""

    index: int
    proof: tuple[bytes, ...]
    checkpoint: Note
    extra: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse a proof file, which has one spelling."""
        if len(data) > PROOF_FILE_BYTES_MAX:
            raise VerificationError("the proof file is too long")
        head, _, note = data.partition(b"\n\n")
        try:
            header, *lines = head.decode().split("\n")
            extra = (
                decode_base64(_after(_EXTRA, lines.pop(0))) if lines[0].startswith(_EXTRA) else None
            )
            index = parse_decimal(_after(_INDEX, lines.pop(0)))
            proof = tuple([decode_hash(line) for line in lines])
        except (ValueError, IndexError) as error:
            raise VerificationError("the proof file is malformed") from error
        if header != HEADER or extra == b"":
            raise VerificationError("the proof file is not in its only valid form")
        if len(proof) > PROOF_HASHES_MAX or len(extra or b"") > PROOF_EXTRA_BYTES_MAX:
            raise VerificationError("the proof file has more hashes or extra data than allowed")
        checkpoint = Note.parse(note)
        Checkpoint.parse(checkpoint.text)
        return cls(index, proof, checkpoint, extra or b"")

    def format(self) -> bytes:
        """Return the only spelling of this file."""
        lines = [HEADER]
        if self.extra:
            lines.append(_EXTRA + encode_base64(self.extra))
        lines.append(f"{_INDEX}{self.index}")
        lines += map(encode_base64, self.proof)
        return "\n".join([*lines, "", ""]).encode() + self.checkpoint.format()

    def verify(self, entry: bytes, policy: Policy, *, not_after: int | None = None) -> Accepted:
        """Return the accepted checkpoint of the tree in which `entry` stands at `index`.

        Raises VerificationError when the policy does not accept the checkpoint (`Policy.accept`),
        or when the entry is not in its tree.
        """
        accepted = policy.accept(self.checkpoint, not_after=not_after)
        verify_inclusion(
            leaf_hash(entry),
            index=self.index,
            size=accepted.checkpoint.size,
            proof=self.proof,
            root=accepted.checkpoint.root,
        )
        return accepted


def _after(prefix: str, line: str) -> str:
    """Return what stands after `prefix`; raises ValueError when the line begins otherwise."""
    if not line.startswith(prefix):
        raise ValueError("another line was expected")
    return line[len(prefix) :]
