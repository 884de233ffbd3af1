"""Where one syslog message ends and the next begins in a stream (RFC 5425, 4.3; RFC 6587, 3.4).

A message is counted in octets, or ends with a line feed: its first bytes say which. What is neither
is kept as it is, up to where a message begins again. However the stream is split on its way, the
same messages come of it.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from caretrail.limits import SYSLOG_COUNT_MAX, SYSLOG_FRAME_BYTES_MAX
from caretrail.search.record import NO_FLAGS, Flag

_SEPARATORS: Final = re.compile(rb"[ \t\r\n\0]*+")
_COUNT: Final = re.compile(rb"([1-9][0-9]{0,8}) <")
_COUNT_SO_FAR: Final = re.compile(rb"[1-9][0-9]{0,8} ?")
_PRIORITY: Final = re.compile(rb"<[0-9]{1,3}>")
_PRIORITY_SO_FAR: Final = re.compile(rb"<[0-9]{0,3}")
# The shortest things that a message surely begins with, counted or on a line of its own.
_BEGINNING: Final = re.compile(rb"(?<![0-9])[1-9][0-9]{0,8} <[0-9]{1,3}>[1-9]|\n<[0-9]{1,3}>")
_BEGINNING_BYTES_MAX: Final = 16
_LINE_END: Final = re.compile(rb"[\n\0]")


class Piece(NamedTuple):
    """One message's bytes without count and line end, and whether some of it is missing."""

    frame: bytes
    flags: Flag = NO_FLAGS


class Framing:
    """Cuts one stream into messages. `strays` counts what stood between them."""

    def __init__(
        self, *, frame_max: int = SYSLOG_FRAME_BYTES_MAX, count_max: int = SYSLOG_COUNT_MAX
    ) -> None:
        """Keep at most `frame_max` bytes of a message; a count above `count_max` is none."""
        self._frame_max, self._count_max = frame_max, count_max
        self._held = bytearray()
        # How much of what is held was looked through before, and what is still to be passed over.
        self._seen = 0
        self._skipped_bytes = 0
        self._skips_line = False
        self.strays = 0

    @property
    def held(self) -> int:
        """Return how many bytes of a message that is not whole are held."""
        return len(self._held)

    def feed(self, data: bytes) -> list[Piece]:
        """Return the messages that are whole now."""
        self._held += data
        found: list[Piece] = []
        at = 0
        while (step := self._step(at)) is not None:
            at, piece = step
            if piece is not None:
                found.append(piece)
            self._seen = 0
        del self._held[:at]
        return found

    def end(self) -> list[Piece]:
        """Return what is held when the stream ends."""
        rest = bytes(self._held).strip(b" \t\r\n\0")
        self._held.clear()
        if not rest or self._skipped_bytes or self._skips_line:
            return []
        counted = _COUNT.match(rest)
        if counted is not None:
            return [Piece(rest[counted.end() - 1 :], Flag.TRUNCATED)]
        return [Piece(rest)]

    def _step(self, at: int) -> tuple[int, Piece | None] | None:
        """Return where to go on and what ended there; None where more of the stream is needed."""
        held = self._held
        if self._skipped_bytes or self._skips_line:
            return self._skip(at)
        separators = _SEPARATORS.match(held, at)
        assert separators is not None, "it matches nothing as well"
        if separators.end() > at:
            return separators.end(), None
        if at == len(held):
            return None
        counted = _COUNT.match(held, at)
        if counted is not None and int(counted[1]) <= self._count_max:
            return self._counted(counted.end() - 1, int(counted[1]))
        if _PRIORITY.match(held, at) is not None:
            return self._line(at)
        if counted is None and (
            _COUNT_SO_FAR.fullmatch(held, at) or _PRIORITY_SO_FAR.fullmatch(held, at)
        ):
            return None
        return self._stray(at)

    def _counted(self, start: int, count: int) -> tuple[int, Piece] | None:
        kept = min(count, self._frame_max)
        if len(self._held) - start < kept:
            return None
        self._skipped_bytes = count - kept
        flags = Flag.TRUNCATED if count > kept else NO_FLAGS
        return start + kept, Piece(bytes(self._held[start : start + kept]), flags)

    def _line(self, at: int) -> tuple[int, Piece] | None:
        held = self._held
        found = _LINE_END.search(held, at + self._seen, at + self._frame_max + 1)
        if found is not None:
            return found.end(), Piece(bytes(held[at : found.start()]).removesuffix(b"\r"))
        if len(held) - at > self._frame_max:
            self._skips_line = True
            return at + self._frame_max, Piece(
                bytes(held[at : at + self._frame_max]), Flag.TRUNCATED
            )
        self._seen = len(held) - at
        return None

    def _stray(self, at: int) -> tuple[int, Piece] | None:
        held = self._held
        start = at + max(1, self._seen - _BEGINNING_BYTES_MAX)
        found = _BEGINNING.search(held, start, at + self._frame_max + _BEGINNING_BYTES_MAX)
        end = found.start() if found is not None else at + self._frame_max
        if found is None and len(held) < end + _BEGINNING_BYTES_MAX:
            self._seen = len(held) - at
            return None
        self.strays += 1
        end = min(end, at + self._frame_max)
        return end, Piece(bytes(held[at:end]))

    def _skip(self, at: int) -> tuple[int, None] | None:
        """Pass over the rest of a message of which only the beginning is kept."""
        held = self._held
        if at == len(held):
            return None
        if self._skips_line:
            found = _LINE_END.search(held, at)
            self._skips_line = found is None
            return (found.end() if found is not None else len(held)), None
        passed = min(self._skipped_bytes, len(held) - at)
        self._skipped_bytes -= passed
        return at + passed, None
