"""Subscriptions of a running server: handshake, messages, restart, end, and where they may go."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from caretrail import clock
from caretrail.access.view import EVERYTHING, NOTHING, of_organisation, of_producer
from caretrail.errors import ForbiddenError, ThrottledError, UnprocessableError
from caretrail.feeding.feeds import Feeds
from caretrail.feeding.subscriptions import Subscriptions
from caretrail.fhir import subscription
from caretrail.fhir.temporal import format_instant
from caretrail.limits import SUBSCRIPTIONS_OWNER_MAX
from caretrail.repository import Repository
from caretrail.storage.sqlite import SqliteStorage
from tests.feeding.running import SECONDS_MAX, Arr, Got, Receiver, arr, taken, until
from tests.fhir.test_subscription import channel, content, criteria, wanted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from caretrail.access.view import View

HOSTS = ("--subscription-hosts", "127.0.0.1")


def asked(endpoint: str, **members: Any) -> dict[str, Any]:
    hook = channel(endpoint=endpoint, _payload=content("id-only"), header=["X-Key: secret"])
    return wanted(channel=hook, _criteria=criteria("AuditEvent?type=110110")) | members


def bodies(hook: Receiver) -> list[dict[str, Any]]:
    return [json.loads(got.body) for got in hook.got]


def kind_of(body: dict[str, Any]) -> str:
    rows = body["entry"][0]["resource"]["parameter"]
    return next(str(row["valueCode"]) for row in rows if row["name"] == "type")


def told(hook: Receiver) -> list[str]:
    return [entry["fullUrl"] for body in bodies(hook) for entry in body["entry"][1:]]


def create(one: Arr, body: dict[str, Any]) -> Any:
    headers = {"content-type": "application/fhir+json"}
    return one.client.post(
        f"{one.base}/fhir/Subscription", content=json.dumps(body), headers=headers
    )


def test_each_event_is_told_by_its_id_also_over_a_restart(tmp_path: Path) -> None:
    fails = [False]
    with (
        Receiver(lambda got: (503, b"") if fails[0] else taken(got)) as hook,
        arr(tmp_path / "log", *HOSTS) as one,
    ):
        one.record("before")
        answer = create(one, asked(f"{hook.base}/hook"))
        assert answer.status_code == 201, answer.text
        where = answer.headers["location"]
        assert answer.json()["status"] in ("requested", "active")
        until(lambda: one.client.get(where).json()["status"] == "active", "a handshake")
        assert kind_of(bodies(hook)[0]) == "handshake"
        assert hook.got[0].headers["x-key"] == "secret"
        one.record("a", "b")
        until(lambda: len(told(hook)) == 2, "two events")
        fails[0] = True
        one.record("c")
        until(lambda: one.client.get(where).json()["status"] == "error", "an error")
        one.kill()
        one.start()
        one.record("d")
        fails[0] = False
        until(lambda: len(set(told(hook))) == 4, "the others")
        until(lambda: one.client.get(where).json()["status"] == "active", "a recovery")
        read = [one.client.get(url).json() for url in dict.fromkeys(told(hook))]
        assert [event["outcomeDesc"] for event in read] == ["a", "b", "c", "d"]
        listed = one.client.get(f"{one.base}/fhir/Subscription").json()
        assert listed["total"] == 1
        assert "secret" not in json.dumps(listed)
        assert "Patient/p1" not in str(hook.got)
        capabilities = one.client.get(f"{one.base}/fhir/metadata").json()
        types = [row["type"] for row in capabilities["rest"][0]["resource"]]
        assert "Subscription" in types
        assert one.client.delete(where).status_code == 204
        assert one.client.get(where).status_code == 404
        count = len(hook.got)
        one.record("e")
        until(lambda: one.names()[-1] == "e", "one more")
        assert len(hook.got) == count


def test_an_endpoint_that_does_not_agree_gets_no_event(tmp_path: Path) -> None:
    seen: list[Got] = []

    def refuse(got: Got) -> tuple[int, bytes]:
        seen.append(got)
        return 307, b"http://127.0.0.1:1/"

    with Receiver(refuse) as hook, arr(tmp_path / "log", *HOSTS) as one:
        where = create(one, asked(hook.base)).headers["location"]
        one.record("a")
        state = until(
            lambda: found if (found := one.client.get(where).json())["status"] == "error" else None,
            "an error",
        )
        assert state["error"] == "the endpoint does not take messages"
        assert {kind_of(json.loads(got.body)) for got in seen} == {"handshake"}


def test_an_end_is_to_come_and_not_far_off(tmp_path: Path) -> None:
    with Receiver(taken) as hook, arr(tmp_path / "log", *HOSTS) as one:
        for odd in (b"{", b"[" * 5_000, b"\xff", b'{"a":1,"a":2}', b'{"criteria":"\\ud800"}'):
            headers = {"content-type": "application/fhir+json"}
            address = f"{one.base}/fhir/Subscription"
            answer = one.client.post(address, content=odd, headers=headers)
            assert answer.status_code == 400, odd[:20]
            assert answer.json()["resourceType"] == "OperationOutcome"
        past = create(one, asked(hook.base, end="2020-01-01T00:00:00Z"))
        assert past.status_code == 422
        assert past.json()["issue"][0]["expression"] == ["Subscription.end"]
        late = create(one, asked(hook.base, end="2099-01-01T00:00:00Z")).json()
        assert late["end"] < "2099"


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://169.254.169.254/latest/meta-data",
        "https://localhost/x",
        "https://127.0.0.1:1/x",
        "https://[::1]/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://2130706433/x",
        "https://10.0.0.1/x",
    ],
)
def test_an_endpoint_inside_the_own_network_gets_no_connection(
    tmp_path: Path, endpoint: str
) -> None:
    async def work(made: Subscriptions) -> None:
        found = await made.create(
            subscription.read(asked(endpoint)), owner="o", view=EVERYTHING, base="http://a/fhir"
        )
        while made.resource(found, "o")["status"] != "error":
            await asyncio.sleep(0.02)

    run(tmp_path, work)


def test_no_connection_is_made_where_none_may_be(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as inside:
        endpoint = f"https://127.0.0.1:{inside.getsockname()[1]}/x"

        async def work(made: Subscriptions) -> None:
            body = subscription.read(asked(endpoint))
            found = await made.create(body, owner="o", view=EVERYTHING, base="http://a/fhir")
            while made.resource(found, "o")["status"] != "error":
                await asyncio.sleep(0.02)

        run(tmp_path, work)
        inside.setblocking(False)
        with pytest.raises(BlockingIOError):
            inside.accept()


def test_one_whose_time_is_over_is_off_and_stays_so(tmp_path: Path) -> None:
    async def work(made: Subscriptions) -> None:
        end = format_instant(clock.milliseconds() + 3_000)
        body = subscription.read(asked("https://hook.invalid/x", end=end))
        found = await made.create(body, owner="o", view=EVERYTHING, base="http://a/fhir")
        while made.resource(found, "o")["status"] != "off":
            await asyncio.sleep(0.02)

    async def look(made: Subscriptions) -> None:
        (found,) = made.all_of("o")
        assert found["status"] == "off"

    run(tmp_path, work)
    run(tmp_path, look)


def run(folder: Path, work: Callable[[Subscriptions], Awaitable[None]]) -> None:
    async def main() -> None:
        repository = Repository(SqliteStorage(folder / "log"))
        feeds = Feeds(repository, folder / "feeds")
        made = Subscriptions(feeds, folder / "subscriptions.json", frozenset(), expiry_seconds=0.05)
        made.start()
        try:
            async with asyncio.timeout(SECONDS_MAX):
                await work(made)
        finally:
            await made.close()
            await feeds.close()
            await repository.close()

    asyncio.run(main())


def test_what_cannot_be_delivered_or_held_to_is_refused(tmp_path: Path) -> None:
    good = asked("https://hook.invalid/x")

    async def work(made: Subscriptions) -> None:
        async def refused(error: type[Exception], body: dict[str, Any], view: View) -> None:
            with pytest.raises(error):
                await made.create(
                    subscription.read(body), owner="o", view=view, base="http://a/fhir"
                )

        await refused(UnprocessableError, asked("http://hook.invalid/x"), EVERYTHING)
        await refused(UnprocessableError, asked("http://127.0.0.1/x"), EVERYTHING)
        await refused(UnprocessableError, asked("https://u:p@hook.invalid/x"), EVERYTHING)
        for text in ("AuditEvent?patiens=1", "AuditEvent?_count=3"):
            await refused(UnprocessableError, good | {"_criteria": criteria(text)}, EVERYTHING)
        for view in (NOTHING, of_producer("ehr", "*"), of_producer("ehr", "north")):
            await refused(ForbiddenError, good, view)
        for view in (EVERYTHING, of_organisation("north"), of_organisation("")):
            await made.create(subscription.read(good), owner="p", view=view, base="http://a/fhir")
        assert len(made.all_of("p")) == 3
        assert made.all_of("o") == []
        for _ in range(SUBSCRIPTIONS_OWNER_MAX):
            await made.create(
                subscription.read(good), owner="o", view=EVERYTHING, base="http://a/fhir"
            )
        await refused(ThrottledError, good, EVERYTHING)

    run(tmp_path, work)
