"""Figures of a witness for operations, in the text format of Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from caretrail.witness.cosigning import Witness

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Figures:
    """What a witness has decided and cosigned, and what is wrong with it."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness

    def text(self) -> bytes:
        """Return all figures; raises StoreError when the state cannot be read."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the figures, for the registry."""
        requests = CounterMetricFamily(
            "caretrail_witness_requests",
            "Requests to cosign since the start, by the status of the answer",
            labels=("status",),
        )
        for status, count in sorted(self._witness.decisions.items()):
            requests.add_metric((str(status),), count)
        yield requests
        size = GaugeMetricFamily(
            "caretrail_witness_size", "Entries of the last cosigned checkpoint", labels=("log",)
        )
        time = GaugeMetricFamily(
            "caretrail_witness_cosigned_timestamp_seconds",
            "When that was cosigned, in seconds since 1970",
            labels=("log",),
        )
        for origin, entries, at in self._witness.states():
            size.add_metric((origin,), entries)
            time.add_metric((origin,), at)
        yield size
        yield time
        wrong = self._witness.health()
        for part, text in (
            ("clock", "1 while the clock is behind the last cosignature, and nothing is cosigned"),
            ("logs", "1 while the list of logs cannot be read, and the one before is in force"),
        ):
            value = int(part in wrong)
            yield GaugeMetricFamily(f"caretrail_witness_{part}_wrong", text, value=value)
