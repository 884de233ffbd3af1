"""One table of routes, and the one way in which a request becomes an answer.

The order is part of the promise: who asks, then what for, then in which format (DESIGN,
decision 10). Without a credential nobody learns which addresses there are.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from caretrail.access.roles import INTERACTIONS
from caretrail.access.view import NOTHING
from caretrail.api import (
    bundle,
    capability,
    export,
    health,
    intake,
    log,
    negotiation,
    proof,
    record,
    retrieve,
    review,
    statistics,
    subscription,
    syslog_search,
)
from caretrail.api.failure import FORBIDDEN, failure, refusal, unexpected
from caretrail.api.http import (
    FHIR_JSON,
    FHIR_XML,
    NOBODY,
    PLAIN,
    DisconnectedError,
    Format,
    Header,
    Request,
    Response,
)
from caretrail.api.service import Service
from caretrail.errors import (
    Error,
    ForbiddenError,
    InvalidError,
    Issue,
    NotFoundError,
)
from caretrail.fhir import xml
from caretrail.limits import QUERY_BYTES_MAX, RESOURCE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Handler = Callable[[Request, Service], Awaitable[Response]]
# Reads the request's body, of at most that many bytes.
Reader = Callable[[int], Awaitable[bytes]]

_log: Final = logging.getLogger(__name__)

ROOT: Final = "/fhir"
_EVENTS: Final = f"{ROOT}/AuditEvent"
# A host and perhaps a port (RFC 9110, 7.2): what goes into links must be nothing else.
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_HOST_BYTES_MAX: Final = 300
_PUBLIC: Final = ("/health/", f"{ROOT}/.well-known/")
_IMMUTABLE: Final = Issue("not-supported", "an audit event is never changed or deleted")
_OTHER_METHOD: Final = Issue("not-supported", "this address does not take that method")
_LONG_QUERY: Final = Issue("too-long", f"a query may have {QUERY_BYTES_MAX} bytes: use _search")


class Route(NamedTuple):
    """One row: what is at an address. A part of `path` in braces stands for any text.

    `what` names the interaction in metrics. `body` says which limit of the service bounds the
    body; without one it is not read. Only an answer of FHIR's own is negotiated. Who asks needs
    a grant for the interaction `needs`, which is `what` where the route does not say it.
    """

    method: str
    path: str
    handler: Handler
    what: str
    body: str = ""
    public: bool = False
    fhir: bool = True
    needs: str = ""

    @property
    def grant(self) -> str:
        """Return the interaction that an identity needs a grant for; "" for a public route."""
        return "" if self.public else self.needs or self.what

    @property
    def is_recorded(self) -> bool:
        """Tell whether each request leaves an event of its own (DESIGN, decision 12)."""
        return self.grant in INTERACTIONS and INTERACTIONS[self.grant].recorded


def _compartment_routes() -> Iterator[Route]:
    for kind in retrieve.COMPARTMENTS:
        handler = retrieve.compartment(kind)
        path = f"{ROOT}/{kind}/{{id}}/AuditEvent"
        yield Route("GET", path, handler, "search-compartment")
        yield Route("POST", f"{path}/_search", handler, "search-compartment", body="form")


def _tile_routes() -> Iterator[Route]:
    path = "/log/tile/{level}"
    for _ in range(log.TILE_PARTS_MAX):
        path += "/{part}"
        yield Route("GET", path, log.resource, "log", public=True, fhir=False)


def _export_routes() -> Iterator[Route]:
    for path in (f"{ROOT}/$export", f"{_EVENTS}/$export"):
        yield Route("GET", path, export.begin, "$export", fhir=False)
        yield Route("POST", path, export.begin, "$export", body="form", fhir=False)
    job = f"{ROOT}/$export/{{job}}"
    yield Route("GET", job, export.status, "$export-status", fhir=False)
    yield Route("DELETE", job, export.cancel, "$export-cancel", fhir=False)
    yield Route("GET", f"{job}/{{file}}", export.download, "$export-file", fhir=False)


_DEFINITION: Final = f"{ROOT}/OperationDefinition"
_PARAMETER: Final = f"{ROOT}/SearchParameter"
_SUBSCRIPTION: Final = f"{ROOT}/Subscription"
_INTAKE: Final = "/intake/{provider}"

# A route is one row here. HEAD is answered wherever GET is.
ROUTES: Final = (
    Route("POST", _EVENTS, record.create, "create", body="event"),
    Route("GET", _EVENTS, retrieve.search, "search-type"),
    Route("POST", f"{_EVENTS}/_search", retrieve.search, "search-type", body="form"),
    Route("GET", f"{_EVENTS}/$stats", statistics.stats, "$stats"),
    Route("POST", f"{_EVENTS}/$stats", statistics.stats, "$stats", body="form"),
    *_export_routes(),
    Route("GET", f"{_EVENTS}/{{id}}", retrieve.read, "read"),
    Route("GET", f"{_EVENTS}/{{id}}/_history", retrieve.history, "history-instance"),
    Route("GET", f"{_EVENTS}/{{id}}/_history/{{version}}", retrieve.read, "vread"),
    Route("GET", f"{_EVENTS}/{{id}}/$original", retrieve.original, "$original"),
    Route("GET", f"{_EVENTS}/{{id}}/$proof", proof.proof, "$proof", fhir=False),
    Route("GET", f"{_EVENTS}/$gaps", review.gaps, "$gaps"),
    Route("GET", f"{_EVENTS}/$quarantine", review.quarantine, "$quarantine"),
    Route("GET", f"{ROOT}/syslogsearch", syslog_search.search, "syslog-search", fhir=False),
    Route("POST", ROOT, bundle.process, "batch", body="bundle"),
    Route("GET", ROOT, retrieve.search_system, "search-system"),
    Route("POST", f"{ROOT}/_search", retrieve.search_system, "search-system", body="form"),
    *_compartment_routes(),
    Route(
        "POST",
        _SUBSCRIPTION,
        subscription.create,
        "subscription-create",
        body="event",
        needs="subscribe",
    ),
    Route("GET", _SUBSCRIPTION, subscription.search, "subscription-search", needs="subscribe"),
    Route(
        "GET", f"{_SUBSCRIPTION}/{{id}}", subscription.read, "subscription-read", needs="subscribe"
    ),
    Route(
        "DELETE",
        f"{_SUBSCRIPTION}/{{id}}",
        subscription.delete,
        "subscription-delete",
        needs="subscribe",
    ),
    Route("GET", f"{ROOT}/metadata", capability.metadata, "capabilities", public=True),
    Route("GET", _DEFINITION, capability.operation_definitions, "definitions"),
    Route("GET", f"{_DEFINITION}/{{id}}", capability.operation_definition, "definitions"),
    Route("GET", _PARAMETER, capability.search_parameters, "definitions"),
    Route("GET", f"{_PARAMETER}/{{id}}", capability.search_parameter, "definitions"),
    Route("POST", _INTAKE, intake.take, "intake", body="bundle", fhir=False, needs="create"),
    Route("GET", _INTAKE, intake.verify, "intake", fhir=False, needs="create"),
    # What of the log is public is for a setting to say; the handlers see to it.
    Route("GET", "/log/checkpoint", log.checkpoint, "log", public=True, fhir=False),
    Route("GET", "/log/checkpoint/latest", log.latest, "log", public=True, fhir=False),
    Route("GET", "/log/keys", log.keys, "log", public=True, fhir=False),
    *_tile_routes(),
    Route("GET", "/health/live", health.live, "health", public=True, fhir=False),
    Route("GET", "/health/ready", health.ready, "health", public=True, fhir=False),
    Route("GET", "/metrics", health.metrics, "metrics", fhir=False),
)


class Router:
    """Answers requests; whatever happens, the answer is a Response."""

    def __init__(self, service: Service, routes: Sequence[Route] = ROUTES) -> None:
        self._service = service
        self._bounds = {
            "": 0,
            "event": service.event_bytes_max,
            "bundle": service.bundle_bytes_max,
            "resource": RESOURCE_BYTES_MAX,
            "form": QUERY_BYTES_MAX,
        }
        self._public_base = service.public_url.rstrip("/") + ROOT if service.public_url else ""
        # Addresses without braces are looked up; the few others are tried, by number of parts.
        self._plain: dict[str, dict[str, Route]] = {}
        self._patterns: dict[int, dict[tuple[str, ...], dict[str, Route]]] = {}
        for route in routes:
            if "{" in route.path:
                parts = tuple(route.path.split("/"))
                rows = self._patterns.setdefault(len(parts), {}).setdefault(parts, {})
            else:
                rows = self._plain.setdefault(route.path, {})
            rows[route.method] = route

    async def answer(self, request: Request, scheme: str, read: Reader) -> tuple[str, Response]:
        """Return what was asked, by its name in the table, and the answer.

        Who sends `request`, its base and its body are found out here; `scheme` is http or https.
        """
        path = request.path[:-1] if request.path.endswith("/") else request.path
        rows, captures = self._find(path)
        route = rows.get("GET" if request.method == "HEAD" else request.method)
        what = route.what if route is not None else "none"
        auditing = self._service.auditing
        try:
            identity, view = NOBODY, NOTHING
            if not (route.public if route is not None else path.startswith(_PUBLIC)):
                gate = self._service.gate
                identity = gate.known(request.headers) or await gate.identify(
                    request.headers, request.certificate
                )
                request = request._replace(identity=identity)
            if route is None:
                response = _no_route(request.method, path, rows)
                if auditing is not None and response.is_denied:
                    await auditing.denied(request, what, response.status)
                return what, self._render(request, response)
            if route.grant:
                granted = identity.grants.get(route.grant)
                if granted is None:
                    raise ForbiddenError(FORBIDDEN)
                view = granted
            if len(request.query) > QUERY_BYTES_MAX:
                return what, refusal(414, (_LONG_QUERY,))
            body = await read(self._bounds[route.body]) if route.body else b""
            base = self._public_base or _base(scheme, request.headers, self._service.prefix)
            request = request._replace(
                path=path, base=base, body=body, captures=captures, view=view
            )
            # Before anything is done: who cannot read the answer shall not have it stored either.
            form = negotiation.response_format(request) if route.fhir else PLAIN
            response = await route.handler(request, self._service)
            if auditing is not None:
                await auditing.answered(request, route.what, response, route.is_recorded)
            return what, _rendered(response, response.form or form)
        except Error as error:
            response = failure(error)
            if auditing is not None:
                await auditing.failed(request, what, error, route is not None and route.is_recorded)
            return what, self._render(request, response)
        except DisconnectedError:
            raise
        except Exception as error:
            _log_fault(error)
            return what, self._render(request, unexpected())

    def _find(self, path: str) -> tuple[dict[str, Route], tuple[str, ...]]:
        rows = self._plain.get(path)
        if rows is not None:
            return rows, ()
        parts = path.split("/")
        for pattern, found in self._patterns.get(len(parts), {}).items():
            captures = captures_of(pattern, parts)
            if captures is not None:
                return found, captures
        return {}, ()

    @staticmethod
    def _render(request: Request, response: Response) -> Response:
        """Write a refusal in the format that is asked for, if that can be told."""
        try:
            return _rendered(response, negotiation.response_format(request))
        except Error:
            return response


def captures_of(pattern: Sequence[str], parts: Sequence[str]) -> tuple[str, ...] | None:
    """Return what stands in the braces of the pattern, or None where the path is another."""
    found = []
    for wanted, part in zip(pattern, parts, strict=True):
        if wanted[:1] == "{":
            found.append(part)
        elif wanted != part:
            return None
    return tuple(found)


def _no_route(method: str, path: str, rows: Iterable[str]) -> Response:
    methods = set(rows) | ({"HEAD"} if "GET" in rows else set())
    if not methods:
        return failure(NotFoundError("there is nothing at this address"))
    changes = method in ("PUT", "PATCH", "DELETE") and path.startswith(_EVENTS)
    allow: Header = (b"allow", ", ".join(sorted(methods)).encode())
    response = refusal(405, (_IMMUTABLE if changes else _OTHER_METHOD,), allow)
    return response._replace(is_denied=changes)


@lru_cache(64)
def _base_of(scheme: str, host: bytes, prefix: str) -> str:
    text = host.decode("latin-1")
    if not _HOST.fullmatch(text):
        raise InvalidError("the Host header is missing or malformed")
    return f"{'https' if scheme == 'https' else 'http'}://{text}{prefix}{ROOT}"


def _base(scheme: str, headers: Mapping[bytes, bytes], prefix: str) -> str:
    """Return the FHIR base as this client sees it (without `--public-url`)."""
    return _base_of(scheme, headers.get(b"host", b"")[:_HOST_BYTES_MAX], prefix)


def _rendered(response: Response, form: Format) -> Response:
    """Write a resource in the format that is asked for."""
    if response.media is not FHIR_JSON or not response.body or form is PLAIN:
        return response
    if form.xml:
        body = xml.from_json(response.body, pretty=form.pretty)
        return response._replace(body=body, media=FHIR_XML)
    if form.pretty:
        return response._replace(body=msgspec.json.format(response.body, indent=2))
    return response


def _log_fault(error: Exception) -> None:
    """Log where it happened; the exception's own text may quote an event and stays out."""
    places = [f"{row.filename}:{row.lineno}" for row in traceback.extract_tb(error.__traceback__)]
    _log.error("a request met a fault", extra={"error": type(error).__name__, "places": places})
