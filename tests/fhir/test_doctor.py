"""The profile doctor: what it says of an event, and what it does and does not mend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from caretrail.errors import InvalidError
from caretrail.fhir import audit_event, doctor, profiles
from caretrail.fhir.profile import BALP
from caretrail.fhir.profile_codes import DCM, INTERACTION, JTI, THO

OWN = Path(__file__).parents[1] / "vectors" / "own"
SHARED = Path(__file__).parents[3] / "shared" / "vectors"
EXAMPLES = sorted((SHARED / "balp").rglob("*AuditEvent-*.json"))
FOREIGN = sorted((SHARED / "auditevent").glob("*-r4-*.json"))
# Where the files of others are absent their tests are skipped, by name.
ABSENT = [pytest.param(None, marks=pytest.mark.skip(reason="needs ../shared/vectors"))]
TOKEN = "OAUTHaccessTokenUse."


def stem(path: Path | None) -> str:
    return path.stem if path is not None else "absent"


def url(name: str) -> str:
    return f"{BALP}IHE.BasicAudit.{name}"


def names(findings: tuple[doctor.Finding, ...]) -> list[str]:
    return [finding.profile.removeprefix(url("")) for finding in findings]


def event(name: str = "balp-patient-read-oauth-minimal") -> dict[str, Any]:
    tree: dict[str, Any] = json.loads((OWN / f"{name}.json").read_bytes())
    return tree


def search() -> dict[str, Any]:
    return event("balp-patient-query-oauth-comprehensive")


def examine(tree: dict[str, Any]) -> doctor.Diagnosis:
    return doctor.examine(json.dumps(tree).encode())


def mend(tree: Any) -> dict[str, Any]:
    mended = doctor.mend(json.dumps(tree).encode())
    assert doctor.mend(mended) == mended
    found: dict[str, Any] = json.loads(mended)
    return found


def claims(tree: dict[str, Any]) -> list[str]:
    return [claim.removeprefix(url("")) for claim in tree.get("meta", {}).get("profile", [])]


def codes(agent: dict[str, Any]) -> list[str]:
    return [coding["code"] for coding in agent["type"]["coding"]]


# --- What it says.


def test_a_healthy_event_gets_its_profiles_and_slices() -> None:
    diagnosis = examine(event())
    assert names(diagnosis.claimed) == ["PatientRead", f"{TOKEN}Minimal"]
    assert [finding.problems for finding in diagnosis.claimed] == [(), ()]
    assert names(diagnosis.met) == ["PatientRead", "Read", f"{TOKEN}Minimal", f"{TOKEN}Opaque"]
    assert diagnosis.nearest == ()
    assert set(diagnosis.met[0].present) == {
        *("subtype:anyRead", "agent:client", "agent:server", "agent:user"),
        *("entity:transaction", "entity:data", "entity:patient"),
    }
    assert diagnosis.met[0].absent == ()


def test_a_mistyped_user_shows_as_an_absent_slice() -> None:
    """Trap 21: the event conforms all the same."""
    tree = event()
    tree["agent"][2]["type"]["coding"][0]["code"] = "AUT"
    claimed = examine(tree).claimed[0]
    assert claimed.problems == ()
    assert claimed.absent == ("agent:user",)


def test_a_token_profile_alone_does_not_say_what_happened() -> None:
    tree = event()
    del tree["agent"][0]["network"]
    diagnosis = examine(tree)
    assert names(diagnosis.met) == [f"{TOKEN}Minimal", f"{TOKEN}Opaque"]
    assert names(diagnosis.nearest) == ["PatientRead"]
    missing = diagnosis.nearest[0].missing
    assert [issue.expression for issue in missing] == ["AuditEvent.agent[0].network"]


def test_the_nearest_profile_is_the_one_that_lacks_least() -> None:
    tree = event()
    del tree["entity"][2], tree["agent"][0]["network"]
    assert names(examine(tree).nearest) == ["Read"]


def test_the_nearest_profile_is_told_by_type_and_action_without_a_subtype() -> None:
    tree = event()
    del tree["subtype"]
    assert names(examine(tree).nearest) == ["PatientRead"]
    del tree["action"], tree["meta"]
    assert "PatientRead" in names(examine(tree).nearest)


@pytest.mark.parametrize(
    ("kind", "subtype", "action", "nearest"),
    [
        ("110107", (THO + "iso-21089-lifecycle", "disclose"), "C", ["PrivacyDisclosure.Recipient"]),
        ("110113", (f"{BALP[:-20]}CodeSystem/AuthZsubType", "AuthZ-Role"), "E", ["AuthZconsent"]),
        ("110114", (DCM, "110122"), "E", []),
        ("110100", (INTERACTION, "operation"), "E", []),
    ],
)
def test_the_nearest_profile_has_the_subtype(
    kind: str, subtype: tuple[str, str], action: str, nearest: list[str]
) -> None:
    tree = event()
    tree["type"] = {"system": DCM, "code": kind}
    tree["subtype"] = [{"system": subtype[0], "code": subtype[1]}]
    tree["action"] = action
    assert names(examine(tree).nearest) == nearest


def test_the_diagnosis_can_be_read_on_a_terminal() -> None:
    tree = event()
    assert list(examine(tree).lines()) == [
        f"claims {url('PatientRead')}: every rule holds",
        f"claims {url(f'{TOKEN}Minimal')}: every rule holds",
        f"meets {url('Read')}: every rule holds",
        f"meets {url(f'{TOKEN}Opaque')}: every rule holds",
    ]
    assert examine(tree).holds
    tree["meta"]["profile"] = [url("Query")]
    del tree["agent"][0]["network"], tree["agent"][2]
    diagnosis = examine(tree)
    assert not diagnosis.holds
    assert list(diagnosis.lines())[-2:] == [
        f"is nearest to {url('PatientRead')}: rules broken: 1; nothing fills agent:user",
        "  AuditEvent.agent[0].network PatientRead: agent:client needs `network`",
    ]
    tree["meta"]["profile"] = [url("PatientRead")]
    assert len(list(examine(tree).lines())) == 2


def test_an_event_of_no_known_activity_is_near_none() -> None:
    tree = event()
    tree["type"]["code"] = "x"
    del tree["subtype"]
    assert examine(tree).nearest == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'"\xff"',
        b"[" * 100_000,
        b'{"resourceType":"Patient"}',
        b'{"resourceType":["AuditEvent"]}',
    ],
)
def test_what_is_no_event_is_refused(body: bytes) -> None:
    for act in (doctor.examine, doctor.mend):
        with pytest.raises(InvalidError):
            act(body)


def test_what_is_no_valid_event_is_not_examined_and_not_quoted() -> None:
    tree = event()
    tree["action"] = "Zaphod"
    with pytest.raises(InvalidError) as error:
        examine(tree)
    assert "Zaphod" not in str(error.value.issues())


@pytest.mark.parametrize("path", FOREIGN or ABSENT, ids=stem)
def test_events_of_others_are_mended_without_losing_a_member(path: Path) -> None:
    body = path.read_bytes()
    mended = doctor.mend(body)
    assert doctor.mend(mended) == mended
    before, after = json.loads(body), json.loads(mended)
    assert before.keys() - {"meta"} <= after.keys()
    for name in before.keys() - {"meta", "agent", "entity", "action"}:
        assert after[name] == before[name]
    for name in ("agent", "entity"):
        for old, new in zip(before.get(name, []), after.get(name, []), strict=True):
            others = old.keys() - {"type", "role", "policy"}
            assert {key: old[key] for key in others} == {key: new[key] for key in others}
            assert old.keys() <= new.keys()


@pytest.mark.parametrize("path", EXAMPLES or ABSENT, ids=stem)
def test_an_official_example_keeps_its_claims_and_agents(path: Path) -> None:
    body = path.read_bytes()
    before, after = json.loads(body), json.loads(doctor.mend(body))
    assert after["meta"]["profile"][: len(before["meta"]["profile"])] == before["meta"]["profile"]
    for old, new in zip(before["agent"], after["agent"], strict=True):
        assert {**old, "policy": ""} == {**new, "policy": ""}
    assert after["entity"] == before["entity"] if "entity" in before else "entity" not in after
    assert profiles.unmet(audit_event.read(json.dumps(after).encode())) == ()


# --- What it mends.


@pytest.mark.parametrize("tree", [event(), search()])
def test_a_healthy_event_comes_back_byte_for_byte(tree: dict[str, Any]) -> None:
    body = json.dumps(tree, indent=3).encode()
    assert doctor.mend(body) == body


def test_what_is_not_known_here_is_kept_digit_by_digit() -> None:
    tree = event()
    del tree["action"]
    value = {"url": "urn:x", "valueDecimal": 0}
    tree["extension"] = [value]
    tree["_recorded"] = {"id": "x"}
    body = json.dumps(tree).replace('"valueDecimal": 0', '"valueDecimal": 1.10')
    mended = doctor.mend(body.encode())
    assert b'"valueDecimal": 1.10' in mended
    assert {**json.loads(body), "action": "R"} == json.loads(mended)


def test_the_subtype_tells_the_action() -> None:
    tree = search()
    tree["action"] = "R"
    assert mend(tree) == search()
    tree["subtype"].append({"system": INTERACTION, "code": "read"})
    tree["action"] = "D"
    assert mend(tree)["action"] == "D"


def test_the_interaction_tells_the_type() -> None:
    tree = event()
    del tree["type"]["system"]
    assert mend(tree)["type"] == event()["type"]
    del tree["type"]
    assert mend(tree)["type"] == {**event()["type"], "display": "Restful Operation"}
    tree["subtype"].append({"system": THO + "iso-21089-lifecycle", "code": "disclose"})
    assert "type" not in mend(tree)
    tree["type"] = {"system": DCM, "code": "110106"}
    assert mend(tree)["type"] == tree["type"]
    tree["type"] = {"code": "other"}
    tree["subtype"].pop()
    assert mend(tree)["type"] == {"code": "other"}


def test_a_failure_is_not_made_a_success() -> None:
    tree = event()
    tree["outcome"] = "8"
    mended = mend(tree)
    assert mended["outcome"] == "8"
    assert claims(mended) == [f"{TOKEN}Minimal"]
    del tree["outcome"]
    assert "outcome" not in mend(tree)


def test_who_network_and_patient_are_never_invented() -> None:
    tree = event()
    del tree["agent"][0]["who"], tree["agent"][1]["network"], tree["entity"][2]["what"]
    del tree["entity"][1]
    mended = mend(tree)
    assert mended["agent"] == tree["agent"]
    assert mended["entity"] == tree["entity"]
    assert claims(mended) == [f"{TOKEN}Minimal"]
    assert {issue.expression for issue in examine(mended).nearest[0].missing} == {
        "AuditEvent.agent[0].who",
        "AuditEvent.agent[1].network",
        "AuditEvent.entity.where(type.code='2')",
    }


# --- Agents.


def parties(*agent_codes: str | None, interaction: str = "read") -> dict[str, Any]:
    """An event whose client and server have these codes, without other signs of who is who."""
    tree = event()
    tree["subtype"][0]["code"] = interaction
    for agent, code in zip(tree["agent"], agent_codes, strict=False):
        if code is None:
            del agent["type"]
        else:
            agent["type"]["coding"][0]["code"] = code
    tree["source"] = {"observer": {"display": "log"}}
    tree["agent"][1]["network"] = {"address": "fhir.example.org", "type": "1"}
    return tree


def with_address(tree: dict[str, Any], position: int = 1) -> dict[str, Any]:
    tree["agent"][position]["network"] = {"address": "https://fhir.example.org/r4", "type": "5"}
    return tree


def recorded_by(tree: dict[str, Any], position: int, source_type: str) -> dict[str, Any]:
    coding = {"system": THO + "security-source-type", "code": source_type}
    tree["source"] = {"observer": tree["agent"][position]["who"], "type": [coding]}
    return tree


def party_codes(tree: dict[str, Any]) -> list[list[str]]:
    return [codes(agent) if "type" in agent else [] for agent in mend(tree)["agent"][:2]]


RIGHT = [["110152"], ["110153"]]


def test_a_party_is_told_by_its_address_or_by_who_records() -> None:
    assert party_codes(with_address(parties(None, None))) == RIGHT
    assert party_codes(recorded_by(parties(None, None), 1, "4")) == RIGHT
    assert party_codes(recorded_by(parties(None, None), 0, "1")) == RIGHT
    assert party_codes(with_address(parties("110150", None))) == [["110152", "110150"], ["110153"]]
    created = with_address(parties(None, None, interaction="create"))
    assert party_codes(created) == [["110153"], ["110152"]]
    deleted = with_address(parties("110153", "110152", interaction="delete"))
    assert party_codes(deleted) == [["110150"], ["custodian"]]


def test_swapped_codes_are_put_right_when_two_signs_agree() -> None:
    swapped = parties("110153", "110152")
    assert party_codes(recorded_by(with_address(swapped), 1, "4")) == RIGHT
    assert party_codes(recorded_by(with_address(swapped), 0, "1")) == RIGHT


def test_one_sign_does_not_outdo_codes_that_fit() -> None:
    swapped = [["110153"], ["110152"]]
    assert party_codes(with_address(parties("110153", "110152"))) == swapped
    assert party_codes(recorded_by(parties("110153", "110152"), 1, "3")) == swapped


def test_the_agent_beside_a_named_party_is_the_other() -> None:
    assert party_codes(parties("110152", None)) == RIGHT
    assert party_codes(parties(None, "110153")) == RIGHT
    assert party_codes(parties("110153", None)) == [["110153"], ["110152"]]


def test_agents_that_may_be_either_are_left_alone() -> None:
    assert party_codes(parties(None, None)) == [[], []]
    assert party_codes(with_address(with_address(parties(None, None)), 0)) == [[], []]
    contradicting = recorded_by(with_address(parties(None, None), 0), 0, "1")
    assert party_codes(contradicting) == [[], []]
    for change in ({"type": "x"}, {"type": {"coding": [{"system": DCM, "code": "110151"}]}}):
        tree = with_address(parties(None, None))
        tree["agent"][0] |= change
        assert mend(tree)["agent"][0]["type"] == change["type"]
    tree = with_address(parties(None, None))
    del tree["agent"][0]["network"], tree["agent"][0]["requestor"]
    assert party_codes(tree) == [[], []]


def test_two_codes_of_a_party_become_one() -> None:
    tree = with_address(parties("110152", "110153"))
    coding = tree["agent"][1]["type"]["coding"]
    coding.append({"system": DCM, "code": "110152"})
    assert party_codes(tree) == RIGHT


def test_other_activities_have_other_parties() -> None:
    tree = with_address(parties(None, None))
    tree["type"] = {"system": DCM, "code": "110114"}
    tree["subtype"] = [{"system": "urn:ihe:event-type-code", "code": "ITI-71"}]
    mended = mend(tree)
    assert mended["action"] == "E"
    assert "type" not in mended["agent"][0]
    assert mended["entity"] == tree["entity"]


def test_a_requestor_is_added_where_the_type_says_it() -> None:
    tree = event()
    for agent in tree["agent"]:
        del agent["requestor"]
    tree["agent"].append({"type": {"coding": [{"system": "urn:x", "code": "x"}]}})
    mended = mend(tree)["agent"]
    assert [agent.get("requestor") for agent in mended] == [False, False, True, None]
    tree["agent"][3]["requestor"] = True
    mended = mend(tree)["agent"]
    assert [agent.get("requestor") for agent in mended] == [False, False, None, True]


# --- Entities.


def bare(tree: dict[str, Any], *positions: int) -> dict[str, Any]:
    for position in positions:
        for name in ("type", "role"):
            tree["entity"][position].pop(name, None)
    return tree


def entity_codes(tree: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (entity.get("type", {}).get("code", ""), entity.get("role", {}).get("code", ""))
        for entity in mend(tree)["entity"]
    ]


def test_an_entity_is_told_by_what_it_refers_to() -> None:
    known = [("XrequestId", ""), ("2", "4"), ("1", "1")]
    assert entity_codes(bare(event(), 1, 2)) == known
    assert entity_codes(bare(event(), 1)) == known
    tree = event()
    del tree["entity"][1]["role"], tree["entity"][2]["role"]
    assert entity_codes(tree) == known
    tree["entity"][1]["role"] = {"system": THO + "object-role", "code": "3"}
    assert entity_codes(tree)[1] == ("2", "3")


def test_a_search_is_told_by_its_query() -> None:
    known = [("2", "24"), ("XrequestId", ""), ("1", "1")]
    assert entity_codes(bare(search(), 0, 2)) == known
    tree = search()
    tree["entity"][0]["role"]["code"] = "4"
    assert entity_codes(tree) == known
    del tree["entity"][0]["query"]
    assert entity_codes(tree)[0] == ("2", "4")


def test_entities_that_may_be_either_are_left_alone() -> None:
    tree = bare(event(), 1, 2)
    tree["entity"][1]["what"] = {"reference": "Patient/2"}
    assert entity_codes(tree)[1:] == [("", ""), ("", "")]
    tree["entity"][1]["what"] = {"identifier": {"value": "1"}}
    assert entity_codes(tree)[1:] == [("", ""), ("", "")]
    tree = bare(event(), 1)
    tree["entity"].append({"what": {"reference": "Encounter/1"}})
    assert entity_codes(tree)[1:] == [("", ""), ("1", "1"), ("", "")]
    tree = event()
    del tree["entity"][1]["role"]
    tree["entity"][1]["what"]["reference"] = "Binary/1"
    assert entity_codes(tree)[1] == ("2", "")


# --- Tokens and claims.


def test_the_id_of_a_claimed_json_web_token_gets_its_prefix() -> None:
    for tree in (event(), search()):
        agent = tree["agent"][2]
        agent["policy"] = ["9f0c"]
        assert mend(tree)["agent"][2]["policy"] == [f"{JTI}9f0c"]
        # Of a token that the sender could not read, the policy is the last characters.
        agent["type"]["coding"] += event()["agent"][2]["type"]["coding"][1:]
        tree["meta"]["profile"].append(url(f"{TOKEN}Opaque"))
        assert mend(tree)["agent"][2]["policy"] == ["9f0c"]
        tree["meta"]["profile"] = [url("PatientRead")]
        assert mend(tree)["agent"][2]["policy"] == ["9f0c"]


@pytest.mark.parametrize("policy", [["urn:uuid:1"], ["a", "b"], "a", [1], None])
def test_a_policy_that_may_be_anything_is_left_alone(policy: Any) -> None:
    tree = event()
    tree["agent"][2]["policy"] = policy
    assert mend(tree)["agent"][2]["policy"] == policy


def test_claims_that_hold_are_added_and_others_dropped() -> None:
    tree = event()
    del tree["meta"]
    assert claims(mend(tree)) == ["PatientRead", f"{TOKEN}Minimal"]
    foreign = "https://example.org/StructureDefinition/x"
    tree["meta"] = {"profile": [foreign, f"{url('Query')}|1.1.4", f"{url('Read')}|1.1.4"]}
    assert mend(tree)["meta"]["profile"] == [
        *(foreign, f"{url('Read')}|1.1.4"),
        *(url("PatientRead"), url(f"{TOKEN}Minimal")),
    ]
    tree = search()
    del tree["meta"]
    assert claims(mend(tree)) == ["PatientQuery", f"{TOKEN}Comprehensive"]


def test_a_token_profile_is_not_claimed_for_a_client_that_only_has_an_identifier() -> None:
    tree = search()
    del tree["agent"][2], tree["meta"]
    assert url(f"{TOKEN}Comprehensive") in {row.profile for row in examine(tree).met}
    assert claims(mend(tree)) == ["PatientQuery"]


def test_the_user_of_a_saml_token_is_unmistakable() -> None:
    tree = event()
    coding = tree["agent"][2]["type"]["coding"][1]
    coding["code"] = "UserSamlAgent"
    assert claims(mend(tree)) == ["PatientRead", "SAMLaccessTokenUse.Minimal"]
    tree["meta"]["profile"] = [url("SAMLaccessTokenUse.Comprehensive")]
    assert claims(mend(tree)) == ["SAMLaccessTokenUse.Comprehensive", "PatientRead"]


def test_an_event_without_any_claim_left_has_no_empty_meta() -> None:
    tree = event()
    tree["meta"]["profile"] = [url("PatientQuery")]
    tree["agent"] = [{"requestor": False}]
    assert "meta" not in mend(tree)
    tree["meta"]["source"] = "urn:x"
    assert mend(tree)["meta"] == {"source": "urn:x"}


@pytest.mark.parametrize("wrong", [1, None, "x", [], [1], {}, {"coding": 1}, [{"coding": [1]}]])
@pytest.mark.parametrize("name", ["type", "subtype", "agent", "entity", "meta", "source"])
def test_members_of_the_wrong_shape_are_left_to_validation(name: str, wrong: Any) -> None:
    tree = event()
    tree[name] = wrong
    mended = mend(tree)
    if name != "meta":  # Without claims it may get some.
        assert mended[name] == wrong
    for element in ("agent", "entity"):
        for inner in ("type", "role", "what", "who", "network", "policy", "requestor"):
            tree = event()
            tree[element][0][inner] = wrong
            mend(tree)
