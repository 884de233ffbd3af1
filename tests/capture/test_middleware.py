"""The middleware around real applications: what they answer is recorded before it leaves."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException, Request
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from caretrail.capture.exports import ExportAddresses
from caretrail.capture.middleware import AuditMiddleware, about
from caretrail.fhir import profiles
from caretrail.limits import CAPTURE_BODY_BYTES_MAX, EXPORT_ADDRESSES_MAX
from caretrail.patterns.credential import token_of
from caretrail.patterns.exchange import Identity
from caretrail.patterns.observation import User, reference
from tests.capture.sinks import FailingSink, ListSink, recorder, run
from tests.patterns.exchanges import (
    bundle,
    claims,
    entities,
    message,
    observation,
    parsed,
    patients,
)
from tests.patterns.test_golden import exchange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

JSON = "application/fhir+json"
HUGE = 3 * CAPTURE_BODY_BYTES_MAX


def fhir_json(content: Any, status: int = 200, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(json.dumps(content), status, named, JSON)


async def read(request: Request) -> Response:
    number = request.path_params["number"]
    if number == "403":
        raise HTTPException(403, "no")
    if number == "500":
        raise RuntimeError("a bug")
    if number == "504":
        raise TimeoutError
    return fhir_json(observation(number))


async def create(request: Request) -> Response:
    await request.json()
    return fhir_json({}, 201, location="Observation/9/_history/1")


async def search(request: Request) -> Response:
    form = dict(parse_qsl((await request.body()).decode()))
    return fhir_json(bundle("searchset", observation(patient=form.get("patient", "Patient/1"))))


async def stream(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * CAPTURE_BODY_BYTES_MAX

    return StreamingResponse(chunks(), media_type=request.query_params["type"])


async def batch(request: Request) -> Response:
    asked = await request.json()
    answers = [{"response": {"status": "200"}, "resource": observation()} for _ in asked["entry"]]
    return fhir_json({"resourceType": "Bundle", "type": "batch-response", "entry": answers})


async def export(request: Request) -> Response:
    place = "http://test/jobs/1"
    return Response(status_code=202, headers={"content-location": place})


async def job(request: Request) -> Response:
    if request.method == "DELETE":
        return Response(status_code=202)
    return JSONResponse({"output": [{"type": "Observation", "url": "http://test/files/1"}, 7]})


async def file(request: Request) -> Response:
    return Response(json.dumps(observation()) + "\n", media_type="application/fhir+ndjson")


async def told(request: Request) -> Response:
    about(request.scope, "Patient/8", identity=Identity(user=User(who=reference("Device/d"))))
    return PlainTextResponse("done")


ROUTES = [
    Mount(
        "/fhir",
        routes=[
            Route("/", batch, methods=["POST"]),
            Route("/Observation/{number}", read, methods=["GET"]),
            Route("/Observation", create, methods=["POST"]),
            Route("/Observation", search, methods=["GET"]),
            Route("/Observation/_search", search, methods=["POST"]),
            Route("/Binary/1", stream),
            Route("/$export", export),
            Route("/$told", told, methods=["POST"]),
        ],
    ),
    Route("/jobs/1", job, methods=["GET", "DELETE"]),
    Route("/files/1", file),
    Route("/health", lambda _: PlainTextResponse("fine")),
]


def application(sink: Any, **options: Any) -> Any:
    app = Starlette(routes=ROUTES)
    app.add_middleware(AuditMiddleware, recorder=recorder(sink), base="/fhir", **options)
    return app


async def ask(app: Any, *requests: tuple[str, str], **options: Any) -> list[httpx.Response]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return [await client.request(method, url, **options) for method, url in requests]


def kept(*requests: tuple[str, str], app: Any = None, **options: Any) -> tuple[list[dict], list]:
    sink = ListSink()
    answers = run(ask(app(sink) if app else application(sink), *requests, **options))
    for event in sink.events:
        assert profiles.unmet(parsed(event)) == ()
    return sink.events, answers


def test_a_read_is_recorded_with_its_patient() -> None:
    (event,), (answer,) = kept(("GET", "/fhir/Observation/7"))
    assert answer.json() == observation("7")
    assert claims(event) == ["PatientRead"]
    assert patients([event]) == ["Patient/1"]
    assert event["source"]["site"] == "Ward 1"
    assert event["agent"][0]["network"]["address"] == "127.0.0.1"


@pytest.mark.parametrize("block", [True, False])
@pytest.mark.parametrize(
    ("method", "path", "status", "outcome"),
    [
        ("GET", "/fhir/Observation/7", 200, "0"),
        ("GET", "/fhir/Observation/403", 403, "4"),
        ("GET", "/fhir/Observation/500", 500, "8"),
        ("GET", "/fhir/Observation/504", 500, "8"),
        ("GET", "/fhir/Nothing/1", 404, "4"),
        ("DELETE", "/fhir/Observation/7", 405, "4"),
        ("GET", "/fhir/Observation?patient=1", 200, "0"),
        ("GET", "/fhir", 307, "0"),
    ],
)
def test_each_request_has_exactly_one_event(method, path, status, outcome, block) -> None:
    events, (answer,) = kept((method, path), app=lambda sink: application(sink, block=block))
    assert answer.status_code == status
    assert [event["outcome"] for event in events] == [outcome]


def test_what_is_not_under_the_base_is_not_touched() -> None:
    events, answers = kept(("GET", "/health"), ("GET", "/fhirs"), ("OPTIONS", "/fhir/Observation"))
    assert events == []
    assert [answer.status_code for answer in answers] == [200, 404, 405]
    assert "x-request-id" not in answers[0].headers


def test_nothing_leaves_that_is_not_recorded() -> None:
    """The sink fails: 503 with an OperationOutcome, and no datum of a patient."""
    app = application(FailingSink())
    answers = run(
        ask(app, ("GET", "/fhir/Observation/7"), ("GET", "/fhir/Binary/1?type=application/json"),
            ("GET", "/fhir/Binary/1?type=image/png"), ("POST", "/fhir/$told"))
    )  # fmt: skip
    for answer in answers:
        assert answer.status_code == 503
        assert answer.json()["issue"][0]["code"] == "no-store"
        assert "Patient" not in answer.text
        assert answer.headers["x-request-id"]


def test_without_block_answers_leave_and_the_loss_is_counted(caplog) -> None:
    app = Starlette(routes=ROUTES)
    lossy = recorder(FailingSink())
    wrapped = AuditMiddleware(app, lossy, base="/fhir", block=False)
    (answer,) = run(ask(wrapped, ("GET", "/fhir/Observation/7")))
    assert answer.status_code == 200
    assert lossy.lost == 1
    assert "not recorded" in caplog.text


def test_a_failure_that_cannot_be_recorded_is_counted() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise TimeoutError

    lossy = recorder(FailingSink())
    with pytest.raises(TimeoutError):
        run(AuditMiddleware(app, lossy)(_scope("/Observation/7"), _nothing, _ignore))
    assert lossy.lost == 1


def test_an_answer_waits_for_its_event() -> None:
    """The order is seen from outside: no byte before the sink has returned."""
    order = []

    class Slow(ListSink):
        async def record(self, events: Any) -> None:
            await asyncio.sleep(0.01)
            order.append("recorded")

    async def send(message: Any) -> None:
        order.append(message["type"])

    run(application(Slow())(_scope("/fhir/Observation/7"), _nothing, send))
    assert order == ["recorded", "http.response.start", "http.response.body"]


def _scope(path: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [],
        "client": None, "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http",
        "server": ("test", 80), "root_path": "", **more,
    }  # fmt: skip


async def _nothing() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _ignore(message: Any) -> None:
    pass


@pytest.mark.parametrize("kind", ["application/json", "image/png", "application/fhir+ndjson"])
@pytest.mark.parametrize("block", [True, False])
def test_a_long_answer_passes_whole_with_bounded_memory(kind: str, block: bool) -> None:
    events, (answer,) = kept(
        ("GET", f"/fhir/Binary/1?type={kind}"), app=lambda sink: application(sink, block=block)
    )
    assert len(answer.content) == HUGE
    (event,) = events
    notes = [row.get("name") for row in entities(event, "4")]
    assert notes == ([] if kind == "image/png" else ["response body"])


def test_a_create_and_a_search_by_form_are_understood_and_reach_the_application_whole() -> None:
    events, answers = kept(("POST", "/fhir/Observation"), json=observation())
    assert answers[0].status_code == 201
    assert claims(events[0]) == ["PatientCreate"]
    events, _ = kept(("POST", "/fhir/Observation/_search"), data={"patient": "Patient/2"})
    assert claims(events[0]) == ["PatientQuery"]
    assert patients(events) == ["Patient/2"]


def test_a_batch_leaves_the_whole_and_its_entries() -> None:
    asked = bundle("batch")
    asked["entry"] = [{"request": {"method": "GET", "url": "Observation/7"}}] * 2
    events, _ = kept(("POST", "/fhir/"), json=asked)
    assert [claims(event) for event in events] == [[], ["PatientRead"], ["PatientRead"]]


def test_a_body_too_long_to_keep_is_said_to_be() -> None:
    events, _ = kept(("POST", "/fhir/"), content=b'{"type":"batch","entry":[]}' + b" " * HUGE)
    assert entities(events[0], "4")[0]["detail"][0]["type"] == "not-examined"


def test_the_request_id_is_kept_made_and_passed_on() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(scope["headers"])[b"x-request-id"].decode())
        await PlainTextResponse("x", headers={"x-request-id": "theirs"})(scope, receive, send)

    def wrapped(sink: ListSink) -> AuditMiddleware:
        return AuditMiddleware(app, recorder(sink))

    for sent, kept_id in (("mine", "mine"), (None, None), ("two words", None), ("x" * 129, None)):
        headers = {"x-request-id": sent} if sent else {}
        (event,), (answer,) = kept(("GET", "/Patient/1"), app=wrapped, headers=headers)
        recorded = event["entity"][0]["what"]["identifier"]["value"]
        assert recorded == seen[-1]
        assert recorded == kept_id or (kept_id is None and len(recorded) == 36)
        assert answer.headers["x-request-id"] == "theirs"
    (event,), (answer,) = kept(("GET", "/fhir/Observation/7"))
    assert answer.headers["x-request-id"] == event["entity"][0]["what"]["identifier"]["value"]


@pytest.mark.parametrize(
    ("parent", "expected"),
    [
        (f"00-{'a' * 32}-{'b' * 16}-01", "a" * 32),
        (f"00-{'0' * 32}-{'b' * 16}-01", None),
        ("nonsense", None),
    ],
)
def test_a_trace_is_followed(parent: str, expected: str | None) -> None:
    (event,), _ = kept(("GET", "/fhir/Observation/7"), headers={"traceparent": parent})
    found = [row["what"]["identifier"]["value"] for row in entities(event, "4")]
    assert found == ([expected] if expected else [])


def test_an_unread_token_is_recorded_by_its_end() -> None:
    secret = "abcdefgh" * 10
    (event,), _ = kept(
        ("GET", "/fhir/Observation/7"), headers={"authorization": f"Bearer {secret}"}
    )
    assert claims(event) == ["PatientRead", "OAUTHaccessTokenUse.Opaque"]
    assert secret not in json.dumps(event)
    (event,), _ = kept(("GET", "/fhir/Observation/7"), headers={"authorization": "Basic YTpi"})
    assert "YTpi" not in json.dumps(event)


class Backend(AuthenticationBackend):
    async def authenticate(self, conn: Any) -> Any:
        return AuthCredentials(["authenticated"]), SimpleUser("ada")


def test_inner_middleware_says_who_it_is() -> None:
    """Starlette's own authentication stands inside; its user is in the scope by then."""

    def identify(scope: Any) -> Identity:
        return Identity(user=User(who=reference(f"Practitioner/{scope['user'].username}")))

    def wrapped(sink: ListSink) -> Any:
        app = Starlette(routes=ROUTES)
        app.add_middleware(AuthenticationMiddleware, backend=Backend())
        app.add_middleware(
            AuditMiddleware, recorder=recorder(sink), base="/fhir", identify=identify
        )
        return app

    (event,), _ = kept(("GET", "/fhir/Observation/7"), app=wrapped)
    assert event["agent"][2]["who"] == {"reference": "Practitioner/ada"}


def test_an_identification_that_fails_costs_no_event(caplog) -> None:
    def identify(scope: Any) -> Identity:
        raise KeyError("user")

    events, (answer,) = kept(
        ("GET", "/fhir/Observation/7"), app=lambda sink: application(sink, identify=identify)
    )
    assert answer.status_code == 200
    assert len(events) == 1
    assert "identified" in caplog.text


def test_the_application_may_say_whom_it_is_about() -> None:
    (event,), _ = kept(("POST", "/fhir/$told"))
    assert patients([event]) == ["Patient/8"]
    assert event["agent"][2]["who"] == {"reference": "Device/d"}
    about({}, "Patient/1")  # Without the middleware it does nothing.


def test_an_export_is_followed_to_its_files() -> None:
    """The server makes the addresses up; they are outside of its base here."""
    steps = ("GET", "/fhir/$export"), ("GET", "/jobs/1"), ("GET", "/files/1"), ("DELETE", "/jobs/1")
    events, _ = kept(("GET", "/files/1"), *steps)
    names = [event["subtype"][-1]["code"] for event in events]
    assert names == ["$export", "export-status", "export-file", "export-cancel"]
    assert events[2]["type"]["code"] == "110106"
    assert patients(events) == ["Patient/1"]


def test_addresses_of_exports_are_forgotten_oldest_first() -> None:
    addresses = ExportAddresses()
    for number in range(EXPORT_ADDRESSES_MAX + 1):
        place = message(None, content_location=f"https://test/jobs/{number}")
        addresses.learn(exchange("GET", "$export", 202, response=place))
    addresses.learn(exchange("GET", "$export", 202))
    assert addresses.interaction("GET", "/jobs/0") == ""
    assert addresses.interaction("GET", "/jobs/1") == "export-status"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip-broken"])
def test_a_compressed_answer_is_read(coding: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        import zlib

        plain = json.dumps(observation()).encode()
        body = {"gzip": gzip.compress, "deflate": zlib.compress}.get(coding, bytes)(plain)
        response = Response(body, media_type=JSON)
        response.headers["content-encoding"] = coding.partition("-")[0]
        await response(scope, receive, send)

    (event,), _ = kept_raw(app)
    known = coding in ("gzip", "deflate")
    assert patients([event]) == (["Patient/1"] if known else [])
    assert [row["name"] for row in entities(event, "4")] == ([] if known else ["response body"])


def kept_raw(app: Any) -> tuple[list[dict], list]:
    """Send the request below a client that would unpack the answer itself."""
    sink = ListSink()
    sent: list = []

    async def send(message: Any) -> None:
        sent.append(message)

    run(AuditMiddleware(app, recorder(sink))(_scope("/Observation/7"), _nothing, send))
    return sink.events, sent


def test_starlettes_compression_inside_changes_nothing() -> None:
    def wrapped(sink: ListSink) -> Any:
        app = Starlette(routes=ROUTES)
        app.add_middleware(GZipMiddleware, minimum_size=1)
        app.add_middleware(AuditMiddleware, recorder=recorder(sink), base="/fhir")
        return app

    (event,), _ = kept(("GET", "/fhir/Observation/7"), app=wrapped)
    assert patients([event]) == ["Patient/1"]


def test_an_application_that_gives_up_waiting_is_a_timeout() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise TimeoutError

    sink = ListSink()
    with pytest.raises(TimeoutError):
        run(AuditMiddleware(app, recorder(sink))(_scope("/Observation/7"), _nothing, _ignore))
    assert [event["outcomeDesc"] for event in sink.events] == ["no answer in time"]


def test_a_cancelled_request_is_recorded() -> None:
    sink = ListSink()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    async def cancel() -> None:
        call = AuditMiddleware(app, recorder(sink))(_scope("/Observation/7"), _nothing, _ignore)
        task = asyncio.create_task(call)
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(cancel())
    assert sink.events[0]["outcomeDesc"] == "cancelled by the client before the answer"


def test_a_client_that_went_away_before_the_answer_is_recorded() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.disconnect"

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    sink = ListSink()
    run(AuditMiddleware(app, recorder(sink))(_scope("/Observation/7"), gone, _ignore))
    assert sink.events[0]["outcome"] == "4"


def test_an_application_that_breaks_in_the_middle_is_a_failure_once() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        start = [(b"content-type", JSON.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": start})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        raise RuntimeError

    sink = ListSink()
    with pytest.raises(RuntimeError):
        run(AuditMiddleware(app, recorder(sink))(_scope("/Observation/7"), _nothing, _ignore))
    assert [event["outcome"] for event in sink.events] == ["8"]


def test_other_messages_pass_after_the_event() -> None:
    """An extension such as pathsend gives the content away by itself."""
    sink, sent = ListSink(), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.pathsend", "path": "/x"})

    async def send(message: Any) -> None:
        sent.append((message["type"], len(sink.events)))

    run(AuditMiddleware(app, recorder(sink))(_scope("/Observation/7"), _nothing, send))
    assert sent == [("http.response.start", 1), ("http.response.pathsend", 1)]


def test_a_socket_that_is_none_of_http_passes() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    run(AuditMiddleware(app, recorder(ListSink()))({"type": "lifespan"}, _nothing, _ignore))
    assert seen == ["lifespan"]


def test_fastapi_takes_it_in_one_line() -> None:
    """Dependencies authenticate, and the verified claims are left in the request's state."""

    def signed_in(request: Request) -> None:
        if "authorization" not in request.headers:
            raise HTTPException(401, "who are you?")
        request.state.claims = {"jti": "t1", "sub": "ada", "iss": "https://as", "client_id": "app"}

    def identify(scope: Any) -> Identity:
        claims = scope.get("state", {}).get("claims")
        return Identity(credential=token_of(claims)) if claims else Identity()

    def wrapped(sink: ListSink) -> FastAPI:
        app = FastAPI()
        app.add_middleware(
            AuditMiddleware, recorder=recorder(sink), base="/fhir", identify=identify
        )

        @app.get("/fhir/Patient/{number}", dependencies=[Depends(signed_in)])
        def patient(number: str) -> dict[str, str]:
            return {"resourceType": "Patient", "id": number}

        return app

    (event,), _ = kept(
        ("GET", "/fhir/Patient/1"), app=wrapped, headers={"authorization": "Bearer x"}
    )
    assert claims(event) == ["PatientRead", "OAUTHaccessTokenUse.Minimal"]
    assert event["agent"][0]["who"]["identifier"]["value"] == "app"
    (event,), (answer,) = kept(("GET", "/fhir/Patient/1"), app=wrapped)
    assert answer.status_code == 401
    assert (event["outcome"], event["outcomeDesc"]) == ("4", "401 Unauthorized")
    assert patients([event]) == ["Patient/1"]
