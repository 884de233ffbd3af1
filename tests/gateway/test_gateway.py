"""A real gateway before a real server: what passes, how it passes, and what is recorded of it."""

from __future__ import annotations

import asyncio
import base64
import json
import resource
import socket
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.gateway.town import Town, gaps, numbers, town

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    flags = ("--upstream-seconds", "2", "--pass-through", "/auth", "--upstream-verifies-tokens")
    with town(tmp_path_factory.mktemp("town"), *flags) as made:
        yield made


@pytest.fixture
def client(place: Town) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=place.base, timeout=30) as made:
        yield made


def recorded(place: Town, request_id: str, count: int = 1) -> list[dict[str, Any]]:
    """Return the events of a request once they are in the repository."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        place.drain()
        found = [event for event in place.events() if request_id in json.dumps(event)]
        if len(found) >= count:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{request_id} has no event")


def raw(place: Town, data: bytes) -> bytes:
    """Send bytes as they are, and return what comes until the gateway closes or pauses."""
    with socket.create_connection(("127.0.0.1", place.ports["gateway"]), 5) as connection:
        connection.sendall(data)
        connection.settimeout(2)
        answer = b""
        try:
            while piece := connection.recv(65_536):
                answer += piece
        except TimeoutError:
            pass
        return answer


def test_a_read_passes_unchanged_and_is_recorded(place: Town, client: httpx.Client) -> None:
    answer = client.get("/Patient/1", headers={"x-request-id": "read-1"})
    assert answer.json() == {"resourceType": "Patient", "id": "1"}
    assert answer.headers["etag"] == 'W/"1"'
    assert answer.headers["date"] == "Tue, 03 Feb 2026 10:00:00 GMT"
    (event,) = recorded(place, "read-1")
    assert event["meta"]["profile"][0].endswith("IHE.BasicAudit.PatientRead")


def test_links_and_locations_lead_through_the_gateway(place: Town, client: httpx.Client) -> None:
    found = client.get("/Observation?_count=2").json()
    assert found["link"][0]["url"] == f"{place.base}/Observation?_page=2"
    assert found["entry"][0]["fullUrl"] == f"{place.base}/Observation/0"
    headers = {"x-request-id": "create-1"}
    made = client.post("/Observation", json={"resourceType": "Observation"}, headers=headers)
    assert made.headers["location"] == f"{place.base}/Observation/7/_history/1"
    (event,) = recorded(place, "create-1")
    assert "Observation/7/_history/1" in json.dumps(event)


def test_a_batch_has_an_event_for_each_entry(place: Town, client: httpx.Client) -> None:
    entry = [
        {
            "resource": {"resourceType": "Observation"},
            "request": {"method": "POST", "url": "Observation"},
        }
    ] * 3
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": entry}
    assert (
        client.post(place.base, json=bundle, headers={"x-request-id": "batch-1"}).status_code == 200
    )
    assert len(recorded(place, "batch-1", 4)) == 4


def test_headers_and_targets_arrive_as_they_should(place: Town, client: httpx.Client) -> None:
    target = "/$echo?name=%C3%A4,b%2Fc&x=|"
    told = client.get(target, headers={"accept-encoding": "br", "te": "trailers"}).json()
    assert told["target"] == "/fhir/$echo"
    assert told["query"] == "name=%C3%A4,b%2Fc&x=|"
    headers = dict(told["headers"])
    assert headers["host"] == f"127.0.0.1:{place.ports['upstream']}"
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-host"] == f"127.0.0.1:{place.ports['gateway']}"
    assert "te" not in headers
    assert headers["x-request-id"]


def test_bodies_stream_up_and_down(client: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(160):
            yield b"y" * 65_536

    told = client.post("/$echo", content=pieces()).json()
    assert told["size"] == 160 * 65_536
    assert dict(told["headers"])["transfer-encoding"] == "chunked"
    for kind in ("image/png", "application/json"):
        with client.stream("GET", f"/$large?count=160&type={kind}") as answer:
            assert sum(map(len, answer.iter_bytes())) == 160 * 65_536


def test_the_first_piece_comes_before_the_last_is_made(client: httpx.Client) -> None:
    begun = time.monotonic()
    with client.stream("GET", "/$large?count=4&pause=0.5") as answer:
        next(answer.iter_raw())
        assert time.monotonic() - begun < 1.0


def test_answers_without_bodies(place: Town, client: httpx.Client) -> None:
    head = client.head("/Patient/1")
    assert (head.status_code, head.content) == (200, b"")
    assert client.delete("/Observation/1").status_code == 204
    kept = client.get("/$not-modified")
    assert (kept.status_code, kept.headers["etag"]) == (304, 'W/"1"')
    assert client.get("/Patient/1").status_code == 200
    # On one connection: nothing of an answer is left over for the next.
    request = b"HEAD /fhir/Patient/1 HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"GET /fhir/$not-modified HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert raw(place, request * 2 + last).count(b"HTTP/1.1 ") == 3


def test_a_redirect_is_handed_on_and_not_followed(client: httpx.Client) -> None:
    answer = client.get("/$redirect")
    assert answer.status_code == 302
    assert answer.headers["location"].startswith("http://169.254.169.254")


def test_a_client_that_expects_is_told_to_continue(place: Town) -> None:
    answer = raw(
        place,
        b"POST /fhir/$echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n"
        b"Connection: close\r\n\r\n{}",
    )
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /fhir/../auth/token HTTP/1.1\r\nHost: a\r\n",
        b"GET /fhir/%2e%2e/auth HTTP/1.1\r\nHost: a\r\n",
        b"GET /fhir%2fPatient/1 HTTP/1.1\r\nHost: a\r\n",
        b"GET /fhir/Patient%0d%0aX-Y:1 HTTP/1.1\r\nHost: a\r\n",
        b"POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\n",
        b"POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n",
    ],
)
def test_what_two_readers_could_read_differently_is_refused(
    place: Town, request_line: bytes
) -> None:
    answer = raw(place, request_line + b"Connection: close\r\n\r\n0\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404")), answer


def test_an_absolute_target_asks_the_one_server_all_the_same(place: Town) -> None:
    answer = raw(
        place,
        b"GET http://169.254.169.254/fhir/$echo HTTP/1.1\r\nHost: 169.254.169.254\r\n"
        b"Connection: close\r\n\r\n",
    )
    assert b'"target":"/fhir/$echo"' in answer
    assert f'["host","127.0.0.1:{place.ports["upstream"]}"]'.encode() in answer


def test_paths_outside_of_the_base_are_closed_unless_they_are_opened(place: Town) -> None:
    with httpx.Client(base_url=place.origin) as client:
        assert client.get("/admin").status_code == 404
        assert client.get("/fhirx/Patient").status_code == 404
        assert client.post("/auth/token", content=b"a=1").json()["size"] == 3
        assert client.get("/authx").status_code == 404
        assert client.get("/caretrail-gateway/health/live").json() == {"status": "live"}
        ready = client.get("/caretrail-gateway/health/ready").json()
        assert (ready["ready"], ready["upstream"], ready["dead_letters"]) == (True, "up", 0)
        metrics = client.get("/caretrail-gateway/metrics").text
        assert "caretrail_gateway_spool_events" in metrics
        assert client.get("/caretrail-gateway/other").status_code == 404


def test_a_token_endpoint_that_is_opened_leaves_its_event_and_no_secret(place: Town) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": "canary-token", "client_id": "app-77"}
    with httpx.Client(base_url=place.origin) as client:
        assert client.post("/auth/token", data=form).status_code == 200
    place.drain()
    found = [one for one in place.events() if "app-77" in json.dumps(one["agent"])]
    assert [one["subtype"][0]["code"] for one in found] == ["ITI-71"]
    raw_requests = [base64.b64decode(row["query"]) for row in found[0]["entity"]]
    assert b"grant_type=refresh_token" in raw_requests[0]
    assert b"canary" not in raw_requests[0] + json.dumps(found).encode()


def test_a_server_that_is_silent_is_a_timeout(place: Town, client: httpx.Client) -> None:
    answer = client.get("/$slow?seconds=6", headers={"x-request-id": "slow-1"})
    assert answer.status_code == 504
    assert answer.json()["issue"][0]["code"] == "timeout"
    (event,) = recorded(place, "slow-1")
    assert event["outcomeDesc"] == "no answer in time"


def test_a_client_that_goes_away_cancels_and_is_recorded(place: Town) -> None:
    async def leave() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", place.ports["gateway"])
        writer.write(
            b"GET /fhir/$slow?seconds=1.5 HTTP/1.1\r\nHost: a\r\nX-Request-Id: left-1\r\n\r\n"
        )
        await writer.drain()
        await asyncio.sleep(0.3)
        writer.close()

    asyncio.run(leave())
    (event,) = recorded(place, "left-1")
    assert event["outcomeDesc"] == "cancelled by the client before the answer"


def test_the_claims_of_a_token_that_the_server_took_are_recorded(
    place: Town, client: httpx.Client
) -> None:
    claims = {"jti": "token-7", "sub": "user-7", "client_id": "app-7", "iss": "https://idp.example"}
    middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    headers = {"authorization": f"Bearer e30.{middle}.c2ln", "x-request-id": "token-1"}
    assert client.get("/Patient/1", headers=headers).status_code == 200
    (event,) = recorded(place, "token-1")
    assert "user-7" in json.dumps(event)
    assert middle not in json.dumps(event)
    for number, broken in enumerate(["opaque-token-of-some-length", "e30.%%%.c2ln", "e30.e3.c2ln"]):
        name = f"opaque-{number}-x"
        headers = {"authorization": f"Bearer {broken}", "x-request-id": name}
        assert client.get("/Patient/1", headers=headers).status_code == 200
        assert "user-7" not in json.dumps(recorded(place, name))


def test_a_server_that_is_gone_is_told_and_recorded(tmp_path: Path) -> None:
    with town(tmp_path) as place:
        with httpx.Client(base_url=place.base, timeout=30) as client:
            assert client.get("/Patient/1").status_code == 200
            with client.stream("GET", "/$large?count=90&pause=0.05") as broken:
                pieces = broken.iter_raw()
                next(pieces)
                place.running["upstream"].kill()
                with pytest.raises(httpx.RemoteProtocolError):
                    list(pieces)
            answer = client.get("/Patient/1", headers={"x-request-id": "gone-1"})
            assert answer.status_code == 502
            assert answer.json()["resourceType"] == "OperationOutcome"
            assert place.ready()["upstream"] == "down"
            place.upstream()
            assert client.get("/Patient/1").status_code == 200
        (event,) = recorded(place, "gone-1")
        assert (event["outcome"], event["outcomeDesc"]) == ("12", "no connection to the server")


def test_in_block_mode_nothing_passes_while_the_repository_is_down(tmp_path: Path) -> None:
    with town(tmp_path, "--on-failure", "block") as place:
        with httpx.Client(base_url=place.base, timeout=30) as client:
            assert client.get("/Patient/1").status_code == 200
            assert place.ready()["spool_events"] == 0
            place.running["repository"].kill()
            first = client.get("/Patient/1", headers={"x-request-id": "down-1"})
            assert first.status_code == 503
            assert first.json()["issue"][0]["diagnostics"].startswith("access-unrecorded")
            begun = time.monotonic()
            refused = client.get("/Patient/1", headers={"x-request-id": "down-2"})
            assert refused.status_code == 503
            assert "retry-after" in refused.headers
            assert time.monotonic() - begun < 1
            assert place.ready()["turned_away"] == 1
            place.repository()
            place.drain()
            assert client.get("/Patient/1").status_code == 200
        # The first one had reached the server: it is recorded, though its answer was withheld.
        text = json.dumps(place.events())
        assert "down-1" in text
        assert "down-2" not in text


def test_an_outage_of_the_repository_is_not_noticed_in_spool_mode(tmp_path: Path) -> None:
    with town(tmp_path) as place:
        place.running["repository"].kill()
        with httpx.Client(base_url=place.base, timeout=30) as client:
            for number in range(50):
                name = {"x-request-id": f"outage-{number}-"}
                assert client.get("/Patient/1", headers=name).status_code == 200
        facts = place.ready()
        assert facts["spool_events"] >= 50
        assert facts["spool_lag_seconds"] > 0
        assert place.running["gateway"].stop() == 0  # What is left stays in the spool.
        place.repository()
        place.gateway()
        place.drain()
        text = json.dumps(place.events())
        assert all(f"outage-{number}-" in text for number in range(50))
        assert not gaps(place.events())


def test_a_full_disk_closes_the_gateway_and_nothing_answered_is_lost(tmp_path: Path) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))

    with town(tmp_path) as place:
        place.running["gateway"].stop()
        place.gateway(preexec_fn=limited)
        statuses = []
        with httpx.Client(base_url=place.base, timeout=30) as client:
            for number in range(300):
                name = {"x-request-id": f"full-{number}-"}
                statuses.append(client.get("/Patient/1", headers=name).status_code)
                if statuses[-10:] == [503] * 10:
                    break
        assert statuses[-10:] == [503] * 10
        facts = place.ready()
        assert (facts["ready"], facts["admits"]) == (False, False)
        assert facts["turned_away"] >= 5
        place.running["gateway"].kill()
        place.gateway()
        with httpx.Client(base_url=place.base) as client:
            assert client.get("/Patient/1").status_code == 200
        place.drain()
        events = place.events()
        text = json.dumps(events)
        assert all((f"full-{n}-" in text) == (status == 200) for n, status in enumerate(statuses))
        assert len(gaps(events)) == 1
        assert numbers(events) == list(range(1, len(numbers(events)) + 1))
