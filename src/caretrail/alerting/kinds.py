"""THE table of kinds of alerts: a row says what is wrong and finds where.

What a row finds is a subject, such as a feed's name; it stands in the log's own event alone. The
message that leaves has a reference and nothing of anybody (requirements, R-EU-22).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from caretrail.alerting.state import State

_MINUTE_MILLISECONDS: Final = 60_000
_GAPS_MAX: Final = 100


class Kind(NamedTuple):
    """One kind: its code, what people are told, how bad it is, and for which subjects it holds."""

    code: str
    title: str
    severity: str
    find: Callable[[State], Iterable[str]]


def _silent(state: State) -> Iterator[str]:
    for one in state.sources:
        if state.now - one.last > one.minutes * _MINUTE_MILLISECONDS:
            yield f"{one.producer}@{one.organisation}" if one.organisation else one.producer


def _gap(state: State) -> Iterator[str]:
    ripe = state.now - state.limits.gap_minutes * _MINUTE_MILLISECONDS
    for one in state.gaps[:_GAPS_MAX]:
        if one.until <= ripe:
            yield f"{one.producer} {one.first}-{one.last}"


def _verification(state: State) -> Iterator[str]:
    if state.verification.get("status") in ("findings", "failed"):
        yield str(state.verification["status"])


def _unwitnessed(state: State) -> Iterator[str]:
    found = state.checkpoints
    if not found.get("unwitnessed"):
        return
    seconds = found.get("cosigned_seconds_ago")
    if seconds is None or seconds > state.limits.unwitnessed_minutes * 60:
        yield ""


def _signing(state: State) -> Iterator[str]:
    status = state.checkpoints.get("status", "ok")
    if status != "ok":
        yield str(status)


def _store(state: State) -> Iterator[str]:
    if not state.log.get("accepting", True):
        yield ""


def _disk(state: State) -> Iterator[str]:
    if state.disk_free_percent < state.limits.disk_free_percent:
        yield ""


def _feed_lag(state: State) -> Iterator[str]:
    for name, feed in state.feeds.items():
        if feed["lag_seconds"] > state.limits.feed_lag_minutes * 60:
            yield name


def _feed_refused(state: State) -> Iterator[str]:
    for name, feed in state.feeds.items():
        if feed["refused"]:
            yield name


def _clock(state: State) -> Iterator[str]:
    if state.log.get("clock", {}).get("status", "ok") != "ok":
        yield "set back"
    if state.clock.get("synchronised") == "no":
        yield "not synchronised"
    elif (state.clock.get("error_seconds") or 0) > state.limits.clock_error_seconds:
        yield "error"


def _source_clock(state: State) -> Iterator[str]:
    if state.skewed is None:
        return
    at, producer = state.skewed
    if state.now - at < state.limits.source_clock_minutes * _MINUTE_MILLISECONDS:
        yield producer


KINDS: Final = (
    Kind("silent-source", "A source has sent nothing for longer than it may", "high", _silent),
    Kind("gap", "Events that a source has numbered are missing", "high", _gap),
    Kind("verification", "The log was verified, and is not whole or could not be read", "critical", _verification),
    Kind("unwitnessed", "Events wait too long for witnesses", "high", _unwitnessed),
    Kind("signing", "Checkpoints are not signed", "critical", _signing),
    Kind("store", "The store takes no events", "critical", _store),
    Kind("disk", "The disk is nearly full", "high", _disk),
    Kind("feed-lag", "A feed waits too long for its receiver", "medium", _feed_lag),
    Kind("feed-refused", "The receiver of a feed has refused events", "medium", _feed_refused),
    Kind("source-clock", "The clock of a source is more than a day off", "medium", _source_clock),
    Kind("clock", "The clock of this machine is not kept", "medium", _clock),
)  # fmt: skip
BY_CODE: Final = {row.code: row for row in KINDS}


def found(state: State, *, without: frozenset[str] = frozenset()) -> set[tuple[str, str]]:
    """Return what is wrong now: the code of a kind, and a subject."""
    return {
        (row.code, subject)
        for row in KINDS
        if row.code not in without
        for subject in row.find(state)
    }
