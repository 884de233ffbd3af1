"""The evidence bundle `caretrail/evidence/v1`: parts of a log in, the members of an archive out.

A bundle is what an outsider needs to check events of a log without asking it: the entries, what of
their content is disclosed, the proof that they stand in the tree, and the checkpoint over it. The
format is written down in docs/reference/evidence-bundle.md. Signing is passed in, as the kernel
holds no key.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.errors import TooLargeError, VerificationError
from caretrail.limits import EVIDENCE_BYTES_MAX, EVIDENCE_MEMBERS_MAX, LOG_ENTRY_BYTES_MAX
from caretrail.tlog import canonical_json
from caretrail.tlog.note import encode_base64

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from caretrail.tlog.canonical_json import Value

FORMAT: Final = "caretrail/evidence/v1"
MANIFEST: Final = "manifest.json"
NOTE: Final = "manifest.note"
_SELECTION: Final = re.compile(r"[a-z][a-z0-9-]*")
_TIMESTAMP: Final = re.compile(r"[a-z0-9][a-z0-9._-]*\.tsr")
# What may lie beside the evidence, to help who gets it.
_ATTACHMENTS: Final = frozenset(["README.txt", "verify.py", "verify.html"])


class Disclosed(NamedTuple):
    """An event that is shown: its content as it was received, and the salt of its commitment."""

    entry: int
    content: bytes
    salt: bytes


class Redacted(NamedTuple):
    """An event whose content was erased, and the entry that says so."""

    entry: int
    by: int


class Subject(NamedTuple):
    """A patient or an agent, and the key that tells which entries are about them."""

    subject: str
    key: bytes


class LogKey(NamedTuple):
    """A key of the log as a vkey (C2SP signed-note), and the tree size from which it signs."""

    vkey: str
    start: int


class Range(NamedTuple):
    """A proof for the entries [start, end): hashes of the largest nodes left and right of them.

    Both lists run from the left to the right. The nodes are those of RFC 9162, 2.1.1.
    """

    start: int
    end: int
    left: Sequence[bytes]
    right: Sequence[bytes]

    def indexes(self) -> range:
        """Return the indexes of the covered entries."""
        return range(self.start, self.end)


class Singles(NamedTuple):
    """One C2SP tlog-proof for each covered entry, with the bundle's checkpoint in it."""

    proofs: Mapping[int, bytes]

    def indexes(self) -> Sequence[int]:
        """Return the indexes of the covered entries."""
        return sorted(self.proofs)


class Evidence(NamedTuple):
    """All that a bundle says; `entries` are those that the proof covers, in order."""

    origin: str
    log: bytes
    size: int
    selection: Mapping[str, str]
    checkpoint: bytes
    policy: bytes
    keys: Sequence[LogKey]
    proof: Range | Singles
    entries: Sequence[bytes]
    disclosed: Sequence[Disclosed]
    redacted: Sequence[Redacted] = ()
    subjects: Sequence[Subject] = ()
    timestamps: Mapping[str, bytes] = {}
    attachments: Mapping[str, bytes] = {}


def members(evidence: Evidence, sign: Callable[[str], bytes]) -> list[tuple[str, bytes]]:
    """Return the members of the bundle in their order, manifest first.

    `sign` gets the text of a note and returns the note, signed by a key of the log.
    """
    _check(evidence)
    files = [*_log(evidence), *_proofs(evidence), *_content(evidence), *_beside(evidence)]
    manifest = _manifest(evidence, files)
    note = sign(f"{FORMAT}\n{encode_base64(sha256(manifest).digest())}\n")
    whole = [(MANIFEST, manifest), (NOTE, note), *files]
    if len(whole) > EVIDENCE_MEMBERS_MAX:
        raise TooLargeError("a bundle of single proofs has too many entries: prove a range")
    if sum(len(body) for _, body in whole) > EVIDENCE_BYTES_MAX:
        raise TooLargeError("the bundle is too large: cover a smaller range")
    return whole


def _check(evidence: Evidence) -> None:
    """Refuse what a verifier would refuse, so that a mistake is met where it can be mended."""
    covered = evidence.proof.indexes()
    shown = [one.entry for one in evidence.disclosed]
    erased = [one.entry for one in evidence.redacted]
    named = {*shown, *erased}
    if not covered or len(covered) != len(evidence.entries) or covered[-1] >= evidence.size:
        raise VerificationError("the proof does not cover the entries")
    if len(named) != len(shown) + len(erased) or not named.issubset(covered):
        raise VerificationError("an event is outside the covered entries, or named twice")
    if not {one.by for one in evidence.redacted} <= set(shown):
        raise VerificationError("an event that tells of a redaction is not disclosed")
    if any(len(entry) > LOG_ENTRY_BYTES_MAX for entry in evidence.entries):
        raise VerificationError("an entry is longer than an entry bundle can say")
    if not all(_SELECTION.fullmatch(name) for name in evidence.selection):
        raise VerificationError("a name in the selection is not of a-z, 0-9 and -")
    if not all(_TIMESTAMP.fullmatch(name) for name in evidence.timestamps):
        raise VerificationError("a time stamp's file name is not of a-z, 0-9, . and -")
    if not evidence.attachments.keys() <= _ATTACHMENTS:
        raise VerificationError("an attachment is not one that the format knows")


def _manifest(evidence: Evidence, files: Sequence[tuple[str, bytes]]) -> bytes:
    span = evidence.proof if isinstance(evidence.proof, Range) else None
    return canonical_json.encode(
        {
            "end": span and span.end,
            "files": {name: sha256(body).hexdigest() for name, body in files},
            "format": FORMAT,
            "log": evidence.log.hex(),
            "origin": evidence.origin,
            "selection": evidence.selection,
            "size": evidence.size,
            "start": span.start if span else None,
        }
    )


def _log(evidence: Evidence) -> Iterator[tuple[str, bytes]]:
    """Yield the entries and who vouches for the tree that they stand in."""
    yield "checkpoint", evidence.checkpoint
    yield "policy", evidence.policy
    keys = sorted(evidence.keys, key=lambda key: key.start)
    rows: list[Value] = [{"from": key.start, "vkey": key.vkey} for key in keys]
    yield "keys.json", canonical_json.encode(rows)
    entries = (len(entry).to_bytes(2) + entry for entry in evidence.entries)
    yield "leaves.bin", b"".join(entries)


def _proofs(evidence: Evidence) -> Iterator[tuple[str, bytes]]:
    proof = evidence.proof
    if isinstance(proof, Singles):
        indexes = proof.indexes()
        yield "indexes.json", canonical_json.encode(indexes)
        for index in indexes:
            yield f"proof/{index}.tlog-proof", proof.proofs[index]
        return
    sides = {
        "left": [encode_base64(one) for one in proof.left],
        "right": [encode_base64(one) for one in proof.right],
    }
    span = {"start": proof.start, "end": proof.end, "size": evidence.size}
    yield "proof/range.json", canonical_json.encode({**span, **sides})


def _content(evidence: Evidence) -> Iterator[tuple[str, bytes]]:
    """Yield what is disclosed, in the order of the log."""
    shown = sorted(evidence.disclosed)
    yield "events.ndjson", canonical_json.lines([_event(one) for one in shown])
    salts: list[Value] = [{"index": one.entry, "salt": one.salt.hex()} for one in shown]
    yield "salts.ndjson", canonical_json.lines(salts)
    erased: list[Value] = [{"index": one.entry, "by": one.by} for one in sorted(evidence.redacted)]
    yield "redactions.ndjson", canonical_json.lines(erased)
    subjects: list[Value] = [
        {"subject": one.subject, "key": one.key.hex()} for one in sorted(evidence.subjects)
    ]
    yield "subjects.ndjson", canonical_json.lines(subjects)


def _event(one: Disclosed) -> Value:
    """Return the row of an event: its content as text where it is UTF-8, and else in base64."""
    try:
        return {"index": one.entry, "content": one.content.decode()}
    except UnicodeDecodeError:
        return {"index": one.entry, "content_base64": encode_base64(one.content)}


def _beside(evidence: Evidence) -> Iterator[tuple[str, bytes]]:
    for name, token in sorted(evidence.timestamps.items()):
        yield f"timestamps/{name}", token
    yield from sorted(evidence.attachments.items())
