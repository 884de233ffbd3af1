"""Denied attempts, few enough to be recorded: past some of one peer they are only counted (T-03)."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.limits import (
    DENIAL_SECONDS_WINDOW,
    DENIALS_ALL_MAX,
    DENIALS_PEER_MAX,
    DENIALS_PEERS_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_ANYBODY: Final = ""
_NETWORK_BITS: Final = 64  # Of an IPv6 address: a site, which has all of them to choose from.


class Flood(NamedTuple):
    """Attempts of one peer that were not recorded one by one; "" is of many peers."""

    peer: str
    attempts: int


class Denials:
    """Counts denied attempts by peer, in windows of time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begun = clock()
        self._seen: dict[str, int] = {}
        self._all = 0
        self._beyond: dict[str, int] = {}

    def count(self, peer: str) -> bool:
        """Count one attempt; tell whether it is to be recorded for itself."""
        peer = network(peer)
        seen = self._seen.get(peer, 0)
        if seen == 0 and len(self._seen) >= DENIALS_PEERS_MAX:
            peer, seen = _ANYBODY, DENIALS_PEER_MAX
        self._seen[peer] = seen + 1
        if seen < DENIALS_PEER_MAX and self._all < DENIALS_ALL_MAX:
            self._all += 1
            return True
        self._beyond[peer] = self._beyond.get(peer, 0) + 1
        return False

    def ended(self, *, finally_: bool = False) -> list[Flood]:
        """Return what was only counted, once the window is over or all is, and begin another."""
        if not finally_ and self._clock() - self._begun < DENIAL_SECONDS_WINDOW:
            return []
        # Few events a window, whoever asks from however many places.
        rows = sorted(self._beyond.items(), key=lambda row: -row[1])
        floods = [Flood(*row) for row in rows[:DENIALS_PEER_MAX]]
        if rest := sum(attempts for _, attempts in rows[DENIALS_PEER_MAX:]):
            floods.append(Flood(_ANYBODY, rest))
        self._begun, self._all = self._clock(), 0
        self._seen.clear()
        self._beyond.clear()
        return floods


def network(address: str) -> str:
    """Return the address, of IPv6 its network: one that asks can have any in it."""
    try:
        found = ip_address(address)
    except ValueError:
        return address[:64]
    if found.version == 4:
        return str(found)
    return str(ip_network((found, _NETWORK_BITS), strict=False))
