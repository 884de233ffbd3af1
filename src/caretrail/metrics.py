"""Figures for operations, in the text format of Prometheus. None of them says anything of events."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from prometheus_client import Metric

    from caretrail.committer import Commit

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_EVENTS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)


class _Histogram:
    """Counts by size. One thread adds to it: a lock for each request would cost more than this."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """Return what Prometheus wants: how many were at most each bound, and the sum of all."""
        total, found = 0, []
        for bound, count in zip((*self._bounds, "+Inf"), self._counts, strict=True):
            total += count
            found.append((str(bound), float(total)))
        return found, self._sum


class Figure(NamedTuple):
    """A gauge that another part keeps: its name and text, its value, and what it is a figure of."""

    name: str
    text: str
    value: float
    label: str = ""
    of: str = ""


class Metrics:
    """What is counted, and how to say it."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._events = 0
        self._batch, self._commit = _Histogram(_EVENTS), _Histogram(_SECONDS)
        self._requests: dict[tuple[str, int], _Histogram] = {}
        self._waiting = self._size = _zero
        self._evidence: Callable[[], Mapping[str, Any]] = dict
        self._syslog: Callable[[], Iterable[tuple[str, dict[str, float]]]] = tuple
        self._figures: Callable[[], Iterable[Figure]] = list

    def watch(
        self,
        *,
        waiting: Callable[[], float],
        size: Callable[[], float],
        evidence: Callable[[], Mapping[str, Any]] = dict,
        figures: Callable[[], Iterable[Figure]] = list,
    ) -> None:
        """Read these whenever figures are asked for; `evidence` is health of signing and verifying."""
        self._waiting, self._size, self._evidence = waiting, size, evidence
        self._figures = figures

    def watch_syslog(self, figures: Callable[[], Iterable[tuple[str, dict[str, float]]]]) -> None:
        """Read these, too: each by its name in `_SYSLOG`, and by transport."""
        self._syslog = figures

    def on_commit(self, commit: Commit) -> None:
        """Count a commit; the committing thread calls this."""
        self._events += commit.events
        self._batch.add(commit.events)
        self._commit.add(commit.seconds)

    def on_request(self, interaction: str, status: int, seconds: float) -> None:
        """Count a request; `interaction` is a name from the table of routes."""
        key = (interaction, status)
        histogram = self._requests.get(key)
        if histogram is None:
            histogram = self._requests[key] = _Histogram(_SECONDS)
        histogram.add(seconds)

    def text(self) -> bytes:
        """Return all figures."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the figures, for the registry."""
        yield CounterMetricFamily("caretrail_events", "Events committed", value=self._events)
        for name, text, histogram in (
            ("caretrail_commit_events", "Events in a commit", self._batch),
            ("caretrail_commit_seconds", "Duration of a commit", self._commit),
        ):
            buckets, total = histogram.buckets()
            yield HistogramMetricFamily(name, text, buckets=buckets, sum_value=total)
        requests = HistogramMetricFamily(
            "caretrail_request_seconds",
            "Duration of a request, by what it asks and how it was answered",
            labels=("interaction", "status"),
        )
        for (interaction, status), histogram in sorted(self._requests.items()):
            requests.add_metric((interaction, str(status)), *histogram.buckets())
        yield requests
        yield GaugeMetricFamily(
            "caretrail_queue_events", "Events that wait for the disk", value=self._waiting()
        )
        yield GaugeMetricFamily("caretrail_log_entries", "Entries of the log", value=self._size())
        evidence = self._evidence()
        for key, text in _EVIDENCE.items():
            if isinstance(evidence.get(key), (int, float)):
                yield GaugeMetricFamily(f"caretrail_{key}", text, value=evidence[key])
        for name, values in self._syslog():
            family, text = _SYSLOG[name]
            metric = family(f"caretrail_syslog_{name}", text, labels=("transport",))
            for transport, value in sorted(values.items()):
                metric.add_metric((transport,), value)
            yield metric
        yield from _gauges(self._figures())


def _gauges(figures: Iterable[Figure]) -> Iterator[Metric]:
    families: dict[str, GaugeMetricFamily] = {}
    for row in figures:
        labels = [row.label] if row.label else []
        family = families.setdefault(
            row.name, GaugeMetricFamily(f"caretrail_{row.name}", row.text, labels=labels)
        )
        family.add_metric([row.of] if row.label else [], row.value)
    yield from families.values()


_EVIDENCE: Final = {
    "signed_size": "Entries that the latest signed checkpoint covers",
    "signed_seconds_ago": "Age of the latest signed checkpoint",
    "cosigned_size": "Entries that the latest cosigned checkpoint covers",
    "cosigned_seconds_ago": "Age of the latest cosigned checkpoint",
    "verified_size": "Entries that the last whole verification has read",
    "verified_seconds_ago": "Age of the last whole verification",
    "findings": "Findings of the last whole verification; 0 as long as the log is whole",
    "unwitnessed": "Entries that no quorum of witnesses has cosigned yet",
}


_SYSLOG: Final = {
    "frames": (CounterMetricFamily, "Messages that came by syslog"),
    "bytes": (CounterMetricFamily, "Bytes of these messages"),
    "refused": (CounterMetricFamily, "Datagrams and connections that were not taken"),
    "waiting_bytes": (GaugeMetricFamily, "Memory of messages that are not durable yet"),
    "lag_seconds": (GaugeMetricFamily, "How long the oldest of these has been on its way"),
}


def _zero() -> float:
    return 0.0
