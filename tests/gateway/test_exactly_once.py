"""Kill the gateway and the repository at random: what was answered is recorded, and once."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.gateway.town import Town, gaps, numbers, request_ids, town

if TYPE_CHECKING:
    from pathlib import Path

# Path and query, and how many events the exchange has: one a patient.
QUESTIONS = (
    ("GET", "Patient/1", 1),
    ("GET", "Observation/7", 1),
    ("GET", "Observation?_count=3", 3),
    ("POST", "Observation", 1),
    ("DELETE", "Observation/9", 1),
    ("GET", "metadata", 1),
)


class Clients:
    """Some connections that ask until there are no more questions; `answered` has what to expect."""

    def __init__(self, place: Town, count: int, seed: int) -> None:
        self._place, self._choice = place, random.Random(seed)
        self._left = iter(range(count))
        self.answered: dict[str, int] = {}
        self.failed = 0

    async def run(self, connections: int) -> None:
        await asyncio.gather(*(self._ask_on() for _ in range(connections)))

    async def _ask_on(self) -> None:
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(
            base_url=self._place.base, limits=limits, timeout=30
        ) as client:
            for number in self._left:
                await self._ask(client, number)

    async def _ask(self, client: httpx.AsyncClient, number: int) -> None:
        method, path, events = self._choice.choice(QUESTIONS)
        name = f"request-{number}"
        body = {"json": {"resourceType": "Observation"}} if method == "POST" else {}
        try:
            answer = await client.request(
                method, f"/{path}", headers={"x-request-id": name}, **body
            )
        except httpx.TransportError:
            self.failed += 1
            await asyncio.sleep(0.1)  # Most questions are for when somebody answers.
            return
        if answer.status_code < 400:
            self.answered[name] = events


async def _disturb(place: Town, kills: int, seed: int, work: asyncio.Task[None]) -> int:
    """Kill one of the two after some time and start it again; return how often."""
    choice = random.Random(seed)
    done = 0
    while done < kills and not work.done():
        await asyncio.sleep(choice.uniform(0.1, 0.8))
        name = choice.choice(["gateway", "repository"])
        place.running[name].kill()
        await asyncio.sleep(choice.uniform(0, 0.3))
        await asyncio.to_thread(getattr(place, name))
        done += 1
    return done


def _prove(folder: Path, *, requests: int, kills: int, seed: int, connections: int = 16) -> None:
    with town(folder) as place:
        clients = Clients(place, requests, seed)

        async def all_at_once() -> int:
            work = asyncio.create_task(clients.run(connections))
            done = await _disturb(place, kills, seed, work)
            await work
            return done

        done = asyncio.run(all_at_once())
        place.drain()
        assert place.running["gateway"].stop() == 0
        events = place.events()
    found = request_ids(events)
    wrong = {name: found[name] for name, count in clients.answered.items() if found[name] != count}
    assert not wrong, f"{len(wrong)} of {len(clients.answered)}: {list(wrong.items())[:5]}"
    given = numbers(events)
    assert given == list(range(1, len(given) + 1))
    assert done >= min(kills, 2)
    assert len(clients.answered) > requests / 3
    # Each unclean stop of the gateway leaves a gap record, as exchanges may have been under way.
    assert gaps(events)


def test_every_answered_exchange_has_its_events_once(tmp_path: Path) -> None:
    _prove(tmp_path, requests=3_000, kills=8, seed=11)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4))
def test_every_answered_exchange_of_many_has_its_events_once(tmp_path: Path, seed: int) -> None:
    _prove(tmp_path, requests=25_000, kills=60, seed=100 + seed)
