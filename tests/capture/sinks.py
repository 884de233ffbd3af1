"""Sinks to test with: a list that remembers, and one that fails."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from caretrail.capture.recorder import Recorder, fhir_server
from caretrail.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from caretrail.patterns.recording import Policy

BASE = "https://fhir.example.org/r4"


class ListSink:
    """Keeps the events; `calls` has how many came at once."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.calls: list[int] = []

    async def record(self, events: Sequence[bytes]) -> None:
        await asyncio.sleep(0)
        self.events += map(json.loads, events)
        self.calls.append(len(events))


class FailingSink:
    """Keeps nothing, ever."""

    async def record(self, events: Sequence[bytes]) -> None:
        raise StoreError("no space")


def recorder(sink: ListSink | FailingSink, policy: Policy | None = None) -> Recorder:
    return Recorder(
        sink, server=fhir_server(BASE, "Device/fhir-server"), policy=policy, site="Ward 1"
    )


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)
