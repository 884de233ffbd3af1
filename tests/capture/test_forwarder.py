"""Events reach a repository that is down, slow, full or confused: all of them, in order, once."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from caretrail.capture.forwarder import Forwarder
from caretrail.capture.spool import Spool
from caretrail.capture.spool_folder import SpoolFolder
from caretrail.limits import FORWARD_ENTRIES_MAX
from tests.capture.sinks import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EVENT = b'{"resourceType":"AuditEvent","n":%d}'
OUTCOME = {
    "resourceType": "OperationOutcome",
    "issue": [
        {"code": "invalid", "diagnostics": "Jane Doe", "expression": ["AuditEvent.agent[0]"]},
        {"code": "not a code"},
        {"code": "processing", "expression": ["what Jane said"]},
    ],
}


class Repository:
    """Answers by a plan, then takes everything; the same number is the same event."""

    def __init__(self, *plan: Any, bad: tuple[int, ...] = ()) -> None:
        self.plan, self.bad = list(plan), bad
        self.kept: dict[int, int] = {}
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = self.plan.pop(0) if self.plan else None
        if step is None:
            return self.take(request)
        if isinstance(step, Exception):
            raise step
        if isinstance(step, int):
            return httpx.Response(step)
        answer: httpx.Response = step(self, request) if callable(step) else step
        return answer

    def take(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        events = [entry["resource"] for entry in body.get("entry", [{"resource": body}])]
        rows = [self._row(event) for event in events]
        if "entry" not in body:
            return httpx.Response(int(rows[0]["status"]), json=rows[0].get("outcome", {}))
        return httpx.Response(200, json={"entry": [{"response": row} for row in rows]})

    def _row(self, event: Any) -> dict[str, Any]:
        if event["n"] in self.bad:
            return {"status": "422", "outcome": OUTCOME}
        number = event["extension"][0]["valueInteger"]
        known = number in self.kept
        self.kept.setdefault(number, event["n"])
        return {"status": "200" if known else "201"}


def taken_and_died(repository: Repository, request: httpx.Request) -> httpx.Response:
    repository.take(request)
    raise httpx.ReadError("the repository was killed between commit and answer")


def half_answered(repository: Repository, request: httpx.Request) -> httpx.Response:
    answer = repository.take(request).json()
    return httpx.Response(200, json={"entry": answer["entry"][:1]})


def some_later(repository: Repository, request: httpx.Request) -> httpx.Response:
    entries = json.loads(request.content)["entry"]
    rows = [
        {"status": "503"} if n % 2 else repository._row(e["resource"])
        for n, e in enumerate(entries)
    ]
    return httpx.Response(200, json={"entry": [{"response": row} for row in rows]})


def refuses_bundles(repository: Repository, request: httpx.Request) -> httpx.Response:
    return httpx.Response(400, json=OUTCOME)


def deliver(folder: Path, repository: Repository, count: int = 5) -> tuple[list[float], Spool]:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)

    async def work() -> Spool:
        spool = Spool(SpoolFolder(folder), describe=lambda gap: [b'{"n":%d}' % gap.exchanges])
        await spool.record([EVENT % n for n in range(count)])
        client = httpx.AsyncClient(transport=httpx.MockTransport(repository))
        forwarder = Forwarder(
            spool, "http://arr/fhir/", client=client, token=lambda: "secret", jitter=lambda: 1.0,
            sleep=sleep,
        )  # fmt: skip
        running = asyncio.create_task(forwarder.run())
        await spool.confirmed(count, seconds=20)
        assert forwarder.is_delivering
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await forwarder.aclose()
        await spool.close()
        return spool

    return waits, run(work())


@pytest.mark.parametrize(
    "plan",
    [
        [],
        [503, 503, 429, 500, 408],
        [401, 403, 404, 302],
        [httpx.ConnectError("down"), httpx.ReadTimeout("slow")],
        [taken_and_died],
        [taken_and_died, taken_and_died, 503],
        [half_answered],
        [some_later, some_later],
        [httpx.Response(200, content=b"<html>")],
        [httpx.Response(200, json={"entry": [{"response": {"status": "²01"}}] * 5})],
        [refuses_bundles],
        [httpx.Response(413)],
    ],
)
def test_every_event_arrives_once(tmp_path: Path, plan: list[Any]) -> None:
    repository = Repository(*plan)
    _, spool = deliver(tmp_path, repository)
    assert repository.kept == {n + 1: n for n in range(5)}
    assert (spool.depth, spool.letters) == (0, 0)
    assert repository.requests[0].headers["authorization"] == "Bearer secret"


def test_order_is_kept_while_the_repository_comes_and_goes(tmp_path: Path) -> None:
    repository = Repository(503, taken_and_died, half_answered)
    deliver(tmp_path, repository, 1_300)
    assert list(repository.kept) == list(range(1, 1_301))
    sizes = [len(json.loads(one.content)["entry"]) for one in repository.requests]
    assert max(sizes) == 500


def test_waits_grow_are_bounded_and_heed_retry_after(tmp_path: Path) -> None:
    later = httpx.Response(503, headers={"retry-after": "90"})
    never = httpx.Response(429, headers={"retry-after": "99999"})
    waits, _ = deliver(tmp_path, Repository(*[503] * 14, later, never))
    assert waits[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert waits[13] == 60.0
    assert waits[14:] == [90.0, 600.0]


@pytest.mark.parametrize("count", [1, 7])
def test_what_is_refused_for_good_is_a_dead_letter_with_codes_alone(
    tmp_path: Path, count: int
) -> None:
    repository = Repository(bad=(0, 3))
    _, spool = deliver(tmp_path, repository, count)
    lines = (tmp_path / "dead-letters.ndjson").read_bytes().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["event"]["n"] for row in rows] == [n for n in (0, 3) if n < count]
    assert rows[0]["codes"] == ["invalid AuditEvent.agent[0]", "processing"]
    assert rows[0]["status"] == 422
    assert spool.letters == len(rows)
    assert len(repository.kept) == count - len(rows)


def test_one_bad_event_does_not_stop_a_repository_that_refuses_whole_bundles(
    tmp_path: Path,
) -> None:
    def strict(repository: Repository, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        events = [entry["resource"]["n"] for entry in body.get("entry", [{"resource": body}])]
        if 4 in events:
            return httpx.Response(400, json=OUTCOME)
        return repository.take(request)

    repository = Repository(*[strict] * 30)
    _, spool = deliver(tmp_path, repository, 9)
    assert spool.letters == 1
    assert sorted(repository.kept.values()) == [0, 1, 2, 3, 5, 6, 7, 8]


def test_a_disk_that_fails_under_the_forwarder_loses_nothing(tmp_path: Path) -> None:
    class Failing(SpoolFolder):
        """Fails to lay aside twice, and once to acknowledge."""

        failures = 2

        def bury(self, *arguments: Any, **options: Any) -> None:
            self._fail()
            super().bury(*arguments, **options)

        def acknowledge(self, position: int) -> None:
            self._fail()
            super().acknowledge(position)

        def _fail(self) -> None:
            if self.failures:
                self.failures -= 1
                raise OSError(28, "No space left on device")

    async def no_wait(seconds: float) -> None:
        await asyncio.sleep(0)

    async def work(make: Callable[[Path], SpoolFolder]) -> Repository:
        folder = make(tmp_path)
        repository = Repository(bad=(1,))
        spool = Spool(folder, describe=lambda gap: [])
        await spool.record([EVENT % n for n in range(4)])
        client = httpx.AsyncClient(transport=httpx.MockTransport(repository))
        forwarder = Forwarder(spool, "http://arr", client=client, sleep=no_wait)
        running = asyncio.create_task(forwarder.run())
        await spool.confirmed(4, seconds=20)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert spool.letters == 1
        await forwarder.aclose()
        await spool.close()
        return repository

    assert sorted(run(work(Failing)).kept.values()) == [0, 2, 3]


def test_a_forwarder_that_gathers_sends_few_batches(tmp_path: Path) -> None:
    repository = Repository()

    async def work() -> None:
        spool = Spool(SpoolFolder(tmp_path), describe=lambda gap: [])
        ready = asyncio.Event()
        waits: list[float] = []

        async def sleep(seconds: float) -> None:
            waits.append(seconds)
            await ready.wait()

        client = httpx.AsyncClient(transport=httpx.MockTransport(repository))
        forwarder = Forwarder(
            spool, "http://arr/fhir/", client=client, gathering_seconds=0.5, sleep=sleep
        )
        running = asyncio.create_task(forwarder.run())
        for number in range(20):
            await spool.record([EVENT % number])
        assert not repository.requests
        ready.set()
        await spool.confirmed(20, seconds=60)
        assert len(repository.requests) == 1
        # A batch that is full waits for nobody.
        waits.clear()
        await spool.record([EVENT % number for number in range(FORWARD_ENTRIES_MAX)])
        await spool.confirmed(20 + FORWARD_ENTRIES_MAX, seconds=60)
        assert not waits
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await forwarder.aclose()
        await spool.close()

    run(work())
