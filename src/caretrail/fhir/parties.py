"""Which agent is the client and which the server, by what else the event says (IHE BALP, REST).

The direction of the data decides a party's code, so senders mix them up: 110152 is the client of a
Read and the server of a Create. The code is corrected where network and source show who is who.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caretrail.fhir.event_tree import child, codings, key, members, written
from caretrail.fhir.profile import Code
from caretrail.fhir.profile_codes import APPLICATION, CUSTODIAN, DESTINATION, SOURCE, THO

if TYPE_CHECKING:
    from caretrail.fhir.event_tree import Json
    from caretrail.fhir.profile import Profile

_PARTIES: Final = frozenset({APPLICATION, DESTINATION, SOURCE, CUSTODIAN})
_SOURCE_TYPE: Final = THO + "security-source-type"
_SERVERS: Final = frozenset({Code(_SOURCE_TYPE, "3"), Code(_SOURCE_TYPE, "4")})
_DEVICES: Final = frozenset({Code(_SOURCE_TYPE, "1")})


def name_parties(tree: Json, profile: Profile) -> None:
    """Give the two systems of a RESTful interaction the codes that `profile` has for them."""
    codes = _party_codes(profile)
    systems = [agent for agent in members(tree, "agent") if _is_system(agent)]
    if codes is None or len(systems) != 2:
        return
    first, second = systems
    server = _server(first, second, codes, tree)
    if server is None:
        return
    client_code, server_code = codes
    _recode(first, server_code if first is server else client_code, codes)
    _recode(second, server_code if second is server else client_code, codes)


def _server(first: Json, second: Json, codes: tuple[Code, Code], tree: Json) -> Json | None:
    """Return the agent that is the server without a doubt, or None."""
    held = [_held(agent) & set(codes) for agent in (first, second)]
    leanings = [_leaning(agent, tree) for agent in (first, second)]
    strength = abs(leanings[0] - leanings[1])
    # Codes that fit, one to an agent, are the sender's word: one sign alone does not outdo it.
    fits = [len(party) for party in held] == [1, 1] and held[0] != held[1]
    if leanings[0] * leanings[1] <= 0 and strength > fits:
        return first if leanings[0] > leanings[1] else second
    bare = [agent for agent in (first, second) if not _held(agent)]
    if strength or len(bare) != 1 or sum(map(len, held)) != 1:
        return None
    # One party is named, so the agent without a type is the other.
    return bare[0] if codes[0] in held[0] | held[1] else _other(bare[0], first, second)


def _other(agent: Json, first: Json, second: Json) -> Json:
    return second if agent is first else first


def _leaning(agent: Json, tree: Json) -> int:
    """Count the signs that an agent is the server, less those that it is the client."""
    network, source = child(agent, "network"), child(tree, "source")
    leaning = 0
    if network.get("type") == "5" and str(network.get("address")).startswith("http"):
        leaning += 1  # The address of a FHIR server; a client has a host or an IP address.
    if "who" in agent and agent["who"] == source.get("observer"):
        types = {key(coding) for coding in members(source, "type")}
        leaning += bool(types & _SERVERS) - bool(types & _DEVICES)
    return leaning


def _is_system(agent: Json) -> bool:
    if agent.get("requestor") is True:
        return False
    if not codings(agent):
        return agent.get("requestor") is False or "network" in agent
    return {key(coding) for coding in codings(agent)} <= _PARTIES


def _held(agent: Json) -> set[Code]:
    return {code for code in map(key, codings(agent)) if code in _PARTIES}


def _recode(agent: Json, code: Code, codes: tuple[Code, Code]) -> None:
    """Put `code` in the place of the other parties' codes; an OAuth client keeps 110150, too."""
    if code in _held(agent) and not _held(agent) & ({*codes, DESTINATION, SOURCE} - {code}):
        return
    concept = agent.setdefault("type", {})
    if not isinstance(concept, dict):
        return
    wrong = _PARTIES - {code, APPLICATION} | set(codes) - {code}
    kept = [coding for coding in codings(agent) if key(coding) not in wrong | {code}]
    concept["coding"] = [written(code), *kept]


def _party_codes(profile: Profile) -> tuple[Code, Code] | None:
    """Return the types of the slices client and server, if the profile has them."""
    found = {
        row.name: row.match
        for slicing in profile.slicings
        for row in slicing.slices
        if slicing.element == "agent" and isinstance(row.match, Code)
    }
    if not {"client", "server"} <= found.keys():
        return None
    return found["client"], found["server"]
