"""The middleware around Django (ASGI), as the how-to has it."""

from __future__ import annotations

import httpx
import pytest

from caretrail.capture.middleware import AuditMiddleware
from caretrail.patterns.exchange import Identity
from caretrail.patterns.observation import User, identified
from tests.capture.sinks import FailingSink, ListSink, recorder, run
from tests.patterns.exchanges import claims

django = pytest.importorskip("django")


@pytest.fixture(scope="module")
def application() -> object:
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import HttpRequest, JsonResponse
    from django.urls import path

    def patient(request: HttpRequest, number: str) -> JsonResponse:
        if "authorization" not in request.headers:
            return JsonResponse({"resourceType": "OperationOutcome", "issue": []}, status=401)
        return JsonResponse({"resourceType": "Patient", "id": number})

    def fails(request: HttpRequest) -> None:
        raise ZeroDivisionError

    routes = type("Routes", (), {})
    routes.urlpatterns = [  # type: ignore[attr-defined]
        path("fhir/Patient/<number>", patient),
        path("fhir/Observation/1", fails),
        path("page", lambda request: JsonResponse({})),
    ]
    settings.configure(
        SECRET_KEY="for this test alone", ROOT_URLCONF=routes, ALLOWED_HOSTS=["test"],
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"], LOGGING_CONFIG=None,
    )  # fmt: skip
    return get_asgi_application()


def ask(application: object, sink: ListSink | FailingSink, *paths: str) -> list[httpx.Response]:
    user = Identity(user=User(who=identified("user-7")))
    audited = AuditMiddleware(
        application,  # type: ignore[arg-type]
        recorder(sink),
        base="/fhir",
        identify=lambda scope: user,
    )

    async def work() -> list[httpx.Response]:
        transport = httpx.ASGITransport(audited)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            headers = [{"authorization": "Basic x"}, {}, {}, {}]
            return [
                await client.get(path, headers=header)
                for path, header in zip(paths, headers, strict=False)
            ]

    found: list[httpx.Response] = run(work())
    return found


def test_what_django_answers_is_recorded(application: object) -> None:
    sink = ListSink()
    paths = "/fhir/Patient/1", "/fhir/Patient/2", "/fhir/Observation/1", "/page"
    answers = ask(application, sink, *paths)
    assert [one.status_code for one in answers] == [200, 401, 500, 200]
    assert answers[0].json() == {"resourceType": "Patient", "id": "1"}
    assert [event["outcome"] for event in sink.events] == ["0", "4", "8"]
    assert claims(sink.events[0]) == ["PatientRead"]
    assert "user-7" in str(sink.events[0]["agent"])


def test_what_cannot_be_recorded_is_not_given(application: object) -> None:
    (answer,) = ask(application, FailingSink(), "/fhir/Patient/1")
    assert answer.status_code == 503
    assert answer.json()["resourceType"] == "OperationOutcome"
