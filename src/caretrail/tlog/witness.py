"""The witness protocol: the request, the decision, and the answer (C2SP tlog-witness).

Both sides are pure. A shell around `decide` must read the state, decide, write the new state durably
and only then answer, all of it atomically for one origin; otherwise two requests that cross each
other could roll the log back.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from caretrail.errors import VerificationError
from caretrail.limits import PROOF_HASHES_MAX, WITNESS_REQUEST_BYTES_MAX
from caretrail.tlog.checkpoint import Checkpoint, SignedCheckpoint, decode_hash, parse_decimal
from caretrail.tlog.note import Note, Signature, encode_base64, parse_signatures, verified
from caretrail.tlog.proof import verify_consistency
from caretrail.tlog.tree import EMPTY_ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.tlog.note import Verifier

_OLD: Final = "old "
SIZE_MEDIA_TYPE: Final = "text/x.tlog.size"


class Request(NamedTuple):
    """The body of add-checkpoint: a size that the witness has cosigned, a proof, a checkpoint."""

    old: int
    proof: tuple[bytes, ...]
    note: Note
    checkpoint: Checkpoint

    @classmethod
    def make(cls, note: Note, *, old: int = 0, proof: Sequence[bytes] = ()) -> Self:
        """Return the request to cosign `note`; who does not know the witness's size says 0."""
        return cls(old, tuple(proof), note, Checkpoint.parse(note.text))

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse a body; what is refused here is answered 400."""
        if len(data) > WITNESS_REQUEST_BYTES_MAX:
            raise VerificationError("the request is too long")
        head, _, rest = data.partition(b"\n\n")
        try:
            first, *lines = head.decode().split("\n")
            if not first.startswith(_OLD):
                raise ValueError("another line was expected")
            old, proof = parse_decimal(first[len(_OLD) :]), [decode_hash(line) for line in lines]
        except ValueError as error:
            raise VerificationError("the request is malformed") from error
        if len(proof) > PROOF_HASHES_MAX:
            raise VerificationError("the request has too many hashes")
        return cls.make(Note.parse(rest), old=old, proof=proof)

    def format(self) -> bytes:
        """Return the only spelling of this request."""
        lines = [f"{_OLD}{self.old}", *map(encode_base64, self.proof), "", ""]
        return "\n".join(lines).encode() + self.note.format()


class State(NamedTuple):
    """The largest tree of a log that a witness has cosigned; the empty one before the first."""

    size: int = 0
    root: bytes = EMPTY_ROOT


class Decision(NamedTuple):
    """What a witness answers; only with status 200 is there a state to store and then to cosign.

    `size` is the body of a 409 that tells the client where the witness is. `reason` has no value
    of the request in it.
    """

    status: int
    reason: str = ""
    state: State | None = None
    size: int | None = None


def decide(request: Request, state: State, verifiers: Sequence[Verifier] | None) -> Decision:
    """Decide on a request: `state` and `verifiers` are those of its checkpoint's origin.

    `verifiers` is None where the witness does not know the log.
    """
    if verifiers is None:
        return Decision(404, "the log is not known here")
    try:
        SignedCheckpoint.open(request.note, verifiers)
    except VerificationError as error:
        return Decision(403, str(error))
    size, root = request.checkpoint.size, request.checkpoint.root
    if request.old > size:
        return Decision(400, "the old size is larger than the checkpoint's")
    if request.old != state.size:
        return Decision(409, "the old size is not the last one cosigned", size=state.size)
    try:
        _require_consistent(request, state)
    except VerificationError as error:
        return Decision(422, str(error))
    return Decision(200, state=State(size, root))


def _require_consistent(request: Request, state: State) -> None:
    size, root = request.checkpoint.size, request.checkpoint.root
    if not state.size and size:
        # The first sight of a log: there is nothing that it has to be consistent with.
        if request.proof:
            raise VerificationError("the consistency proof from size 0 is empty")
        return
    verify_consistency(
        old=state.size, new=size, old_root=state.root, new_root=root, proof=request.proof
    )


def answer_body(decision: Decision, cosignatures: Sequence[Signature]) -> tuple[str, bytes]:
    """Return the media type and the body of the answer; `cosignatures` are sent with a 200 only."""
    if decision.status == 200:
        return "text/plain; charset=utf-8", "".join([one.format() for one in cosignatures]).encode()
    if decision.size is not None:
        return SIZE_MEDIA_TYPE, f"{decision.size}\n".encode()
    return "text/plain; charset=utf-8", f"{decision.reason}\n".encode()


class Cosignatures(NamedTuple):
    """The witness has cosigned: its signatures, verified."""

    signatures: tuple[Signature, ...]


class Behind(NamedTuple):
    """The witness is at another size than the request said: prove consistency from there."""

    size: int


class Refused(NamedTuple):
    """The witness does not cosign."""

    status: int


def read_answer(
    request: Request, *, status: int, media_type: str, body: bytes, verifiers: Sequence[Verifier]
) -> Cosignatures | Behind | Refused:
    """Return what a witness's answer says; `verifiers` are of this witness's own keys.

    Cosignatures of other keys are ignored. Raises VerificationError when the answer makes no sense,
    or has no cosignature that holds.
    """
    if status not in (200, 409) or (status == 409 and media_type != SIZE_MEDIA_TYPE):
        return Refused(status)
    if len(body) > WITNESS_REQUEST_BYTES_MAX:
        raise VerificationError("the witness's answer is too long")
    try:
        text = body.decode()
        if status == 409:
            return Behind(parse_decimal(text.removesuffix("\n")))
    except ValueError as error:
        raise VerificationError("the witness's answer is malformed") from error
    answer = Note(request.note.text, parse_signatures(text))
    return Cosignatures(verified(answer, verifiers))


def monitoring_path(origin: str) -> str:
    """Return where a witness serves the last cosigned checkpoint of a log to auditors."""
    return f"{sha256(origin.encode()).hexdigest()}/checkpoint"
