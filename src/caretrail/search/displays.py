"""The displays of an event's codings, all in one term.

Senders use few displays, in few combinations, so that one term an event costs less than a term a
word and the dictionary of these terms stays small enough to be read through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caretrail.search.fold import fold
from caretrail.search.term import Scan, spell_whole, unspell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DISPLAYS: Final = "dd"
CHARACTERS_MAX: Final = 4_000
_END: Final = "\n"


def terms(displays: tuple[tuple[str, str], ...]) -> Sequence[str]:
    """Return the terms of (parameter key, display) pairs: one, but for very long displays."""
    folded = sorted({key + fold(display)[:CHARACTERS_MAX] for key, display in displays})
    found, line = [], ""
    for item in folded:
        if line and len(line) + len(item) > CHARACTERS_MAX:
            found.append(DISPLAYS + spell_whole(line))
            line = ""
        line += item + _END
    return (*found, DISPLAYS + spell_whole(line)) if line else found


def scan(key: str | None, accepts: Callable[[str], bool]) -> Scan:
    """Return the events with a display that is accepted, of one parameter or of any."""

    def any_accepted(term: str) -> bool:
        text, _ = unspell(term[len(DISPLAYS) :])
        return any(
            accepts(line[2:]) for line in text.split(_END) if line and key in (None, line[:2])
        )

    return Scan(DISPLAYS, any_accepted)
