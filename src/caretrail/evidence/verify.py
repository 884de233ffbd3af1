#!/usr/bin/env python3
"""Check an evidence bundle of a CareTrail log: offline, and without any code of CareTrail.

    python3 verify.py BUNDLE.zip [--policy FILE] [--tsa FILE] [--json]

Exit code 0 means that everything holds, 1 that something does not, 2 that there was nothing to
check. Needs Python 3.11 or later and the package `cryptography`.

Take this file, and the log's key, from somewhere else than the bundle: whoever forges a bundle can
put another verifier and another key into it. `--policy FILE` names the keys that you trust, as a
C2SP tlog-policy; without it the bundle's own policy is taken. `--tsa FILE` has the certificates of
the time-stamping authorities that you trust, in PEM; without it nobody checks who made the time
stamps. The report says both.

Read this from the top to the bottom: first the formats, then the checks in their order, then the
report. The format is docs/reference/evidence-bundle.md; what is not expected is a finding.
"""

from __future__ import annotations

import argparse
import base64
import hmac
import json
import re
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from hashlib import new, sha256
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

try:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
except ImportError:  # An older version: the report then says what was not checked.
    MLDSA44PublicKey = None  # type: ignore[assignment, misc]

FORMAT = "caretrail/evidence/v1"
INTEGER_MAX = 2**53 - 1  # What every reader of JSON reads alike.
UNPACKED_MAX = 2**30
MEMBERS_MAX = 60_000
SIGNATURES_MAX = 100
TIME_MAX = 253_402_300_799  # The last second of the year 9999.


class Finding(Exception):  # noqa: N818 - it is what the report lists, raised or not.
    """Something that does not hold: a code, the member or entry where, and a sentence."""

    def __init__(self, code: str, where: str, text: str) -> None:
        super().__init__(text)
        self.code, self.where, self.text = code, where, text


def require(held: object, where: str, text: str, code: str = "malformed") -> None:
    """Stop the check unless something `held`."""
    if not held:
        raise Finding(code, where, text)


# --- The archive: a strict subset of ZIP ----------------------------------------------------------

MEMBER = struct.Struct("<4sHHHHIIIIHHHHHII")
END = struct.Struct("<4sHHHHIIH")


def unpack(data: bytes) -> dict[str, bytes]:
    """Return the members. They follow each other without gaps, then their directory, then its end."""
    where, members = "the archive", dict[str, bytes]()
    require(len(data) >= END.size, where, "is not a whole ZIP file")
    magic, *disks, here, count, length, at, comment = END.unpack(data[-END.size :])
    directory, position, unpacked = at, 0, 0
    plain = magic == b"PK\5\6" and not any(disks) and here == count and not comment
    require(plain and at + length + END.size == len(data), where, "is not a whole, plain ZIP file")
    require(count <= MEMBERS_MAX, where, "has too many members")
    for _ in range(count):
        require(at + MEMBER.size <= len(data), where, "has a directory that is cut off")
        row = MEMBER.unpack_from(data, at)
        magic, _, _, flags, method, _, crc, packed, size, letters, *other, offset = row
        name = data[at + MEMBER.size : at + MEMBER.size + letters]
        local = b"PK\3\4" + data[at + 6 : at + 32] + name
        plain = magic == b"PK\1\2" and flags in (0, 0x800) and method in (0, 8)
        require(plain and not any(other[:3]), where, "has a member that is not plain")
        start = position + len(local)
        same = offset == position and data[position:start] == local
        require(same, where, "has members that overlap, leave gaps or contradict its directory")
        position, unpacked, at = start + packed, unpacked + size, at + MEMBER.size + letters
        require(position <= directory, where, "has a member that is cut off")
        require(unpacked <= UNPACKED_MAX, where, "unpacks to more than a bundle may hold")
        body = inflate(data[start:position], size) if method else data[start:position]
        require(len(body) == size and zlib.crc32(body) == crc, where, "has a damaged member")
        label = name.decode("latin-1")
        require(label not in members, label, "is in the archive twice", "duplicate-file")
        members[label] = body
    require(position == directory and at == len(data) - END.size, where, "has gaps")
    return members


def inflate(data: bytes, size: int) -> bytes:
    """Return the inflated data, and never more than one byte above `size`."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = inflater.decompress(data, size + 1)
    except zlib.error:
        return b""
    return body if inflater.eof and not inflater.unused_data else b""


# --- Values: canonical JSON (RFC 8785, of text and whole numbers), base64, decimals ---------------

DECODER = json.JSONDecoder()
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)
TEXT, HASH = ".*", "[0-9a-f]{64}"
ESCAPED = bytes(range(32)) + b"\\"  # And the quotation mark.


def parse(data: bytes, where: str) -> Any:
    """Parse JSON that is in its only spelling."""
    try:
        value = DECODER.decode(data.decode())
        canonical = ENCODER.encode(value).encode() == data
    except (ValueError, RecursionError):
        canonical = False
    require(canonical, where, "is not canonical JSON")
    return value


def record(value: Any, where: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the object if it has exactly these fields, each of a type or a pattern of text."""
    same = type(value) is dict and value.keys() == fields.keys()
    require(same, where, "has other fields than it should")
    for name, kind in fields.items():
        require(fits(value[name], kind), where, f"has a wrong {name}")
    return dict(value)


def fits(value: Any, kind: Any) -> bool:
    """Tell whether the value is of this type, or text of this pattern."""
    if isinstance(kind, str):
        return type(value) is str and bool(re.fullmatch(kind, value, re.DOTALL))
    return type(value) is kind and (kind is not int or 0 <= value <= INTEGER_MAX)


def is_utf8(data: bytes) -> bool:
    """Tell whether this is text."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def lines_of(data: bytes, where: str) -> list[bytes]:
    """Return the lines of a member that has one canonical JSON text a line."""
    require(data[-1:] in (b"", b"\n"), where, "ends within a line", "cut-off")
    return data.split(b"\n")[:-1]


def decode64(value: str, where: str) -> bytes:
    """Decode base64 that is in its only spelling."""
    try:
        data = base64.b64decode(value.encode(), validate=True)
    except ValueError:
        data = b""
    require(value and base64.b64encode(data).decode() == value, where, "has wrong base64")
    return data


def decimal(value: str) -> int:
    """Return the number that is written in its only spelling, or -1."""
    number = int(value) if re.fullmatch("0|[1-9][0-9]{0,15}", value) else -1
    return number if number <= INTEGER_MAX else -1


# --- Keys, signed notes and checkpoints (C2SP signed-note, tlog-checkpoint, tlog-cosignature) -----

ED25519, COSIGNATURE, ML_DSA = 1, 4, 6
KEY_BYTES = {ED25519: 32, COSIGNATURE: 32, ML_DSA: 1312}
FIELD = 2**255 - 19
# Points of order 1, 2, 4 and 8: with one of them as a key, signatures of nobody fit.
LOW_ORDER = {
    *(0, 1, FIELD - 1),
    2707385501144840649318225287225658788936804267575313519463743609750303402022,
    55188659117513257062467267217118295137698188065244968500265048394206261417927,
}


class Key(NamedTuple):
    """A public key with its name: what a vkey says."""

    vkey: str
    name: str
    id: bytes
    kind: int
    public: bytes


class Note(NamedTuple):
    """A signed text; each signature has a key's name, its id, and the signature itself."""

    text: bytes
    signatures: list[tuple[str, bytes, bytes]]


class Checkpoint(NamedTuple):
    """The head of a tree: which log, how many entries, and the root over them."""

    origin: str
    size: int
    root: bytes


def key_of(vkey: str, where: str) -> Key:
    """Parse a vkey, and refuse keys that anybody could sign for."""
    name, *rest = vkey.split("+", 2)
    require(len(rest) == 2 and is_name(name), where, "has a malformed key")
    data = decode64(rest[1], where)
    kind, public = data[0], data[1:]
    identity = sha256(name.encode() + b"\n" + data).digest()[:4]
    require(identity.hex() == rest[0], where, "has a key whose id is not its own")
    require(KEY_BYTES.get(kind) == len(public), where, "has a key of an unknown type")
    point = int.from_bytes(public, "little") % 2**255
    safe = kind == ML_DSA or (point < FIELD and point not in LOW_ORDER)
    require(safe, where, "has a key that anybody could sign for")
    return Key(vkey, name, identity, kind, public)


def is_name(name: str) -> bool:
    """Tell whether this can be a key's name."""
    return bool(name) and not any(letter == "+" or letter.isspace() for letter in name)


def note_of(data: bytes, where: str) -> Note:
    """Parse a signed note."""
    require(is_utf8(data), where, "is not UTF-8")
    whole = data.decode()
    require(not re.search("[\0-\x09\x0b-\x1f]", whole), where, "has control characters")
    body, _, rest = whole.rpartition("\n\n")
    require(body and rest.endswith("\n"), where, "is not a signed note")
    lines, signatures = rest[:-1].split("\n"), []
    require(len(lines) <= SIGNATURES_MAX, where, "has too many signatures")
    for line in lines:
        _, name, signature = [*line.split(" "), "", ""][:3]
        same = line == f"— {name} {signature}" and is_name(name)
        require(same, where, "has a malformed signature line")
        raw = decode64(signature, where)
        require(len(raw) > 4, where, "has a signature that is too short")
        signatures.append((name, raw[:4], raw[4:]))
    return Note(f"{body}\n".encode(), signatures)


def checkpoint_of(note: Note, where: str) -> Checkpoint:
    """Parse the text of a checkpoint."""
    *lines, end = note.text.decode().split("\n")
    require(len(lines) >= 3 and all(lines) and not end, where, "is not a checkpoint")
    size, root = decimal(lines[1]), decode64(lines[2], where)
    require(size > 0 and len(root) == 32, where, "has a wrong size or root")
    return Checkpoint(lines[0], size, root)


def signed_at(key: Key, signature: bytes, note: Note, tree: Checkpoint | None) -> int | None:
    """Return the time of a cosignature, 0 for a plain signature, and nothing if it is wrong."""
    message, time = note.text, 0
    if key.kind != ED25519:
        time, signature = int.from_bytes(signature[:8], "big"), signature[8:]
        message = b"cosignature/v1\ntime %d\n" % time + note.text
    try:
        if key.kind == ML_DSA and tree:
            names = key.name.encode(), tree.origin.encode()
            name, origin = (bytes([len(one)]) + one for one in names)
            span = struct.pack(">QQ", 0, tree.size) + tree.root
            message = b"subtree/v1\n\0" + name + time.to_bytes(8, "big") + origin + span
            MLDSA44PublicKey.from_public_bytes(key.public).verify(signature, message)
        else:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except (InvalidSignature, ValueError, OverflowError):
        return None
    return time if time <= TIME_MAX else None


# --- Whom to trust (C2SP tlog-policy) -------------------------------------------------------------


class Policy:
    """The logs and witnesses that are trusted, and who of them has to have cosigned."""

    def __init__(self, data: bytes) -> None:
        self.logs: list[Key] = []
        self.witnesses: dict[str, Key] = {}
        self.groups: dict[str, tuple[int, list[str]]] = {}
        self.quorum = ""
        self._members = {"none"}
        self._publics: list[bytes] = []
        try:
            text = data.decode()
            require(not re.search("[\0-\x08\x0b-\x1f\x7f]", text), "policy", "control characters")
            for number, line in enumerate(text.split("\n"), 1):
                words = re.split("[ \t]+", line.strip(" \t"))
                if words[0] and words[0][0] != "#":
                    require(self._line(words), "policy", f"line {number} says nothing known")
            require(self.quorum, "policy", "no quorum is named")
            once = len({*self._publics}) == len(self._publics)
            require(once, "policy", "a key is named twice")
        except (UnicodeDecodeError, Finding) as error:
            raise Finding("bad-policy", "policy", f"cannot be used: {error}") from None

    def _line(self, words: list[str]) -> bool:
        known = {*self.witnesses, *self.groups, "none"}
        match words:
            case ["log", vkey] | ["log", vkey, _]:
                key = key_of(vkey, "policy")
                self.logs.append(key)
                self._publics.append(key.public)
                return key.kind != COSIGNATURE
            case ["witness", name, vkey] | ["witness", name, vkey, _] if name not in known:
                key = self.witnesses[name] = key_of(vkey, "policy")
                self._publics.append(key.public)
                return key.kind != ED25519
            case ["group", name, least, *members] if name not in known:
                count = {"any": 1, "all": len(members)}.get(least, decimal(least))
                free = len({*members}) == len(members) and self._members.isdisjoint(members)
                self.groups[name] = (count, members)
                self._members.update(members)
                return 1 <= count <= len(members) and free and known.issuperset(members)
            case ["quorum", name] if name in known and not self.quorum:
                self.quorum = name
                return True
        return False

    def met(self, name: str, cosigned: set[str]) -> bool:
        """Tell whether the witness or group has cosigned, given the vkeys of those who have."""
        if name in self.witnesses or name == "none":
            return name == "none" or self.witnesses[name].vkey in cosigned
        least, members = self.groups[name]
        return sum(self.met(one, cosigned) for one in members) >= least


# --- The Merkle tree (RFC 9162, 2.1; C2SP tlog-proof) ---------------------------------------------


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return sha256(b"\1" + left + right).digest()


def split(size: int) -> int:
    """Return how many of these leaves are below the left child: a power of two, but not all."""
    return 1 << (size - 1).bit_length() - 1


def merkle(level: list[bytes]) -> bytes:
    """Return the root over leaf hashes, level by level; one without a sibling moves up as it is."""
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [node_hash(left, right) for left, right in pairs] + level[len(level) & ~1 :]
    return level[0]


def root_from_range(leaves: list[bytes], start: int, size: int, *sides: list[bytes]) -> bytes:
    """Return the root over the leaves from `start` on and the nodes left and right of them.

    Where hashes are missing or left over, what is returned is the root of nothing.
    """
    end, (left, right) = start + len(leaves), map(iter, sides)

    def node(low: int, high: int) -> bytes:
        if high <= start or low >= end:
            return next(left if high <= start else right, b"")
        if start <= low and high <= end:
            return merkle(leaves[low - start : high - start])
        middle = low + split(high - low)
        first = node(low, middle)
        return node_hash(first, node(middle, high))

    root = node(0, size)
    return root if not [*left, *right] else b""


def root_from_path(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """Return the root over a leaf and its inclusion path: PATH of 2.1.3.1, read from its end."""
    if size == 1 or not path:
        return leaf if size == 1 and not path else b""
    *rest, sibling = path
    middle = split(size)
    if index < middle:
        return node_hash(root_from_path(leaf, index, middle, rest), sibling)
    return node_hash(sibling, root_from_path(leaf, index - middle, size - middle, rest))


def hashes_of(values: Sequence[Any], where: str) -> list[bytes]:
    """Decode a list of hashes."""
    hashes = [decode64(value, where) for value in values if fits(value, TEXT)]
    same = len(hashes) == len(values) and all(len(one) == 32 for one in hashes)
    require(same, where, "has something else than a hash")
    return hashes


# --- Time stamps (RFC 3161): what is stamped, when, and by whom -----------------------------------

SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
TIME_STAMP = bytes.fromhex("2a864886f70d0109100104")
CONTENT, DIGEST = bytes.fromhex("2a864886f70d010903"), bytes.fromhex("2a864886f70d010904")
SHA256 = bytes.fromhex("608648016503040201")
HASHES = (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())


def der(data: bytes) -> list[tuple[int, bytes]]:
    """Return the values that stand one after the other in DER, with their tags."""
    found = []
    while data:
        tag, length, at = data[0], data[1], 2
        if length > 127:
            at = 2 + (length & 127)
            length = int.from_bytes(data[2:at], "big")
        if at > 6 or at + length > len(data):
            raise ValueError("cut off")
        found.append((tag, data[at : at + length]))
        data = data[at + length :]
    return found


def der_of(tag: int, body: bytes) -> bytes:
    """Return one value in DER."""
    length = bytes([len(body)]) if len(body) < 256 else len(body).to_bytes(2, "big")
    return bytes([tag, *([128 + len(length)] if len(body) > 127 else []), *length]) + body


def stamp_of(data: bytes) -> tuple[bytes, str, bytes, bytes]:
    """Return the SHA-256 that is stamped, when, the text that says so, and who signed it, in DER."""
    ((_, response),) = der(data)
    (_, status), (_, content) = der(response)
    (_, kind), (_, wrapped) = der(content)
    ((_, signed),) = der(wrapped)
    _, _, (_, inside), *_, (_, signers) = der(signed)
    (_, inner), (_, octets) = der(inside)
    ((_, packed),) = der(octets)
    ((_, info),) = der(packed)
    _, _, (_, imprint), _, (tag, time), *_ = der(info)
    (_, algorithm), (_, digest) = der(imprint)
    granted = der(status)[0] in ((2, b"\0"), (2, b"\1"))
    known = (kind, inner, der(algorithm)[0][1]) == (SIGNED_DATA, TIME_STAMP, SHA256)
    if not (granted and known and tag == 0x18 and re.fullmatch(rb"\d{14}(\.\d+)?Z", time)):
        raise ValueError("unknown")
    return digest, time.decode(), packed, signers


def made_by(authority: x509.Certificate, time: str, info: bytes, signers: bytes) -> bool:
    """Tell whether the authority signed a time stamp (RFC 5652, 5.4) while its certificate was valid.

    Whether that was revoked is not looked at.
    """
    at = datetime.strptime(f"{time[:14]}+0000", "%Y%m%d%H%M%S%z")
    valid = authority.not_valid_before_utc <= at <= authority.not_valid_after_utc
    ((_, signer),) = der(signers)
    _, _, _, (tag, signed), _, (_, signature), *_ = der(signer)
    said = {kind: value for (_, kind), (_, value) in (der(row) for _, row in der(signed))}
    digests = {der_of(4, new(one.name, info).digest()): one for one in HASHES}
    algorithm = digests.get(said[DIGEST])
    if not valid or tag != 0xA0 or said[CONTENT] != der_of(6, TIME_STAMP) or algorithm is None:
        return False
    key: Any = authority.public_key()
    is_rsa = isinstance(key, rsa.RSAPublicKey)
    scheme = (padding.PKCS1v15(), algorithm) if is_rsa else (ec.ECDSA(algorithm),)
    try:
        key.verify(signature, der_of(0x31, signed), *scheme)  # The attributes, as a SET.
    except (InvalidSignature, TypeError):  # Or a key of another type.
        return False
    return True


# --- The checks, in their order -------------------------------------------------------------------

REQUIRED = {
    *("checkpoint", "events.ndjson", "keys.json", "leaves.bin", "manifest.json", "manifest.note"),
    *("policy", "redactions.ndjson", "salts.ndjson", "subjects.ndjson"),
}
OPTIONAL = r"README\.txt|verify\.py|verify\.html|timestamps/[a-z0-9][a-z0-9._-]*\.tsr"
SINGLE = r"proof/(0|[1-9][0-9]{0,15})\.tlog-proof"
# Rows of one shape are canonical if they match; the text of a content is checked by itself.
INDEX = rb'"index":(?P<index>0|[1-9][0-9]{0,15})'
EVENT = re.compile(rb'\{"content(?P<b64>_base64)?":"(?P<value>.*)",%b\}\n' % INDEX)
SALT = re.compile(rb'\{%b,"salt":"(?P<value>[0-9a-f]{64})"\}\n' % INDEX)
BY = re.compile(rb'\{"by":(?P<value>0|[1-9][0-9]{0,15}),%b\}\n' % INDEX)
GOOD = {"ok", "redacted", "not-disclosed"}
Authorities = Sequence[x509.Certificate]
CLOCK_MS = 60_000  # Clocks may differ by this much before it is worth a remark.


class Check:
    """One check of one bundle; `facts` fill up as far as it comes, `verdicts` are by entry."""

    def __init__(self, archive: bytes, policy: bytes | None = None, tsa: Authorities = ()) -> None:
        """Check by the given policy, or by the bundle's own; time stamps, if authorities are given."""
        self.findings: list[Finding] = []
        self._known: set[tuple[str, str]] = set()
        self._tsa = tsa
        self.remarks: list[Finding] = []
        self.verdicts: dict[int, str] = {}
        self.erased: dict[int, int] = {}
        self.facts: dict[str, Any] = {"own_policy": policy is None}
        try:
            self.members = unpack(archive)
            self.manifest = self._manifest()
            if self._files():
                self._everything(Policy(self.members["policy"] if policy is None else policy))
        except Finding as finding:
            self.findings.append(finding)

    def holds(self) -> bool:
        """Tell whether everything holds."""
        return not self.findings and GOOD.issuperset(self.verdicts.values())

    def _note(self, held: object, code: str, where: str, text: str) -> None:
        """Go on, but list a finding unless something `held`."""
        if not held and (code, where) not in self._known:
            self._known.add((code, where))
            self.findings.append(Finding(code, where, text))

    def _manifest(self) -> dict[str, Any]:
        where = "manifest.json"
        require(where in self.members, where, "is missing", "missing-file")
        value = parse(self.members[where], where)
        ranged = type(value) is dict and value.get("start") is not None
        ends = dict.fromkeys(("start", "end"), int if ranged else type(None))
        named = {"format": FORMAT, "origin": TEXT, "log": "[0-9a-f]{32}", "size": int}
        manifest = record(value, where, {**named, **ends, "selection": dict, "files": dict})
        for name, asked in manifest["selection"].items():
            require(fits(name, "[a-z][a-z0-9-]*") and fits(asked, TEXT), where, "has a wrong row")
        for name, digest in manifest["files"].items():
            require(fits(name, "[!-~]+") and fits(digest, HASH), where, "has a wrong file")
        if ranged:
            covers = manifest["start"] < manifest["end"] <= manifest["size"]
            require(covers, where, "covers no entries of the tree")
        names = ("origin", "log", "size", "start", "end", "selection")
        self.facts |= {name: manifest[name] for name in names}
        return manifest

    def _files(self) -> bool:
        """Compare the archive with the manifest; tell whether all that is needed is there."""
        single = self.manifest["start"] is None
        required = REQUIRED | {"indexes.json" if single else "proof/range.json"}
        pattern = f"{OPTIONAL}|{SINGLE}" if single else OPTIONAL
        files, members = self.manifest["files"], self.members
        listed = files.keys() | {"manifest.json", "manifest.note"}
        for name in sorted(members.keys() | files.keys()):
            known = name in listed and (name in required or re.fullmatch(pattern, name))
            self._note(known, "extra-file", name, "does not belong into the bundle")
        for name in sorted((listed | required) - members.keys()):
            self._note(False, "missing-file", name, "is missing")
        for name in sorted(files.keys() & members.keys()):
            same = sha256(members[name]).hexdigest() == files[name]
            self._note(same, "altered-file", name, "is not what the manifest says")
        return required <= members.keys()

    def _everything(self, policy: Policy) -> None:
        logs = [key for key in policy.logs if key.name == self.manifest["origin"]]
        periods = self._periods()
        self._manifest_note([key for key in logs if key.kind == ED25519], periods)
        tree = self._checkpoint(logs, policy, periods)
        entries = self._entries(tree)
        self._events(entries)
        self._time_stamps()

    def _periods(self) -> dict[str, tuple[int, int]]:
        """Return from and up to which tree size each key of the log is valid.

        A key ends where the next one of its type begins; at that one size both may sign.
        """
        where, start = "keys.json", 0
        periods: dict[str, tuple[int, int]] = {}
        newest: dict[int, str] = {}
        keys = parse(self.members[where], where)
        require(fits(keys, list), where, "is not a list")
        for one in keys:
            row = record(one, where, {"from": int, "vkey": TEXT})
            vkey, kind = row["vkey"], key_of(row["vkey"], where).kind
            require(row["from"] >= start and vkey not in periods, where, "is not in order")
            start = row["from"]
            if kind in newest:
                periods[newest[kind]] = (periods[newest[kind]][0], start)
            periods[vkey], newest[kind] = (start, INTEGER_MAX), vkey
        return periods

    def _signers(
        self, note: Note, where: str, keys: Sequence[Key], tree: Checkpoint | None = None
    ) -> dict[Key, int]:
        """Return which of the keys have signed, and when; one wrong signature is a finding.

        Others may sign as well; they count for nothing. A log signs by Ed25519, whatever else.
        """
        known = {(key.name, key.id): key for key in keys}
        found, plain = dict[Key, int](), False
        for name, identity, signature in note.signatures:
            key = known.get((name, identity))
            plain = plain or (key is not None and key.kind == ED25519)
            if key and key.kind == ML_DSA and MLDSA44PublicKey is None:
                self.remarks.append(Finding("ml-dsa-unchecked", where, f"signed by {name}"))
            elif key:
                time = signed_at(key, signature, note, tree)
                text = f"has a wrong signature of {name}"
                self._note(time is not None, "bad-signature", where, text)
                found |= {key: time} if time is not None else {}
        self._note(plain, "unknown-key", where, "is not signed by a trusted key of the log")
        return found

    def _manifest_note(self, logs: list[Key], periods: dict[str, tuple[int, int]]) -> None:
        """Check that the log signed the manifest, by a key that was not yet replaced."""
        where, size = "manifest.note", self.manifest["size"]
        note = note_of(self.members[where], where)
        digest = base64.b64encode(sha256(self.members["manifest.json"]).digest()).decode()
        same = note.text.decode() == f"{FORMAT}\n{digest}\n"
        self._note(same, "altered-file", "manifest.json", "is not the manifest that was signed")
        for key in self._signers(note, where, logs):
            valid = size <= periods.get(key.vkey, (0, -1))[1]
            self._note(valid, "key-not-valid", where, f"is signed by an older key: {key.vkey}")

    def _checkpoint(
        self, logs: list[Key], policy: Policy, periods: dict[str, tuple[int, int]]
    ) -> Checkpoint:
        """Check who signed the head of the tree, and return it."""
        where = "checkpoint"
        note = note_of(self.members[where], where)
        tree = checkpoint_of(note, where)
        require(tree.origin == self.manifest["origin"], where, "is of another log", "wrong-log")
        require(tree.size == self.manifest["size"], where, "is of another size", "mismatch")
        witnesses = [*policy.witnesses.values()]
        times = self._signers(note, where, [*logs, *witnesses], tree)
        for key in times.keys() & {*logs}:
            start, end = periods.get(key.vkey, (1, 0))
            text = f"is signed by a key of another time: {key.vkey}"
            self._note(start <= tree.size <= end, "key-not-valid", where, text)
        cosigned = sorted((key.name, times[key]) for key in witnesses if key in times)
        met = policy.met(policy.quorum, {key.vkey for key in times})
        self._note(met, "no-quorum", where, "lacks cosignatures that the policy asks for")
        self.facts |= {
            "root": tree.root.hex(),
            "witnessed": policy.quorum != "none",
            "log_keys": sorted(key.vkey for key in times if key in logs),
            "cosignatures": [{"name": name, "time": time} for name, time in cosigned],
        }
        return tree

    def _entries(self, tree: Checkpoint) -> dict[int, bytes]:
        """Return the covered entries, having checked that they are in the tree."""
        where, start, end = "leaves.bin", self.manifest["start"], self.manifest["end"]
        indexes = self._indexes(tree.size) if start is None else range(start, end)
        data, at, entries = self.members[where], 0, dict[int, bytes]()
        for index in indexes:
            begin = at + 2
            at = begin + int.from_bytes(data[at:begin], "big")
            require(begin <= len(data) and at <= len(data), where, "ends too early", "cut-off")
            entries[index] = data[begin:at]
        require(at == len(data), where, "has more entries than are covered", "tree-altered")
        self.facts["covered"] = len(entries)
        hashes = [sha256(b"\0" + entry).digest() for entry in entries.values()]
        if start is None:
            self._paths(dict(zip(indexes, hashes, strict=True)), tree)
        else:
            self._range(hashes, tree)
        return entries

    def _indexes(self, size: int, where: str = "indexes.json") -> list[int]:
        indexes = parse(self.members[where], where)
        is_list = fits(indexes, list) and indexes and all(fits(one, int) for one in indexes)
        require(is_list, where, "is not a list of indexes")
        require(len({*indexes}) == len(indexes), where, "names an entry twice", "duplicate-index")
        require(sorted(indexes) == indexes, where, "is not in order", "wrong-order")
        require(indexes[-1] < size, where, "names an entry outside the tree", "not-covered")
        return list(indexes)

    def _range(self, hashes: list[bytes], tree: Checkpoint) -> None:
        where, ends = "proof/range.json", ("start", "end", "size")
        value = parse(self.members[where], where)
        proof = record(value, where, {**dict.fromkeys(ends, int), "left": list, "right": list})
        same = all(proof[name] == self.manifest[name] for name in ends)
        require(same, where, "is for another range", "mismatch")
        left, right = hashes_of(proof["left"], where), hashes_of(proof["right"], where)
        root = root_from_range(hashes, proof["start"], tree.size, left, right)
        self._note(root == tree.root, "tree-altered", where, "does not lead to the root")

    def _paths(self, hashes: dict[int, bytes], tree: Checkpoint) -> None:
        proofs = {f"proof/{index}.tlog-proof": index for index in hashes}
        for name in sorted(self.members.keys() - proofs.keys()):
            stray = re.fullmatch(SINGLE, name)
            self._note(not stray, "extra-file", name, "proves an entry that is not covered")
        for name, index in proofs.items():
            self._note(name in self.members, "missing-file", name, "is missing")
            head, _, checkpoint = self.members.get(name, b"").partition(b"\n\n")
            version, number, *lines = [*head.decode("latin-1").split("\n"), ""]
            known = version == "c2sp.org/tlog-proof@v1" and len(lines) <= 64
            same = number == f"index {index}" and checkpoint == self.members["checkpoint"]
            if name in self.members:
                require(known, name, "is not a tlog-proof")
                require(same, name, "is for another entry or checkpoint", "mismatch")
                path = hashes_of(lines[:-1], name)
                root = root_from_path(hashes[index], index, tree.size, path)
                self._note(root == tree.root, "tree-altered", name, "does not lead to the root")

    def _events(self, entries: dict[int, bytes]) -> None:
        """Give every covered entry its verdict (entry-format)."""
        for index, entry in entries.items():
            require(is_entry(entry), f"entry {index}", "is not of caretrail/entry/v1")
        events = self._rows("events.ndjson", EVENT, entries)
        salts = self._rows("salts.ndjson", SALT, entries)
        self.erased = {
            n: int(one["value"]) for n, one in self._rows("redactions.ndjson", BY, entries).items()
        }
        numbered = max(self.erased.values(), default=0) <= INTEGER_MAX
        require(numbered, "redactions.ndjson", "has a number that is too large")
        require(salts.keys() <= events.keys(), "salts.ndjson", "has a salt without its event")
        where, row = "subjects.ndjson", {"subject": TEXT, "key": HASH}
        rows = [parse(line, where) for line in lines_of(self.members[where], where)]
        subjects = [record(one, where, row) for one in rows]
        keys = [bytes.fromhex(one["key"]) for one in subjects]
        log, counts = bytes.fromhex(self.manifest["log"]), Counter[int]()
        judged = dict[int, str]()
        for index, one in events.items():
            judged[index] = judge(entries.get(index, b""), content_of(one), salts.get(index))
        for index, entry in entries.items():
            about = [at for at, key in enumerate(keys) if is_about(entry, key)]
            for at in about:
                counts[at] += 1
            verdict = "kept-back" if about else "not-disclosed"
            if entry[23:39] != log:
                verdict = "wrong-log"
            elif index in events and index in self.erased:
                verdict = "redaction-unproved"  # What was erased cannot be here.
            elif index in events:
                verdict = judged[index]
            elif index in self.erased:
                verdict = "redacted"
            self.verdicts[index] = verdict
        self._redactions(entries, events)
        self._clock({n: int.from_bytes(one[55:63], "big") for n, one in entries.items()})
        named = enumerate(one["subject"] for one in subjects)
        self.facts["subjects"] = [{"subject": one, "entries": counts[at]} for at, one in named]

    def _rows(
        self, where: str, shape: re.Pattern[bytes], entries: dict[int, bytes]
    ) -> dict[int, re.Match[bytes]]:
        """Return each row, by the entry that it is about."""
        found, last = dict[int, re.Match[bytes]](), -1
        data, at = self.members[where], 0
        require(data[-1:] in (b"", b"\n"), where, "ends within a line", "cut-off")
        while at < len(data):
            row = shape.match(data, at)
            if row is None or (index := int(row["index"])) > INTEGER_MAX:
                raise Finding("malformed", where, "has a row of another shape")
            if index in found:
                self._note(False, "duplicate-index", where, f"has entry {index} twice")
            if index < last:
                self._note(False, "wrong-order", where, f"has entry {index} too late")
            if index not in entries:
                self._note(False, "not-covered", where, f"has entry {index}, which is not covered")
            found[index], last, at = row, index, row.end()
        return found

    def _redactions(self, entries: dict[int, bytes], events: dict[int, re.Match[bytes]]) -> None:
        """Believe a redaction only if a later entry of the log itself, disclosed here, says so."""
        told = dict[int, list[tuple[int, int]]]()
        for index, by in self.erased.items():
            if by not in told:
                own = self.verdicts.get(by) == "ok" and entries[by][19:21] == b"\1\0"
                told[by] = erased_by(content_of(events[by])) if own else []
            said = index < by and any(low <= index <= high for low, high in told[by])
            if self.verdicts.get(index) == "redacted" and not said:
                self.verdicts[index] = "redaction-unproved"

    def _clock(self, times: dict[int, int]) -> None:
        """Remark on times of receipt, in milliseconds, that cannot all be right."""
        newest, behind, late = -1, 0, -1
        for index, time in times.items():
            if newest < 0 or time >= times[newest]:
                newest = index
            elif times[newest] - time > behind:
                behind, late = times[newest] - time, index
        if behind > CLOCK_MS:
            text = f"was received {behind // 1000} seconds before an entry that stands before it"
            self.remarks.append(Finding("clock-back", f"entry {late}", text))
        cosigned = [one["time"] * 1000 for one in self.facts["cosignatures"]]
        if cosigned and times[newest] > min(cosigned) + CLOCK_MS:
            text = "was received, it says, after its tree was cosigned"
            self.remarks.append(Finding("clock-ahead", f"entry {newest}", text))
        self.facts["received"] = [min(times.values()), max(times.values())]

    def _time_stamps(self) -> None:
        """Check that time stamps are of this checkpoint: of the file, or of its signed text."""
        whole = self.members["checkpoint"]
        stamped = {sha256(one).digest() for one in (whole, note_of(whole, "checkpoint").text)}
        self.facts["timestamps"] = stamps = []
        for name in sorted(name for name in self.members if name.startswith("timestamps/")):
            try:
                digest, time, *signed = stamp_of(self.members[name])
                makers = [one for one in self._tsa if made_by(one, time, *signed)]
            except (ValueError, IndexError, KeyError):
                self._note(False, "bad-timestamp", name, "is not a time stamp that can be read")
                continue
            self._note(digest in stamped, "bad-timestamp", name, "is of something else")
            made = makers or not self._tsa
            self._note(made, "bad-timestamp", name, "is not signed by an authority of --tsa")
            by = makers[0].subject.rfc4514_string() if makers else None
            stamps.append({"file": name, "time": time, "by": by})


def content_of(row: re.Match[bytes]) -> bytes:
    """Return the content of an event: text that is escaped as in JSON, or base64 of what is none."""
    where, text = "events.ndjson", row["value"]
    if not row["b64"]:
        # Mostly only quotation marks are escaped: what gives the same text again was read right.
        content = text.translate(None, ESCAPED)
        quick = content.replace(b'"', b'\\"') == text and is_utf8(content)
        return content if quick else str(parse(b'"%b"' % text, where)).encode()
    content = decode64(parse(b'"%b"' % text, where), where)
    require(not is_utf8(content), where, "has base64 where text would do")
    return content


def is_entry(entry: bytes) -> bool:
    """Tell whether this is an entry by its version, kind, form, time and length."""
    known = entry[:19] == b"caretrail/entry/v1\n" and len(entry) >= 120
    sized = known and len(entry) == 120 + 8 * entry[119]
    time = int.from_bytes(entry[55:63], "big")
    return sized and entry[19] <= 1 and entry[20] <= 3 and time <= TIME_MAX * 1000


def is_about(entry: bytes, key: bytes) -> bool:
    """Tell whether the entry carries the tag of the subject whose key this is."""
    tag = hmac.digest(key, entry[39:55], "sha256")[:8]
    tags = entry[120:]
    return tag in tags and any(tags[at : at + 8] == tag for at in range(0, len(tags), 8))


def judge(entry: bytes, content: bytes, salt: re.Match[bytes] | None) -> str:
    """Compare a disclosed content with what its entry commits to."""
    if salt is None:
        return "salt-missing"
    key = bytes.fromhex(salt["value"].decode())
    bound = hmac.digest(key, b"caretrail/content/v1\n" + content, "sha256")
    return "ok" if bound == entry[87:119] else "content-altered"


def erased_by(content: bytes) -> list[tuple[int, int]]:
    """Return the ranges of entries that an AuditEvent says were erased: action D, in its details."""
    ranges = []
    try:
        event = json.loads(content.decode(), parse_constant=int)
        entities = event["entity"] if event["action"] == "D" else []
        details = [detail for entity in entities for detail in entity.get("detail", [])]
        for detail in details:
            kind, ends = detail.get("type"), str(detail.get("valueString")).split("-")
            numbers = [decimal(one) for one in ends]
            if (kind, len(ends)) in (("caretrail-entry", 1), ("caretrail-entries", 2)):
                ranges += [(numbers[0], numbers[-1])] if min(numbers) >= 0 else []
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []
    return ranges


# --- The report -----------------------------------------------------------------------------------

VERDICTS = {
    "ok": "disclosed, and exactly what the log recorded",
    "redacted": "erased, as a later entry of the log says",
    "not-disclosed": "recorded, but their content is not disclosed here",
    "content-altered": "CONTENT ALTERED: not what the log recorded",
    "salt-missing": "SALT MISSING: the content cannot be checked",
    "redaction-unproved": "REDACTION NOT PROVED: no entry of the log says that it was erased",
    "kept-back": "KEPT BACK: about a subject of this bundle, but not disclosed",
    "wrong-log": "WRONG LOG: an entry of another log",
}
SHOWN_MAX = 20  # More examples than this do not fit the page.


def machine(check: Check) -> dict[str, Any]:
    """Return the report for machines; entries that are not disclosed are only counted."""
    verdicts: list[dict[str, Any]] = [
        {"index": index, "verdict": verdict}
        for index, verdict in check.verdicts.items()
        if verdict != "not-disclosed"
    ]
    for one in verdicts:
        one |= {"by": check.erased[one["index"]]} if one["verdict"] == "redacted" else {}
    return {
        "format": FORMAT,
        "holds": check.holds(),
        "findings": [vars(one) for one in check.findings],
        "remarks": [vars(one) for one in check.remarks],
        "counts": dict(sorted(Counter(check.verdicts.values()).items())),
        "verdicts": verdicts,
        **check.facts,
    }


def page(check: Check) -> Iterator[str]:
    """Yield the lines of a report that fits one page."""
    whole, facts = check.holds(), check.facts
    bad = [(index, one) for index, one in check.verdicts.items() if one not in GOOD]
    wrong = [f"{one.code}: {one.where} {one.text}" for one in check.findings]
    wrong += [f"entry {index}: {VERDICTS[one]}" for index, one in bad]
    yield "EVERYTHING HOLDS." if whole else "DOES NOT HOLD. Do not rely on this bundle."
    yield from (f"  ! {line}" for line in wrong[:SHOWN_MAX])
    if len(wrong) > SHOWN_MAX:
        yield f"  ! and {len(wrong) - SHOWN_MAX} more; see --json"
    yield from ("", "WHAT IS PROVED" if whole else "WHAT WAS LOOKED AT (and proves nothing)")
    if "origin" in facts:
        yield f"  log       {facts['origin']}, id {facts['log']}, {facts['size']} entries"
        yield from (f"  asked     {name}: {text}" for name, text in facts["selection"].items())
    if "covered" in facts:
        start, end = facts["start"], facts["end"]
        span = "one by one" if start is None else f"{start} to {end - 1}"
        yield f"  covered   {facts['covered']} entries, {span}"
    for verdict, count in Counter(check.verdicts.values()).items():
        yield f"  {count:>8}  {VERDICTS[verdict]}"
    for one in facts.get("subjects", []):
        yield f"  {one['entries']:>8}  are about {' '.join(one['subject'].splitlines())}"
    yield from ("", "BY WHOM, AND WHEN", *vouchers(facts), "", "WHAT IS NOT PROVED")
    yield from (f"  - {line}" for line in reservations(facts))
    yield from (f"  - {one.code}: {one.where} {one.text}" for one in check.remarks)


def vouchers(facts: dict[str, Any]) -> Iterator[str]:
    """Yield who signed, and the bounds in time."""
    yield from (f"  signed    {vkey}" for vkey in facts.get("log_keys", []))
    cosigned = facts.get("cosignatures", [])
    yield from (f"  cosigned  {one['name']}, {moment(one['time'])}" for one in cosigned)
    if cosigned:
        times = [one["time"] for one in cosigned]
        yield f"  time      all of it was in the log by {moment(min(times))}"
        yield f"            and the witnesses knew of no other history at {moment(max(times))}"
    if "received" in facts:
        first, last = (moment(one / 1000) for one in facts["received"])
        yield f"  received  {first} to {last}, by the log's clock"
    for one in facts.get("timestamps", []):
        by = f"by {one['by']}" if one["by"] else "by whom is NOT CHECKED"
        yield f"  stamped   {one['time']}, {one['file']}, {by}"


def reservations(facts: dict[str, Any]) -> Iterator[str]:
    """Yield what a reader must not conclude."""
    if facts["own_policy"]:
        yield "that this is the log you mean: the keys come from the bundle. Compare the key above"
        yield "  with one that you got elsewhere, or give that one by --policy"
    if not facts.get("witnessed"):
        yield "that others were shown the same history: the policy asks for no witness"
    if facts.get("start") is None or facts["end"] - facts["start"] < facts["size"]:
        yield "anything about entries of the log that are not covered"
    if facts.get("subjects"):
        yield "that a subject's key is the right one: only the log can derive it"
    else:
        yield "that nothing about a person is missing: no subject's key is here"
    if not all(one["by"] for one in facts.get("timestamps", [])):
        yield "who made the time stamps: that takes --tsa"
    yield "that what the sources reported is true, or that they reported everything"


def moment(seconds: float) -> str:
    """Return a time as people write it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def printable(line: str) -> str:
    """Return the line without what could command a terminal or turn the text around."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def main() -> int:
    """Check the bundle that the command line names."""
    parser = argparse.ArgumentParser(description="Check an evidence bundle of a CareTrail log.")
    parser.add_argument("bundle", type=Path, help="the ZIP file")
    parser.add_argument("--policy", type=Path, help="the keys that you trust, as a tlog-policy")
    parser.add_argument(
        "--tsa", type=Path, help="certificates of time-stamping authorities, in PEM"
    )
    parser.add_argument("--json", action="store_true", help="report for machines")
    arguments = parser.parse_args()
    try:
        archive = arguments.bundle.read_bytes()
        policy = arguments.policy.read_bytes() if arguments.policy else None
        pem = arguments.tsa.read_bytes() if arguments.tsa else None
        authorities = [] if pem is None else x509.load_pem_x509_certificates(pem)
    except OSError as error:
        parser.error(f"cannot read {error.filename}: {error.strerror}")
    except ValueError:
        parser.error(f"{arguments.tsa} does not have certificates in PEM")
    check = Check(archive, policy, authorities)
    text = [json.dumps(machine(check), indent=1)] if arguments.json else map(printable, page(check))
    print(*text, sep="\n")
    return 0 if check.holds() else 1


if __name__ == "__main__":
    sys.exit(main())
