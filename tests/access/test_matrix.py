"""The matrix of role, interaction and organisation: every cell (requirements 3.3, M13, T-10)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from caretrail.access.identity import FULL
from caretrail.access.roles import BY_CODE, CLINIC, INTERACTIONS, ROLES, Sees, conflicts
from caretrail.api.router import ROUTES, Route
from caretrail.clinic.table import ROWS
from tests.access.guarded import CLAIMS, Guarded, GuardedPublished, gate, token_of
from tests.api.arr import Arr, event, outcome
from tests.api.arr import ids as found_ids

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Written by hand, after the table of requirements: what is not here is refused.
MAY = {
    "source": "create batch definitions",
    "auditor": "read vread history-instance search-type search-system search-compartment $stats"
    " $original $proof syslog-search $export $export-status $export-cancel $export-file $gaps $quarantine batch"
    " definitions log subscribe",
    "privacy-officer": "read vread history-instance search-type search-system search-compartment"
    " $stats $original $proof syslog-search $export $export-status $export-cancel $export-file $gaps $quarantine"
    " batch definitions log subscribe",
    "security-officer": "read vread history-instance search-type search-system search-compartment"
    " $stats $gaps batch definitions metrics log",
    "external-auditor": "read vread history-instance search-type search-system search-compartment"
    " $stats $original $proof syslog-search batch definitions log",
    "administrator": "$gaps definitions metrics log",
    "patient": "read vread history-instance search-type search-compartment $stats batch definitions",
    "ombudsperson": "read vread history-instance search-type search-compartment $stats batch"
    " definitions",
    "nobody": "",
}
PRIVATE = [route for route in ROUTES if not route.public]
ORGANISATIONS = ("", "north", "south", "*")


@pytest.fixture(scope="module")
def arr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedPublished]:
    made = GuardedPublished(tmp_path_factory.mktemp("matrix"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def ids(arr: GuardedPublished) -> dict[str, str]:
    """Return the id of an event about patient p1 in each organisation."""
    return {
        one: arr.filed(one, event(source={"observer": {"display": one or "none"}})).json()["id"]
        for one in ("", "north", "south")
    }


def test_the_matrix_names_every_role_and_every_interaction() -> None:
    assert MAY.keys() == CLAIMS.keys() == {*BY_CODE, "nobody"}
    assert {route.grant for route in PRIVATE} <= INTERACTIONS.keys()
    # `/log` is public or not as a setting says; its handlers ask for the grant themselves.
    assert INTERACTIONS.keys() - {route.grant for route in PRIVATE} == {"log"}
    assert all(role.interactions <= INTERACTIONS.keys() for role in ROLES)
    assert FULL.keys() >= INTERACTIONS.keys()


def test_every_route_needs_a_grant_or_is_public() -> None:
    for route in ROUTES:
        assert bool(route.grant) is not route.public, route.path


@pytest.mark.parametrize("role", MAY)
@pytest.mark.parametrize("interaction", INTERACTIONS)
@pytest.mark.parametrize("organisation", ORGANISATIONS)
def test_a_token_grants_what_the_matrix_says(
    role: str, interaction: str, organisation: str
) -> None:
    claims = CLAIMS[role] | {"organisation": organisation, "iss": "https://a"}
    identity, _ = gate()._admission.admit(claims, now=0)
    view = identity.view(interaction)
    assert (view is not None) is (interaction in MAY[role].split())
    if view is not None:
        sees = BY_CODE[role].sees
        is_whole = sees is Sees.ALL and organisation == "*"
        assert view.is_whole is is_whole


@pytest.mark.parametrize("role", MAY)
@pytest.mark.parametrize("route", PRIVATE, ids=lambda route: f"{route.method} {route.path}")
def test_a_route_is_closed_to_a_role_without_a_hint(
    arr: GuardedPublished, ids: dict[str, str], role: str, route: Route
) -> None:
    path = route.path.replace("{id}", ids[""]).replace("{version}", "1")
    answer = arr.request(route.method, path, token=token_of(role, organisation="*"), content=b"")
    if route.grant in MAY[role].split():
        assert answer.status_code not in (401, 403)
    else:
        assert answer.status_code == 403
        assert outcome(answer) == {
            "severity": "error",
            "code": "forbidden",
            "diagnostics": "this credential does not allow that",
        }
        assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("role", "reader", "owner"),
    list(
        itertools.product(
            ["auditor", "privacy-officer", "patient", "ombudsperson", "external-auditor"],
            ORGANISATIONS,
            ["", "north", "south"],
        )
    ),
)
def test_an_event_is_there_for_its_own_organisation(
    arr: GuardedPublished, ids: dict[str, str], role: str, reader: str, owner: str
) -> None:
    visible = reader in (owner, "*")
    base = f"/fhir/AuditEvent/{ids[owner]}"
    for path, needed in (
        ("", "read"),
        ("/_history/1", "vread"),
        ("/_history", "history-instance"),
        ("/$original", "$original"),
        ("/$proof", "$proof"),
    ):
        if needed in MAY[role].split():
            answer = arr.ask(role, base + path, organisation=reader)
            assert answer.status_code == (200 if visible else 404), path
    for search in (f"/fhir/AuditEvent?_id={ids[owner]}", "/fhir/Patient/p1/AuditEvent"):
        found = arr.ask(role, search, organisation=reader)
        assert (ids[owner] in found_ids(found)) is visible


def test_a_log_of_a_role_that_is_not_allowed_is_closed(tmp_path: Path) -> None:
    arr = GuardedPublished(tmp_path, log_access="private")
    try:
        for role in MAY:
            answer = arr.ask(role, "/log/checkpoint", organisation="*")
            assert answer.status_code in ((200, 404) if "log" in MAY[role] else (403,)), role
        entries = "/log/tile/entries/000.p/1"
        # Entries are those of all the log: of those who may not see all of it none gets any.
        assert arr.ask("auditor", entries, organisation="*").status_code in (200, 404)
        for role in ("auditor", "external-auditor", "security-officer", "administrator"):
            assert arr.ask(role, entries, organisation="north").status_code in (403, 404), role
    finally:
        arr.close()


def test_an_administrator_reads_no_event_and_the_attempt_is_recorded(tmp_path: Path) -> None:
    arr = Guarded(tmp_path)
    try:
        event_id = arr.record(event()).json()["id"]
        assert arr.ask("administrator", f"/fhir/AuditEvent/{event_id}").status_code == 403
        (attempt,) = arr.uses()
        assert attempt["outcome"] == "8"
        assert attempt["agent"][0]["who"]["identifier"]["value"] == "ada"
    finally:
        arr.close()


@pytest.mark.parametrize("other", sorted(BY_CODE["administrator"].excludes))
def test_nobody_is_an_administrator_and_reads(other: str) -> None:
    codes = frozenset(["administrator", other])
    assert conflicts(codes)
    scope = "user/AuditEvent.rs patient/AuditEvent.rs system/AuditEvent.crs"
    claims = {"iss": "i", "sub": "s", "patient": "p1", "scope": scope, "roles": sorted(codes)}
    identity, _ = gate()._admission.admit(claims, now=0)
    assert not identity.grants


def test_the_clinic_asks_for_wide_scopes_and_its_letters() -> None:
    letters = {row.what: row.letter for row in ROWS}
    assert letters["create"] == "c"
    assert letters["update"] == letters["conditional-patch"] == "u"
    assert letters["conditional-delete"] == "d"
    assert letters["$everything"] == letters["history-type"] == letters["vread"] == "r"
    assert letters["search-compartment"] == "s"
    for scope, allowed in (
        ("user/*.rs", "rs"),
        ("system/*.cruds", "cruds"),
        ("patient/*.cruds user/Patient.rs user/*.rs?_id=1", ""),
    ):
        identity, _ = gate()._admission.admit({"iss": "i", "sub": "s", "scope": scope}, now=0)
        for letter, name in CLINIC.items():
            assert (identity.view(name) is not None) is (letter in allowed)
        assert (identity.view("clinic.*") is not None) is (allowed == "cruds")
        assert identity.view("search-type") is None


def test_the_folders_token_may_do_everything(tmp_path: Path) -> None:
    arr = Arr(tmp_path)
    try:
        for route in PRIVATE:
            assert arr.request(route.method, route.path).status_code not in (401, 403)
    finally:
        arr.close()
