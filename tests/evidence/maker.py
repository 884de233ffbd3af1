"""A small log of its own: it makes good bundles, and can be made to lie.

Notes, cosignatures and proofs are written here from the specifications, so that neither the
verifiers nor the rest of the package judge themselves.
"""

from __future__ import annotations

import io
import json
import random
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from caretrail.evidence import attachments, write_archive
from caretrail.tlog.entry import Entry, Kind, Mac, commitment, subject_key, tag
from caretrail.tlog.evidence import (
    Disclosed,
    Evidence,
    LogKey,
    Range,
    Redacted,
    Singles,
    Subject,
    members,
)
from caretrail.tlog.tree import leaf_hash, node_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ORIGIN: Final = "audit.example/ward"
START_SECONDS: Final = 1_795_500_000  # In November 2026.
SIZE: Final = 45
START: Final = 3
END: Final = 40
ERASED: Final = (6, 9, 10, 11)
ERASER: Final = 37
PATIENTS: Final = 4
Members = dict[str, bytes]


class Signer(NamedTuple):
    """A key with its name; `kind` is C2SP's type of signature."""

    name: str
    seed: bytes
    kind: int

    def _public(self) -> bytes:
        if self.kind == 6:
            return MLDSA44PrivateKey.from_seed_bytes(self.seed).public_key().public_bytes_raw()
        return Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()

    def _id(self) -> bytes:
        material = bytes([self.kind]) + self._public()
        return sha256(self.name.encode() + b"\n" + material).digest()[:4]

    def vkey(self) -> str:
        """Return the key as a vkey (C2SP signed-note)."""
        return f"{self.name}+{self._id().hex()}+{_base64(bytes([self.kind]) + self._public())}"

    def line(self, text: str, time: int = START_SECONDS + 500) -> str:
        """Return the signature line for a note (C2SP signed-note, tlog-cosignature)."""
        if self.kind == 6:
            origin, size, root, *_ = text.split("\n")
            names = [len(one).to_bytes(1) + one.encode() for one in (self.name, origin)]
            message = b"subtree/v1\n\0" + names[0] + time.to_bytes(8) + names[1]
            message += bytes(8) + int(size).to_bytes(8) + b64decode(root)
            signature = MLDSA44PrivateKey.from_seed_bytes(self.seed).sign(message)
            return self.spelled(time.to_bytes(8) + signature)
        key = Ed25519PrivateKey.from_private_bytes(self.seed)
        if self.kind == 1:
            return self.spelled(key.sign(text.encode()))
        message = f"cosignature/v1\ntime {time}\n{text}".encode()
        return self.spelled(time.to_bytes(8) + key.sign(message))

    def spelled(self, signature: bytes) -> str:
        """Return a line with any signature."""
        return f"— {self.name} {_base64(self._id() + signature)}\n"


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return MTH(D[n]) (RFC 9162, 2.1.1)."""
    if len(leaves) == 1:
        return leaves[0]
    middle = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(root_of(leaves[:middle]), root_of(leaves[middle:]))


def path_of(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Return PATH(m, D[n]) (RFC 9162, 2.1.3.1)."""
    if len(leaves) == 1:
        return []
    middle = 1 << (len(leaves) - 1).bit_length() - 1
    if index < middle:
        return [*path_of(index, leaves[:middle]), root_of(leaves[middle:])]
    return [*path_of(index - middle, leaves[middle:]), root_of(leaves[:middle])]


def sides_of(
    start: int, end: int, leaves: Sequence[bytes], at: int = 0
) -> tuple[list[bytes], list[bytes]]:
    """Return the hashes of the largest nodes left and right of [start, end)."""
    stop = at + len(leaves)
    if stop <= start:
        return [root_of(leaves)], []
    if at >= end:
        return [], [root_of(leaves)]
    if start <= at and stop <= end:
        return [], []
    middle = 1 << (len(leaves) - 1).bit_length() - 1
    one = sides_of(start, end, leaves[:middle], at)
    other = sides_of(start, end, leaves[middle:], at + middle)
    return one[0] + other[0], one[1] + other[1]


class World:
    """A log of 45 entries about four patients; entry 37 tells that four others were erased."""

    def __init__(self, seed: int = 1, *, size: int = SIZE) -> None:
        self.random = random.Random(seed)
        self.log = self.random.randbytes(16)
        self.key = self.signer(ORIGIN, 1)
        self.old_key = self.signer(ORIGIN, 1)
        self.witnesses = [self.signer(f"witness{n}.example", 4) for n in range(3)]
        self.quantum = self.signer("quantum.example", 6)
        self.tag_key = Mac(self.random.randbytes(32))
        self.salts = [self.random.randbytes(32) for _ in range(size)]
        self.contents = [self._content(index) for index in range(size)]
        self.entries = [self._entry(index) for index in range(size)]

    def signer(self, name: str, kind: int) -> Signer:
        """Make a new key."""
        return Signer(name, self.random.randbytes(32), kind)

    def _content(self, index: int) -> bytes:
        if index == ERASER:
            return redaction(("caretrail-entry", "6"), ("caretrail-entries", "9-11"))
        if index == 4:  # XML may be in another encoding than UTF-8.
            return '<?xml version="1.0" encoding="iso-8859-1"?><a v="ä"/>'.encode("latin-1")
        words = {"resourceType": "AuditEvent", "id": str(index), "text": 'ä€😀 "\\\t\x7f\u2028'}
        return json.dumps(words, ensure_ascii=bool(index % 2)).encode()

    def subject(self, number: int) -> str:
        """Return what tags say of a patient."""
        return f"patient\nPatient/p{number}"

    def subject_key(self, number: int) -> bytes:
        """Return the key of a patient."""
        return subject_key(self.tag_key, self.subject(number))

    def entry(self, index: int, content: bytes, **other: Any) -> Entry:
        """Return an entry for this content."""
        event = sha256(b"%d" % index).digest()[:16]
        tags = [tag(Mac(self.subject_key(index % PATIENTS)), event)] if index != ERASER else []
        own = Kind.OWN if index == ERASER else Kind.EVENT
        fields: dict[str, Any] = {
            "kind": own, "form": int(index == 4), "flags": 0, "log": self.log, "event": event,
            "received": (START_SECONDS + index) * 1000, "producer": bytes(16), "number": None,
            "commitment": commitment(self.salts[index], content), "tags": tuple(tags),
        }  # fmt: skip
        return Entry(**(fields | other))

    def _entry(self, index: int) -> bytes:
        return self.entry(index, self.contents[index]).encode()

    def leaves(self) -> list[bytes]:
        """Return the leaf hashes of the whole log."""
        return [leaf_hash(entry) for entry in self.entries]

    def policy(self, quorum: str = "q", *, keys: Iterable[Signer] = ()) -> bytes:
        """Return a policy that asks for two of three witnesses."""
        lines = [f"log {key.vkey()}" for key in keys or [self.key]]
        names = []
        for number, one in enumerate(self.witnesses):
            names.append(f"w{number}")
            lines.append(f"witness w{number} {one.vkey()} https://{one.name}/")
        lines += [f"group q 2 {' '.join(names)}", f"quorum {quorum}"]
        return ("# Trusted.\n" + "\n".join(lines) + "\n").encode()

    def checkpoint_text(self) -> str:
        """Return the text of the checkpoint over all entries."""
        return f"{ORIGIN}\n{len(self.entries)}\n{_base64(root_of(self.leaves()))}\n"

    def checkpoint(self, *, text: str = "", signers: Sequence[Signer] = ()) -> bytes:
        """Return the checkpoint, signed by the log and two witnesses."""
        text = text or self.checkpoint_text()
        lines = [
            one.line(text, START_SECONDS + 500 + 60 * number)
            for number, one in enumerate(signers or [self.key, *self.witnesses[:2]])
        ]
        stranger = Signer("stranger.example", bytes(32), 4).spelled(bytes(72))
        return f"{text}\n{''.join(lines)}{stranger}".encode()

    def evidence(self, **other: Any) -> Evidence:
        """Return the parts of a good bundle over a range, with one patient complete."""
        shown = [n for n in range(START, END) if n % PATIENTS == 2 or n in (4, ERASER)]
        fields: dict[str, Any] = {
            "origin": ORIGIN, "log": self.log, "size": len(self.entries),
            "selection": {"query": "patient=Patient/p2", "asked-by": "Data protection officer"},
            "checkpoint": self.checkpoint(), "policy": self.policy(),
            "keys": [LogKey(self.key.vkey(), 0)],
            "proof": Range(START, END, *sides_of(START, END, self.leaves())),
            "entries": self.entries[START:END],
            "disclosed": [self.disclosed(n) for n in shown if n not in ERASED],
            "redacted": [Redacted(n, ERASER) for n in ERASED],
            "subjects": [Subject(self.subject(2), self.subject_key(2))],
            "attachments": attachments(),
        }  # fmt: skip
        return Evidence(**(fields | other))

    def singles(self, indexes: Sequence[int], **other: Any) -> Evidence:
        """Return the parts of a good bundle of single proofs."""
        fields = {
            "proof": Singles({index: self.proof(index) for index in indexes}),
            "entries": [self.entries[index] for index in indexes],
            "disclosed": [self.disclosed(index) for index in indexes],
            "redacted": [],
            "subjects": [],
        }
        return self.evidence(**(fields | other))

    def proof(self, index: int) -> bytes:
        """Return a tlog-proof of one entry."""
        path = [_base64(one) for one in path_of(index, self.leaves())]
        head = "\n".join(["c2sp.org/tlog-proof@v1", f"index {index}", *path])
        return f"{head}\n\n".encode() + self.checkpoint()

    def disclosed(self, index: int) -> Disclosed:
        """Return the content of an entry with its salt."""
        return Disclosed(index, self.contents[index], self.salts[index])

    def sign(self, text: str) -> bytes:
        """Sign a manifest."""
        return f"{text}\n{self.key.line(text)}".encode()

    def members(self, evidence: Evidence | None = None) -> Members:
        """Return the members of a bundle."""
        return dict(members(evidence or self.evidence(), self.sign))

    def resigned(self, changed: Members, *, key: Signer | None = None, **fields: Any) -> bytes:
        """Return an archive with a manifest that fits, as only the holder of the key can make."""
        manifest = json.loads(changed["manifest.json"]) | fields
        others = changed.keys() - {"manifest.json", "manifest.note"}
        manifest["files"] = {name: sha256(changed[name]).hexdigest() for name in others}
        body = canonical(manifest)
        text = f"caretrail/evidence/v1\n{_base64(sha256(body).digest())}\n"
        note = f"{text}\n{(key or self.key).line(text)}".encode()
        return archive({**changed, "manifest.json": body, "manifest.note": note})


def redaction(*details: tuple[str, str], action: str = "D") -> bytes:
    """Return the log's own event that tells of a redaction."""
    rows = [{"type": kind, "valueString": value} for kind, value in details]
    event = {"resourceType": "AuditEvent", "action": action, "entity": [{"detail": rows}]}
    return json.dumps(event).encode()


def canonical(value: Any) -> bytes:
    """Return canonical JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def archive(changed: Members) -> bytes:
    """Return the archive of these members."""
    target = io.BytesIO()
    write_archive(changed.items(), target)
    return target.getvalue()
