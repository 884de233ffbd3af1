"""Comparing text as FHIR's string search does (FHIR R4, search, string)."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_WORD: Final = re.compile(r"\w+")


def fold(text: str) -> str:
    """Return `text` without case, accents and runs of white space."""
    if not text.isascii():
        # Twice: folding a letter's case may bring a combining mark forth.
        for _ in range(2):
            text = unicodedata.normalize("NFKD", text.casefold())
        text = "".join(c for c in text if not unicodedata.combining(c))
    return " ".join(text.lower().split())


def words(texts: Iterable[str]) -> set[str]:
    """Return the folded words of all `texts`."""
    return {word for text in texts for word in _WORD.findall(fold(text))}
