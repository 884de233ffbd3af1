"""A real `caretrail serve` with people and events in it, and browsers that sign in to its console."""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

from tests.access.server.test_served import PASSWORD, Place, follow, submit
from tests.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PASSWORD", "House", "house_in"]

CARETRAIL: Final = Path(sys.executable).parent / "caretrail"
DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
ACT_REASON: Final = "http://terminology.hl7.org/CodeSystem/v3-ActReason"


def event(n: int, **changes: Any) -> dict[str, Any]:
    """Return an event: nurse Nora reads the record of patient p1 or p2, minute after minute."""
    who = {"reference": "Practitioner/nora"}
    patient = {"reference": f"Patient/p{1 + n % 2}"}
    made: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "type": {
            "system": "http://terminology.hl7.org/CodeSystem/audit-event-type",
            "code": "rest",
        },
        "subtype": [{"system": "http://hl7.org/fhir/restful-interaction", "code": "read"}],
        "action": "R",
        "recorded": f"2026-11-0{1 + n // 60}T09:{n % 60:02}:00Z",
        "outcome": "0",
        "agent": [
            {
                "type": {"coding": [{"system": DCM, "code": "110153"}]},
                "who": {"reference": "Device/ward-app"},
                "name": "Ward app",
                "requestor": False,
                "network": {"address": "10.0.0.7", "type": "2"},
            },
            {"who": who, "name": "Nora Test", "requestor": True},
        ],
        "source": {"observer": {"reference": "Device/fhir-server"}, "site": "Ward 3"},
        "entity": [
            {"what": {"reference": f"Observation/o{n}"}},
            {
                "what": {"identifier": {"value": f"request-{n // 2}"}},
                "type": {
                    "system": "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType",
                    "code": "XrequestId",
                },
            },
            {"what": patient, "role": {"code": "1"}},
        ],
    }
    return made | changes


class House(Place):
    """A running server that also takes events and signs browsers in."""

    ids: list[str]

    def post(self, events: list[dict[str, Any]]) -> list[str]:
        """Record events; return their ids."""
        entries = [
            {"resource": one, "request": {"method": "POST", "url": "AuditEvent"}} for one in events
        ]
        bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
        headers = {
            "authorization": f"Bearer {self.token()}",
            "content-type": "application/fhir+json",
        }
        answer = httpx.post(
            f"{self.address}/fhir", content=json.dumps(bundle), headers=headers, timeout=120
        )
        assert answer.status_code == 200, answer.text
        found = [one["response"]["location"] for one in answer.json()["entry"]]
        return [re.findall(r"AuditEvent/([^/]+)", one)[0] for one in found]

    def add_person(self, name: str, role: str, *more: str) -> None:
        """Add a person with a password."""
        display = f"{name.capitalize()} Test"
        *_, link = self.access("add-user", name, "--display", display, "--role", role, *more)
        with httpx.Client(timeout=60) as browser:
            submit(browser, browser.get(link), password=PASSWORD, again=PASSWORD)

    def browser(self) -> httpx.Client:
        """Return a browser that nobody has signed in with."""
        return httpx.Client(base_url=self.address, timeout=120)

    @contextmanager
    def signed_in(self, name: str = "", way: str = "staff") -> Iterator[httpx.Client]:
        """Give a browser in which a person is signed in, or the bearer of the folder's token."""
        with self.browser() as browser:
            page = browser.get("/console/sign-in")
            form = {"csrf": csrf_of(page)}
            if name:
                answer = browser.post("/console/sign-in/issuer", data=form | {"as": way})
                page = submit(browser, follow(browser, answer), name=name, password=PASSWORD)
                page = submit(browser, page, decision="permit")
                assert str(page.url).startswith(f"{self.address}/console/"), page.url
            else:
                answer = browser.post("/console/sign-in", data=form | {"token": self.token()})
                assert answer.status_code == 303, answer.text
            yield browser


def csrf_of(page: httpx.Response) -> str:
    """Return the token of a page's first form."""
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found is not None, page.text
    return unescape(found[1])


def house_in(folder: Path, *arguments: str) -> Iterator[House]:
    """Yield a house in a folder, served by a process of its own."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [str(CARETRAIL), "serve", "--port", "0", "--data", "data", *arguments]
    with serving(command, folder=folder, environment=environment) as served:
        yield House(served, folder)
