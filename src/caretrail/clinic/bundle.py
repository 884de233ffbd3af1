"""Batch and transaction (FHIR R4, http, 3.1.0.11): independent entries, or all and in one order."""

from __future__ import annotations

import base64
import re
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote

import msgspec

from caretrail.api import negotiation
from caretrail.api.failure import failure, refusal
from caretrail.api.http import Request, Response
from caretrail.clinic import table
from caretrail.clinic.instance import JSON_PATCH
from caretrail.clinic.work import Work, find, kind_of
from caretrail.errors import (
    Error,
    InvalidError,
    Issue,
    MediaTypeError,
    NotFoundError,
    PreconditionError,
    TooLargeError,
    UnprocessableError,
)
from caretrail.fhir import strict_json
from caretrail.fhir.temporal import format_instant

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ORDER: Final = {"DELETE": 0, "POST": 1, "PUT": 2, "PATCH": 2, "GET": 3, "HEAD": 3}
_CONDITION: Final = re.compile(r"([A-Z][A-Za-z]+)\?(.+)", re.DOTALL)
_LOGICAL: Final = ("urn:uuid:", "urn:oid:")
_HEADERS: Final = {
    "ifMatch": b"if-match",
    "ifNoneExist": b"if-none-exist",
    "ifNoneMatch": b"if-none-match",
    "ifModifiedSince": b"if-modified-since",
}
_EVENT: Final = re.compile(r"(?:.*/)?AuditEvent(?:[/?].*)?", re.DOTALL)


class Entry(NamedTuple):
    """One entry: what is asked, with what content and under which conditions."""

    number: int
    method: str
    url: str
    full_url: str = ""
    tree: dict[str, Any] | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Parsed(NamedTuple):
    """A Bundle to be processed."""

    type: str
    entries: list[Entry]


def parse(request: Request, entries_max: int) -> Parsed:
    """Return the entries of a batch or transaction; raise InvalidError or UnprocessableError.

    AuditEvents are kept in a store of their own, with which nothing can be done at once: a Bundle
    that has them beside other types is refused.
    """
    if negotiation.content(request).xml:
        raise MediaTypeError("the content must be application/fhir+json")
    document = strict_json.parse(request.body)
    tree = document.tree
    if document.issues:
        raise InvalidError(document.issues)
    if not isinstance(tree, dict) or tree.get("resourceType") != "Bundle":
        raise InvalidError((Issue("structure", "the content is no Bundle", "Bundle"),))
    if tree.get("type") not in ("batch", "transaction"):
        raise InvalidError((Issue("value", "the type is batch or transaction", "Bundle.type"),))
    rows = tree.get("entry", [])
    if not isinstance(rows, list):
        raise InvalidError((Issue("structure", "an element is not of its type", "Bundle.entry"),))
    if len(rows) > entries_max:
        raise TooLargeError(f"a Bundle may have {entries_max} entries")
    entries = [_entry(index, row, request.base) for index, row in enumerate(rows)]
    if any(_is_of_events(entry) for entry in entries):
        what = "a Bundle has AuditEvents only or none: they are kept in a store of their own"
        raise UnprocessableError((Issue("business-rule", what, "Bundle.entry"),))
    return Parsed(tree["type"], entries)


def _entry(number: int, row: Any, base: str) -> Entry:
    path = f"Bundle.entry[{number}]"
    asked = row.get("request") if isinstance(row, dict) else None
    if not isinstance(asked, dict):
        raise InvalidError((Issue("required", "an entry has a request", f"{path}.request"),))
    tree, full_url = row.get("resource"), row.get("fullUrl", "")
    method, url = asked.get("method"), asked.get("url")
    conditions = {header: asked.get(name, "") for name, header in _HEADERS.items()}
    texts = (method, url, full_url, *conditions.values())
    if not all(isinstance(text, str) for text in texts) or not isinstance(tree, dict | None):
        raise InvalidError((Issue("structure", "an element is not of its type", path),))
    if method not in _ORDER:
        raise InvalidError((Issue("value", "the method is unknown", f"{path}.request.method"),))
    url = str(url).removeprefix(base).strip("/")
    headers = tuple((header, text.encode()) for header, text in conditions.items() if text)
    return Entry(number, str(method), url, full_url, tree, headers)


class _Named(msgspec.Struct, frozen=True):
    resourceType: str = ""  # noqa: N815


class _Asked(msgspec.Struct, frozen=True):
    url: str = ""


class _Peeked(msgspec.Struct):
    resource: _Named = _Named()
    request: _Asked = _Asked()


class _Bundle(msgspec.Struct):
    entry: list[_Peeked] = []


_peeker: Final = msgspec.json.Decoder(_Bundle)


def is_clinical(body: bytes) -> bool:
    """Tell whether a Bundle has an entry that is not about AuditEvents; one that is none has not."""
    try:
        entries = _peeker.decode(body).entry
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return any(
        one.resource.resourceType not in ("", "AuditEvent")
        or (one.request.url and not _EVENT.fullmatch(one.request.url))
        for one in entries
    )


def _is_of_events(entry: Entry) -> bool:
    kind = entry.tree.get("resourceType") if entry.tree else None
    return kind == "AuditEvent" or _EVENT.fullmatch(entry.url) is not None


def batch_entry(work: Work, request: Request, entry: Entry) -> dict[str, Any]:
    """Answer one entry for itself; raises its problem, so that its transaction ends."""
    return _answered(request, _perform(work, request, entry))


def failed(error: Error) -> dict[str, Any]:
    """Return the answer to an entry that met `error`."""
    response = failure(error)
    return {"response": {"status": _status(response.status), "outcome": msgspec.Raw(response.body)}}


def response(kind: str, answers: list[Any]) -> Response:
    """Return the Bundle of the answers, in the order of the entries."""
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": f"{kind}-response"}
    if answers:  # An empty array is no valid FHIR.
        bundle["entry"] = answers
    return Response(200, msgspec.json.encode(bundle))


def transaction(work: Work, request: Request, entries: list[Entry]) -> Response:
    """Do all entries: deletes, creates, updates and patches, reads. Raises where one cannot be."""
    answers: list[Any] = [None] * len(entries)
    ordered = sorted(entries, key=lambda entry: _ORDER[entry.method])
    run = _Transaction(work, request)
    for entry in ordered:
        with _placed(entry):
            if entry.method == "DELETE":
                answers[entry.number] = run.delete(entry)
    changes = [entry for entry in ordered if entry.method in ("POST", "PUT", "PATCH")]
    for entry in changes:
        with _placed(entry):
            run.plan(entry)
    for entry in ordered:
        with _placed(entry):
            if entry.method != "DELETE":
                answers[entry.number] = run.perform(entry)
    return response("transaction", answers)


class RefusedEntryError(Exception):
    """An entry of a transaction that cannot be done, so that none is; `response` says why."""

    def __init__(self, response: Response) -> None:
        super().__init__("an entry cannot be done")
        self.response = response


@contextmanager
def _placed(entry: Entry) -> Iterator[None]:
    """Turn the problem of an entry into that of the transaction, with the entry's place."""
    try:
        yield
    except Error as error:
        if error.status >= 500:
            raise
        place = f"Bundle.entry[{entry.number}]"
        issues = [one._replace(expression=_in_entry(place, one)) for one in error.issues()]
        raise RefusedEntryError(refusal(error.status, issues)) from error


def _in_entry(place: str, issue: Issue) -> str:
    kind, dot, rest = issue.expression.partition(".")
    return f"{place}.resource.{rest}" if dot and kind[:1].isupper() else place


class _Transaction:
    """What the entries become in each other's light: ids, and references to them."""

    def __init__(self, work: Work, request: Request) -> None:
        self._work, self._request = work, request
        self._known: dict[str, str] = {}  # fullUrl to Type/id.
        self._ids: dict[int, str] = {}
        self._changed: set[str] = set()

    def delete(self, entry: Entry) -> dict[str, Any]:
        """Delete, before anything else is looked for."""
        path, _, condition = entry.url.partition("?")
        if condition:
            found = find(self._work, self._request, kind_of(path), condition)
            path = f"{path}/{found.id}" if found is not None else ""
            if found is not None:  # It is found once, and is the one that is deleted.
                entry = entry._replace(url=path)
        if path:
            self._change(path)
        return _answered(self._request, _perform(self._work, self._request, entry))

    def plan(self, entry: Entry) -> None:
        """Find out which resource an entry is about, before references to it are rewritten."""
        path, _, condition = entry.url.partition("?")
        if entry.method == "POST":
            condition = dict(entry.headers).get(b"if-none-exist", b"").decode()
        kind, _, name = path.partition("/")
        if condition:
            found = find(self._work, self._request, kind_of(kind), condition)
            own = entry.tree.get("id") if entry.tree and entry.method == "PUT" else None
            name = found.id if found is not None else str(own or self._work.new_id())
        elif entry.method == "POST":
            if "/" in path:
                return  # A search or an operation: nothing is created.
            name = self._work.new_id()
        self._ids[entry.number] = name
        target = f"{kind}/{name}"
        if entry.method != "POST" or not condition:
            self._change(target)
        if entry.full_url:
            self._known[entry.full_url] = target

    def _change(self, target: str) -> None:
        if target in self._changed:
            raise InvalidError("two entries are about one resource")
        self._changed.add(target)

    def perform(self, entry: Entry) -> dict[str, Any]:
        """Do an entry, with its references to other entries made real."""
        tree = entry.tree
        if tree is not None and entry.method in ("POST", "PUT"):
            tree = self._rewritten(tree)
        name = self._ids.get(entry.number)
        work = self._work._replace(new_id=lambda: name) if name else self._work
        response = _perform(work, self._request, entry._replace(tree=tree))
        answer = _answered(self._request, response)
        # References were written for the resource that the plan had found.
        if name and f"/{name}/_history/" not in answer["response"]["location"]:
            raise PreconditionError("a condition fits what another entry has made")
        return answer

    def _rewritten(self, value: Any, member: str = "") -> Any:
        match value:
            case dict():
                return {name: self._rewritten(one, name) for name, one in value.items()}
            case list():
                return [self._rewritten(one, member) for one in value]
            case str() if member == "reference":
                return self._reference(value)
            case str() if value.startswith(_LOGICAL):
                return self._known.get(value, value)  # Elements of type uri and url.
            case _:
                return value

    def _reference(self, text: str) -> str:
        known = self._known.get(text)
        if known is not None:
            return known
        if text.startswith("urn:uuid:"):
            raise InvalidError("a reference is to an entry that the Bundle does not have")
        condition = _CONDITION.fullmatch(text)
        if condition is None:
            return text
        kind = kind_of(condition[1])
        found = find(self._work, self._request, kind, condition[2])
        if found is None:
            raise PreconditionError("no resource fits a conditional reference")
        return f"{kind}/{found.id}"


def _perform(work: Work, request: Request, entry: Entry) -> Response:
    """Do one entry as a request of its own."""
    path, _, query = entry.url.partition("?")
    method = "GET" if entry.method == "HEAD" else entry.method
    row, captures = table.find(method, unquote(path))
    if row.body == "form":
        raise NotFoundError("in a Bundle a search is a GET")
    headers: dict[bytes, bytes] = dict(entry.headers)
    if b"prefer" in request.headers:
        headers[b"prefer"] = request.headers[b"prefer"]
    body, kind = b"", "application/fhir+json"
    if row.body:
        if entry.tree is None:
            raise InvalidError((Issue("required", "the entry has no resource", "resource"),))
        if method == "PATCH":
            body, kind = _patch(entry.tree)
        else:
            work = work._replace(content=entry.tree)
        headers[b"content-type"] = kind.encode()
    inner = request._replace(
        method=method, path=path, query=query, headers=headers, body=body, captures=captures
    )
    return row.perform(work, inner)


def _patch(tree: Mapping[str, Any]) -> tuple[bytes, str]:
    """Return the JSON Patch in a Binary (FHIR R4, http, 3.1.0.11.2)."""
    if tree.get("resourceType") != "Binary" or not isinstance(tree.get("data"), str):
        raise InvalidError(f"a patch is in a Binary of {JSON_PATCH}")
    try:
        return base64.b64decode(tree["data"], validate=True), str(tree.get("contentType", ""))
    except ValueError as error:
        raise InvalidError("the data of a Binary are base64") from error


def _answered(request: Request, response: Response) -> dict[str, Any]:
    """Return the answer to an entry: of a write the resource only if it is asked for."""
    headers = {name.decode(): value.decode() for name, value in response.headers}
    told: dict[str, Any] = {"status": _status(response.status)}
    told |= {name: headers[name] for name in ("location", "etag") if name in headers}
    if "last-modified" in headers:
        seconds = parsedate_to_datetime(headers["last-modified"]).timestamp()
        told["lastModified"] = format_instant(int(seconds) * 1000)
    entry: dict[str, Any] = {"response": told}
    returns = negotiation.preference(request).returns
    if not response.body or ("location" in headers and not returns):
        return entry
    if "location" in headers and returns == "OperationOutcome":
        told["outcome"] = msgspec.Raw(response.body)
    else:
        entry["resource"] = msgspec.Raw(response.body)
    return entry


def _status(status: int) -> str:
    return f"{status} {HTTPStatus(status).phrase}"
