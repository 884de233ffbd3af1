"""How a server stands at a moment: all that the kinds of alerts look at, gathered before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from caretrail.storage.contract import Gap


class Limits(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """From when on somebody is told; what is not set has these values."""

    feed_lag_minutes: float = 15.0
    unwitnessed_minutes: float = 10.0
    disk_free_percent: float = 10.0
    clock_error_seconds: float = 1.0  # IHE CT: the median error is below it.
    source_clock_minutes: float = 60.0  # How long it is told after the last such event.
    gap_minutes: float = 1.0  # What comes out of order is there by then.


class Source(NamedTuple):
    """A source that is expected to send something within so many minutes.

    `last` is when it sent its last event, in milliseconds; for one that never has, the start.
    """

    producer: str
    organisation: str
    minutes: float
    last: int


class State(NamedTuple):
    """A moment: `now` in milliseconds since 1970, `disk_free_percent` of the data folder's disk.

    `skewed` are when, by which producer's clock, the newest event came that is a day off.
    """

    now: int
    limits: Limits
    log: Mapping[str, Any]
    checkpoints: Mapping[str, Any]
    verification: Mapping[str, Any]
    feeds: Mapping[str, Mapping[str, Any]]
    clock: Mapping[str, Any]
    disk_free_percent: float
    gaps: Sequence[Gap] = ()
    sources: Sequence[Source] = ()
    skewed: tuple[int, str] | None = None
