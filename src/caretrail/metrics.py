"""Figures for operations, in the text format of Prometheus. None of them says anything of events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable

    from caretrail.committer import Commit

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_EVENTS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)


class Metrics:
    """What is counted, and how to say it."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._events = Counter("caretrail_events", "Events committed", registry=registry)
        self._batch = Histogram(
            "caretrail_commit_events", "Events in a commit", buckets=_EVENTS, registry=registry
        )
        self._commit = Histogram(
            "caretrail_commit_seconds", "Duration of a commit", buckets=_SECONDS, registry=registry
        )
        self._requests = Histogram(
            "caretrail_request_seconds",
            "Duration of a request, by what it asks and how it was answered",
            ("interaction", "status"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._waiting = Gauge(
            "caretrail_queue_events", "Events that wait for the disk", registry=registry
        )
        self._size = Gauge("caretrail_log_entries", "Entries of the log", registry=registry)
        self._observers: dict[tuple[str, int], Callable[[float], None]] = {}

    def watch(self, *, waiting: Callable[[], float], size: Callable[[], float]) -> None:
        """Read these two whenever figures are asked for."""
        self._waiting.set_function(waiting)
        self._size.set_function(size)

    def on_commit(self, commit: Commit) -> None:
        """Count a commit."""
        self._events.inc(commit.events)
        self._batch.observe(commit.events)
        self._commit.observe(commit.seconds)

    def on_request(self, interaction: str, status: int, seconds: float) -> None:
        """Count a request; `interaction` is a name from the table of routes."""
        key = (interaction, status)
        observe = self._observers.get(key)
        if observe is None:
            observe = self._observers[key] = self._requests.labels(interaction, str(status)).observe
        observe(seconds)

    def text(self) -> bytes:
        """Return all figures."""
        return generate_latest(self._registry)
