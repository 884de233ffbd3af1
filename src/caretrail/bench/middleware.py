"""What the middleware costs: processor time of an application with it, and without."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from caretrail.bench.patient import patient
from caretrail.capture.middleware import AuditMiddleware
from caretrail.capture.recorder import Recorder, fhir_server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.capture.middleware import App

_ROUNDS: Final = 30
_REQUESTS: Final = 300
_HEADERS: Final = [
    (b"host", b"bench"),
    (b"user-agent", b"bench"),
    (b"accept", b"application/fhir+json"),
    (b"authorization", b"Bearer a-token-of-some-length-or-other-0123456789"),
]


class _Nowhere:
    """A sink that keeps nothing: storing is what a repository or a spool costs."""

    async def record(self, events: Sequence[bytes]) -> None:
        assert events


def added_us() -> float:
    """Return the microseconds of processor that the record of a read takes: the best of some rounds."""
    recorder = Recorder(_Nowhere(), server=fhir_server("https://fhir.example.org/fhir"))
    audited = AuditMiddleware(patient, recorder, base="/fhir")
    return asyncio.run(_cost(audited)) - asyncio.run(_cost(patient))


async def _cost(application: App) -> float:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        assert message["type"] != "http.response.start" or message["status"] == 200

    rounds = []
    for _ in range(_ROUNDS):
        begun = time.process_time()
        for _ in range(_REQUESTS):
            await application(_scope(), receive, send)
        rounds.append((time.process_time() - begun) / _REQUESTS)
    return min(rounds) * 1e6


def _scope() -> dict[str, Any]:
    return {
        "type": "http", "method": "GET", "path": "/fhir/Patient/1", "raw_path": b"/fhir/Patient/1",
        "query_string": b"", "headers": list(_HEADERS), "client": ("192.0.2.7", 50_000),
    }  # fmt: skip
