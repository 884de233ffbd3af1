"""What is left out of events, or hidden in them: a policy by field.

A redacted event claims the profiles that it still meets: without its query it is no BALP Query.
"""

from __future__ import annotations

import enum
import hmac
from copy import deepcopy
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caretrail.errors import ConfigurationError
from caretrail.patterns.codes import PATIENT, PERSON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from caretrail.patterns.observation import Json

_NETWORK_BITS: Final = {4: 24, 6: 48}
_PSEUDONYM_CHARACTERS: Final = 32


class Treatment(enum.Enum):
    """What becomes of a field; a pseudonym is the same for the same value under one key."""

    REMOVE = "remove"
    PSEUDONYM = "pseudonym"
    NETWORK = "network"  # Of an IP address: /24 or /48.


class Field(NamedTuple):
    """A field: its member of an element, reached by a path, in those elements that are meant."""

    path: tuple[str, ...]
    member: str
    applies: Callable[[Json], bool] = lambda _: True


def _is_user(agent: Json) -> bool:
    return agent.get("requestor") is True


def _is_patient(entity: Json) -> bool:
    """Tell whether an entity is a patient, however its source says it."""
    kind, role = entity.get("type", {}), entity.get("role", {})
    return (
        (kind.get("system"), kind.get("code")) == PERSON[:2]
        or (role.get("system"), role.get("code")) == PATIENT[:2]
        or "/Patient/" in f"/{entity.get('what', {}).get('reference', '')}"
    )


def _is_ip(agent: Json) -> bool:
    return bool(agent.get("network", {}).get("type") == "2")


# A row is a field that a policy may name.
FIELDS: Final[dict[str, Field]] = {
    "user.name": Field(("agent",), "name", _is_user),
    "user.display": Field(("agent", "who"), "display", _is_user),
    "user.reference": Field(("agent", "who"), "reference", _is_user),
    "user.identifier": Field(("agent", "who", "identifier"), "value", _is_user),
    "user.role": Field(("agent",), "role", _is_user),
    "token.id": Field(("agent",), "policy"),
    "client.address": Field(("agent", "network"), "address", _is_ip),
    "outcome.text": Field((), "outcomeDesc"),
    "query.raw": Field(("entity",), "query"),
    "query.text": Field(("entity",), "description"),
    "patient.identifier": Field(("entity", "what", "identifier"), "value", _is_patient),
    "patient.reference": Field(("entity", "what"), "reference", _is_patient),
    "patient.display": Field(("entity", "what"), "display", _is_patient),
    "entity.detail": Field(("entity",), "detail"),
}


@dataclass(frozen=True, slots=True)
class Redaction:
    """Which fields are treated how; `key` makes pseudonyms, and whoever has it can try names."""

    treatments: Mapping[str, Treatment] = field(default_factory=dict)
    key: bytes = b""

    def __post_init__(self) -> None:
        unknown = self.treatments.keys() - FIELDS.keys()
        if unknown:
            raise ConfigurationError(f"no field for redaction: {', '.join(sorted(unknown))}")
        if Treatment.PSEUDONYM in self.treatments.values() and len(self.key) < 16:
            raise ConfigurationError("pseudonyms need a key of 16 bytes or more")

    def redacted(self, event: Json) -> Json:
        """Return the event with its fields treated; those of `event` stay as they are."""
        event = deepcopy(event)
        for name, treatment in self.treatments.items():
            row = FIELDS[name]
            for owner in _owners(event, row):
                if row.member in owner:
                    self._treat(owner, row.member, treatment)
        kept: Json = _pruned(event)
        return kept

    def _treat(self, owner: Json, member: str, treatment: Treatment) -> None:
        value = owner.pop(member)
        # A list is of policies or roles: hiding some characters of it would hide nothing.
        if treatment is Treatment.REMOVE or not isinstance(value, str) or member == "query":
            return
        hidden = self._pseudonym(value) if treatment is Treatment.PSEUDONYM else _network(value)
        if hidden:
            owner[member] = hidden

    def _pseudonym(self, value: str) -> str:
        # Of a reference to a version the id is before it.
        kind, slash, name = value.partition("/_history/")[0].rpartition("/")
        digest = hmac.digest(self.key, name.encode("utf-8", "replace"), "sha256").hex()
        return f"{kind}{slash}{digest[:_PSEUDONYM_CHARACTERS]}"


def _network(value: str) -> str:
    try:
        address = ip_address(value)
    except ValueError:
        return ""
    return str(ip_network((address, _NETWORK_BITS[address.version]), strict=False))


def _owners(event: Json, row: Field) -> Iterator[Json]:
    if not row.path:
        yield event
        return
    for element in event.get(row.path[0], ()):
        if row.applies(element):
            owner = element
            for name in row.path[1:]:
                owner = owner.get(name, {})
            yield owner


def _pruned(node: Any) -> Any:
    """Return `node` without the elements that nothing is left of (ele-1)."""
    if isinstance(node, list):
        return [part for part in map(_pruned, node) if part not in ({}, [])]
    if isinstance(node, dict):
        parts = {name: _pruned(part) for name, part in node.items()}
        return {name: part for name, part in parts.items() if part not in ({}, [])}
    return node
