"""What one exchange says: who and what it touched, about whom, and how it ended."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from caretrail.patterns import codes, criteria, literal, results, subjects
from caretrail.patterns.credential import OAuthToken
from caretrail.patterns.elements import coding, detail_list
from caretrail.patterns.observation import Machine, Observation, identified, reference
from caretrail.patterns.outcome import outcome_entity, outcome_of
from caretrail.patterns.results import Found

if TYPE_CHECKING:
    from caretrail.patterns.exchange import Exchange, Identity
    from caretrail.patterns.interaction import Interaction, Target
    from caretrail.patterns.observation import Json

_SEARCHES: Final = ("search", "search-type", "search-system")
# Patterns whose answer is a list of resources, each of which somebody saw.
LISTING: Final = frozenset(
    [*_SEARCHES, "history-instance", "history-type", "history-system", "operation"]
)
_SENDING: Final = frozenset(["create", "update", "operation", "delivery"])
_VERSIONED: Final = frozenset(["create", "read", "update", "patch"])
_ETAG: Final = re.compile(r'(?:W/)?"([A-Za-z0-9._-]{1,64})"')
NOT_EXAMINED: Final = "the body is not JSON, or larger than what is kept of one"
_GRAPH: Final = "$graphql"
_UNREAD: Final = {
    "type": coding(codes.OTHER),
    "name": "response body",
    "detail": detail_list({"not-examined": NOT_EXAMINED}),
}
_UNKNOWN_CLIENT: Final = {"display": "unknown client"}


def observe(
    exchange: Exchange, row: Interaction, target: Target, answer: Any, found: Found
) -> Observation:
    """Return the observation of an exchange, about the patient if `found` has but one."""
    identity = exchange.identity
    outcome, text = outcome_of(exchange)
    resource = _resource(exchange, row, target, answer)
    asks = row.asks or resource is None
    return Observation(
        recorded=exchange.end,
        client=exchange.client or _client(exchange, identity),
        server=exchange.server,
        interaction=_pattern(exchange, row),
        operation=_operation(row, target),
        user=identity.user,
        credential=identity.credential,
        organization=identity.organization,
        on_behalf_of=identity.on_behalf_of,
        resource=resource,
        query=criteria.raw(exchange, with_body=target.operation == _GRAPH) if asks else None,
        query_text=criteria.minimised(exchange, target.inner or target.type) if asks else None,
        request_id=exchange.request_id,
        trace_id=exchange.trace_id,
        part=exchange.part,
        patient=found.patients[0] if len(found.patients) == 1 else None,
        labels=found.labels,
        related=_remarks(exchange, answer, found),
        purposes=identity.purposes or (identity.credential.purposes if identity.credential else ()),
        reason=identity.reason,
        outcome=outcome,
        outcome_text=text,
        site=exchange.site,
        by_client=exchange.by_client,
    )


def _remarks(exchange: Exchange, answer: Any, found: Found) -> tuple[Json, ...]:
    """Return what the server said of a failure, and that an answer was not understood."""
    if not exchange.succeeded:
        return tuple(outcome_entity(answer))
    return () if found.was_read else (_UNREAD,)


def examine(exchange: Exchange, row: Interaction, target: Target, answer: Any) -> Found:
    """Return what the answer held, and in `patients` those whom the whole exchange is about.

    They come from the application, the URL, the search, the bodies; only where none of these
    names one, the patient counts for whom the token was made.
    """
    found = _held(exchange, row, target, answer)
    patients = subjects.Patients()
    if exchange.patients:
        patients.extend(map(reference, exchange.patients))
    else:
        base = exchange.server.address
        if (named := _named(exchange, target, answer)) is not None:
            patients.add(named)
        if row.pattern in _SEARCHES or target.operation:
            parameters = criteria.parameters(exchange)
            patients.extend(subjects.of_search(target.inner or target.type, parameters, base))
        if row.pattern in _SENDING and target.type != "Patient":
            patients.extend(subjects.of_resource(results.tree(exchange.request), base))
        patients.extend(found.patients)
    launched = _launched(exchange.identity)
    found.patients = patients.list() or ([reference(launched)] if launched else [])
    return found


def _held(exchange: Exchange, row: Interaction, target: Target, answer: Any) -> Found:
    response, base = exchange.response, exchange.server.address
    if not exchange.succeeded or row.pattern == "delivery":  # Whose answer is a receipt.
        return Found()
    if not response.body:
        return Found(was_read=response.is_whole)
    if row.pattern == "export-file":
        return results.of_lines(response, base)
    if answer is None:
        kind = response.headers.get("content-type", "")
        return Found(was_read=not ("json" in kind or "xml" in kind))
    if target.operation == _GRAPH:
        return results.of_graph(answer, base)
    if row.pattern not in LISTING:
        patients = list(subjects.of_resource(answer, base))
        return Found(patients=patients, labels=results.labels(answer))
    return results.of_answer(answer, base)


def _named(exchange: Exchange, target: Target, answer: Any) -> Json | None:
    """Return the patient that the URL names, or that was made."""
    if target.type != "Patient":
        return None
    if target.id:
        return subjects.literal_patient(f"Patient/{target.id}")
    made = _answered(exchange, answer)
    return subjects.literal_patient(made.unversioned) if made else None


def _launched(identity: Identity) -> str | None:
    token = identity.credential
    launched = identity.launch_patient
    if launched is None and isinstance(token, OAuthToken):
        launched = token.launch_patient
    if launched is None:
        return None
    return launched if "/" in launched else f"Patient/{launched}"


def _client(exchange: Exchange, identity: Identity) -> Machine:
    token = identity.credential
    who = identity.client
    if who is None and isinstance(token, OAuthToken) and token.client:
        who = identified(token.client)
    return Machine(who=who or _UNKNOWN_CLIENT, address=exchange.address)


def _pattern(exchange: Exchange, row: Interaction) -> str:
    # A conditional create that finds its resource answers 200 and makes nothing.
    if row.name == "conditional-create" and exchange.status == 200:
        return "create-found"
    return row.pattern


def _operation(row: Interaction, target: Target) -> str | None:
    if row.name.startswith("export-"):
        return row.name
    return target.operation or None


def _resource(exchange: Exchange, row: Interaction, target: Target, answer: Any) -> Json | None:
    """Return what was touched, by the version that the answer names."""
    if row.pattern in ("export-file", "delivery"):
        return identified(exchange.path or "/")
    if row.pattern in _SEARCHES:
        return None
    answered = _answered(exchange, answer) if row.pattern in _VERSIONED else None
    if target.reference is None:
        # Made, or found by criteria; a search of a type or an operation on it touches no one thing.
        return reference(answered.versioned) if answered else None
    if answered and (answered.type, answered.id) == (target.type, target.id):
        return reference(answered.versioned)
    return reference(target.reference)


def _answered(exchange: Exchange, answer: Any) -> literal.Literal | None:
    """Return what a successful answer names: in its Location, or by its content and ETag."""
    if not exchange.succeeded:
        return None
    headers, base = exchange.response.headers, exchange.server.address
    for name in ("location", "content-location"):
        if name in headers and (named := literal.parse(headers[name], base)) is not None:
            return named
    etag = _ETAG.fullmatch(headers.get("etag", ""))
    text, version = exchange.path, ""
    if isinstance(answer, dict) and answer.get("resourceType") != "OperationOutcome":
        text = f"{answer.get('resourceType')}/{answer.get('id')}"
        meta = answer.get("meta")
        own = meta.get("versionId") if isinstance(meta, dict) else None
        version = own if isinstance(own, str) else ""
    named = literal.parse(text)
    if named is None:
        return None
    return named._replace(version=etag[1] if etag else version)
