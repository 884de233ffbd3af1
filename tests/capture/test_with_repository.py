"""From a request to an application to the search of an officer, through the real repository."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from caretrail.capture.http_sink import HttpSink
from caretrail.capture.middleware import AuditMiddleware
from caretrail.capture.recorder import Recorder, fhir_server
from tests.api.arr import BASE, TOKEN, Arr, ids
from tests.patterns.exchanges import bundle, observation

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request


async def search(request: Request) -> JSONResponse:
    found = [observation(str(n), f"Patient/{n % 3}") for n in range(6)]
    return JSONResponse(bundle("searchset", *found))


async def ask(arr: Arr, sent: list[bytes]) -> None:
    class Listening(HttpSink):
        async def record(self, events: Any) -> None:
            sent.extend(events)
            await super().record(events)

    client = httpx.AsyncClient(transport=httpx.ASGITransport(arr.application))
    recorder = Recorder(Listening(BASE, client=client, token=TOKEN), server=fhir_server("http://f"))
    app = AuditMiddleware(Starlette(routes=[Route("/Observation", search)]), recorder)
    transport = httpx.ASGITransport(app)
    async with client, httpx.AsyncClient(transport=transport, base_url="http://f") as user:
        headers = {"x-request-id": "request-77"}
        assert (await user.get("/Observation?code=1", headers=headers)).status_code == 200
        # What is sent again, because its answer was lost, is the same event.
        await recorder.keep(list(sent))


def test_each_patients_event_is_found_and_stored_once(tmp_path: Path) -> None:
    arr = Arr(tmp_path / "arr")
    try:
        sent: list[bytes] = []
        arr.runner.run(ask(arr, sent))
        assert len(sent) == 6
        for number in range(3):
            assert len(ids(arr.get(f"/fhir/AuditEvent?patient=Patient/{number}"))) == 1
        assert len(ids(arr.get("/fhir/AuditEvent?entity=Observation/4"))) == 1
        assert len(ids(arr.get("/fhir/AuditEvent?entity.identifier=request-77"))) == 3
        assert ids(arr.get("/fhir/AuditEvent?flag=profile-unmet")) == []
    finally:
        arr.close()
