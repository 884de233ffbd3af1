"""Trust policies: which logs and witnesses are known, and which cosignatures suffice (C2SP tlog-policy).

A policy is what a verifier is configured with. Whatever is not in it is not trusted, so a policy
without a log accepts nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from caretrail.errors import ConfigurationError, VerificationError
from caretrail.limits import POLICY_BYTES_MAX
from caretrail.tlog.checkpoint import Checkpoint, SignedCheckpoint
from caretrail.tlog.cosignature import time_of, verifier
from caretrail.tlog.note import (
    ED25519,
    ED25519_COSIGNATURE,
    MLDSA44_COSIGNATURE,
    Note,
    Verifier,
    VerifierKey,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

NONE: Final = "none"
# Any octet but control characters; those above 0x7E are opaque, and are never compared by case.
_OCTETS: Final = re.compile(rb"[\t\n\x20-\x7e\x80-\xff]*")
_SPACE: Final = re.compile(r"[ \t]+")
_COUNT: Final = re.compile(r"[1-9][0-9]{0,5}", re.ASCII)
_LOG_KINDS: Final = (ED25519, MLDSA44_COSIGNATURE)
_WITNESS_KINDS: Final = (ED25519_COSIGNATURE, MLDSA44_COSIGNATURE)


class Log(NamedTuple):
    """A log that is trusted to sign checkpoints; its key's name is its origin."""

    key: VerifierKey
    url: str | None = None


class Witness(NamedTuple):
    """A witness, by the name that it has in this policy only."""

    name: str
    key: VerifierKey
    url: str | None = None


class Group(NamedTuple):
    """A group that has witnessed a checkpoint when `threshold` of its members have."""

    name: str
    threshold: int
    members: tuple[str, ...]


class Cosigned(NamedTuple):
    """A witness of the policy whose cosignature holds, and when it was made."""

    name: str
    time: int


class Accepted(NamedTuple):
    """A checkpoint that a policy accepts, the log's keys that signed it, and who has witnessed it."""

    checkpoint: Checkpoint
    log_keys: tuple[VerifierKey, ...]
    witnesses: tuple[Cosigned, ...]


class Policy(NamedTuple):
    """Known logs and witnesses, groups in the order of their definition, and the quorum's name."""

    logs: tuple[Log, ...]
    witnesses: tuple[Witness, ...]
    groups: tuple[Group, ...]
    quorum: str

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse a policy file; raises ConfigurationError that names the line and the rule."""
        if len(data) > POLICY_BYTES_MAX:
            raise ConfigurationError("the policy is too long")
        if not _OCTETS.fullmatch(data) or (data and not data.endswith(b"\n")):
            raise ConfigurationError("the policy has a control character, or a line without end")
        reader = _Reader()
        # Octets that are no UTF-8 stay what they are: names are opaque.
        lines = data.decode(errors="surrogateescape").split("\n")
        for number, line in enumerate(lines, 1):
            words = _SPACE.split(line.strip(" \t"))
            if not words[0] or words[0].startswith("#"):
                continue
            try:
                reader.read(words)
            except VerificationError as error:
                raise ConfigurationError(f"the policy's line {number}: {error}") from error
        if reader.quorum is None:
            raise ConfigurationError("the policy has no quorum line")
        logs, witnesses = tuple(reader.logs), tuple(reader.witnesses)
        return cls(logs, witnesses, tuple(reader.groups), reader.quorum)

    def format(self) -> bytes:
        """Return a policy file that says the same, without comments."""
        lines = [_line("log", one.key.format(), one.url) for one in self.logs]
        lines += [_line("witness", one.name, one.key.format(), one.url) for one in self.witnesses]
        lines += [_line("group", one.name, str(one.threshold), *one.members) for one in self.groups]
        lines.append(_line("quorum", self.quorum))
        return "".join(lines).encode(errors="surrogateescape")

    def accept(self, note: Note, *, not_after: int | None = None) -> Accepted:
        """Return what the policy accepts of a cosigned checkpoint; else raise VerificationError.

        A log of the policy must have signed it under its origin, every signature of a key in the
        policy must hold, and the quorum must have cosigned it: by `not_after`, in seconds since
        1970 UTC, where that is given.
        """
        origin = Checkpoint.parse(note.text).origin
        logs = [one.key for one in self.logs if one.key.name == origin]
        opened = SignedCheckpoint.open(note, self._verifiers(logs))
        signed = {(one.name, one.key_id): one for one in opened.verified}
        cosigned = []
        for witness in self.witnesses:
            found = signed.get((witness.key.name, witness.key.key_id))
            if found and (not_after is None or time_of(found) <= not_after):
                cosigned.append(Cosigned(witness.name, time_of(found)))
        if not self.witnessed_by({one.name for one in cosigned}):
            raise VerificationError("too few witnesses of the policy have cosigned the checkpoint")
        by = tuple([key for key in logs if (key.name, key.key_id) in signed])
        return Accepted(opened.checkpoint, by, tuple(cosigned))

    def witnessed_by(self, names: set[str]) -> bool:
        """Tell whether these witnesses are a quorum."""
        witnessed = {NONE, *names}
        # A group names only what stands before it, so one pass is enough.
        for group in self.groups:
            if len(witnessed.intersection(group.members)) >= group.threshold:
                witnessed.add(group.name)
        return self.quorum in witnessed

    def _verifiers(self, logs: Sequence[VerifierKey]) -> list[Verifier]:
        return [verifier(key) for key in (*logs, *(one.key for one in self.witnesses))]


def _line(*words: str | None) -> str:
    return f"{' '.join(filter(None, words))}\n"


class _Reader:
    """What the lines read so far define."""

    def __init__(self) -> None:
        self.logs: list[Log] = []
        self.witnesses: list[Witness] = []
        self.groups: list[Group] = []
        self.quorum: str | None = None
        self._names: set[str] = set()
        self._members: set[str] = set()

    def read(self, words: list[str]) -> None:
        """Take a line; raises VerificationError when it breaks a rule."""
        match words:
            case ["log", text, *url] if len(url) <= 1:
                key = _key(text, _LOG_KINDS, [one.key for one in self.logs])
                self.logs.append(Log(key, *url))
            case ["witness", name, text, *url] if len(url) <= 1:
                key = _key(text, _WITNESS_KINDS, [one.key for one in self.witnesses])
                self._define(name)
                self.witnesses.append(Witness(name, key, *url))
            case ["group", name, count, _, *_]:
                self.groups.append(self._group(name, count, words[3:]))
                self._define(name)
            case ["quorum", name]:
                self._quorum(name)
            case _:
                raise VerificationError("this is no line of a policy")

    def _define(self, name: str) -> None:
        if name == NONE or name in self._names:
            raise VerificationError("the name is taken")
        self._names.add(name)

    def _group(self, name: str, count: str, members: list[str]) -> Group:
        for member in members:
            if member not in self._names:
                raise VerificationError("a member is not defined before")
            if member in self._members:
                raise VerificationError("a name is a member twice")
            self._members.add(member)
        return Group(name, _threshold(count, len(members)), tuple(members))

    def _quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise VerificationError("there is a second quorum line")
        if name != NONE and name not in self._names:
            raise VerificationError("the quorum is not defined before")
        self.quorum = name


def _key(text: str, kinds: Sequence[int], others: Sequence[VerifierKey]) -> VerifierKey:
    """Return a key that can be trusted for this purpose, and that no other line has."""
    key = VerifierKey.parse(text)
    verifier(key)
    if key.kind not in kinds:
        raise VerificationError("the key's signature type is not one for this line")
    if any(one.public == key.public for one in others):
        raise VerificationError("another line has the same key")
    return key


def _threshold(count: str, members: int) -> int:
    if count in ("any", "all"):
        return 1 if count == "any" else members
    if not _COUNT.fullmatch(count) or int(count) > members:
        raise VerificationError("the threshold is not between 1 and the number of members")
    return int(count)
