"""The BALP profiles: others' examples, every rule broken once, the guide's traps, its definitions."""

from __future__ import annotations

import copy
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from caretrail.fhir import audit_event, profiles
from caretrail.fhir.profile import BALP, Code, ValueSet
from caretrail.fhir.profiles import PROFILES

OWN = Path(__file__).parents[1] / "vectors" / "own"
SHARED = Path(__file__).parents[3] / "shared"
EXAMPLES = sorted((SHARED / "vectors" / "balp").rglob("*AuditEvent-*.json"))
ABSENT = [pytest.param(None, marks=pytest.mark.skip(reason="needs ../shared/vectors/balp"))]
DEFINITIONS = SHARED / "balp-definitions"
BY_NAME = {row.name: row for row in PROFILES}
# Stands in every value of the events made here, and must stand in no issue.
SECRET = "Zaphod"
OBSERVER = {"display": f"{SECRET} log"}


def read(tree: dict[str, Any]) -> audit_event.AuditEvent:
    return audit_event.read(json.dumps(tree).encode())


def url(name: str) -> str:
    return BY_NAME[name].url


# --- A conformant event made from the rows, with every optional slice in it.


def coding(code: Code) -> dict[str, Any]:
    return {"system": code.system, "code": code.code}


def concept(code: Code) -> dict[str, Any]:
    return {"coding": [coding(code)]}


OTHER = Code("https://example.org/codes", SECRET)
WHO = {"identifier": {"system": f"urn:{SECRET}", "value": SECRET}, "display": SECRET}
SAMPLES: dict[str, Any] = {
    "who": WHO,
    "what": WHO,
    "who.identifier": WHO["identifier"],
    "what.identifier": WHO["identifier"],
    "network": {"address": SECRET, "type": "2"},
    "media": coding(OTHER),
    "altId": SECRET,
    "name": SECRET,
    "location": {"display": SECRET},
    "policy": [f"urn:{SECRET}"],
    "purposeOfUse": [concept(OTHER)],
    "agent role": [concept(OTHER)],
    "lifecycle": coding(OTHER),
    "query": "WmFwaG9k",
    "detail": [{"type": SECRET, "valueString": SECRET}],
    "outcome": "0",
    "modifierExtension": [{"url": f"urn:{SECRET}", "valueBoolean": True}],
    "extension": [{"url": f"urn:{SECRET}", "valueBoolean": True}],
    "valueCodeableConcept": concept(OTHER),
    "valueIdentifier": {"value": SECRET},
    "valueString": SECRET,
}


def shaped(path: str, code: Code) -> Any:
    """A code as the element at `path` holds it."""
    if path == "subtype":
        return [coding(code)]
    return concept(code) if path == "valueIdentifier.type" else coding(code)


def sample(element, owner: str) -> Any:
    if isinstance(element.pattern, Code):
        return shaped(element.path, element.pattern)
    if element.pattern is not None:
        return element.pattern
    if element.binding is not None:
        return shaped(element.path, min(element.binding.codes))
    if element.target:
        return {"reference": f"{element.target}/{SECRET}"}
    name = element.path
    return SAMPLES.get(f"{owner} {name}", SAMPLES.get(name, SECRET))


def put(tree: Any, path: str, value: Any) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[name] = copy.deepcopy(value)


def drop(tree: Any, path: str) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        tree = tree[parent]
    del tree[name]


def first_code(row) -> Any:
    return min(row.match.codes) if isinstance(row.match, ValueSet) else row.match


def sliced(slicing, row) -> dict[str, Any]:
    """An element that fills the slice `row` rightly."""
    match = first_code(row)
    if slicing.element == "subtype":
        return coding(match)
    tree: dict[str, Any] = {"requestor": False} if slicing.element == "agent" else {}
    if slicing.element == "agent":
        tree["type"] = concept(match)
    else:
        tree[slicing.discriminator] = coding(match) if isinstance(match, Code) else match
    for element in sorted(row.elements, key=lambda item: item.path.count(".")):
        if element.max != 0:
            put(tree, element.path, sample(element, slicing.element))
    for nested in row.slicings:
        tree[nested.element] = [sliced(nested, item) for item in nested.slices]
    if row.invariant:
        tree["who"] = OBSERVER
    return tree


def is_dead(slicing, row) -> bool:
    """IHE.IUA.71 allows one entity, and that is the request: trap 5."""
    return slicing.max == 1 and not row.min


def stranger(slicing) -> dict[str, Any]:
    """An element that fills no slice."""
    return {"agent": {"requestor": False, "type": concept(OTHER)}}.get(
        slicing.element, {"what": {"display": SECRET}}
    )


def conformant(profile) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "meta": {"profile": [profile.url]},
        "type": coding(OTHER),
        "recorded": "2026-01-02T03:04:05Z",
        "agent": [{"requestor": False}],
        "source": {"observer": OBSERVER},
    }
    for element in profile.elements:
        if element.max != 0:
            put(tree, element.path, sample(element, ""))
    for slicing in profile.slicings:
        rows = [row for row in slicing.slices if not is_dead(slicing, row)]
        tree[slicing.element] = [sliced(slicing, row) for row in rows]
        tree[slicing.element] += [stranger(slicing)] * slicing.min
    return tree


# --- Every rule of every row, broken by one change.


def breaks(element, owner: str):
    """Changes of one element, each with the code of the issue that it must raise."""
    path = element.path
    if element.max == 0:
        value = SAMPLES.get(f"{owner} {path}", SAMPLES.get(path))
        yield "forbidden", "structure", lambda tree: put(tree, path, value)
        return
    if element.min:
        yield "missing", "required", lambda tree: drop(tree, path)
    if element.max is not None:
        listed = sample(element, owner)
        yield "repeated", "structure", lambda tree: put(tree, path, [*listed, *listed])
    if isinstance(element.pattern, Code):
        wrong = shaped(path, OTHER)
        yield "pattern", "value", lambda tree: put(tree, path, wrong)
    elif element.pattern is not None:
        wrong = not element.pattern if isinstance(element.pattern, bool) else "8D"[path == "action"]
        wrong = "U" if wrong == element.pattern else wrong
        yield "pattern", "value", lambda tree: put(tree, path, wrong)
    if element.binding is not None:
        outside = shaped(path, OTHER)
        yield "binding", "code-invalid", lambda tree: put(tree, path, outside)
    if element.target:
        elsewhere = {"reference": f"Observation/{SECRET}"}
        yield "target", "structure", lambda tree: put(tree, path, elsewhere)


def fhirpath(path: str) -> str:
    return re.sub(r"\bvalue[A-Z]\w*", "value", path)


def slice_breaks(at: str, slicing, position: int, row):
    """Changes within the slice's element: each as (name, code, expression, change of the list)."""
    prefix = f"{at}.{slicing.element}[{position}]"
    for element in row.elements:
        for name, code, change in breaks(element, slicing.element):
            yield (
                f"{row.name} {element.path} {name}",
                code,
                f"{prefix}.{fhirpath(element.path)}",
                lambda items, change=change: change(items[position]),
            )
    if row.invariant:
        changed = {"who": {"display": f"{SECRET} else"}}
        yield (
            f"{row.name} {row.invariant}",
            "invariant",
            f"{prefix}.who",
            lambda items: items[position].update(changed),
        )
    for nested in row.slicings:
        for number, item in enumerate(nested.slices):
            for name, code, expression, change in slice_breaks(prefix, nested, number, item):
                yield (
                    f"{row.name} {nested.element}:{name}",
                    code,
                    expression,
                    lambda items, change=change, nested=nested: change(
                        items[position][nested.element]
                    ),
                )


def where(at: str, slicing, row) -> str:
    path = {"subtype": "code", "agent": "type.coding.code", "detail": "type", "extension": "url"}
    name = path.get(slicing.element, f"{slicing.discriminator}.code")
    codes = sorted(row.match.codes) if isinstance(row.match, ValueSet) else [row.match]
    texts = [code.code if isinstance(code, Code) else code for code in codes]
    condition = " or ".join(f"{name}='{text}'" for text in texts)
    return f"{at}.{slicing.element}.where({condition})"


def list_breaks(slicing):
    at, element = "AuditEvent", slicing.element
    for number, row in enumerate(slicing.slices):
        if is_dead(slicing, row):
            continue
        if row.min:
            yield (
                f"{row.name} missing",
                "required",
                where(at, slicing, row),
                partial(remove, number),
            )
        if row.max is not None and slicing.max is None:
            yield (
                f"{row.name} repeated",
                "structure",
                where(at, slicing, row),
                partial(again, number),
            )
    if slicing.min:
        yield (
            "too few",
            "required",
            f"{at}.{element}",
            lambda items: items.__delitem__(slice(1, None)),
        )
    if slicing.max is not None:
        extra = sliced(slicing, slicing.slices[1])
        yield "too many", "structure", f"{at}.{element}", lambda items: items.append(extra)
    elif slicing.closed:
        position = len(slicing.slices)
        odd = stranger(slicing)
        yield "closed", "structure", f"{at}.{element}[{position}]", lambda items: items.append(odd)


def remove(number: int, items: list[Any]) -> None:
    del items[number]


def again(number: int, items: list[Any]) -> None:
    items.append(copy.deepcopy(items[number]))


def mutations():
    for profile in PROFILES:
        for element in profile.elements:
            for name, code, change in breaks(element, ""):
                case = (profile, code, f"AuditEvent.{element.path}", change)
                yield pytest.param(*case, id=f"{profile.name} {element.path} {name}")
        for slicing in profile.slicings:
            cases = [*list_breaks(slicing)]
            for number, row in enumerate(slicing.slices):
                if not is_dead(slicing, row):
                    cases += slice_breaks("AuditEvent", slicing, number, row)
            for name, code, expression, change in cases:
                case = (profile, code, expression, partial(inside, slicing.element, change))
                yield pytest.param(*case, id=f"{profile.name} {slicing.element}:{name}")


def inside(element: str, change: Any, tree: dict[str, Any]) -> None:
    change(tree[element])
    if not tree[element]:  # In R4 no list is empty, and an event has an agent.
        del tree[element]
        tree.setdefault("agent", [{"requestor": False}])


@pytest.mark.parametrize(("profile", "code", "expression", "change"), [*mutations()])
def test_each_rule_is_found_where_it_alone_is_broken(profile, code, expression, change) -> None:
    tree = conformant(profile)
    change(tree)
    event = read(tree)
    found = profiles.problems(event, profile.url)
    assert [(issue.code, issue.expression) for issue in found] == [(code, expression)]
    assert found[0].severity == "warning"
    assert found[0].diagnostics.startswith(f"{profile.name}: ")
    assert SECRET not in str(found)
    assert profiles.unmet(event) == (profile.url,)
    assert profile.url not in profiles.met(event)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda row: row.name)
def test_an_event_made_from_the_rows_meets_them(profile) -> None:
    event = read(conformant(profile))
    assert profiles.problems(event, profile.url) == ()
    assert profiles.claimed(event) == (profile.url,)
    assert profiles.unmet(event) == ()
    assert profile.url in profiles.met(event)
    counts = profiles.filled(event, profile.url)
    assert [name for name, count in counts.items() if not count] == (
        ["entity:token-response"] if profile.name == "IUA.71" else []
    )


def iua_response(*, count: int = 1) -> dict[str, Any]:
    profile = BY_NAME["IUA.71"]
    slicing = profile.slicings[1]
    tree = conformant(profile)
    tree["entity"] += [sliced(slicing, slicing.slices[1]) for _ in range(count)]
    return tree


def test_the_response_of_a_token_request_can_never_conform() -> None:
    """Trap 5: its rules are known all the same."""
    name = url("IUA.71")
    assert [issue.expression for issue in profiles.problems(read(iua_response()), name)] == [
        "AuditEvent.entity"
    ]
    tree = iua_response(count=2)
    for path in ("what", "detail", "type"):
        del tree["entity"][1][path]
    assert {issue.expression for issue in profiles.problems(read(tree), name)} == {
        "AuditEvent.entity",
        "AuditEvent.entity.where(role.code='13')",
        "AuditEvent.entity[1].what",
        "AuditEvent.entity[1].detail",
        "AuditEvent.entity[1].type",
    }


# --- Events that others made.


def test_a_verdict_on_agents_is_remembered_only_if_that_is_asked_for() -> None:
    tree = patient_read()
    tree["agent"][0]["name"] = f"{SECRET} the only one"
    event = read(tree)
    caches = [
        slicing.known.cache_info
        for row in profiles._QUICK.values()
        for slicing in row.slicings
        if slicing.known is not None
    ]
    before = [one().currsize for one in caches]
    assert profiles.unmet(event) == profiles.unmet(event) == ()
    assert [one().currsize for one in caches] == before
    assert profiles.unmet(event, remember=True) == ()
    assert [one().currsize for one in caches] != before


def test_there_are_nineteen_profiles() -> None:
    assert len({row.url for row in PROFILES}) == len({row.name for row in PROFILES}) == 19


@pytest.mark.skipif(not EXAMPLES, reason="needs ../shared/vectors/balp")
def test_all_official_examples_are_there() -> None:
    assert len(EXAMPLES) == 46 + 26
    claims = [profiles.claimed(audit_event.read(path.read_bytes())) for path in EXAMPLES]
    assert sum(map(bool, claims)) == 46 + 24


@pytest.mark.parametrize("path", EXAMPLES or ABSENT, ids=lambda path: path and path.stem)
def test_an_official_example_meets_what_it_claims(path: Path) -> None:
    event = audit_event.read(path.read_bytes())
    claims = profiles.claimed(event)
    assert [issue for name in claims for issue in profiles.problems(event, name)] == []
    assert profiles.unmet(event) == ()
    assert set(claims) <= set(profiles.met(event))


PATIENT_READ = OWN / "balp-patient-read-oauth-minimal.json"
PATIENT_QUERY = OWN / "balp-patient-query-oauth-comprehensive.json"


def test_the_worked_events_meet_two_profiles_each() -> None:
    event = audit_event.read(PATIENT_READ.read_bytes())
    assert profiles.unmet(event) == ()
    names = [name.rpartition("BasicAudit.")[2] for name in profiles.met(event)]
    token = "OAUTHaccessTokenUse."
    assert names == ["PatientRead", "Read", f"{token}Minimal", f"{token}Opaque"]
    event = audit_event.read(PATIENT_QUERY.read_bytes())
    assert profiles.unmet(event) == ()
    names = [name.rpartition("BasicAudit.")[2] for name in profiles.met(event)]
    assert names == ["PatientQuery", "Query", f"{token}Comprehensive"]


# --- Claims.


def patient_read() -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(PATIENT_READ.read_bytes())
    return tree


def patient_query() -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(PATIENT_QUERY.read_bytes())
    return tree


def problems(tree: dict[str, Any], name: str) -> list[str]:
    return [issue.expression for issue in profiles.problems(read(tree), url(name))]


def test_a_claim_may_name_a_version_and_counts_once() -> None:
    tree = patient_read()
    foreign = "https://example.org/StructureDefinition/Read"
    read_url = url("Read")
    tree["meta"]["profile"] = [f"{read_url}|1.1.4", foreign, read_url, f"{BALP}Nothing"]
    assert profiles.claimed(read(tree)) == (read_url,)
    assert profiles.problems(read(tree), f"{read_url}|1.1.4") == ()
    assert profiles.filled(read(tree), f"{read_url}|1.1.4")["agent:user"] == 1
    assert profiles.canonical(f"{foreign}|1") == f"{foreign}|1"
    del tree["outcome"]
    assert profiles.unmet(read(tree)) == (read_url,)
    tree["meta"]["profile"] = [read_url, read_url]
    assert profiles.claimed(read(tree)) == (read_url,)


def test_an_event_without_a_claim_breaks_none() -> None:
    """Trap 22."""
    tree = patient_read()
    del tree["meta"]["profile"]
    assert profiles.claimed(read(tree)) == profiles.unmet(read(tree)) == ()
    del tree["meta"]
    assert profiles.claimed(read(tree)) == profiles.unmet(read(tree)) == ()
    assert url("PatientRead") in profiles.met(read(tree))


# --- The traps of the guide.


def test_the_action_may_be_left_out_but_not_be_another() -> None:
    """Traps 1 and 3: a search is E."""
    tree = patient_query()
    tree["action"] = "R"
    assert problems(tree, "PatientQuery") == ["AuditEvent.action"]
    del tree["action"]
    assert problems(tree, "PatientQuery") == []


def test_read_reverses_the_codes_and_delete_uses_neither() -> None:
    """Trap 2: each code finds its agent whatever stands in it, so the swap shows in the server."""
    tree = patient_read()
    del tree["agent"][1]["network"]
    assert problems(tree, "Read") == ["AuditEvent.agent[1].network"]
    assert profiles.problems(read(tree), url("Read"))[0].diagnostics == (
        "Read: agent:server needs `network`"
    )
    tree = conformant(BY_NAME["Delete"])
    tree["agent"][0]["type"] = concept(
        Code("http://dicom.nema.org/resources/ontology/DCM", "110153")
    )
    assert problems(tree, "Delete") == ["AuditEvent.agent.where(type.coding.code='110150')"]


def test_comprehensive_tells_the_user_by_ircp_and_not_by_the_token() -> None:
    """Trap 4."""
    tree = conformant(BY_NAME["OAUTHaccessTokenUse.Comprehensive"])
    tree["agent"][1]["type"] = concept(
        Code(f"{BALP[:-20]}CodeSystem/UserAgentTypes", "UserOauthAgent")
    )
    del tree["agent"][1]["policy"]
    assert problems(tree, "OAUTHaccessTokenUse.Comprehensive") == []
    assert profiles.filled(read(tree), url("OAUTHaccessTokenUse.Comprehensive")) == {
        "agent:oClient": 1,
        "agent:oUser": 0,
    }


def test_a_decision_without_user_or_organization_cannot_conform() -> None:
    """Trap 6."""
    tree = conformant(BY_NAME["AuthZconsent"])
    del tree["agent"][1:3]
    assert problems(tree, "AuthZconsent") == [
        "AuditEvent.agent.where(type.coding.code='IRCP')",
        "AuditEvent.agent.where(type.coding.code='PROV')",
    ]


def test_the_token_of_a_decision_has_the_code_of_a_user_agent() -> None:
    """Trap 7; and the closed slicing has no room for an X-Request-Id."""
    tree = conformant(BY_NAME["AuthZconsent"])
    assert profiles.filled(read(tree), url("AuthZconsent"))["entity:token"] == 1
    tree["entity"].append(patient_read()["entity"][0])
    assert problems(tree, "AuthZconsent") == ["AuditEvent.entity[3]"]


def test_a_policy_without_the_jti_prefix_conforms() -> None:
    """Traps 8 and 9: the prefix stands in a comment only."""
    tree = patient_read()
    tree["agent"][2]["policy"] = ["C187CC480FAC40A0936902D8BC324F5F"]
    assert problems(tree, "OAUTHaccessTokenUse.Minimal") == []


def test_a_request_id_entity_may_lack_what_but_not_the_value_of_its_identifier() -> None:
    """Trap 11."""
    tree = patient_read()
    tree["entity"][0]["what"] = {"identifier": {"system": "urn:x"}}
    assert problems(tree, "Read") == ["AuditEvent.entity[0].what.identifier.value"]
    for what in ({"display": "x"}, None):
        tree["entity"][0]["what"] = what
        tree["entity"][0] = {key: value for key, value in tree["entity"][0].items() if value}
        assert problems(tree, "Read") == []


@pytest.mark.parametrize("path", ["what", "detail", "lifecycle"])
def test_a_query_entity_has_no_room_for_results(path: str) -> None:
    """Trap 15."""
    tree = patient_query()
    tree["entity"][0][path] = SAMPLES[path]
    assert problems(tree, "PatientQuery") == [f"AuditEvent.entity[0].{path}"]


def test_a_second_entity_of_a_sliced_type_breaks_the_profile() -> None:
    """Trap 17: a second object, or a RelatedPerson that is a Person, too."""
    tree = patient_read()
    second = {**tree["entity"][1], "what": {"reference": "Encounter/1"}}
    tree["entity"].append(second)
    assert problems(tree, "PatientRead") == ["AuditEvent.entity.where(type.code='2')"]
    second["type"] = {"system": "http://hl7.org/fhir/resource-types", "code": "Encounter"}
    assert problems(tree, "PatientRead") == []
    tree["entity"][3] = {**tree["entity"][2], "what": {"reference": "RelatedPerson/1"}}
    assert problems(tree, "PatientRead") == [
        "AuditEvent.entity[3].what",
        "AuditEvent.entity.where(type.code='1')",
    ]
    assert problems(tree, "Read") == []


def test_a_second_user_breaks_a_read() -> None:
    """Trap 18."""
    tree = patient_read()
    tree["agent"].append(tree["agent"][2])
    assert problems(tree, "Read") == ["AuditEvent.agent.where(type.coding.code='IRCP')"]
    assert problems(tree, "OAUTHaccessTokenUse.Minimal") == []


def test_one_coding_of_a_value_set_suffices_and_two_are_still_one() -> None:
    """Trap 19."""
    tree = conformant(BY_NAME["PatientCreate"])
    concepts = tree["agent"][2]["type"]["coding"]
    system = concepts[0]["system"]
    concepts += [coding(OTHER), {"system": system, "code": "INF"}]
    assert problems(tree, "PatientCreate") == []
    assert profiles.filled(read(tree), url("PatientCreate"))["agent:user"] == 1
    assert profiles.unmet(read(tree)) == ()


def test_codes_are_compared_exactly() -> None:
    """Trap 20: so in the patterns, whatever the code system says of case."""
    tree = patient_read()
    tree["agent"][2]["type"]["coding"][1]["code"] = "useroauthagent"
    assert problems(tree, "OAUTHaccessTokenUse.Minimal") == [
        "AuditEvent.agent.where(type.coding.code='UserOauthAgent')"
    ]
    del tree["agent"][2]["type"]["coding"][1]["system"]
    tree["agent"][2]["type"]["coding"][1]["code"] = "UserOauthAgent"
    assert len(problems(tree, "OAUTHaccessTokenUse.Minimal")) == 1


def test_a_mistyped_user_is_merely_unsliced() -> None:
    """Trap 21: an IRCP in a Create; the event conforms, and has no user."""
    tree = conformant(BY_NAME["PatientCreate"])
    tree["agent"][2] = {**patient_read()["agent"][2], "network": {"address": "x"}}
    assert problems(tree, "PatientCreate") == []
    counts = profiles.filled(read(tree), url("PatientCreate"))
    assert counts["agent:client"] == 1
    assert counts["agent:user"] == 0


def test_an_agent_cannot_fill_two_slices_at_once() -> None:
    tree = patient_read()
    client, server = (agent["type"]["coding"] for agent in tree["agent"][:2])
    client += server
    del tree["agent"][1]
    assert problems(tree, "Read") == ["AuditEvent.agent[0]"]
    assert profiles.unmet(read(tree)) == (url("PatientRead"),)


def test_an_agent_without_a_type_fills_no_slice() -> None:
    tree = patient_read()
    tree["agent"] += [{"requestor": False}, {"requestor": False, "type": {"text": "x"}}]
    tree["entity"].append({"name": "x"})
    assert problems(tree, "PatientRead") == []
    del tree["entity"]
    assert len(problems(tree, "PatientRead")) == 2


@pytest.mark.parametrize(
    ("what", "holds"),
    [
        ({"reference": "Patient/1"}, True),
        ({"reference": "Patient/1/_history/2"}, True),
        ({"reference": "https://fhir.example.org/r4/Patient/1"}, True),
        ({"reference": "Patient?identifier=urn:x|1"}, True),
        ({"reference": "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"}, True),
        ({"reference": "#p"}, True),
        ({"reference": "#absent"}, True),
        ({"identifier": {"value": "1"}}, True),
        ({"identifier": {"value": "1"}, "type": "Patient"}, True),
        ({"display": "x", "type": "http://hl7.org/fhir/StructureDefinition/Patient"}, True),
        ({"reference": "Group/1"}, False),
        ({"reference": "https://fhir.example.org/r4/Group/1/_history/2"}, False),
        ({"reference": "Group?identifier=urn:x|1"}, False),
        ({"reference": "#g"}, False),
        ({"identifier": {"value": "1"}, "type": "Group"}, False),
        ({"reference": "Patient/1", "type": "Group"}, False),
    ],
)
def test_only_a_patient_is_a_patient(what: dict[str, Any], holds: bool) -> None:
    """A logical reference may be to a Patient; one that names another type is not."""
    tree = patient_read()
    tree["contained"] = [
        {"resourceType": "Patient", "id": "p"},
        {"resourceType": "Group", "id": "g"},
    ]
    tree["entity"][2]["what"] = what
    assert problems(tree, "PatientRead") == ([] if holds else ["AuditEvent.entity[2].what"])
    assert (profiles.unmet(read(tree)) == ()) is holds


def test_an_extension_that_is_not_fhir_is_left_to_validation() -> None:
    tree = conformant(BY_NAME["SAMLaccessTokenUse.Comprehensive"])
    tree["agent"][0]["extension"] = [{"url": 1}]
    assert problems(tree, "SAMLaccessTokenUse.Comprehensive") == []
    del tree["agent"][0]["extension"]
    assert problems(tree, "SAMLaccessTokenUse.Comprehensive") == []


# --- The StructureDefinitions state the same rules, and no others.


def definition(name: str) -> dict[str, Any]:
    path = DEFINITIONS / f"StructureDefinition-{name}.json"
    tree: dict[str, Any] = json.loads(path.read_bytes())
    return tree


def value_set(address: str) -> frozenset[Code]:
    tree = json.loads((DEFINITIONS / f"ValueSet-{address.rpartition('/')[2]}.json").read_bytes())
    codes: set[Code] = set()
    for part in tree["compose"]["include"]:
        listed = part.get("concept")
        if listed is None:
            name = part["system"].rpartition("/")[2]
            system = json.loads((DEFINITIONS / f"CodeSystem-{name}.json").read_bytes())
            listed = system["concept"]
        codes |= {Code(part["system"], item["code"]) for item in listed}
    return frozenset(codes)


def pattern_of(element: dict[str, Any]) -> Any:
    for name, value in element.items():
        if name.startswith("pattern"):
            if not isinstance(value, dict):
                return value
            found = value["coding"][0] if "coding" in value else value
            return Code(found["system"], found["code"])
    return None


def stated(name: str) -> tuple[dict[str, Any], dict[str, tuple[Any, ...]], set[Any]]:
    """What the definition and its ancestors state: of slicings, of slices, and of elements."""
    tree = definition(name)
    base = tree["baseDefinition"].rpartition("/")[2]
    slicings, slices, rules = ({}, {}, set()) if base == "AuditEvent" else stated(base)
    for element in tree["differential"]["element"]:
        place = element["id"].removeprefix("AuditEvent.")
        if ".extension" in place:
            continue  # Compared with the definitions of the extensions themselves.
        parent, _, path = place.rpartition(".")
        codes, pattern = frozenset[Code](), pattern_of(element)
        if element.get("binding", {}).get("strength") == "required":
            codes = value_set(element["binding"]["valueSet"])
        if "slicing" in element or place in slicings:
            row = slicings.setdefault(place, {"max": "*"})
            row |= {key: element[key] for key in ("slicing", "min", "max") if key in element}
        elif "sliceName" in element:
            old = slices.get(place, (0, "*", None))
            match = codes or pattern or old[2]
            slices[place] = (element.get("min", old[0]), element.get("max", old[1]), match)
            rules |= {(place, "who", row["key"]) for row in element.get("constraint", [])}
        elif parent in slices and path == discriminator(slicings, parent):
            slices[parent] = (*slices[parent][:2], codes or pattern)
        else:
            owner, path = owner_of(place)
            rules |= set(rules_of(owner, path, element, codes, pattern))
    return slicings, slices, rules


def owner_of(place: str) -> tuple[str, str]:
    """Part `agent:client.who.identifier` into the slice and the path in it."""
    parts = place.split(".")
    depth = max((number for number, part in enumerate(parts, 1) if ":" in part), default=0)
    return ".".join(parts[:depth]), ".".join(parts[depth:])


def discriminator(slicings: dict[str, Any], place: str) -> str:
    found = slicings[place.rpartition(":")[0]]["slicing"]["discriminator"]
    assert len(found) == 1
    assert found[0]["type"] == "value"
    return str(found[0]["path"])


def rules_of(owner: str, path: str, element: dict[str, Any], codes: Any, pattern: Any):
    if path == "value[x]" and element.get("type") == [{"code": "string"}]:
        yield owner, "valueString", "min"  # As value[x] is 1..1 in R4.
    if element.get("min"):
        yield owner, path, "min"
    if "max" in element and element["max"] != "*":
        yield owner, path, f"max {element['max']}"
    if pattern is not None:
        yield owner, path, pattern
    if codes:
        yield owner, path, codes
    for kind in element.get("type", []):
        for target in kind.get("targetProfile", []):
            yield owner, path, target


def written(elements, owner: str):
    for row in elements:
        if row.min:
            yield owner, row.path, "min"
        if row.max is not None:
            yield owner, row.path, f"max {row.max}"
        if row.pattern is not None:
            yield owner, row.path, row.pattern
        if row.binding is not None:
            yield owner, row.path, row.binding.codes
        if row.target:
            yield owner, row.path, f"http://hl7.org/fhir/StructureDefinition/{row.target}"


def rows_of(slicings, owner: str = ""):
    """Yield (place, slicing, slice) of every slice but those of extensions."""
    for slicing in slicings:
        for row in slicing.slices if slicing.element != "extension" else ():
            place = f"{owner}{slicing.element}:{row.name}"
            yield place, slicing, row
            yield from rows_of(row.slicings, f"{place}.")


@pytest.mark.skipif(not DEFINITIONS.exists(), reason="needs ../shared/balp-definitions")
@pytest.mark.parametrize("profile", PROFILES, ids=lambda row: row.name)
def test_the_rows_say_what_the_structure_definition_says(profile) -> None:
    slicings, slices, rules = stated(profile.id)
    found = set(written(profile.elements, ""))
    for place, slicing, row in rows_of(profile.slicings):
        most = "*" if row.max is None else str(row.max)
        match = row.match.codes if isinstance(row.match, ValueSet) else row.match
        assert slices.pop(place) == (row.min, most, match)
        name = place.rpartition(":")[0]
        assert discriminator(slicings, place) == slicing.discriminator
        assert slicings[name]["slicing"]["rules"] == ("closed" if slicing.closed else "open")
        found |= set(written(row.elements, place))
        if row.invariant:
            found.add((place, "who", row.invariant))
    assert slices == {}
    assert found == rules


@pytest.mark.skipif(not DEFINITIONS.exists(), reason="needs ../shared/balp-definitions")
@pytest.mark.parametrize("profile", PROFILES, ids=lambda row: row.name)
def test_the_numbers_of_agents_and_entities_follow_from_the_rows(profile) -> None:
    slicings, _, _ = stated(profile.id)
    for slicing in profile.slicings:
        row = slicings.pop(slicing.element)
        least = max(slicing.min, sum(item.min for item in slicing.slices))
        # The token profiles' differentials leave it to their slices.
        assert row.get("min", least) == least
        limits = [item.max for item in slicing.slices]
        most = sum(limits) if slicing.closed and None not in limits else None
        most = slicing.max if slicing.max is not None else most
        assert row["max"] == ("*" if most is None else str(most))
    assert set(slicings) <= {"entity:consent.detail"}


@pytest.mark.skipif(not DEFINITIONS.exists(), reason="needs ../shared/balp-definitions")
def test_the_extension_slices_say_what_the_extensions_say() -> None:
    user = BY_NAME["SAMLaccessTokenUse.Comprehensive"].slicings[0].slices[0]
    rows = {row.match: row for row in user.slicings[0].slices}
    for name in ("ihe-assuranceLevel", "ihe-otherId"):
        elements = definition(name)["differential"]["element"]
        kinds = next(item["type"] for item in elements if item["id"] == "Extension.value[x]")
        stated_rules = set()
        for element in elements[1:]:
            path = element["id"].removeprefix("Extension.")
            path = path.replace("value[x]", f"value{kinds[0]['code']}")
            binding = element.get("binding", {})
            codes = value_set(binding["valueSet"]) if binding.get("strength") == "required" else ()
            stated_rules |= set(rules_of("", path, {**element, "type": []}, codes, None))
        assert set(written(rows[BALP + name].elements, "")) == stated_rules
    snapshot = definition("IHE.BasicAudit.SAMLaccessTokenUse.Comprehensive")
    for element in snapshot["differential"]["element"]:
        if "otherId/" in element["id"] and pattern_of(element) is not None:
            bound = {item.path: item.binding for item in rows[f"{BALP}ihe-otherId"].elements}
            assert pattern_of(element) in bound["valueIdentifier.type"].codes
