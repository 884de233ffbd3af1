"""`/intake/PROVIDER`: what a webhook may send, and what it is answered."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from caretrail.patterns.providers.table import PROVIDERS
from tests.api.arr import ids, outcome
from tests.patterns.providers.test_providers import SAMPLES

if TYPE_CHECKING:
    from tests.api.arr import Arr

PROVIDER = pytest.mark.parametrize("provider", PROVIDERS)
WEBHOOK = {"Content-Type": "application/json", "Accept": "text/html"}


def post(arr: Arr, provider: str, content: Any, **headers: str) -> Any:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    sent = WEBHOOK | {name.replace("_", "-"): value for name, value in headers.items()}
    return arr.request("POST", f"/intake/{provider}", content=body, headers=sent)


def statuses(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    assert answer.json()["type"] == "batch-response"
    return [entry["response"]["status"] for entry in answer.json().get("entry", ())]


@PROVIDER
def test_each_entry_is_recorded_and_answered_and_known_again(arr: Arr, provider: str) -> None:
    sent = [row["sent"] for row in SAMPLES[provider]]
    # Of a wrapped sample the wrapper stands for its one event.
    sent = [one for one in sent if not isinstance(one.get("data", {}).get("events"), list)]
    first = post(arr, provider, sent)
    assert statuses(first) == ["201 Created"] * len(sent)
    again = post(arr, provider, sent)
    assert statuses(again) == ["200 OK"] * len(sent)
    places = [entry["response"]["location"] for entry in first.json()["entry"]]
    assert places == [entry["response"]["location"] for entry in again.json()["entry"]]
    found = arr.get("/fhir/AuditEvent?type=110113,110114,110100&_count=200&_total=accurate")
    assert found.json()["total"] == len(sent)
    name = sent[0].get("type") or sent[0].get("eventType") or "Sign-in activity"
    if provider != "auth0":
        asked = f"/fhir/AuditEvent?subtype=urn:caretrail:{provider}:event|{name}"
        assert ids(arr.get(asked))


def test_a_hook_of_okta_is_opened_and_its_question_answered(arr: Arr) -> None:
    assert statuses(post(arr, "okta", SAMPLES["okta"][-1]["sent"])) == ["201 Created"]
    asked = arr.get("/intake/okta", x_okta_verification_challenge="a challenge")
    assert asked.json() == {"verification": "a challenge"}
    assert arr.get("/intake/okta").status_code == 400
    assert arr.get("/intake/auth0", x_okta_verification_challenge="a").status_code == 400


def test_an_entry_that_is_wrong_does_not_stop_the_others(arr: Arr) -> None:
    good = SAMPLES["auth0"][0]["sent"]
    bad = {"data": {"type": "s", "client_secret": "canary", "date": "yesterday"}}
    answer = post(arr, "auth0", [good, bad, "canary", None])
    assert statuses(answer) == ["201 Created", *["400 Bad Request"] * 3]
    issue = answer.json()["entry"][1]["response"]["outcome"]["issue"][0]
    assert issue["expression"] == ["[1].date"]
    assert "canary" not in answer.text
    kept = arr.get("/fhir/AuditEvent/$quarantine")
    assert kept.status_code == 200
    assert len(kept.json()["parameter"]) >= 3
    bodies = arr.runner.run(arr.repository.quarantined(after=0, limit=10))
    assert len(bodies) == 3
    assert all(b"canary" not in one.body for one in bodies)


@PROVIDER
@pytest.mark.parametrize("body", [b"", b"x", b"7", b"null", b"\xff\xfe", b'"a"', b"[" * 50_000])
def test_what_is_no_list_of_events_is_refused_whole(arr: Arr, provider: str, body: bytes) -> None:
    answer = post(arr, provider, body)
    assert answer.status_code in (400, 413)
    assert outcome(answer)["code"] in ("invalid", "structure", "too-long")
    assert arr.repository.size == 0


def test_an_empty_list_is_answered_with_nothing(arr: Arr) -> None:
    assert post(arr, "okta", []).json() == {"resourceType": "Bundle", "type": "batch-response"}


def test_a_batch_has_bounds(arr: Arr) -> None:
    good = SAMPLES["okta"][0]["sent"]
    assert post(arr, "okta", [good] * 1_001).status_code == 413
    bomb = gzip.compress(b"[" + b" " * (17 * 1024 * 1024) + b"]")
    assert post(arr, "okta", bomb, content_encoding="gzip").status_code in (400, 413)
    assert arr.repository.size == 0


def test_a_long_text_is_cut(arr: Arr) -> None:
    good = json.loads(json.dumps(SAMPLES["okta"][0]["sent"]))
    good["actor"]["displayName"] = "a " * 100_000
    (status,) = statuses(post(arr, "okta", [good]))
    assert status == "201 Created"
    (found,) = ids(arr.get("/fhir/AuditEvent?type=110114"))
    assert len(arr.get(f"/fhir/AuditEvent/{found}").json()["agent"][0]["name"]) <= 256


def test_only_providers_that_are_known_have_an_address(arr: Arr) -> None:
    answer = post(arr, "ldap", [])
    assert answer.status_code == 404
    assert "keycloak, auth0, okta, entra" in outcome(answer)["diagnostics"]
    assert arr.request("PUT", "/intake/okta").status_code == 405


def test_a_changed_copy_is_kept_and_flagged(arr: Arr) -> None:
    good = json.loads(json.dumps(SAMPLES["okta"][0]["sent"]))
    assert statuses(post(arr, "okta", good)) == ["201 Created"]
    good["outcome"]["result"] = "FAILURE"
    assert statuses(post(arr, "okta", good)) == ["201 Created"]
    assert arr.repository.size == 2
