"""An AuditEvent as a console shows it: a line of a table, and a sentence in plain language.

What is read here was sent by anybody and may be shown in part only, so every element may be absent.
Values are text; it is the templates that escape them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from caretrail.console import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Json = dict[str, Any]
_PATIENT: Final = "Patient/"
_REQUEST_ID: Final = "XrequestId"
_ABOUT_PATIENTS: Final = ("110127", "110138")
_QUERY: Final = ("24", "query")
_SESSION_PREFIX: Final = "urn:ietf:params:oauth:jti:"


def members(value: Any) -> list[Json]:
    """Return the objects of an array; anything else has none."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def child(value: Json, name: str) -> Json:
    """Return an object of an object, empty where it is absent."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def text(value: Json, name: str) -> str:
    """Return a text of an object, "" where it is absent."""
    found = value.get(name)
    return found if isinstance(found, str) else ""


def name_of(reference: Json) -> str:
    """Return what a Reference is best known by: its display, its address or its identifier."""
    identifier = child(reference, "identifier")
    return text(reference, "display") or text(reference, "reference") or text(identifier, "value")


def search_of(reference: Json) -> str:
    """Return the value by which a search finds a Reference, "" where there is none."""
    if found := text(reference, "reference"):
        return found.partition("/_history/")[0]
    identifier = child(reference, "identifier")
    value = text(identifier, "value")
    system = text(identifier, "system")
    return f"{system}|{value}" if system and value else value


def requestor(event: Json) -> Json:
    """Return the agent that asked: the one that says so, or the first."""
    agents = members(event.get("agent"))
    asking = [one for one in agents if one.get("requestor") is True]
    return (asking or agents or [{}])[0]


def user_of(event: Json) -> str:
    """Return who asked, as people know them."""
    agent = requestor(event)
    return text(agent, "name") or name_of(child(agent, "who")) or text(agent, "altId") or "unknown"


def user_search(event: Json) -> str:
    """Return the value of the parameter `user` that finds whoever asked."""
    agent = requestor(event)
    found = search_of(child(agent, "who"))
    return found.rpartition("|")[2] or text(agent, "altId") or text(agent, "name")


def clients(event: Json) -> Iterator[Json]:
    """Yield the agents beside the one that asked."""
    asking = requestor(event)
    return (one for one in members(event.get("agent")) if one is not asking)


def patients(event: Json) -> list[Json]:
    """Return the References to patients, each once."""
    found: dict[str, Json] = {}
    references = [child(one, "what") for one in members(event.get("entity"))]
    references += [child(one, "who") for one in members(event.get("agent"))]
    for reference in references:
        address = search_of(reference)
        is_patient = _PATIENT in text(reference, "reference") or reference.get("type") == "Patient"
        if is_patient and address:
            found.setdefault(address, reference)
    return list(found.values())


def patient_id(reference: Json) -> str:
    """Return the logical id of a Reference to a patient, "" for one by identifier."""
    return text(reference, "reference").partition("/_history/")[0].rpartition(_PATIENT)[2]


def touched(event: Json) -> list[Json]:
    """Return the entities that are neither a patient nor the number of a request."""
    return [
        one
        for one in members(event.get("entity"))
        if _PATIENT not in text(child(one, "what"), "reference")
        and text(child(one, "type"), "code") != _REQUEST_ID
    ]


def object_of(event: Json) -> str:
    """Return what was touched, in few words."""
    for one in touched(event):
        if text(child(one, "role"), "code") in _QUERY:
            return _kind_of_query(one)
    names = [name for one in touched(event) if (name := _entity_name(one))]
    if not names:
        return ""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _entity_name(entity: Json) -> str:
    what = child(entity, "what")
    return (
        text(entity, "name")
        or text(what, "display")
        or text(what, "reference").partition("/_history/")[0]
        or text(child(what, "identifier"), "value")
    )


def _kind_of_query(entity: Json) -> str:
    """Return the type that a search was for; its criteria are for the event's own page."""
    reference = text(child(entity, "what"), "reference")
    kind = reference.partition("?")[0].rstrip("/").rpartition("/")[2]
    return f"{kind} resources" if kind.isalpha() else text(entity, "name")


def purposes(event: Json) -> list[str]:
    """Return the codes of the purposes of the event and of its agents, each once."""
    concepts = members(event.get("purposeOfEvent"))
    for agent in members(event.get("agent")):
        concepts += members(agent.get("purposeOfUse"))
    codes = (text(one, "code") for concept in concepts for one in members(concept.get("coding")))
    return list(dict.fromkeys(code for code in codes if code))


def request_ids(event: Json) -> list[str]:
    """Return the values of X-Request-Id that the event names (BALP)."""
    return _identifiers(
        one
        for one in members(event.get("entity"))
        if text(child(one, "type"), "code") == _REQUEST_ID
    )


def _identifiers(entities: Iterable[Json]) -> list[str]:
    values = (text(child(child(one, "what"), "identifier"), "value") for one in entities)
    return [value for value in values if value]


def tokens(event: Json) -> list[str]:
    """Return the policies that tell by which token the user acted: events of one session share it."""
    found = [
        policy
        for agent in members(event.get("agent"))
        for policy in agent.get("policy") or ()
        if isinstance(policy, str) and policy.startswith(_SESSION_PREFIX)
    ]
    return list(dict.fromkeys(found))


def addresses(event: Json) -> list[str]:
    """Return from where the user came: the network addresses of the user, or else of all agents."""
    agents = [requestor(event), *clients(event)]
    found = (text(child(one, "network"), "address") for one in agents)
    return list(dict.fromkeys(one for one in found if one))


def kind_of(event: Json) -> str:
    """Return what happened as a label: the subtype, or else the type."""
    for name, known in (("subtype", words.SUBTYPES), ("type", words.TYPES)):
        codings = members(event.get(name)) if name == "subtype" else [child(event, name)]
        for one in codings:
            code = text(one, "code")
            label = known.get(code) or text(one, "display") or code
            if label:
                return label[:1].upper() + label[1:]
    return "Event"


def line(event: Json) -> Json:
    """Return an event as a line of a table; all of it is text, lists of text or None."""
    outcome = text(event, "outcome")
    found = patients(event)
    return {
        "id": text(event, "id"),
        "recorded": text(event, "recorded"),
        "kind": kind_of(event),
        "action": words.ACTIONS.get(text(event, "action"), text(event, "action")),
        "user": user_of(event),
        "user_search": user_search(event),
        "patients": [
            {"name": name_of(one), "search": search_of(one), "id": patient_id(one)} for one in found
        ],
        "object": object_of(event),
        "outcome": words.OUTCOMES.get(outcome, outcome or "Not said"),
        "outcome_code": outcome,
        "purposes": [words.PURPOSES.get(code, code) for code in purposes(event)],
        "emergency": bool(words.EMERGENCY & set(purposes(event))) or "110127" in _subtypes(event),
        "address": (addresses(event) or [""])[0],
        "site": text(child(event, "source"), "site"),
        "source": name_of(child(child(event, "source"), "observer")),
        "sentence": sentence(event),
    }


def _subtypes(event: Json) -> list[str]:
    return [text(one, "code") for one in members(event.get("subtype"))]


def sentence(event: Json) -> str:
    """Return who did what, to whom, by what and what for, as one sentence without a time."""
    code, verb = _verb(event)
    outcome = text(event, "outcome")
    failed = outcome not in ("", "0")
    parts = [user_of(event)]
    parts.append(f"tried to {verb.tried}" if failed else verb.done)
    if code not in words.INTRANSITIVE:
        what = object_of(event)
        whose = " and ".join(name_of(one) for one in patients(event)[:2])
        if what and whose:
            parts.append(f"{what} of {whose}")
        elif whose:
            parts.append(f"the record of {whose}")
        elif what:
            parts.append(what)
    elif code in _ABOUT_PATIENTS and (found := patients(event)):
        parts.append(f"to the record of {name_of(found[0])}")
    client = next((name for one in clients(event) if (name := text(one, "name"))), "")
    if client:
        parts.append(f"with {client}")
    said = " ".join(parts)
    if why := [words.PURPOSES.get(one, one) for one in purposes(event)]:
        said += f", for {' and '.join(why)}"
    if failed:
        said += f"; it ended as: {words.OUTCOMES.get(outcome, outcome).lower()}"
        if reason := text(event, "outcomeDesc"):
            said += f" ({reason})"
    return said if said.endswith((".", ")")) else f"{said}."


def _verb(event: Json) -> tuple[str, words.Verb]:
    for code in _subtypes(event):
        if code in words.VERBS:
            return code, words.VERBS[code]
    kind = text(child(event, "type"), "code")
    if kind in words.TYPE_VERBS:
        return kind, words.TYPE_VERBS[kind]
    action = text(event, "action")
    return action, words.ACTION_VERBS.get(action, words.ACTION_VERBS["E"])
