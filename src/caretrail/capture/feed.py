"""What a source says to a repository, and how it understands the answers (ITI-20, ATX: FHIR Feed)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import httpx

_HEADERS: Final = {"content-type": "application/fhir+json", "prefer": "return=minimal"}
# "Send it again later", in the words of a repository or of what stands before it.
AGAIN: Final = frozenset([408, 425, 429, 500, 502, 503, 504])
_CODES_MAX: Final = 20
# Codes and paths only: diagnostics may hold what the event held.
_CODE: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_PATH: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.\[\]()]{0,199}")


def headers(token: str | None) -> dict[str, str]:
    """Return what every request to the repository says, with the credential if there is one."""
    return _HEADERS | ({"authorization": f"Bearer {token}"} if token else {})


def addressed(base: str, events: Sequence[bytes]) -> tuple[str, bytes]:
    """Return where events go below the FHIR base, and how: one by itself, several as a batch."""
    if len(events) == 1:
        return f"{base}/AuditEvent", events[0]
    return base, bundle(events)


def pause(wait: float, *, asked: float, jitter: float) -> float:
    """Return the seconds until the next try: what was `asked` for, or about `wait`.

    It is between half and the whole of it, so that many sources do not come back at once.
    """
    return max(asked, wait * (0.5 + jitter / 2))


def bundle(events: Iterable[bytes]) -> bytes:
    """Return a batch, put together of the events' own bytes: they are evidence."""
    request = b',"request":{"method":"POST","url":"AuditEvent"}}'
    entries = b",".join(b'{"resource":' + event + request for event in events)
    return b'{"resourceType":"Bundle","type":"batch","entry":[' + entries + b"]}"


class _Issue(msgspec.Struct):
    code: str = ""
    expression: list[str] = []


class _Outcome(msgspec.Struct):
    issue: list[_Issue] = []


class _Answer(msgspec.Struct):
    status: str
    outcome: msgspec.Raw = msgspec.Raw(b"{}")


class _Entry(msgspec.Struct):
    response: _Answer


class _Answers(msgspec.Struct):
    entry: list[_Entry]


class Verdict(NamedTuple):
    """What became of one event: a status of HTTP, and the codes of an OperationOutcome."""

    status: int
    codes: list[str]


def verdicts(response: httpx.Response, count: int) -> list[Verdict]:
    """Return what became of each entry; an answer that does not say it of all says it of none."""
    try:
        answers = msgspec.json.decode(response.content, type=_Answers)
    except msgspec.MsgspecError:
        return [Verdict(500, [])] * count
    told = [entry.response for entry in answers.entry]
    if len(told) != count or not all(_is_status(one.status[:3]) for one in told):
        return [Verdict(500, [])] * count
    return [Verdict(int(one.status[:3]), _codes_of(one)) for one in told]


def _is_status(text: str) -> bool:
    return len(text) == 3 and text.isascii() and text.isdigit()


def _codes_of(answer: _Answer) -> list[str]:
    return [] if answer.status.startswith("2") else outcome_codes(bytes(answer.outcome))


def outcome_codes(body: bytes) -> list[str]:
    """Return `code expression` of each issue of an OperationOutcome; [] where it is none."""
    try:
        outcome = msgspec.json.decode(body, type=_Outcome)
    except msgspec.MsgspecError:
        return []
    return list(filter(None, map(_told, outcome.issue[:_CODES_MAX])))


def _told(issue: _Issue) -> str:
    paths: Sequence[str] = [path for path in issue.expression[:1] if _PATH.fullmatch(path)]
    return " ".join([issue.code, *paths]) if _CODE.fullmatch(issue.code) else ""


def retry_after(response: httpx.Response, *, seconds_max: float) -> float:
    """Return what the repository asks for in seconds, as far as we follow it (RFC 9110, 10.2.3)."""
    text = response.headers.get("retry-after", "")
    return min(float(text), seconds_max) if text.isdigit() else 0.0
