"""Signed notes (C2SP signed-note): a text, and who signed it.

A note has one accepted spelling: what `parse` takes, `format` gives back byte by byte.
"""

from __future__ import annotations

import base64
import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self

from caretrail.errors import VerificationError
from caretrail.limits import NOTE_BYTES_MAX, NOTE_SIGNATURES_MAX
from caretrail.tlog.keys import Ed25519PublicKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from caretrail.tlog.keys import Ed25519PrivateKey

KEY_ID_BYTES: Final = 4
# Signature types (C2SP signed-note): the first byte of what a verifier key carries.
ED25519: Final = 0x01
ED25519_COSIGNATURE: Final = 0x04
MLDSA44_COSIGNATURE: Final = 0x06
_DASH: Final = "—"
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_KEY_NAME: Final = re.compile(r"[^\s+\x00-\x1f\ud800-\udfff]+")


class VerifierKey(NamedTuple):
    """A verifier key ("vkey"): a name, a signature type, and a public key."""

    name: str
    kind: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The first four bytes of SHA-256(name || 0x0A || type || public key)."""
        named = self.name.encode() + b"\n" + bytes([self.kind]) + self.public
        return sha256(named).digest()[:KEY_ID_BYTES]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `name+id+key`; the id must be the key's, and the spelling the only one."""
        try:
            name, _, key = text.split("+", 2)
            data = decode_base64(key)
            parsed = cls(name, data[0], data[1:])
            spelling = parsed.format()
        except (ValueError, IndexError) as error:
            raise VerificationError("the verifier key is malformed") from error
        check_key_name(name)
        if spelling != text:
            raise VerificationError("the verifier key is not its only spelling, or has another id")
        return parsed

    def format(self) -> str:
        """Return the only spelling of this key."""
        key = encode_base64(bytes([self.kind]) + self.public)
        return f"{self.name}+{self.key_id.hex()}+{key}"


class Signature(NamedTuple):
    """One signature line: who signed, and the bytes."""

    name: str
    key_id: bytes
    signature: bytes

    def format(self) -> str:
        """Return the line, with its end."""
        return f"{_DASH} {self.name} {encode_base64(self.key_id + self.signature)}\n"

    @classmethod
    def parse(cls, line: str) -> Self:
        """Parse a line without its end."""
        try:
            dash, name, text = line.split(" ")
            data = decode_base64(text)
        except ValueError as error:
            raise VerificationError("a signature line of the note is malformed") from error
        check_key_name(name)
        if dash != _DASH or len(data) <= KEY_ID_BYTES:
            raise VerificationError("a signature line of the note is malformed")
        return cls(name, data[:KEY_ID_BYTES], data[KEY_ID_BYTES:])


class Note(NamedTuple):
    """A text that ends in a newline, and its signatures, which nobody has looked at yet."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse a note; the text ends at the last empty line."""
        if len(data) > NOTE_BYTES_MAX:
            raise VerificationError("the note is too long")
        try:
            whole = data.decode()
        except UnicodeDecodeError as error:
            raise VerificationError("the note is not UTF-8") from error
        if _CONTROL.search(whole):
            raise VerificationError("the note has a control character")
        text, empty, lines = whole.rpartition("\n\n")
        if not empty or not lines.endswith("\n"):
            raise VerificationError("the note has no signatures, or does not end in a line")
        return cls(text + "\n", parse_signatures(lines))

    def format(self) -> bytes:
        """Return the only spelling of this note."""
        lines = "".join([one.format() for one in self.signatures])
        return f"{self.text}\n{lines}".encode()

    def add(self, signatures: Iterable[Signature]) -> Self:
        """Return the note with more signatures, each line once."""
        return self._replace(signatures=tuple(dict.fromkeys([*self.signatures, *signatures])))


class Verifier(Protocol):
    """Somebody's key, for one type of signature."""

    @property
    def key(self) -> VerifierKey:
        """The key, as it is written in a policy."""
        ...

    def verify(self, text: str, signature: bytes) -> bool:
        """Tell whether `signature` is this key's over a note's text."""
        ...


class NoteVerifier:
    """Verifies plain Ed25519 signatures (type 0x01)."""

    def __init__(self, key: VerifierKey) -> None:
        self.key: Final = key
        self._public = Ed25519PublicKey(key.public)

    def verify(self, text: str, signature: bytes) -> bool:
        """Tell whether `signature` is this key's over a note's text."""
        return self._public.verify(text.encode(), signature)


class NoteSigner:
    """Makes plain Ed25519 signatures (type 0x01) under a name."""

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        check_key_name(name)
        self.key: Final = VerifierKey(name, ED25519, private.public.encoded)
        self._private = private

    def sign(self, text: str) -> Signature:
        """Return the signature over a note's text."""
        signature = self._private.sign(text.encode())
        return Signature(self.key.name, self.key.key_id, signature)


def parse_signatures(lines: str) -> tuple[Signature, ...]:
    """Parse signature lines, one at least; every line ends in a newline."""
    *found, end = lines.split("\n")
    if end or not found:
        raise VerificationError("the signature lines do not end in a line")
    if len(found) > NOTE_SIGNATURES_MAX:
        raise VerificationError("the note has too many signatures")
    return tuple([Signature.parse(line) for line in found])


def verified(note: Note, verifiers: Sequence[Verifier]) -> tuple[Signature, ...]:
    """Return the signatures of known keys, one at least, all of them valid.

    Signatures of others are ignored. One of a known key that does not hold rejects the whole note:
    somebody changed it, or uses a name that is not theirs.
    """
    known = {(one.key.name, one.key.key_id): one for one in verifiers}
    if len(known) != len(verifiers):
        raise VerificationError("two verifier keys have one name and id")
    found = []
    for signature in note.signatures:
        if verifier := known.get(signature[:2]):
            if not verifier.verify(note.text, signature.signature):
                raise VerificationError("a signature of a known key does not hold")
            found.append(signature)
    if not found:
        raise VerificationError("no known key has signed the note")
    return tuple(found)


def check_key_name(name: str) -> None:
    """Refuse what cannot name a key: nothing, spaces, plus signs, control characters."""
    if not _KEY_NAME.fullmatch(name):
        raise VerificationError("the name of a key is empty, or has a space or a plus sign")


def encode_base64(data: bytes) -> str:
    """Return the standard base64 of RFC 4648, section 4."""
    return base64.b64encode(data).decode()


def decode_base64(text: str) -> bytes:
    """Return what base64 says; raises ValueError unless it is its only spelling."""
    data = base64.b64decode(text, validate=True)
    if encode_base64(data) != text:
        raise ValueError("base64 in another than its only form")
    return data
