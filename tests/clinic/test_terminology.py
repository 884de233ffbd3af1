"""Searches by ValueSets and CodeSystems that are kept in the clinic, and by others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.clinic.hospital import Hospital

SYSTEM = "https://example.org/codes"
SET = "https://example.org/sets"
# Two kinds of fruit, one of them with kinds of its own.
CONCEPTS = [
    {"code": "fruit", "concept": [
        {"code": "apple", "concept": [{"code": "cox"}, {"code": "boskoop"}]},
        {"code": "pear"},
    ]},
    {"code": "nut"},
]  # fmt: skip
ALL = ("fruit", "apple", "cox", "boskoop", "pear", "nut")


def value_set(name: str, **members: Any) -> dict[str, Any]:
    url = f"{SET}/{name}"
    return {"resourceType": "ValueSet", "id": name, "url": url, "status": "active", **members}


def listed(*codes: str) -> dict[str, Any]:
    return {"system": SYSTEM, "concept": [{"code": code} for code in codes]}


@pytest.fixture(scope="module")
def hospital(shared: Hospital) -> Hospital:
    code_system = {
        "resourceType": "CodeSystem", "id": "codes", "url": SYSTEM, "status": "active",
        "version": "1", "content": "complete", "concept": CONCEPTS,
    }  # fmt: skip
    elsewhere = {
        **code_system,
        "id": "elsewhere",
        "url": f"{SYSTEM}/elsewhere",
        "content": "not-present",
    }
    del elsewhere["concept"]
    parts = {**code_system, "id": "parts", "url": f"{SYSTEM}/parts", "hierarchyMeaning": "part-of"}
    sets = [
        value_set("two", version="1", compose={"include": [listed("cox", "nut")]}),
        value_set("all", compose={"include": [{"system": SYSTEM}], "exclude": [listed("nut")]}),
        value_set("pinned", compose={"include": [{"system": SYSTEM, "version": "1"}]}),
        value_set("lost", compose={"include": [{"system": f"{SYSTEM}/elsewhere"}]}),
        value_set("filtered", compose={"include": [{"system": SYSTEM, "filter": [
            {"property": "concept", "op": "is-a", "value": "fruit"}]}]}),
        value_set("empty"),
        value_set("expanded", expansion={"timestamp": "2026-01-01", "contains": [
            {"system": SYSTEM, "code": "fruit", "abstract": True, "contains": [
                {"system": SYSTEM, "code": "pear"}]}]}),
        {**value_set("twice", version="1", compose={"include": [listed("pear")]}), "id": "twice-1"},
        {**value_set("twice", version="2", compose={"include": [listed("nut")]}), "id": "twice-2"},
    ]  # fmt: skip
    for one in (code_system, elsewhere, parts, *sets):
        assert shared.put(one).status_code == 201, one["id"]
    for code in ALL:
        observation = {
            "resourceType": "Observation", "id": code, "status": "final",
            "code": {"coding": [{"system": SYSTEM, "code": code}]},
        }  # fmt: skip
        assert shared.put(observation).status_code == 201
    return shared


def found(hospital: Hospital, query: str) -> set[str]:
    answer = hospital.get(f"Observation?{query}&_count=100")
    assert answer.status_code == 200, answer.text
    return {entry["resource"]["id"] for entry in answer.json().get("entry", [])}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"code:in={SET}/two", {"cox", "nut"}),
        (f"code:in={SET}/two|1", {"cox", "nut"}),
        ("code:in=ValueSet/two", {"cox", "nut"}),
        (f"code:in={SET}/expanded", {"pear"}),
        (f"code:in={SET}/expanded,{SET}/two", {"pear", "cox", "nut"}),
        (f"code:in={SET}/all", set(ALL) - {"nut"}),
        (f"code:in={SET}/pinned", set(ALL)),
        (f"code:not-in={SET}/two", set(ALL) - {"cox", "nut"}),
        (f"code:in={SET}/twice|2", {"nut"}),
        (f"code:below={SYSTEM}|apple", {"apple", "cox", "boskoop"}),
        (f"code:below={SYSTEM}|fruit", set(ALL) - {"nut"}),
        (f"code:above={SYSTEM}|cox", {"cox", "apple", "fruit"}),
        (f"code:above={SYSTEM}|nut", {"nut"}),
        (f"code:below={SYSTEM}|nobody", set()),
        (f"code:below={SYSTEM}|pear,{SYSTEM}|nut", {"pear", "nut"}),
    ],
)
def test_codes_are_found_by_what_is_kept_of_them(
    hospital: Hospital, query: str, expected: set[str]
) -> None:
    assert found(hospital, query) == expected


@pytest.mark.parametrize(
    "query",
    [
        f"code:in={SET}/nobody",
        f"code:in={SET}/two|9",
        "code:in=ValueSet/nobody",
        f"code:not-in={SET}/filtered",
        f"code:in={SET}/empty",
        f"code:in={SET}/lost",
        "code:below=apple",
        f"code:below={SYSTEM}|",
        f"code:above={SYSTEM}/elsewhere|apple",
        f"code:below={SYSTEM}/parts|apple",
        f"code:below={SYSTEM}/nobody|apple",
    ],
)
def test_what_nobody_here_knows_is_said_and_not_left_out(hospital: Hospital, query: str) -> None:
    answer = hospital.get(f"Observation?{query}")
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["code"] == "not-supported"


def test_two_versions_of_a_value_set_have_to_be_told_apart(hospital: Hospital) -> None:
    answer = hospital.get(f"Observation?code:in={SET}/twice")
    assert answer.status_code == 400
    assert "version" in answer.json()["issue"][0]["diagnostics"]


def test_more_codes_than_a_search_takes_are_refused(hospital: Hospital) -> None:
    codes = [f"c{number}" for number in range(1_001)]
    hospital.put(value_set("huge", compose={"include": [listed(*codes)]}))
    assert hospital.get(f"Observation?code:in={SET}/huge").status_code == 400
    half = [f"c{number}" for number in range(501)]
    hospital.put(value_set("half", compose={"include": [listed(*half)]}))
    assert found(hospital, f"code:in={SET}/half") == set()
    assert hospital.get(f"Observation?code:in={SET}/half,{SET}/half").status_code == 400


def test_a_chain_and_a_condition_know_codes_as_well(hospital: Hospital) -> None:
    hospital.put({"resourceType": "Patient", "id": "eater"})
    eaten = {
        "resourceType": "Observation", "id": "eaten", "status": "final",
        "code": {"coding": [{"system": SYSTEM, "code": "cox"}]},
        "subject": {"reference": "Patient/eater"},
    }  # fmt: skip
    hospital.put(eaten)
    answer = hospital.get(f"Patient?_has:Observation:patient:code:below={SYSTEM}|apple")
    assert [entry["resource"]["id"] for entry in answer.json()["entry"]] == ["eater"]
    deleted = hospital.request("DELETE", f"Observation?code:in={SET}/two&patient=Patient/eater")
    assert deleted.status_code == 204
    assert hospital.get("Observation/eaten").status_code == 410
