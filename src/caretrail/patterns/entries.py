"""A batch or transaction taken apart: each entry is an exchange of its own (FHIR R4, http)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from caretrail.limits import BUNDLE_ENTRIES_MAX
from caretrail.patterns import literal
from caretrail.patterns.exchange import Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from caretrail.patterns.exchange import Exchange
    from caretrail.patterns.observation import Json

_STATUS: Final = re.compile(r"[1-5][0-9][0-9]")
# Members of Bundle.entry.request and .response, and the headers that they stand for.
_CONDITIONS: Final = {
    "ifNoneExist": "if-none-exist",
    "ifMatch": "if-match",
    "ifNoneMatch": "if-none-match",
}
_ANSWERED: Final = {"location": "location", "etag": "etag"}
_JSON: Final = "application/fhir+json"


def entries(exchange: Exchange, asked: Any, answered: Any) -> tuple[int, list[Exchange]]:
    """Return how many entries the Bundle `asked` has, and the exchanges that the first ones are.

    An entry that was not answered by itself shares the fate of the whole.
    """
    questions, answers = _entries(asked), _entries(answered)
    if not exchange.succeeded:
        answers = []
    aliases = dict(_aliases(questions, answers, exchange.server.address))
    count = len(questions)
    parts = []
    for number, question in enumerate(questions[:BUNDLE_ENTRIES_MAX]):
        answer = answers[number] if number < len(answers) else {}
        part = replace(
            _part(exchange, _member(question, "request"), answer),
            request=_message(_member(question, "request"), question, _CONDITIONS, aliases),
            response=_message(_member(answer, "response"), answer, _ANSWERED, {}),
            part=f"{number + 1}/{count}",
        )
        parts.append(part)
    return count, parts


def _part(exchange: Exchange, request: Json, answer: Json) -> Exchange:
    url = str(request.get("url") or "")
    base = exchange.server.address.rstrip("/") + "/"
    path, _, query = url.removeprefix(base).lstrip("/").partition("?")
    status = _STATUS.match(str(_member(answer, "response").get("status") or ""))
    method = str(request.get("method") or "").upper()
    return replace(
        exchange,
        method=method,
        path=path,
        query=query,
        status=int(status[0]) if status else exchange.status,
    )


def _message(
    inner: Json, entry: Json, members: Mapping[str, str], aliases: Mapping[str, str]
) -> Message:
    headers = {
        header: inner[member] for member, header in members.items() if _is_text(inner.get(member))
    }
    resource = entry.get("resource") or inner.get("outcome")
    if not isinstance(resource, dict):
        return Message(headers=headers)
    headers["content-type"] = _JSON
    tree = _resolved(resource, aliases) if aliases else resource
    return Message(headers=headers, body=msgspec.json.encode(tree))


def _aliases(questions: list[Json], answers: list[Json], base: str) -> Iterator[tuple[str, str]]:
    """Yield by what name a new resource is called in the Bundle, and what it became."""
    for question, answer in zip(questions, answers, strict=False):
        name = question.get("fullUrl")
        named = literal.parse(_member(answer, "response").get("location"), base)
        if isinstance(name, str) and named is not None:
            yield name, named.unversioned


def _resolved(node: Any, aliases: Mapping[str, str]) -> Any:
    if isinstance(node, list):
        return [_resolved(item, aliases) for item in node]
    if isinstance(node, dict):
        return {
            name: aliases.get(value, value)
            if name == "reference" and isinstance(value, str)
            else _resolved(value, aliases)
            for name, value in node.items()
        }
    return node


def _entries(bundle: Any) -> list[Json]:
    rows = bundle.get("entry") if isinstance(bundle, dict) else None
    return [row if isinstance(row, dict) else {} for row in rows] if isinstance(rows, list) else []


def _member(owner: Json, name: str) -> Json:
    value = owner.get(name)
    return value if isinstance(value, dict) else {}


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""
