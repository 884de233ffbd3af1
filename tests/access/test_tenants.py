"""Tenants: each has a log of its own, behind one port (DESIGN, decision 8)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from caretrail import tenants
from caretrail.access import identities
from caretrail.access.admission import Admission
from caretrail.access.roles import INTERACTIONS
from caretrail.app import of_tenant
from caretrail.errors import ConfigurationError
from caretrail.settings import Settings
from caretrail.storage.sqlite import verify
from tests.access.guarded import CLAIMS
from tests.api.arr import event
from tests.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CARETRAIL = [sys.executable, "-c", "from caretrail.cli import main; main()"]
NAMES = ["", "north", "south"]
JSON = {"Content-Type": "application/fhir+json"}
ADMISSIONS = {
    name: Admission(base=f"https://log.test{f'/t/{name}' if name else ''}/fhir", tenant=name)
    for name in NAMES
}


class Place:
    """A server with two tenants beside its default log, and the token of each."""

    def __init__(self, address: str, data: Path) -> None:
        self.address, self.data = address, data
        self.bases = {name: f"{address}/t/{name}" if name else address for name in NAMES}
        self.tokens = {name: (self.folder(name) / "token").read_text().strip() for name in NAMES}

    def folder(self, name: str) -> Path:
        return self.data / "t" / name if name else self.data

    def ask(self, method: str, name: str, path: str, *, by: str, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens[by]}"} | more.pop("headers", {})
        return httpx.request(method, self.bases[name] + path, headers=headers, timeout=60, **more)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("tenants")
    command = [*CARETRAIL, "serve", "--data", "data", "--port", "0", "--tenants", "north,south"]
    with serving(command, folder=folder) as server:
        yield Place(server.address, folder / "data")


@pytest.mark.parametrize("owner", NAMES)
def test_an_event_is_in_the_log_of_its_tenant_and_in_no_other(place: Place, owner: str) -> None:
    display = f"observer of {owner or 'all'}"
    made = place.ask(
        "POST", owner, "/fhir/AuditEvent", by=owner, headers=JSON,
        json=event(source={"observer": {"display": display}}),
    )  # fmt: skip
    assert made.status_code == 201
    # The address is where the client finds it.
    location = made.headers["location"]
    assert location.startswith(f"{place.bases[owner]}/fhir/AuditEvent/")
    token = {"Authorization": f"Bearer {place.tokens[owner]}"}
    assert httpx.get(location, headers=token).json()["source"]["observer"]["display"] == display
    for name in NAMES:
        found = place.ask("GET", name, f"/fhir/AuditEvent?source:text={display}", by=name).json()
        assert found["link"][0]["url"].startswith(f"{place.bases[name]}/fhir/AuditEvent")
        assert len(found.get("entry", [])) == (name == owner)
        read = place.ask("GET", name, location.partition("/fhir")[2].join(["/fhir", ""]), by=name)
        assert read.status_code == (200 if name == owner else 404)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other", NAMES)
def test_a_token_of_one_log_opens_no_other(place: Place, name: str, other: str) -> None:
    answer = place.ask("GET", other, "/fhir/AuditEvent", by=name)
    assert answer.status_code == (200 if name == other else 401)
    if name != other:
        assert answer.json()["resourceType"] == "OperationOutcome"
        assert name == "" or name not in answer.text


def test_each_tenant_has_a_tree_of_its_own_name(place: Place) -> None:
    origins = set()
    for name in NAMES:
        note = httpx.get(f"{place.bases[name]}/log/checkpoint", timeout=60)
        assert note.status_code == 200
        origins.add(note.text.splitlines()[0])
        assert httpx.get(f"{place.bases[name]}/health/ready").status_code == 200
        metrics = place.ask("GET", name, "/metrics", by=name)
        assert metrics.status_code == 200
    assert len(origins) == len(NAMES)
    for name in NAMES:
        assert verify(place.folder(name)).whole


@pytest.mark.parametrize("path", ["/t/", "/t/west/fhir/AuditEvent", "/t/north", "/t/%2e%2e/fhir"])
def test_what_is_no_tenant_is_nothing(place: Place, path: str) -> None:
    assert httpx.get(place.address + path).status_code == 401
    answer = place.ask("GET", "", path, by="")
    assert answer.status_code == 404
    assert "west" not in answer.text


def test_a_tenant_has_no_sign_in_and_no_clinic_of_its_own(place: Place) -> None:
    assert place.ask("GET", "north", "/auth/", by="north").status_code == 404
    assert place.ask("GET", "north", "/fhir/Patient/1", by="north").status_code == 404


@pytest.mark.parametrize("role", CLAIMS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("interaction", INTERACTIONS)
def test_a_role_holds_at_the_tenant_that_the_token_is_for(
    role: str, name: str, interaction: str
) -> None:
    """Role, interaction and tenant, whichever way the token says its tenant."""
    claims = CLAIMS[role] | {"organisation": "*", "iss": "https://a"}
    usual = Admission(base="https://log.test/fhir").admit(claims, now=0)[0].grants
    address = ADMISSIONS[name].base
    ways = [{"aud": address}, {"aud": ["https://other.test", address]}]
    ways += [{"tenant": name}, {"tenant": [name]}] if name else [{}]
    for way in ways:
        for other in NAMES:
            found = ADMISSIONS[other].admit(claims | way, now=0)[0].grants
            expected = other == name and interaction in usual
            assert (interaction in found) is expected, (way, other)


@pytest.mark.parametrize("claim", [7, None, [], [7], {"north": 1}, "", "nort", "northern"])
def test_a_claim_that_names_no_tenant_opens_none(claim: Any) -> None:
    claims = CLAIMS["auditor"] | {"iss": "https://a", "tenant": claim}
    assert not ADMISSIONS["north"].admit(claims, now=0)[0].grants


def test_certificates_and_shares_are_of_a_tenant() -> None:
    text = """
[[certificate]]
producer = "pacs"
subject = "CN=pacs"
tenant = "north"
[[share]]
subject = "auditor@firm.test"
query = "patient=Patient/1"
ends = 2027-01-01T00:00:00Z
"""

    def found(tenant: str) -> identities.Identities:
        base = ADMISSIONS[tenant].base
        return identities.read(text, base=base, folder=None, secret=str, tenant=tenant)  # type: ignore[arg-type]

    assert found("north").certificates is not None
    assert not found("north").shares
    assert found("").certificates is None
    assert found("").shares


@pytest.mark.parametrize("names", ["North", "a/b", "..", "-a", "a" * 41, "a,,b/"])
def test_a_name_that_is_no_folder_is_refused(names: str) -> None:
    with pytest.raises(ConfigurationError):
        Settings(tenants=names)


def test_what_a_tenant_is_told_is_its_own(tmp_path: Path) -> None:
    settings = Settings(
        data=tmp_path / "d", tenants="a, b,a", public_url="https://log.test/", clinic=True,
        data_keys=tmp_path / "keys",
    )  # fmt: skip
    assert tenants.names(settings.tenants) == ("a", "b")
    own = of_tenant(settings, "a", checkpoint_store=tmp_path / "c")
    assert own.folder == tmp_path / "d" / "t" / "a"
    assert own.public_url == "https://log.test/t/a"
    assert own.data_keys == tmp_path / "keys.a"
    assert not own.clinic
    assert not own.authorization_server
    assert not own.tenants
