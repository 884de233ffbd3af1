"""The how-to's program runs as it stands on the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx

from tests.capture.sinks import ListSink, run
from tests.patterns.exchanges import claims

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "audit-a-fastapi-app.md"


def test_the_program_of_the_page_records_a_read() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(program, PAGE.name, "exec", dont_inherit=True), names)
    sink = names["recorder"].sink = ListSink()

    async def ask() -> httpx.Response:
        await names["sink"].aclose()
        transport = httpx.ASGITransport(names["app"])
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/fhir/Patient/1")

    assert run(ask()).json() == {"resourceType": "Patient", "id": "1"}
    assert [claims(event) for event in sink.events] == [["PatientRead"]]
