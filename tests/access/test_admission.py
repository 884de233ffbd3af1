"""From claims to grants: scopes, roles, shares, sources; and what a patient is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caretrail.access import identities, scopes
from caretrail.access.admission import Admission, Share, restriction
from caretrail.access.projection import Disclosure, of_patient, of_security
from caretrail.access.scopes import Scope
from caretrail.errors import ConfigurationError, ParameterError
from caretrail.fhir import audit_event, validation
from tests.access.guarded import AUDIENCE, ISSUER, Guarded, gate, token_of
from tests.api.arr import event, ids, outcome
from tests.search import strategies as world

if TYPE_CHECKING:
    from collections.abc import Iterator


def letters(text: str) -> list[tuple[str, str, str]]:
    found = scopes.parse(text)
    return [(one.context, one.resource, "".join(sorted(one.letters))) for one in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("system/AuditEvent.c", [("system", "AuditEvent", "c")]),
        ("user/AuditEvent.rs openid launch", [("user", "AuditEvent", "rs")]),
        ("patient/AuditEvent.read", [("patient", "AuditEvent", "rs")]),
        ("system/AuditEvent.write", [("system", "AuditEvent", "c")]),  # R-AC-01
        ("system/AuditEvent.cruds", [("system", "AuditEvent", "crs")]),
        ("system/AuditEvent.*", [("system", "AuditEvent", "crs")]),
        ("system/AuditEvent.ud", []),
        ("user/*.rs", [("user", "*", "rs")]),
        ("user/Patient.u", [("user", "Patient", "u")]),
        ("user/AuditEvent.sr", []),  # SMART: in this order.
        ("user/AuditEvent.rr user/AuditEvent. user/AuditEvent other/AuditEvent.r", []),
        ("User/AuditEvent.r user/auditevent.r user/AuditEvent.r?", []),
        ("user/AuditEvent.r user/AuditEvent.r", [("user", "AuditEvent", "r")]),
        ("", []),
    ],
)
def test_scopes_are_read_strictly(text: str, expected: Any) -> None:
    assert letters(text) == expected


@given(st.text(max_size=60))
def test_any_text_is_scopes_or_nothing(text: str) -> None:
    assert all(isinstance(one, Scope) for one in scopes.parse(text))


def admitted(now: float = 0.0, shares: Any = (), **claims: Any) -> Any:
    content = {"iss": ISSUER, "sub": "ann", "client_id": "console"} | claims
    identity, ends = Admission(base=AUDIENCE, shares=shares).admit(content, now=now)
    return identity._replace(name=str(ends)) if shares else identity


def test_a_wildcard_does_not_mean_audit_events() -> None:
    for scope in ("user/*.cruds", "system/*.cruds", "patient/*.rs"):
        found = admitted(scope=scope, roles=["auditor", "source"], patient="p1")
        assert found.view("create") is found.view("read") is found.view("search-type") is None


def test_a_role_does_not_act_by_scopes_of_another_context() -> None:
    assert (
        admitted(scope="patient/AuditEvent.rs", roles=["auditor"], patient="p1").view("read")
        is None
    )
    assert admitted(scope="user/AuditEvent.rs", patient="p1").view("read") is None
    assert (
        admitted(scope="user/AuditEvent.rs", roles=["patient"], patient="p1").view("read") is None
    )
    assert admitted(scope="user/AuditEvent.c", roles=["source"]).view("create") is None


def test_scopes_imply_roles_where_none_is_named() -> None:
    assert admitted(scope="system/AuditEvent.crs").roles == ("auditor", "source")
    assert admitted(scope="system/AuditEvent.crs", roles=["source"]).view("read") is None
    assert admitted(scope="system/AuditEvent.r", roles=["unknown"]).view("search-type") is None
    assert admitted(scope="system/AuditEvent.r").view("read") is not None
    assert admitted(scp=["user/AuditEvent.rs"], roles="auditor other").view("read") is not None
    assert admitted(scope=5, roles=7).grants == {}


@pytest.mark.parametrize("patient", [None, "", "p 1", "Patient/", "p1/../p2", "x" * 65, 5])
def test_a_patients_token_without_a_patient_grants_no_event(patient: Any) -> None:
    found = admitted(scope="patient/AuditEvent.rs", patient=patient)
    assert found.view("search-type") is None


def test_a_scope_with_a_search_narrows_what_is_there(tmp_path: Path) -> None:
    arr = Guarded(tmp_path)
    try:
        one = arr.record(event(type={"system": "urn:x", "code": "a"})).json()["id"]
        other = arr.record(event(type={"system": "urn:x", "code": "b"})).json()["id"]
        scope = "system/AuditEvent.rs?type=urn:x|a"
        found = arr.ask("auditor", "/fhir/AuditEvent", scope=scope)
        assert ids(found) == [one]
        assert found.json()["total"] == 1
        assert arr.ask("auditor", f"/fhir/AuditEvent/{other}", scope=scope).status_code == 404
        for refused in (
            f"{scope} system/AuditEvent.rs?type=urn:x|b",
            "system/AuditEvent.rs?_count=1",
            "system/AuditEvent.rs?nothing=1",
            "system/AuditEvent.rs?date=never",
            "system/AuditEvent.rs?type=",
        ):
            assert arr.ask("auditor", "/fhir/AuditEvent", scope=refused).status_code == 403, refused
        wide = f"{scope} user/AuditEvent.rs"
        assert len(ids(arr.ask("auditor", "/fhir/AuditEvent?type=urn:x|", scope=wide))) == 2
        half = "user/AuditEvent.r user/AuditEvent.s?type=urn:x|a"
        assert arr.ask("auditor", f"/fhir/AuditEvent/{other}", scope=half).status_code == 200
        assert ids(arr.ask("auditor", "/fhir/AuditEvent", scope=half)) == [one]
    finally:
        arr.close()
    assert admitted(scope="system/AuditEvent.c?type=a").view("create") is None
    with pytest.raises(ParameterError):
        restriction("&".join(["type=a"] * 2_000), base=AUDIENCE)


def test_a_share_is_for_one_auditor_and_for_a_time() -> None:
    share = Share("eve", ISSUER, "patient=Patient/p1&date=ge2026", 100.0)
    scope = {"scope": "user/AuditEvent.rs", "roles": ["external-auditor"]}
    found = admitted(now=50.0, shares=[share], sub="eve", **scope)
    view = found.view("search-type")
    assert view is not None
    assert len(view.clauses) == 3
    assert found.name == "100.0"
    for claims, now in (({"sub": "eve"}, 101.0), ({"sub": "ann"}, 50.0), ({"sub": "eve", "iss": "x"}, 50.0)):  # fmt: skip
        assert admitted(now=now, shares=[share], **claims, **scope).view("search-type") is None
    narrow = admitted(scope="user/AuditEvent.rs?patient=Patient/p1", roles=["external-auditor"])
    assert narrow.view("search-type") is not None
    assert admitted(**scope).view("log") is not None
    assert not admitted(**scope).view("log").is_whole


# A source speaks for itself alone (T-12).


@pytest.fixture
def arr(tmp_path: Path) -> Iterator[Guarded]:
    made = Guarded(tmp_path)
    yield made
    made.close()


FEED = {"Content-Type": "application/fhir+json"}


@pytest.mark.parametrize(
    ("observer", "is_flagged"),
    [
        ({"reference": "Device/ehr-1"}, False),
        ({"reference": "https://ehr.example/fhir/Device/ehr-1"}, False),
        ({"display": "ward server"}, False),
        ({"reference": "Device/ehr-2"}, True),
        ({"reference": "Device/ehr-2", "display": "x"}, True),
        ({"identifier": {"system": "urn:x", "value": "ehr-1"}}, True),
        ({"reference": "urn:uuid:x"}, True),
    ],
)
def test_an_event_that_names_another_recorder_is_flagged(
    arr: Guarded, observer: Any, is_flagged: bool
) -> None:
    token = token_of("source", fhirUser="Device/ehr-1")
    content = event(source={"observer": observer})
    answer = arr.request("POST", "/fhir/AuditEvent", token=token, json=content, headers=FEED)
    assert answer.status_code == 201
    flags = answer.headers.get("x-caretrail-flags", "").split(",")
    assert ("observer-mismatch" in flags) is is_flagged
    found = ids(arr.get("/fhir/AuditEvent?flag=observer-mismatch"))
    assert len(found) == is_flagged
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [{"resource": content}]}
    arr.request("POST", "/fhir", token=token, json=bundle, headers=FEED)
    assert len(ids(arr.get("/fhir/AuditEvent?flag=observer-mismatch"))) == 2 * is_flagged


def test_a_source_is_filed_under_its_own_name_whatever_it_says(arr: Guarded) -> None:
    arr.filed("north", event(source={"observer": {"display": "south"}, "site": "south"}))

    async def last() -> Any:
        return await arr.repository.look(lambda reads: list(reads.entries(0, 1)))

    (record,) = arr.runner.run(last())
    assert record.producer == "ehr@auth.test/realm"
    assert record.organisation == "north"
    assert abs(record.received / 1000 - __import__("time").time()) < 600


def test_a_condition_tells_a_source_nothing_of_other_sources(arr: Guarded) -> None:
    arr.record(event())
    token = token_of("source")

    def conditional() -> Any:
        headers = FEED | {"If-None-Exist": "patient=Patient/p1"}
        return arr.request("POST", "/fhir/AuditEvent", token=token, json=event(action="C"), headers=headers)  # fmt: skip

    assert conditional().status_code == 201
    again = conditional()
    assert again.status_code == 200
    assert again.json()["action"] == "C"
    entry = {"resource": event(), "request": {"method": "POST", "url": "AuditEvent", "ifNoneExist": "patient=Patient/p1"}}  # fmt: skip
    for kind in ("batch", "transaction"):
        bundle = {"resourceType": "Bundle", "type": kind, "entry": [entry]}
        answer = arr.request("POST", "/fhir", token=token, json=bundle, headers=FEED)
        assert answer.json()["entry"][0]["response"]["status"] == "200 OK"
        assert again.json()["id"] in answer.text


# What a patient is shown (T-20).

STAFF = {
    "who": {"reference": "Practitioner/dr-1", "display": "Dr. One"}, "name": "Dr. One", "altId": "one",
    "requestor": True, "role": [{"coding": [{"code": "nurse"}], "text": "Canary"}], "policy": ["urn:canary"],
    "network": {"address": "192.0.2.9", "type": "2"}, "type": {"coding": [{"code": "IRCP"}]},
}  # fmt: skip
HOSPITAL = {"who": {"reference": "Organization/h1"}, "name": "Hospital One", "requestor": False}
DEVICE = {"who": {"reference": "Device/d1"}, "name": "EHR", "requestor": False}


def shown(content: dict[str, Any], disclosure: Disclosure = Disclosure.ROLE) -> dict[str, Any]:
    sent = {"meta": {"versionId": "1", "tag": [{"code": "canary"}]}, "id": "e1"} | content
    made = of_patient("p1", disclosure)(json.dumps(sent).encode())
    assert not validation.problems(made)
    audit_event.read(made)
    found: dict[str, Any] = json.loads(made)
    return found


@pytest.mark.parametrize(
    ("disclosure", "told", "untold"),
    [
        (Disclosure.NAME, ["Dr. One", "Practitioner/dr-1", "nurse", "Organization/h1", "EHR"], []),
        (Disclosure.ROLE, ["nurse", "Organization/h1"], ["Dr. One", "dr-1", "EHR"]),
        (Disclosure.ORGANISATION, ["Organization/h1"], ["Dr. One", "dr-1", "nurse", "IRCP", "EHR"]),
    ],
)
def test_staff_are_named_as_far_as_the_level_says(
    disclosure: Disclosure, told: list[str], untold: list[str]
) -> None:
    text = json.dumps(shown(event(agent=[STAFF, HOSPITAL, DEVICE]), disclosure))
    for word in told:
        assert word in text
    for word in [*untold, "anary", "192.0.2.9", '"one"']:
        assert word not in text


OTHER = (
    {"what": {"reference": "Patient/B"}, "query": "Qg==", "role": {"code": "1"}},
    {"what": {"reference": "https://x.example/Patient/B/_history/2", "display": "B"}},
    {"what": {"identifier": {"system": "urn:x", "value": "B"}}},
    {"what": {"reference": "RelatedPerson/B"}, "description": "B"},
    {"what": {"reference": "urn:uuid:B"}, "type": {"code": "1"}},
    {"what": {"reference": "#B", "type": "Patient"}},
    {"detail": [{"type": "name", "valueString": "B"}], "name": "B"},
    {"what": {"reference": "Group/B"}, "type": {"code": "1", "display": "person"}},
)
AGENT_OTHER = (
    {"who": {"reference": "Patient/B", "display": "B"}, "name": "B", "altId": "B", "requestor": True},
    {"who": {"identifier": {"value": "B"}, "display": "B"}, "name": "B", "requestor": True},
    {"name": "B", "requestor": False},
    {"who": {"reference": "RelatedPerson/B"}, "name": "B", "requestor": False},
    {"who": {"reference": "Organization/B2", "display": "Hospital"}, "location": {"display": "B"}, "requestor": True},
)  # fmt: skip
OWN = {"what": {"reference": "Patient/p1", "display": "B"}, "name": "B", "description": "B", "role": {"code": "1"}}  # fmt: skip
OBSERVATION = {"what": {"reference": "Observation/o1"}, "description": "B"}
OBSERVERS = ({"reference": "Patient/B", "display": "B"}, {"display": "B"}, {"reference": "Device/d", "display": "B"})  # fmt: skip


@settings(suppress_health_check=list(HealthCheck), deadline=None)
@given(
    others=st.lists(st.sampled_from(OTHER), max_size=3),
    agents=st.lists(st.sampled_from(AGENT_OTHER), min_size=1, max_size=3),
    things=st.lists(st.just(OBSERVATION), max_size=1),
    observer=st.sampled_from(OBSERVERS),
    disclosure=st.sampled_from(list(Disclosure)),
)
def test_nothing_of_another_patient_is_shown(
    others: Any, agents: Any, things: Any, observer: Any, disclosure: Disclosure
) -> None:
    content = event(
        entity=[*others, OWN, *things],
        agent=agents,
        source={"observer": observer, "site": "B"},
        contained=[{"resourceType": "Patient", "id": "B"}],
        outcomeDesc="B",
        text={"status": "generated", "div": "<div>B</div>"},
        extension=[{"url": "urn:x", "valueString": "B"}],
        purposeOfEvent=[{"text": "B"}, {"coding": [{"code": "TREAT"}]}],
        subtype=[{"code": "read"}],
    )
    found = shown(content, disclosure)
    text = json.dumps(found)
    assert '"B"' not in text
    assert "/B" not in text.replace("Organization/B2", "")
    assert "Patient/p1" in text
    # Whose a thing is cannot be told where somebody else's may be among them.
    if any("what" in one for one in others):
        assert "Observation" not in text
    else:
        assert ("Observation/o1" in text) is bool(things)


@settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)
@given(world.event)
def test_any_event_is_shown_as_a_valid_one(content: Any) -> None:
    body = json.dumps(content).encode()
    if validation.problems(body):
        return
    for disclosure in Disclosure:
        assert not validation.problems(of_patient("1", disclosure)(body))
    assert not validation.problems(of_security(body))


def test_a_patient_finds_his_own_and_asks_no_further(arr: Guarded) -> None:
    arr.record(event(agent=[STAFF], entity=[OWN, OTHER[0]]))
    arr.record(event(entity=[OTHER[0]]))
    found = arr.ask("patient", "/fhir/AuditEvent")
    assert found.json()["total"] == 1
    assert "Dr. One" not in found.text
    assert "Patient/B" not in found.text
    (event_id,) = ids(found)
    for path in (f"/{event_id}", f"/{event_id}/_history", f"/{event_id}/_history/1"):
        answer = arr.ask("patient", f"/fhir/AuditEvent{path}")
        assert answer.status_code == 200
        assert "Patient/B" not in answer.text
        assert "Dr. One" not in answer.text
    for query in ("agent-name=Dr", "patient.identifier=x", "_content=Dr", "entity=Patient/B", "_sort=agent", "sequence=0"):  # fmt: skip
        assert arr.ask("patient", f"/fhir/AuditEvent?{query}").status_code == 400, query
    assert arr.ask("patient", "/fhir/AuditEvent/$stats?_by=agent-name").status_code == 400
    for path in ("/fhir/AuditEvent?patient=Patient/B", "/fhir/Patient/B/AuditEvent"):
        assert not ids(arr.ask("patient", path))
    stats = arr.ask("patient", "/fhir/AuditEvent/$stats?_by=type&_interval=year").json()
    assert stats["parameter"][0]["valueInteger"] == 1
    entry = {"request": {"method": "GET", "url": "AuditEvent"}}
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [entry]}
    batch = arr.request("POST", "/fhir", token=token_of("patient"), json=bundle, headers=FEED)
    assert "Patient/p1" in batch.text
    assert "Dr. One" not in batch.text


def test_a_security_officer_finds_no_patient(arr: Guarded) -> None:
    code = {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "110114"}
    arr.record(event(type=code))
    login = arr.record(event(type=code, entity=[{"what": {"reference": "AuditEvent/x"}, "description": "Canary"}])).json()["id"]  # fmt: skip
    arr.record(event())
    arr.ask("auditor", "/fhir/AuditEvent?patient=Patient/p1")
    found = arr.ask("security-officer", "/fhir/AuditEvent")
    assert login in ids(found)
    assert len(ids(found)) == 2
    assert "Patient/" not in found.text
    assert "Canary" not in found.text
    answer = arr.ask("security-officer", "/fhir/AuditEvent?patient=Patient/p1")
    assert answer.status_code == 400
    assert outcome(answer)["code"] == "not-supported"


# The file of identities.

FILE = """
[[issuer]]
url = "https://auth.example/realms/one"
types = ["at+jwt", "JWT"]
roles_claim = "realm_access.roles"

[[introspection]]
url = "https://auth.example/introspect"
client_id = "log"
secret_file = "secret"
issuer = "https://auth.example"

[[certificate]]
producer = "ward"
sha256 = "AA:{}"

[[certificate]]
producer = "lab"
subject = "lab.example"
observer = "Device/lab"

[[share]]
subject = "eve"
query = "patient=Patient/1&date=ge2026-01-01"
ends = 2026-12-31T00:00:00Z
""".format(":".join(["bb"] * 31))


def read(text: str) -> Any:
    return identities.read(
        text, base=AUDIENCE, folder=Path("here"), secret=lambda path: f"<{path}>"
    )


def test_a_file_of_identities_is_read_whole() -> None:
    import asyncio

    async def check() -> Any:
        return read(FILE)

    found = asyncio.run(check())
    jwt, introspection = found.verifiers
    (issuer,) = jwt._issuers.values()
    assert issuer.audiences == (AUDIENCE,)
    assert issuer.types == ("at+jwt", "jwt")
    assert introspection._endpoint.secret == "<here/secret>"
    assert found.certificates._pinned.keys() == {"aa" + "bb" * 31}
    assert found.shares[0].ends == 1_798_675_200.0
    assert found.any
    assert not read("").any


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[issuer]]\nurl = 5", "url"),
        ("[[issuers]]\nurl = 'https://a'", "issuers"),
        ("[[issuer]]\nurl = 'https://a'\naudience = 'x'", "audience"),
        ("[[issuer]]\nurl = 'http://a.example'", "https"),
        ("[[issuer", "identities"),
        ("[[certificate]]\nproducer = 'a'", "sha256"),
        ("[[certificate]]\nproducer = 'a'\nsha256 = 'xy'", "64"),
        (f"[[certificate]]\nproducer = 'caretrail:log'\nsha256 = '{'a' * 64}'", "producer"),
        ("[[share]]\nsubject = 'a'\nquery = ''\nends = 2026-01-01T00:00:00Z", "names"),
        ("[[share]]\nsubject = 'a'\nquery = 'x=1'\nends = 2026-01-01T00:00:00Z", "query"),
        ("[[share]]\nsubject = 'a'\nquery = 'date=2026'\nends = 2026-01-01T00:00:00", "zone"),
    ],
)
def test_a_file_of_identities_that_is_wrong_says_where(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read(text)


def test_the_folders_token_has_the_roles_that_are_set() -> None:
    admission = Admission(base=AUDIENCE)
    found = identities.holder("source, auditor", producer="token", organisation="", admission=admission)  # fmt: skip
    assert found.producer == "token"
    assert {"create", "read"} <= found.grants.keys()
    assert found.view("read") is not None
    assert found.view("read").is_whole
    assert not found.view("create").is_whole
    with pytest.raises(ConfigurationError, match="roles"):
        identities.holder("king", producer="token", organisation="", admission=admission)
    guard = gate(holder=found)
    assert guard.known({b"authorization": b"Bearer a-token-that-only-tests-know"}) is found
