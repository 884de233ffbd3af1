"""Events reach a repository over HTTP: all of them, once, or the sender is told."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from caretrail.capture.http_sink import HttpSink
from caretrail.errors import StoreError, UnprocessableError
from caretrail.limits import BUNDLE_ENTRIES_MAX
from tests.capture.sinks import run

EVENT = b'{"resourceType":"AuditEvent","n":%d}'


class Repository:
    """Answers by a list of what to do, and then takes everything."""

    def __init__(self, *plan: Any) -> None:
        self.plan = list(plan)
        self.kept: list[Any] = []
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = self.plan.pop(0) if self.plan else 200
        if isinstance(step, Exception):
            raise step
        if isinstance(step, httpx.Response):
            return step
        if isinstance(step, list):
            return self._by_entry(request, step)
        if step < 300:
            body = json.loads(request.content)
            entries = body.get("entry", [{"resource": body}])
            self.kept += [entry["resource"]["n"] for entry in entries]
            return _answers(["201"] * len(entries))
        return httpx.Response(step)

    def _by_entry(self, request: httpx.Request, statuses: list[str]) -> httpx.Response:
        for entry, status in zip(json.loads(request.content)["entry"], statuses, strict=False):
            if status.startswith("2"):
                self.kept.append(entry["resource"]["n"])
        return _answers(statuses)


def _answers(statuses: list[str]) -> httpx.Response:
    entry = [{"response": {"status": status}} for status in statuses]
    return httpx.Response(200, json={"resourceType": "Bundle", "entry": entry})


@pytest.fixture
def waits() -> list[float]:
    """How long was waited, as time stands still here."""
    return []


def send(
    repository: Repository, count: int = 1, waits: list[float] | None = None, **options: Any
) -> None:
    async def sleep(seconds: float) -> None:
        assert waits is not None
        waits.append(seconds)

    async def work() -> None:
        client = httpx.AsyncClient(transport=httpx.MockTransport(repository))
        sink = HttpSink(
            "http://arr/fhir/", client=client, jitter=lambda: 1.0, sleep=sleep, **options
        )
        await sink.record([EVENT % n for n in range(count)])
        await sink.aclose()

    run(work())


def test_one_event_is_created_and_several_are_a_batch() -> None:
    repository = Repository()
    send(repository, token="secret")
    assert str(repository.requests[0].url) == "http://arr/fhir/AuditEvent"
    assert repository.requests[0].content == EVENT % 0
    assert repository.requests[0].headers["authorization"] == "Bearer secret"
    send(repository, 3)
    assert str(repository.requests[1].url) == "http://arr/fhir"
    assert json.loads(repository.requests[1].content)["type"] == "batch"
    assert EVENT % 2 in repository.requests[1].content
    assert repository.kept == [0, 0, 1, 2]


def test_more_events_than_a_bundle_takes_are_several_bundles() -> None:
    repository = Repository()
    send(repository, BUNDLE_ENTRIES_MAX + 1)
    assert len(repository.requests) == 2
    assert repository.kept == list(range(BUNDLE_ENTRIES_MAX + 1))


@pytest.mark.parametrize(
    "step", [503, 429, 500, 408, httpx.ConnectError("x"), httpx.ReadTimeout("x")]
)
def test_a_repository_that_cannot_now_is_asked_again(step: Any, waits: list[float]) -> None:
    repository = Repository(step, step)
    send(repository, waits=waits)
    assert repository.kept == [0]
    assert waits == [0.1, 0.2]


def test_a_repository_that_says_when_is_obeyed_within_reason(waits: list[float]) -> None:
    later = httpx.Response(503, headers={"retry-after": "3"})
    send(Repository(later, httpx.Response(503, headers={"retry-after": "3600"}), 503), waits=waits)
    assert waits == [3.0, 10.0, 0.4]


def test_only_what_was_not_taken_is_sent_again(waits: list[float]) -> None:
    repository = Repository(["201 Created", "503", "201"])
    send(repository, 3, waits)
    assert sorted(repository.kept) == [0, 1, 2]
    assert json.loads(repository.requests[1].content) == {"resourceType": "AuditEvent", "n": 1}


@pytest.mark.parametrize(
    "answered",
    [
        httpx.Response(200, content=b""),
        httpx.Response(200, json={"entry": [{"response": {"status": "201"}}]}),
        httpx.Response(200, json={"entry": [{"response": {"status": "no"}}] * 2}),
    ],
)
def test_an_answer_that_does_not_say_is_none(answered: httpx.Response, waits: list[float]) -> None:
    repository = Repository(answered)
    send(repository, 2, waits)
    assert repository.kept == [0, 1]


def test_what_never_arrives_is_told(waits: list[float]) -> None:
    with pytest.raises(StoreError, match="1 events"):
        send(Repository(*[503] * 9), waits=waits)
    assert len(waits) == 5


@pytest.mark.parametrize("step", [400, 401, 413, ["201", "422"]])
def test_what_is_refused_is_told_at_once(step: Any, waits: list[float]) -> None:
    with pytest.raises(UnprocessableError, match="answered"):
        send(Repository(step), 2, waits)
    assert waits == []


def test_a_sink_makes_its_own_client() -> None:
    async def work() -> None:
        sink = HttpSink("http://127.0.0.1:1/fhir", attempts=1)
        with pytest.raises(StoreError):
            await sink.record([EVENT % 1])
        await sink.aclose()

    run(work())
