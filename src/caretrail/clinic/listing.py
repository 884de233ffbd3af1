"""Searches and histories: pages of resources in a Bundle (FHIR R4, search; http, history)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail.api import negotiation
from caretrail.api.http import Request, Response
from caretrail.api.searchset import address
from caretrail.clinic import query as clinic_query
from caretrail.clinic import resource
from caretrail.clinic.contract import Past, Search
from caretrail.clinic.filters import AllOf, AnyOf, Filter, LocalValue, Match, One
from caretrail.clinic.parameters import KINDS, parameters
from caretrail.clinic.work import Work, etag, kind_of, latest
from caretrail.errors import NotFoundError, ParameterError, TooCostlyError
from caretrail.fhir.operation_outcome import outcome
from caretrail.fhir.temporal import format_instant, search_range
from caretrail.limits import INCLUDE_ROUNDS_MAX, INCLUDED_MAX
from caretrail.patterns.tables.patient_compartment import PATIENT_COMPARTMENT
from caretrail.search import cursor
from caretrail.search.query import Query as Bound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.api.http import Pairs
    from caretrail.clinic.contract import Hit, Version
    from caretrail.clinic.query import Include, Query

_STATUS: Final = {"POST": "201 Created", "DELETE": "204 No Content"}
_HISTORY: Final = ("_count", "_since", "_page", "_format", "_pretty")
_MILLISECOND: Final = 1_000_000  # in nanoseconds


def search_type(work: Work, request: Request) -> Response:
    """FHIR search of one type, by GET or by POST `_search`."""
    kind = kind_of(request.captures[0])
    return _searched(work, request, (kind,), AllOf(()), kind)


def search_system(work: Work, request: Request) -> Response:
    """FHIR search over all types, or those of `_type`."""
    kinds = tuple(
        kind_of(kind)
        for name, value in request.pairs()
        for kind in (value.split(",") if name == "_type" else ())
    )
    return _searched(work, request, kinds, AllOf(()), "")


def search_compartment(work: Work, request: Request) -> Response:
    """FHIR search of one type, or of all (`*`), in a patient's compartment."""
    name, inner = request.captures
    kinds = tuple(PATIENT_COMPARTMENT) if inner == "*" else (kind_of(inner),)
    scope = AnyOf(tuple(one for kind in kinds for one in _compartment(kind, name)))
    return _searched(work, request, kinds if inner != "*" else (), scope, f"Patient/{name}/{inner}")


def everything(work: Work, request: Request) -> Response:
    """`Patient/$everything`: the patient, his compartment, and what that refers to."""
    (name,) = request.captures
    latest(work, "Patient", name)
    kinds = tuple(kind for kind in PATIENT_COMPARTMENT if kind in KINDS)
    inside = tuple(one for kind in kinds for one in _compartment(kind, name))
    scope = AnyOf((One("Patient", name), *inside))
    everywhere = (clinic_query.Include("", "", ""),)
    return _searched(work, request, (), scope, f"Patient/{name}/$everything", include=everywhere)


def _compartment(kind: str, name: str) -> list[Filter]:
    rows = parameters(kind)
    wanted = LocalValue("Patient", name, None)
    return [
        Match(rows[code].key, "reference", wanted) for code, _ in PATIENT_COMPARTMENT.get(kind, ())
    ]


def _searched(
    work: Work,
    request: Request,
    kinds: tuple[str, ...],
    scope: Filter,
    path: str,
    include: tuple[Include, ...] = (),
) -> Response:
    negotiation.require_form(request)
    given = request.pairs()
    pairs = [pair for pair in given if pair[0] not in ("_type", *_own(include))]
    types = [pair for pair in given if pair[0] == "_type"]
    strict = negotiation.preference(request).strict
    query = clinic_query.parse(pairs, kinds, strict=strict, place=work.place(request))
    bound = Bound(applied=(("", path), *types, *query.applied))
    start = cursor.decode(query.page, bound, key=work.key) if query.page else None
    both = AllOf((scope, query.filter))
    search = Search(kinds, both, query.sort, query.count + 1, tuple(start.place) if start else None)
    total = start.total if start else _total(work, search, query)
    hits = [] if query.summary == "count" else work.session.search(search)
    page, more = hits[: query.count], len(hits) > query.count
    included = _included(work, page, (*query.include, *include), query.revinclude)
    links = _Links(request, path, [*types, *query.applied, *_shown(given)])
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset"}
    if total is not None:
        bundle["total"] = total
    bundle["link"] = links.all(
        query.page,
        cursor.Cursor(list(page[-1].place), 0, total).encode(bound, key=work.key) if more else None,
    )
    entries: list[Any] = [_entry(request, hit.version, query, "match") for hit in page]
    entries += [_entry(request, one, query, "include") for one in included]
    if query.ignored:
        entries.append({"resource": outcome(query.ignored), "search": {"mode": "outcome"}})
    if entries:  # An empty array is no valid FHIR.
        bundle["entry"] = entries
    return Response(200, msgspec.json.encode(bundle))


def _own(include: tuple[Include, ...]) -> tuple[str, ...]:
    # `$everything` includes by itself, so nothing else can be asked of it in that way.
    return ("_include", "_revinclude") if include else ()


def _shown(pairs: Pairs) -> Pairs:
    return [pair for pair in pairs if pair[0] in ("_format", "_pretty")]


def _total(work: Work, search: Search, query: Query) -> int | None:
    return None if query.total == "none" else work.session.count(search)


def _included(
    work: Work, page: Sequence[Hit], include: Sequence[Include], revinclude: Sequence[Include]
) -> list[Version]:
    """Return what the page's resources refer to and what refers to them, each once."""
    seen = {hit.version.row for hit in page}
    newest = [hit.version for hit in page]
    found: list[Version] = []
    for turn in range(INCLUDE_ROUNDS_MAX):
        fresh: dict[int, Version] = {}
        for one in include:
            if turn and not one.again:
                continue
            rows = [row.row for row in newest if one.source in ("", row.kind)]
            if rows:
                got = work.session.referred(rows, one.key, one.target, INCLUDED_MAX + 1)
                fresh |= {row.row: row for row in got}
        for one in revinclude:
            if turn and not one.again:
                continue
            rows = [row.row for row in newest if one.target in ("", row.kind)]
            if rows:
                got = work.session.referring(rows, one.key, INCLUDED_MAX + 1)
                fresh |= {row.row: row for row in got}
        newest = [row for number, row in fresh.items() if number not in seen]
        seen |= fresh.keys()
        found += newest
        if len(found) > INCLUDED_MAX:
            raise TooCostlyError(f"a page brings {INCLUDED_MAX} resources along: ask for fewer")
        if not newest:
            break
    return found


def _entry(request: Request, version: Version, query: Query, mode: str) -> dict[str, Any]:
    body = resource.part(version.body, version.kind, query.summary, query.elements)
    return {
        "fullUrl": f"{request.base}/{version.kind}/{version.id}",
        "resource": msgspec.Raw(body),
        "search": {"mode": mode},
    }


class _Links:
    """The links of a page; `self` names only what was applied, so that its reader sees the rest."""

    def __init__(self, request: Request, path: str, applied: Pairs) -> None:
        self._address = f"{request.base}/{path}" if path else request.base
        self._applied = applied

    def all(self, here: str | None, following: str | None) -> list[dict[str, str]]:
        """Return `self`, and `first` and `next` where there is another page."""
        links = [("self", here), *([("first", None)] if here else [])]
        if following:
            links.append(("next", following))
        return [{"relation": name, "url": self._url(page)} for name, page in links]

    def _url(self, page: str | None) -> str:
        return address(self._address, [*self._applied, *([("_page", page)] if page else [])])


def history_instance(work: Work, request: Request) -> Response:
    """FHIR history of one resource, deleted or not."""
    kind, name = kind_of(request.captures[0]), request.captures[1]
    if work.session.current(kind, name) is None:
        raise NotFoundError("there is no resource of this type and id")
    return _history(work, request, Past(kind, name), f"{kind}/{name}/_history")


def history_type(work: Work, request: Request) -> Response:
    """FHIR history of all resources of a type."""
    kind = kind_of(request.captures[0])
    return _history(work, request, Past(kind), f"{kind}/_history")


def history_system(work: Work, request: Request) -> Response:
    """FHIR history of everything that is kept here."""
    return _history(work, request, Past(), "_history")


def _history(work: Work, request: Request, past: Past, path: str) -> Response:
    pairs = request.pairs()
    given = {name: value for name, value in pairs if name in _HISTORY and value}
    counts = [(name, value) for name, value in given.items() if name == "_count"]
    query = clinic_query.parse(counts, [], strict=True, place=work.place(request))
    if "_since" in given:
        past = past._replace(since=-(-_instant(given["_since"]) // _MILLISECOND))
    count = query.count
    applied = [(name, value) for name, value in given.items() if name != "_page"]
    bound = Bound(applied=(("", path), *((n, v) for n, v in applied if n == "_since")))
    here = given.get("_page")
    if here:
        start = cursor.decode(here, bound, key=work.key)
        past, total = past._replace(before=start.place[0]), start.total or 0
    else:
        total = work.session.history_count(past)
    rows = [] if query.summary == "count" else work.session.history(past._replace(limit=count + 1))
    page, following = rows[:count], None
    if len(rows) > count:
        following = cursor.Cursor([page[-1][1]], 0, total).encode(bound, key=work.key)
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "history", "total": total}
    bundle["link"] = _Links(request, path, applied).all(here, following)
    if page:
        bundle["entry"] = [_past_entry(request, version) for version, _ in page]
    return Response(200, msgspec.json.encode(bundle))


def _instant(text: str) -> int:
    try:
        return search_range(text)[0]
    except ValueError as error:
        raise ParameterError("`_since` is an instant") from error


def _past_entry(request: Request, version: Version) -> dict[str, Any]:
    url = version.kind if version.method == "POST" else f"{version.kind}/{version.id}"
    entry: dict[str, Any] = {"fullUrl": f"{request.base}/{version.kind}/{version.id}"}
    if not version.is_deleted:
        entry["resource"] = msgspec.Raw(version.body)
    entry["request"] = {"method": version.method, "url": url}
    entry["response"] = {
        "status": "201 Created" if version.number == 1 else _STATUS.get(version.method, "200 OK"),
        "etag": etag(version),
        "lastModified": format_instant(version.updated),
    }
    return entry
