"""The keys of a log over its life: which of them was valid at which size.

A stolen old key must not sign a new tree, nor a new one an old tree. So a verifier asks not only
whether a key of the log has signed, but whether it was the key at that size. A rotation is announced
by an entry of the log that names the new key and the size from which on it signs; a checkpoint that
covers this entry is still signed by the old key, which is then destroyed.
"""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import TYPE_CHECKING, NamedTuple, Self

from caretrail.errors import VerificationError
from caretrail.limits import KEY_HISTORY_PERIODS_MAX
from caretrail.tlog.checkpoint import Checkpoint, SignedCheckpoint, parse_decimal
from caretrail.tlog.cosignature import verifier
from caretrail.tlog.note import Note, VerifierKey

if TYPE_CHECKING:
    from collections.abc import Collection


class Period(NamedTuple):
    """The keys that sign checkpoints of `since` leaves and more, until the next period begins."""

    since: int
    keys: tuple[VerifierKey, ...]


class KeyHistory(NamedTuple):
    """The periods of one log, oldest first; the first begins at size 0."""

    periods: tuple[Period, ...]

    @classmethod
    def begin(cls, *keys: VerifierKey) -> Self:
        """Return the history of a new log."""
        history = cls((Period(0, keys),))
        history.check()
        return history

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse lines of a size and a verifier key; keys of one period stand one after the other."""
        *lines, end = text.split("\n")
        if end or len(lines) > KEY_HISTORY_PERIODS_MAX:
            raise VerificationError("the key history is cut off or too long")
        try:
            rows = [
                (parse_decimal(size), VerifierKey.parse(key)) for size, key in map(_words, lines)
            ]
        except ValueError as error:
            raise VerificationError("the key history is malformed") from error
        groups = groupby(rows, key=lambda row: row[0])
        history = cls(tuple([Period(since, tuple([key for _, key in of])) for since, of in groups]))
        history.check()
        return history

    def format(self) -> str:
        """Return the only spelling of this history."""
        rows = [(period.since, key) for period in self.periods for key in period.keys]
        return "".join([f"{since} {key.format()}\n" for since, key in rows])

    def check(self) -> None:
        """Refuse a history with a gap at its start, out of order, or of several logs or doubtful keys."""
        if not self.periods or self.periods[0].since or not all(one.keys for one in self.periods):
            raise VerificationError("the key history does not begin at size 0, or has no keys")
        if any(one.since >= other.since for one, other in pairwise(self.periods)):
            raise VerificationError("the key history is not in order")
        keys = [key for period in self.periods for key in period.keys]
        if len({key.name for key in keys}) > 1 or len({key.public for key in keys}) < len(keys):
            raise VerificationError("the key history has keys of several logs, or one key twice")
        for key in keys:
            verifier(key)

    @property
    def origin(self) -> str:
        """The log's name."""
        return self.periods[0].keys[0].name

    def rotate(self, *, since: int, keys: Collection[VerifierKey]) -> Self:
        """Return the history in which `keys` take over at size `since`."""
        rotated = self._replace(periods=(*self.periods, Period(since, tuple(keys))))
        rotated.check()
        return rotated

    def valid_keys(self, size: int) -> tuple[VerifierKey, ...]:
        """Return the keys that sign a tree of `size`."""
        return next(one.keys for one in reversed(self.periods) if one.since <= size)

    def require_valid(self, keys: Collection[VerifierKey], *, size: int) -> None:
        """Return only if one of `keys` was the log's at `size`."""
        if not set(keys).intersection(self.valid_keys(size)):
            raise VerificationError("the checkpoint's key was not the log's at that size")

    def open(self, note: Note) -> SignedCheckpoint:
        """Return the checkpoint if a key that was the log's at its size has signed it."""
        size = Checkpoint.parse(note.text).size
        return SignedCheckpoint.open(note, [verifier(key) for key in self.valid_keys(size)])


def _words(line: str) -> tuple[str, str]:
    size, key = line.split(" ")
    return size, key
