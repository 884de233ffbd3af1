"""Generated events and queries, out of a small world in which values meet often."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

SYSTEMS = (
    None,
    "http://dicom.nema.org/resources/ontology/DCM",
    "urn:x",
    "http://terminology.hl7.org/CodeSystem/audit-entity-type",
)
CODES = ("110114", "rest", "1", "2", "a b", "A", "a")
NAMES = (
    "Ada Lovelace",
    "ada lovelace",
    "Ädå",
    "Dr. O'Neill, Grace",
    "Straße",
    "x" * 130 + "end",
    "Lovelace",
    "10.1.2.3",
    "a|b,c$d\\e",
)
IDS = ("1", "2", "a-b", "x.Y")
BASES = (
    "",
    "http://a.example/fhir/",
    "HTTP://A.example/fhir/",
    "https://b.example/R4/",
    "http://us.example/fhir/",
)
INSTANTS = (
    "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.0001Z",
    "2026-01-01T00:00:00.00005Z", "2026-01-01T00:00:00.5Z", "2026-01-01T01:00:00.5+01:00",
    "2026-01-01T00:00:00.999999999Z", "2026-01-31T23:59:59Z", "2026-01-31T23:59:60Z",
    "2026-02-01T00:00:00Z", "1850-05-05T10:00:00Z", "1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999Z", "2200-01-01T00:00:00Z", "2200-06-01T00:00:00.25Z", "0001-01-01T00:00:00Z",
)  # fmt: skip
DATES = (
    "2026", "2026-01", "2026-01-01", "2026-01-31", "2026-01-01T00:00", "2026-01-01T00:00:00Z",
    "2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.0001Z",
    "2026-01-01T01:00:00+01:00", "1850", "1969-12-31", "2200-03", "9999", "0001", "2026-02-01",
)  # fmt: skip
PREFIXES = ("", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")
URIS = (
    "http://a.example/p",
    "http://a.example/p/q",
    "http://a.example/p|1.0",
    "http://a.example/pq",
    "urn:oid:1.2",
    "urn:oid:1.2.3",
)


def _some(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), strategy)


def _record(
    required: dict[str, Any], optional: dict[str, Any] | None = None
) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional or {})


coding = _record(
    {"code": st.sampled_from(CODES)},
    {"system": st.sampled_from(SYSTEMS[1:]), "display": st.sampled_from(NAMES)},
)
system_only = _record({"system": st.sampled_from(SYSTEMS[1:])}, {"display": st.sampled_from(NAMES)})
any_coding = st.one_of(coding, system_only)
concept = st.one_of(
    _record(
        {"coding": st.lists(any_coding, min_size=1, max_size=2)}, {"text": st.sampled_from(NAMES)}
    ),
    _record({"text": st.sampled_from(NAMES)}),
)
identifier = _record(
    {"value": st.sampled_from(CODES)},
    {
        "system": st.sampled_from(SYSTEMS[1:]),
        "type": _record({"coding": st.lists(coding, min_size=1, max_size=1)}),
    },
)


@st.composite
def literals(draw: st.DrawFn, kinds: tuple[str, ...]) -> str:
    version = draw(st.sampled_from(("", "", "/_history/1", "/_history/2")))
    return (
        draw(st.sampled_from(BASES))
        + draw(st.sampled_from(kinds))
        + "/"
        + draw(st.sampled_from(IDS))
        + version
    )


def reference(kinds: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    text = st.one_of(
        literals(kinds),
        st.sampled_from(("urn:uuid:8d1c0f1e-0000-4000-8000-000000000001", "odd/ref")),
    )
    fields = {
        "reference": text,
        "identifier": identifier,
        "display": st.sampled_from(NAMES),
        "type": st.sampled_from(("Patient", "Device")),
    }
    return _record({}, fields).filter(bool)


who = reference(("Practitioner", "Patient", "Device"))
agent = _record(
    {"requestor": st.booleans()},
    {
        "type": concept, "role": st.lists(concept, min_size=1, max_size=2), "who": who, "altId": st.sampled_from(NAMES + CODES),
        "name": st.sampled_from(NAMES), "policy": st.lists(st.sampled_from(URIS), min_size=1, max_size=2),
        "network": _record({"address": st.sampled_from(NAMES), "type": st.just("1")}),
        "purposeOfUse": st.lists(concept, min_size=1, max_size=1),
    },
)  # fmt: skip
request_type = st.just(
    {
        "system": "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType",
        "code": "XrequestId",
    }
)
patient_role = st.just({"system": "http://terminology.hl7.org/CodeSystem/object-role", "code": "1"})
entity = _record(
    {},
    {
        "what": reference(("Patient", "Observation", "AuditEvent")), "type": st.one_of(coding, request_type, st.just({"system": SYSTEMS[3], "code": "1"})),
        "role": st.one_of(coding, patient_role), "name": st.sampled_from(NAMES), "description": st.sampled_from(NAMES),
    },
).filter(bool)  # fmt: skip
meta = _record(
    {}, {"profile": st.lists(st.sampled_from(URIS), min_size=1, max_size=2), "security": st.lists(coding, min_size=1, max_size=1),
         "tag": st.lists(coding, min_size=1, max_size=1), "source": st.sampled_from(URIS)},
).filter(bool)  # fmt: skip
event = _record(
    {
        "resourceType": st.just("AuditEvent"), "type": coding, "recorded": st.sampled_from(INSTANTS),
        "agent": st.lists(agent, min_size=1, max_size=2),
        "source": _record({"observer": who}, {"site": st.sampled_from(NAMES)}),
    },
    {
        "meta": meta, "subtype": st.lists(coding, min_size=1, max_size=2), "action": st.sampled_from("CRUDE"),
        "outcome": st.sampled_from(("0", "4", "8", "12")), "outcomeDesc": st.sampled_from(NAMES),
        "purposeOfEvent": st.lists(concept, min_size=1, max_size=1), "entity": st.lists(entity, min_size=1, max_size=3),
        "id": st.sampled_from(IDS),
    },
)  # fmt: skip

TOKENS = (
    "action",
    "agent-role",
    "altid",
    "entity-role",
    "entity-type",
    "outcome",
    "site",
    "subtype",
    "type",
    "_security",
    "_tag",
    "purpose",
    "flag",
    "user",
)
IDENTIFIERS = (
    "agent.identifier",
    "entity.identifier",
    "patient.identifier",
    "source.identifier",
    "request-id",
    "agent:identifier",
    "patient:identifier",
    "agent:Patient.identifier",
    "agent:Device.identifier",
)
STRINGS = ("address", "agent-name", "entity-name", "outcome-desc")
REFERENCES = ("agent", "entity", "patient", "source")


def escaped(text: str) -> str:
    for char in "\\,|$":
        text = text.replace(char, "\\" + char)
    return text


@st.composite
def token_values(draw: st.DrawFn) -> str:
    code = escaped(
        draw(
            st.sampled_from(
                (
                    *CODES,
                    "C",
                    "R",
                    "0",
                    "4",
                    "12",
                    "profile-unmet",
                    "suspected-duplicate",
                    "Practitioner/1",
                    *NAMES[:4],
                )
            )
        )
    )
    system = draw(
        st.sampled_from(
            (
                *SYSTEMS[1:],
                "http://hl7.org/fhir/audit-event-outcome",
                "http://terminology.hl7.org/CodeSystem/audit-event-outcome",
                "http://hl7.org/fhir/audit-event-action",
            )
        )
    )
    return draw(st.sampled_from((code, code, f"{system}|{code}", f"|{code}", f"{system}|")))


def _listed(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, min_size=1, max_size=2).map(",".join)


name_parts = st.sampled_from(
    (*NAMES, "ada", "love", "LOVE", "adå", "10.1.", "strasse", "xxx", "end", "o'n", "x" * 125)
).map(escaped)
pairs = st.one_of(
    st.tuples(st.sampled_from(TOKENS), _listed(token_values())),
    st.tuples(st.sampled_from(TOKENS).map(lambda name: name + ":not"), _listed(token_values())),
    st.tuples(st.sampled_from(TOKENS).map(lambda name: name + ":text"), name_parts),
    st.tuples(st.sampled_from(IDENTIFIERS), _listed(token_values())),
    st.tuples(st.sampled_from(IDENTIFIERS[:5]).map(lambda name: name + ":of-type"), st.tuples(st.sampled_from(SYSTEMS[1:]), st.sampled_from(CODES), st.sampled_from(CODES)).map("|".join)),
    st.tuples(st.sampled_from(STRINGS), name_parts),
    st.tuples(st.sampled_from(STRINGS).map(lambda name: name + ":exact"), st.sampled_from(NAMES).map(escaped)),
    st.tuples(st.sampled_from(STRINGS).map(lambda name: name + ":contains"), name_parts),
    st.tuples(st.sampled_from(REFERENCES), _listed(st.one_of(literals(("Patient", "Practitioner", "Device", "Observation")), st.sampled_from(IDS), st.just("urn:uuid:8d1c0f1e-0000-4000-8000-000000000001"), st.just("odd/ref")))),
    st.tuples(st.sampled_from(("agent:Patient", "agent:Device", "entity:Observation", "patient:Patient")), st.sampled_from(IDS)),
    st.tuples(st.sampled_from(REFERENCES).map(lambda name: name + ":text"), name_parts),
    st.tuples(st.sampled_from(("policy", "_profile", "_source", "policy:above", "policy:below", "_profile:below", "_source:above")), _listed(st.sampled_from((*URIS, "http://a.example/", "http://a.example/p/q/r", "urn:oid:1")))),
    st.tuples(st.just("date"), _listed(st.tuples(st.sampled_from(PREFIXES), st.sampled_from(DATES)).map("".join))),
    st.tuples(st.just("_lastUpdated"), st.tuples(st.sampled_from(PREFIXES), st.sampled_from(("2026-06-01T00:00:00.002Z", "2026-06-01", "2026-06-01T00:00:00.0015Z", "2026-06-01T00:00:00Z"))).map("".join)),
    st.tuples(st.just("sequence"), _listed(st.tuples(st.sampled_from(PREFIXES), st.sampled_from(("0", "1", "3", "7", "20"))).map("".join))),
    st.tuples(st.sampled_from((*TOKENS, *STRINGS, *REFERENCES, *IDENTIFIERS[:5], "policy", "_profile", "date", "_lastUpdated", "_id")).map(lambda name: name + ":missing"), st.sampled_from(("true", "false"))),
    st.tuples(st.sampled_from(("_content", "_text")), st.sampled_from(("lovelace", "Ada lovelace", "love*", "strasse", "grace o", "xxx*", "nobody"))),
    st.tuples(st.sampled_from(("_id", "_id:not")), st.just("00000000-0000-7000-8000-000000000000")),
)  # fmt: skip
queries = st.lists(pairs, min_size=1, max_size=3)
sorts = st.lists(
    st.tuples(st.sampled_from(("", "-")), st.sampled_from(("date", "_lastUpdated", "type", "agent", "patient", "agent-name", "outcome", "_id", "sequence", "site", "policy"))).map("".join),
    max_size=2, unique=True,
).map(",".join)  # fmt: skip
