"""The index against the events: sums with random weights.

Each term and each event gets a random number, drawn anew for each verification. The sum over all
pairs of term and event of the product of both is the same for the index and for the events if the
pairs are; another set of pairs gives another sum, but for a chance of one in 2**61.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

PRIME: Final = 2**127 - 1
KEY_BYTES: Final = 32
# Two halves of 31 bits: SQLite's sums of them stay below 2**63 for four billion events.
HALF_BITS: Final = 31
_HALF: Final = 2**HALF_BITS - 1
_TERMS_REMEMBERED: Final = 1_000_000


class Weights(dict[str, int]):
    """The random numbers of terms, which are remembered, and of events; they follow from a key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __missing__(self, term: str) -> int:
        if len(self) >= _TERMS_REMEMBERED:
            self.clear()
        digest = blake2b(term.encode(), digest_size=15, key=self._key).digest()
        weight = self[term] = int.from_bytes(digest)
        return weight

    def halves(self, k: int) -> tuple[int, int]:
        """Return the number of an event, in two halves."""
        digest = blake2b(k.to_bytes(8), digest_size=8, key=self._key, person=b"event").digest()
        number = int.from_bytes(digest)
        return number & _HALF, number >> HALF_BITS & _HALF

    def of(self, k: int, terms: Iterable[str]) -> int:
        """Return what the pairs of an event add to the sum."""
        return sum(map(self.__getitem__, terms)) * whole(*self.halves(k)) % PRIME


def whole(low: int, high: int) -> int:
    """Return the number of an event out of its halves."""
    return high << HALF_BITS | low
