"""DICOM Audit Log Used: who read what of the log, or tried to (DESIGN, decision 12; R-AC-20).

One event a request, never one a row. The query is told as `criteria` minimises it: what stands in
clear beside other events is no better protected here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.patterns import codes
from caretrail.patterns.elements import coding, concept, detail_list, present
from caretrail.patterns.own import ORIGIN_SYSTEM

if TYPE_CHECKING:
    from caretrail.patterns.observation import Json
    from caretrail.patterns.own import Log

CREDENTIAL_SYSTEM: Final = "urn:caretrail:credential"
ROLE_SYSTEM: Final = "urn:caretrail:role"
_IP_ADDRESS: Final = "2"
_REFUSED: Final = (401, 403, 405)


class Asker(NamedTuple):
    """Who asks: `subject` at an `issuer` ("" for a credential of the log's own), by which client.

    Without a `subject` nobody is known. `address` is where the request came from.
    """

    subject: str = ""
    issuer: str = ""
    client: str = ""
    name: str = ""
    reference: str = ""
    token_id: str = ""
    roles: tuple[str, ...] = ()
    address: str = ""


class Use(NamedTuple):
    """What was asked: `query` is minimised, `event_id` is the one event that it was about.

    `attempts` is more than one for refusals that were only counted, over `seconds`.
    """

    interaction: str
    status: int
    rows: int = 0
    query: str = ""
    event_id: str = ""
    attempts: int = 1
    seconds: int = 0


def log_used(log: Log, asker: Asker, use: Use) -> Json:
    """Return the event of one request, or of refusals that were counted."""
    who = {"identifier": {"system": ORIGIN_SYSTEM, "value": log.origin}}
    details = {
        "interaction": use.interaction,
        "status": str(use.status),
        "rows": str(use.rows),
        "attempts": str(use.attempts) if use.attempts > 1 else "",
        "window-seconds": str(use.seconds) if use.seconds else "",
    }
    used = {
        "what": who,
        "type": coding(codes.SYSTEM_OBJECT),
        "role": coding(codes.SECURITY_RESOURCE),
        "detail": detail_list(details),
    }
    return {
        "resourceType": "AuditEvent",
        "type": coding(codes.AUDIT_LOG_USED),
        "action": "R",
        "recorded": log.recorded,
        "outcome": _outcome(use.status),
        "agent": _agents(asker),
        "source": {"observer": who, "type": [coding(codes.SECURITY_SERVER)]},
        "entity": [used, *_asked(use)],
    }


def _outcome(status: int) -> str:
    """Return how it ended: a refusal is the serious one (DICOM PS3.15 A.5, outcome indicator)."""
    if status < 400:
        return "0"
    return "8" if status in _REFUSED or status >= 500 else "4"


def _agents(asker: Asker) -> list[Json]:
    network = {"address": asker.address, "type": _IP_ADDRESS} if asker.address else {}
    is_person = bool(asker.subject) and asker.subject != asker.client
    agent = {
        "type": concept(codes.HUMAN if is_person and asker.issuer else codes.APPLICATION),
        "role": [concept(codes.Code(ROLE_SYSTEM, role)) for role in asker.roles],
        "who": _who(asker.reference, asker.issuer, asker.subject),
        "name": asker.name,
        "requestor": True,
        "policy": [codes.JTI + "%20".join(asker.token_id.split())] if asker.token_id else [],
        "network": network,
    }
    if not (is_person and asker.client):
        return [present(agent)]
    client = {
        "type": concept(codes.APPLICATION),
        "who": _who("", asker.issuer, asker.client),
        "requestor": False,
    }
    return [present(agent), client]


def _who(reference: str, issuer: str, subject: str) -> Json:
    if not subject:
        return {"display": "unknown"}
    identifier = {"system": issuer or CREDENTIAL_SYSTEM, "value": subject}
    return present({"reference": reference, "identifier": identifier})


def _asked(use: Use) -> list[Json]:
    found: list[Json] = []
    if use.query:
        query = {
            "type": coding(codes.SYSTEM_OBJECT),
            "role": coding(codes.QUERY),
            "description": use.query,
        }
        found.append(query)
    if use.event_id:
        found.append(
            {"what": {"reference": f"AuditEvent/{use.event_id}"}, "type": coding(codes.OTHER)}
        )
    return found
