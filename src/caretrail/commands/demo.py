"""What `caretrail demo` does: a synthetic hospital moves in while the server already runs."""

from __future__ import annotations

import asyncio
import json
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import httpx

from caretrail import clock
from caretrail.demo import charts, hospital, incidents
from caretrail.loading import Loader, Source, portions
from caretrail.repository import Sender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from caretrail.app import Server
    from caretrail.repository import Repository

_DAYS: Final = 30
_CHARTS_SECONDS: Final = 60.0
# One of the libraries of the extra; whoever has one has installed them all.
_CLINIC_LIBRARY: Final = "fhirpathpy"


def has_clinic() -> bool:
    """Tell whether the libraries of the clinic are installed."""
    return find_spec(_CLINIC_LIBRARY) is not None


class Hospital:
    """The synthetic hospital of the demonstration, loaded while the server already runs."""

    def __init__(self, *, events: int, seed: int, say: Callable[[str], None]) -> None:
        self._events, self._seed, self._say = events, seed, say

    async def move_in(self, server: Server, address: str) -> None:
        """Say where everything is, then load the hospital."""
        say, folder = self._say, server.settings.folder
        say(address)
        say("Posts are taken. A line to try (it finds failed events):")
        say(
            f"  curl -H 'Authorization: Bearer {server.secret}'"
            f" '{address}/fhir/AuditEvent?outcome=4,8,12&_count=3&_pretty=true'"
        )
        if server.settings.console:
            say(f"The console: {address}/console")
            say(f"  Sign in with the token; it is in {folder / 'token'}, and in the line above.")
        marker = folder / "incidents.json"
        if marker.exists():
            say(f"The hospital is in {folder} already; its incidents are in {marker}.")
            return
        end = self._end(folder / "hospital.json")
        if server.settings.clinic:
            await self._fill(server, address, end)
        started = time.monotonic()
        await self._load(server.repository, end)
        plan = incidents.plan(seed=self._seed, end_milliseconds=end, days=_DAYS)
        marker.write_text(incidents.to_json(plan), encoding="utf-8")
        seconds = time.monotonic() - started
        say(
            f"{self._events} events in {seconds:.0f} s; {len(plan)} incidents are told in {marker}."
        )
        say(f"Is the log whole? In another terminal: .venv/bin/caretrail verify {folder}")

    async def _fill(self, server: Server, address: str, end: int) -> None:
        """Bring some charts into the clinic, as any program would: this is recorded, too."""
        body = charts.transaction(seed=self._seed, end_milliseconds=end)
        headers = {
            "authorization": f"Bearer {server.secret}",
            "content-type": "application/fhir+json",
        }
        async with httpx.AsyncClient(timeout=_CHARTS_SECONDS) as client:
            answer = await client.post(f"{address}/fhir", content=body, headers=headers)
        answer.raise_for_status()
        self._say(f"The clinic has {charts.PATIENTS} charts. This reads one, and leaves an event:")
        self._say(
            f"  curl -H 'Authorization: Bearer {server.secret}'"
            f" '{address}/fhir/Patient/pat-000001/$everything?_pretty=true'"
        )

    def _end(self, note: Path) -> int:
        """Return when the hospital's last event is; a load that was cut off goes on with the same."""
        hospital_now = [self._seed, self._events, clock.milliseconds()]
        if note.exists():
            known = json.loads(note.read_text(encoding="utf-8"))
            if known[:2] == hospital_now[:2]:
                return int(known[2])
        note.write_text(json.dumps(hospital_now), encoding="utf-8")
        return int(hospital_now[2])

    async def _load(self, repository: Repository, end: int) -> None:
        loader = Loader(repository, Sender("hospital"))
        bodies = hospital.events(
            seed=self._seed, count=self._events, end_milliseconds=end, days=_DAYS
        )
        tenth = 0
        for portion in portions(_sources(bodies), skip=0):
            done = await loader.take(portion)
            if done.number * 10 // self._events > tenth:
                tenth = done.number * 10 // self._events
                self._say(f"  {done.number} of {self._events} events of the synthetic hospital")
            await asyncio.sleep(0)  # Others want to be answered in between.


def _sources(bodies: Iterator[bytes]) -> Iterator[Source]:
    return (Source(number, body, xml=False) for number, body in enumerate(bodies, 1))
