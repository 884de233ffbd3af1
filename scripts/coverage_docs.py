"""Write docs/reference/coverage.md, and the console's table of the same: which events every interaction leaves, however it ends.

The page is made by letting every interaction end in every way and looking at the events; a test
compares the page, and another one says independently what has to be in it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from caretrail.patterns import codes
from caretrail.patterns.credential import OAuthToken
from caretrail.patterns.exchange import Exchange, Identity, Message
from caretrail.patterns.observation import Machine, User, reference
from caretrail.patterns.recording import events

if TYPE_CHECKING:
    from caretrail.patterns.observation import Json

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "coverage.md"
TABLE: Final = Path(__file__).parents[1] / "src" / "caretrail" / "console" / "coverage.json"
_BEGIN: Final = "<!-- Made by scripts/coverage_docs.py -->\n\n"
SERVER: Final = Machine(
    who=reference("Device/fhir-server"), address="https://fhir.example.org/r4", address_type="5"
)
WHO: Final = Identity(
    user=User(who=reference("Practitioner/1")),
    credential=OAuthToken(id="token-1", client="app"),
    purposes=(codes.purpose("TREAT"),),
)
_JSON: Final = {"content-type": "application/fhir+json"}
OBSERVATION: Final = {
    "resourceType": "Observation",
    "id": "7",
    "meta": {"versionId": "3"},
    "subject": {"reference": "Patient/1"},
}
_OUTCOME: Final = {
    "resourceType": "OperationOutcome",
    "issue": [{"severity": "error", "code": "processing"}],
}


def message(resource: Json | None = None, **headers: str) -> Message:
    """Return half an exchange with a JSON body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if resource is None:
        return Message(headers=named)
    return Message(headers={**_JSON, **named}, body=json.dumps(resource).encode())


def bundle(kind: str, *resources: Json) -> Json:
    """Return a Bundle of resources."""
    return {
        "resourceType": "Bundle",
        "type": kind,
        "entry": [{"resource": resource} for resource in resources],
    }


def _exchange(method: str, path: str, status: int, **rest: Any) -> Exchange:
    return Exchange(
        method=method,
        path=path,
        status=status,
        end="2026-11-24T09:30:00Z",
        server=SERVER,
        address="192.0.2.7",
        identity=WHO,
        request_id="request-1",
        **rest,
    )


_FOUND: Final = message(bundle("searchset", OBSERVATION))
_PAST: Final = message(bundle("history", OBSERVATION))
_ENTRIES: Final = {
    "resourceType": "Bundle",
    "entry": [
        {"request": {"method": "POST", "url": "Observation"}, "resource": OBSERVATION},
        {"request": {"method": "GET", "url": "Observation/7"}},
    ],
}
_ANSWERS: Final = {
    "resourceType": "Bundle",
    "entry": [
        {"response": {"status": "201 Created", "location": "Observation/7/_history/1"}},
        {"response": {"status": "200 OK"}, "resource": OBSERVATION},
    ],
}
_FORM: Final = Message(
    headers={"content-type": "application/x-www-form-urlencoded"}, body=b"patient=Patient/1"
)


_GRANT: Final = Message(headers=_FORM.headers, body=b"grant_type=authorization_code&code=1")
_REFRESH: Final = Message(headers=_FORM.headers, body=b"grant_type=refresh_token&refresh_token=1")


def _bundled(kind: str) -> Exchange:
    asked = message({**_ENTRIES, "type": kind})
    answered = message({**_ANSWERS, "type": f"{kind}-response"})
    return _exchange("POST", "", 200, request=asked, response=answered)


_CREATED: Final = message(location="Observation/7/_history/1")
_READ: Final = message(OBSERVATION)

# A row is an interaction that succeeds; how it fails is made from it.
EXAMPLES: Final[dict[str, Exchange]] = {
    "read": _exchange("GET", "Observation/7", 200, response=_READ),
    "vread": _exchange("GET", "Observation/7/_history/3", 200, response=_READ),
    "create": _exchange(
        "POST", "Observation", 201, request=message(OBSERVATION), response=_CREATED
    ),
    "conditional-create": _exchange(
        "POST",
        "Observation",
        201,
        request=message(OBSERVATION, if_none_exist="identifier=1"),
        response=_CREATED,
    ),
    "conditional-create, found": _exchange(
        "POST",
        "Observation",
        200,
        request=message(OBSERVATION, if_none_exist="identifier=1"),
        response=_CREATED,
    ),
    "update": _exchange(
        "PUT", "Observation/7", 200, request=message(OBSERVATION), response=_READ
    ),
    "conditional-update": _exchange(
        "PUT",
        "Observation",
        200,
        query="identifier=1",
        request=message(OBSERVATION),
        response=_READ,
    ),
    "patch": _exchange("PATCH", "Observation/7", 200, response=_READ),
    "conditional-patch": _exchange(
        "PATCH", "Observation", 200, query="identifier=1", response=_READ
    ),
    "delete": _exchange("DELETE", "Patient/1", 204),
    "conditional-delete": _exchange("DELETE", "Observation", 204, query="identifier=1"),
    "search-type": _exchange(
        "GET", "Observation", 200, query="patient=Patient/1", response=_FOUND
    ),
    "search-type (POST)": _exchange(
        "POST", "Observation/_search", 200, request=_FORM, response=_FOUND
    ),
    "search-compartment": _exchange("GET", "Patient/1/Observation", 200, response=_FOUND),
    "search-system": _exchange(
        "GET", "", 200, query="_type=Observation&patient=Patient/1", response=_FOUND
    ),
    "search-page": _exchange("GET", "_page", 200, query="id=2", response=_FOUND),
    "history-instance": _exchange("GET", "Observation/7/_history", 200, response=_PAST),
    "history-type": _exchange("GET", "Observation/_history", 200, response=_PAST),
    "history-system": _exchange("GET", "_history", 200, response=_PAST),
    "capabilities": _exchange(
        "GET", "metadata", 200, response=message({"resourceType": "CapabilityStatement"})
    ),
    "$everything": _exchange("GET", "Patient/1/$everything", 200, response=_FOUND),
    "$validate": _exchange(
        "POST", "Observation/$validate", 200, request=message(OBSERVATION), response=message(_OUTCOME)
    ),
    "$graphql": _exchange(
        "POST",
        "$graphql",
        200,
        request=Message(headers={"content-type": "application/json"}, body=b'{"query":"{a}"}'),
        response=message({"data": {"ObservationList": [{"subject": {"reference": "Patient/1"}}]}}),
    ),
    "$export": _exchange(
        "GET", "Patient/$export", 202, response=message(content_location="/export/1")
    ),
    "export-status": _exchange("GET", "export/1", 202, interaction="export-status"),
    "export-cancel": _exchange("DELETE", "export/1", 202, interaction="export-cancel"),
    "export-file": _exchange(
        "GET",
        "export/1/file.ndjson",
        200,
        interaction="export-file",
        response=Message(
            headers={"content-type": "application/fhir+ndjson"},
            body=json.dumps(OBSERVATION).encode(),
        ),
    ),
    "$import": _exchange(
        "POST", "$import", 202, request=message({"resourceType": "Parameters"})
    ),
    "batch": _bundled("batch"),
    "transaction": _bundled("transaction"),
    "delivery": _exchange(
        "POST",
        "",
        200,
        interaction="delivery",
        by_client=True,
        request=message(bundle("history", OBSERVATION)),
    ),
    "authorize": _exchange(
        "GET",
        "/auth/authorize",
        302,
        interaction="authorize",
        query="response_type=code&client_id=app&scope=openid&state=1",
        response=message(location="https://app.example.org/cb?code=1&state=1"),
    ),
    "token": _exchange(
        "POST",
        "/auth/token",
        200,
        interaction="token",
        request=_GRANT,
        response=message({"access_token": "1", "token_type": "bearer"}),
    ),
    "token (refresh)": _exchange(
        "POST",
        "/auth/token",
        200,
        interaction="token",
        request=_REFRESH,
        response=message({"access_token": "1", "token_type": "bearer"}),
    ),
    "revoke": _exchange("POST", "/auth/revoke", 200, interaction="revoke", request=_GRANT),
    "introspect": _exchange(
        "POST",
        "/auth/introspect",
        200,
        interaction="introspect",
        request=_GRANT,
        response=message({"active": True}),
    ),
    "logout": _exchange("GET", "/auth/logout", 302, interaction="logout"),
    "server-metadata": _exchange(
        "GET",
        "/r4/.well-known/smart-configuration",
        200,
        interaction="server-metadata",
        response=message({"token_endpoint": "https://fhir.example.org/auth/token"}),
    ),
    "unknown": _exchange("GET", "_statistics", 200),
}  # fmt: skip

# The ways to end besides well.
ENDINGS: Final = {
    "400": {"status": 400},
    "401": {"status": 401},
    "403": {"status": 403},
    "404": {"status": 404},
    "409": {"status": 409},
    "412": {"status": 412},
    "422": {"status": 422},
    "500": {"status": 500},
    "503": {"status": 503},
    "timeout": {"status": 0, "failure": "timeout"},
    "cancelled": {"status": 0, "failure": "cancelled"},
}


def ended(name: str, ending: str) -> Exchange:
    """Return the example `name` as it is when it ends so; "ok" is the example itself."""
    example = EXAMPLES[name]
    if ending == "ok":
        return example
    rest: Any = ENDINGS[ending]
    answer = message(_OUTCOME) if rest["status"] else Message()
    return replace(example, response=answer, **rest)


def cell(name: str, ending: str) -> str:
    """Return what the page says of the events of an exchange."""
    return "<br>".join(map(_told, events(ended(name, ending))))


def _told(event: Json) -> str:
    claimed = event.get("meta", {}).get("profile", ())
    profiles = [url.rpartition("/")[2].removeprefix("IHE.BasicAudit.") for url in claimed]
    balp = [name for name in profiles if not name.startswith("OAUTH")]
    kind = " ".join([event["type"]["code"], *(row["code"] for row in event.get("subtype", ()))])
    return f"{balp[0] if balp else kind}: {event['action']} {event['outcome']}"


def page() -> str:
    """Return the page with its table."""
    head, _, _ = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    columns = ["ok", *ENDINGS]
    lines = [["interaction", *columns], ["---"] * (len(columns) + 1)]
    lines += [[name, *(cell(name, column) for column in columns)] for name in EXAMPLES]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{head}{_BEGIN}{table}\n"


def table() -> str:
    """Return the same as JSON."""
    columns = ["ok", *ENDINGS]
    rows = [
        {"interaction": name, "cells": [cell(name, one).split("<br>") for one in columns]}
        for name in EXAMPLES
    ]
    return json.dumps({"columns": columns, "rows": rows}, indent=0) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    TABLE.write_text(table(), encoding="utf-8")
